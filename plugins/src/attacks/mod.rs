//! The four attacks of the ECCV 2018 study. Each has the settings of the published experiments as
//! its preset `eccv2018`, and settings that one would choose today as its default.
//!
//! | attack | paper | nearest in | file |
//! |---|---|---|---|
//! | [`Fgsm`] | Goodfellow et al. 2015 | fixed ε | `fgsm.rs` |
//! | [`Ifgsm`] | Kurakin et al. 2016 | l∞, or fixed ε | `ifgsm.rs` |
//! | [`CwL2`] | Carlini and Wagner 2017 | l2 | `cw_l2.rs`, `adam.rs`, `penalty.rs` |
//! | [`EadL1`] | Chen et al. 2018 | l1 | `ead_l1.rs`, `at_image.rs`, `penalty.rs` |

mod adam;
mod at_image;
mod cw_l2;
mod ead_l1;
mod fgsm;
mod ifgsm;
mod objective;
mod penalty;

pub use cw_l2::{BiasCorrection, CwL2, CwL2Params, RateOf, Space};
pub use ead_l1::{Decay, EadL1, EadL1Params, Shrinkage};
pub use fgsm::{Fgsm, FgsmParams};
pub use ifgsm::{Ifgsm, IfgsmOutcome, IfgsmParams};
pub use objective::Objective;
pub use penalty::{PenaltyOutcome, Trace};
