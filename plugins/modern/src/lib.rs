//! The attacks that people run today, written with `gauntlet-core` alone, as a third party's plugin
//! is. `docs/attacks-modern.md` says what each is for.
//!
//! - [`attacks`]: a file per attack.
//! - [`parts`]: losses, projections, proximal operators, schedules, random numbers.

pub mod attacks;
pub mod parts;

use attacks::{Apgd, AutoAttack, Ddn, DeepFool, Fab, Fmn, Pdpgd, Pgd, Square, TransferFgsm};

gauntlet_core::export_plugin!(
    attack Apgd,
    attack AutoAttack,
    attack Ddn,
    attack DeepFool,
    attack Fab,
    attack Fmn,
    attack Pdpgd,
    attack Pgd,
    attack Square,
    attack TransferFgsm,
);
