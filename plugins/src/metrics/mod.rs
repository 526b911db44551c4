//! Metrics: how large a change is, how visible it is, and how large a change a model should
//! withstand.

mod clever;
mod norms;
mod ssim;
mod weibull;

pub use clever::{Clever, CleverParams, INFINITY};
pub use norms::{L0, L1, L2, L2PerPixel, Linf};
pub use ssim::Ssim;
pub use weibull::{Fit, fit};
