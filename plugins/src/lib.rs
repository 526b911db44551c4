//! Gauntlet's built-ins, written as a third party would write them.

pub mod attacks;
pub mod metrics;

use attacks::{CwL2, EadL1, Fgsm, Ifgsm};
use metrics::{L0, L1, L2, Linf};

gauntlet_core::export_plugin!(attack CwL2, attack EadL1, attack Fgsm, attack Ifgsm, metric L0, metric L1, metric L2, metric Linf);
