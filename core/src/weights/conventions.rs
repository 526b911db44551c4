//! What a tensor of weights is for, and whose conventions it follows.

use serde::{Deserialize, Serialize};

/// What a tensor is for. Its layout and its initial values depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Kernel of a convolution, H×W×in×out, or of a dense layer, in×out.
    Kernel,
    /// Depthwise kernel, H×W×in×multiplier.
    Depthwise,
    /// Bias, out.
    Bias,
    /// Scale of a batch norm.
    Gamma,
    /// Shift of a batch norm.
    Beta,
    /// Moving mean of a batch norm.
    Mean,
    /// Moving variance of a batch norm.
    Variance,
}

/// Whose conventions weights follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// TensorFlow's, as in the reference checkpoints.
    #[default]
    TensorFlow,
    /// PyTorch's, as in timm and torchvision. Where their network differs from the reference in
    /// preprocessing, padding or pooling, weights of this dialect need their variant.
    PyTorch,
}
