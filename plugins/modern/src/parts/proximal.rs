//! Proximal operators: argmin_z ½‖z − x‖₂² + λ·‖z‖. Parikh and Boyd, "Proximal Algorithms", 2014,
//! section 6.5.

use super::{l1_ball, per_image};
use gauntlet_core::attack::Norm;
use gauntlet_core::prelude::Tensor;

/// The proximal point of each row x (M×C×H×W) for the norm, with its weight λ (M).
///
/// ℓ1 moves every element towards 0 by λ, ℓ2 shortens the row by λ, and ℓ∞ takes off the nearest
/// point of the ℓ1 ball of radius λ, which lowers the greatest elements.
pub fn proximal(norm: Norm, x: &Tensor, weight: &Tensor) -> Tensor {
    let lambda = per_image(weight);
    match norm {
        Norm::L1 => x - x.minimum(&lambda).maximum(&-lambda),
        Norm::L2 => x * (norm.of(x) - lambda).clamp_min(0.0) / norm.of(x).clamp_min(1e-30),
        Norm::Linf => x - l1_ball(x, weight),
    }
}
