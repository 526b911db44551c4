//! Convolutions, each with what follows it: bias or batch norm, then an activation.

use super::channels_last;
use super::norm::{BatchNorm, Normalization};
use super::padding::{Padding, split};
use gauntlet_core::weights::{Role, Scope};
use tch::Tensor;

/// Which inputs an output channel sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Channels are split into so many groups; 1 is the usual convolution. Kernel
    /// `weights`: H×W×(in/groups)×out.
    Groups(i64),
    /// Every input channel has out/in kernels of its own. Kernel `depthwise_weights`:
    /// H×W×in×(out/in).
    Depthwise,
}

/// What follows the product.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    /// `biases`.
    Bias,
    /// A batch norm under `BatchNorm/`, and no bias.
    BatchNorm(BatchNorm),
}

/// The nonlinearity at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// None.
    Identity,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

impl Activation {
    /// Applies it to `x`, which nothing else may need any more: the memory is used again.
    pub fn apply(self, mut x: Tensor) -> Tensor {
        match self {
            Self::Identity => x,
            Self::Relu => x.relu_(),
            Self::Relu6 => x.clamp_(0, 6),
        }
    }
}

/// Description of a convolution.
#[derive(Clone, Copy, Debug)]
pub struct Conv {
    /// Height and width of the kernel.
    pub kernel: [i64; 2],
    /// Input channels.
    pub inputs: i64,
    /// Output channels.
    pub outputs: i64,
    /// Of both axes.
    pub stride: i64,
    /// Zeros around the input.
    pub padding: Padding,
    /// Which inputs an output sees.
    pub connection: Connection,
    /// Bias or batch norm.
    pub ending: Ending,
    /// What comes last.
    pub activation: Activation,
}

impl Conv {
    /// Asks for the tensors at `scope`; folds a frozen batch norm into the kernel.
    pub fn load(self, scope: &Scope) -> Convolution {
        let [height, width] = self.kernel;
        let (kernel, groups) = match self.connection {
            Connection::Groups(groups) => {
                let shape = [height, width, self.inputs / groups, self.outputs];
                (scope.tensor("weights", &shape, Role::Kernel).permute([3, 2, 0, 1]), groups)
            }
            Connection::Depthwise => {
                let shape = [height, width, self.inputs, self.outputs / self.inputs];
                let kernel = scope.tensor("depthwise_weights", &shape, Role::Depthwise);
                (kernel.permute([2, 3, 0, 1]).reshape([self.outputs, 1, height, width]), self.inputs)
            }
        };
        let (kernel, bias, norm) = match self.ending {
            Ending::Bias => (kernel, Some(scope.tensor("biases", &[self.outputs], Role::Bias)), None),
            Ending::BatchNorm(norm) => match norm.load(&scope.at("BatchNorm"), self.outputs) {
                Normalization::Affine { scale, shift } => (kernel * scale.view([-1, 1, 1, 1]), Some(shift), None),
                norm @ Normalization::Batch { .. } => (kernel, None, Some(norm)),
            },
        };
        Convolution { kernel: channels_last(&kernel), bias, norm, groups, conv: self }
    }
}

/// A loaded convolution.
pub struct Convolution {
    /// out×(in/groups)×H×W.
    kernel: Tensor,
    bias: Option<Tensor>,
    /// Only in training; otherwise it is in kernel and bias.
    norm: Option<Normalization>,
    groups: i64,
    conv: Conv,
}

impl Convolution {
    /// N×in×H×W → N×out×H'×W'.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        let Conv { stride, padding, activation, kernel, .. } = self.conv;
        let (x, symmetric) = split(x, padding, kernel, stride);
        let mut x = x.conv2d(&self.kernel, self.bias.as_ref(), [stride, stride], symmetric, [1, 1], self.groups);
        if let Some(norm) = &self.norm {
            x = norm.forward(&x);
        }
        activation.apply(x)
    }
}
