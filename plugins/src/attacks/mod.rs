//! The four attacks of the study. Each has the settings of the published experiments as its
//! preset `eccv2018`, and settings that one would choose today as its default.

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
