//! The attacks that people run today, written with `gauntlet-core` alone, as a third party's plugin
//! is. `docs/attacks-modern.md` says what each is for.
//!
//! - [`attacks`]: a file per attack.
//! - [`parts`]: losses, projections, proximal operators, schedules, random numbers.

pub mod attacks;
pub mod parts;

use attacks::{Apgd, Ddn, DeepFool, Fmn, Pdpgd, Pgd};

gauntlet_core::export_plugin!(
    attack Apgd,
    attack Ddn,
    attack DeepFool,
    attack Fmn,
    attack Pdpgd,
    attack Pgd,
);
