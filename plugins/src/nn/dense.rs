//! Dense layers. TF-Slim writes them as convolutions that see their whole input.

use gauntlet_core::weights::{Role, VariableScope};
use tch::Tensor;

/// A convolution whose kernel is as large as its input: a matrix product.
pub struct Dense {
    /// (H·W·in)×out, the kernel's own order.
    weights: Tensor,
    bias: Tensor,
}

impl Dense {
    /// Asks for `weights` of shape `kernel`, H×W×in×out, or in×out where H = W = 1, and `biases` at
    /// `scope`.
    pub fn load(scope: &VariableScope, kernel: &[i64]) -> Self {
        let outputs = kernel[kernel.len() - 1];
        let weights = scope.tensor("weights", kernel, Role::Kernel).reshape([-1, outputs]);
        Self { weights, bias: scope.tensor("biases", &[outputs], Role::Bias) }
    }

    /// N×in×H×W → N×out×1×1.
    pub fn forward(&self, x: &Tensor) -> Tensor {
        // The kernel's rows run H, W, in; so does an image's memory when channels come last.
        let flat = x.permute([0, 2, 3, 1]).flatten(1, -1);
        self.bias.addmm(&flat, &self.weights).unsqueeze(-1).unsqueeze(-1)
    }
}
