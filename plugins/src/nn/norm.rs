//! Batch norm.

use super::frozen;
use gauntlet_core::weights::{Role, VariableScope};
use tch::{Kind, Tensor};

/// How far a training step moves the moving statistics towards the batch's.
const MOMENTUM: f64 = 0.1;

/// Description of a batch norm.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    /// Added to the variance under the root.
    pub epsilon: f64,
    /// Whether there is a learned scale γ; without it the scale is 1.
    pub gamma: bool,
}

impl BatchNorm {
    /// Asks for `gamma`, `beta`, `moving_mean` and `moving_variance` at `scope`.
    pub fn load(self, scope: &VariableScope, channels: i64) -> Normalization {
        let gamma = self.gamma.then(|| scope.tensor("gamma", &[channels], Role::Gamma));
        let beta = scope.tensor("beta", &[channels], Role::Beta);
        let mean = scope.tensor("moving_mean", &[channels], Role::Mean);
        let variance = scope.tensor("moving_variance", &[channels], Role::Variance);
        let epsilon = frozen::epsilon(scope, self.epsilon).unwrap_or(self.epsilon);
        if scope.training() {
            return Normalization::Batch { gamma, beta, mean, variance, epsilon };
        }
        // In float64, so that folding adds one rounding and no more.
        let [beta, mean, variance] = [beta, mean, variance].map(|t| t.to_kind(Kind::Double));
        let mut scale = (variance + epsilon).rsqrt();
        if let Some(gamma) = gamma {
            scale *= gamma.to_kind(Kind::Double);
        }
        let shift = beta - mean * &scale;
        Normalization::Affine {
            scale: scale.to_kind(Kind::Float),
            shift: shift.to_kind(Kind::Float),
        }
    }
}

/// A loaded batch norm over the channels of N×C×H×W.
pub enum Normalization {
    /// With frozen statistics: x·scale + shift, C each.
    Affine {
        /// γ/√(variance + ε).
        scale: Tensor,
        /// β − mean·scale.
        shift: Tensor,
    },
    /// With the batch's statistics, as in training. Every pass moves `mean` and `variance`, which
    /// are the source's own tensors, towards them.
    Batch {
        /// Scale, C.
        gamma: Option<Tensor>,
        /// Shift, C.
        beta: Tensor,
        /// Moving mean, C.
        mean: Tensor,
        /// Moving variance, C.
        variance: Tensor,
        /// Added to the variance under the root.
        epsilon: f64,
    },
}

impl Normalization {
    /// Normalizes N×C×H×W.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Affine { scale, shift } => {
                shift.view([-1, 1, 1]).addcmul(x, &scale.view([-1, 1, 1]))
            }
            Self::Batch { gamma, beta, mean, variance, epsilon } => x.batch_norm(
                gamma.as_ref(),
                Some(beta),
                Some(mean),
                Some(variance),
                true,
                MOMENTUM,
                *epsilon,
                true,
            ),
        }
    }
}
