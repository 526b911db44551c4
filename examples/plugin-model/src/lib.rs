//! LeNet-5 with rectifiers and max pooling, as it is usually built today. LeCun et al.,
//! "Gradient-Based Learning Applied to Document Recognition", 1998, section II. It classifies the
//! 28×28 grey images of Fashion-MNIST; the first convolution is padded as the paper pads digits.

use gauntlet_core::prelude::*;
use gauntlet_core::weights::{Role, VariableScope};

export_plugin!(model LeNet);

/// Two convolutions with pooling, three dense layers.
pub struct LeNet {
    card: ModelCard,
    convolutions: [(Tensor, Tensor); 2],
    dense: [(Tensor, Tensor); 3],
}

/// The convolutions: name, side of the kernel, padding, channels in and out.
const CONVOLUTIONS: [(&str, i64, i64, i64, i64); 2] =
    [("conv1", 5, 2, 1, 6), ("conv2", 5, 0, 6, 16)];
/// The dense layers: name, values in and out.
const DENSE: [(&str, i64, i64); 3] =
    [("fc3", 16 * 5 * 5, 120), ("fc4", 120, 84), ("logits", 84, 10)];

impl Model for LeNet {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        // Grey, about −1 to 1: preprocessing is part of the model.
        let mut x = pixels.mean_dim([1i64].as_slice(), true, Kind::Float) * 2.0 - 1.0;
        for ((kernel, bias), (_, _, padding, _, _)) in self.convolutions.iter().zip(CONVOLUTIONS) {
            x = x.conv2d(kernel, Some(bias), [1, 1], [padding; 2], [1, 1], 1).relu();
            x = x.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false);
        }
        x = x.flatten(1, -1);
        for (n, (kernel, bias)) in self.dense.iter().enumerate() {
            x = if n == 0 { x } else { x.relu() };
            x = x.matmul(kernel) + bias;
        }
        x
    }
}

impl Architecture for LeNet {
    const NAME: &'static str = "lenet";
    type Params = NoParams;

    fn describe(_: &NoParams) -> ModelCard {
        ModelCard {
            name: "lenet".into(),
            family: "LeNet".into(),
            side: 28,
            classes: 10,
            top1: Some(89.7),
            source: "LeNet-5 (LeCun et al. 1998) with rectifiers, trained on Fashion-MNIST".into(),
            ..ModelCard::default()
        }
    }

    fn load(params: NoParams, weights: &Weights) -> Result<Self> {
        let at = |name: &str| weights.root().at(name);
        let bias =
            |place: &VariableScope, outputs: i64| place.tensor("biases", &[outputs], Role::Bias);
        let convolution = |(name, side, _, inputs, outputs): (&str, i64, i64, i64, i64)| {
            // Kernels: height × width × in × out in files, out × in × height × width in libtorch.
            let kernel = at(name).tensor("weights", &[side, side, inputs, outputs], Role::Kernel);
            (kernel.permute([3, 2, 0, 1]).contiguous(), bias(&at(name), outputs))
        };
        let dense = |(name, inputs, outputs): (&str, i64, i64)| {
            (at(name).tensor("weights", &[inputs, outputs], Role::Kernel), bias(&at(name), outputs))
        };
        Ok(Self {
            card: Self::describe(&params),
            convolutions: CONVOLUTIONS.map(convolution),
            dense: DENSE.map(dense),
        })
    }

    /// Weights that are part of the library. docs/plugins.md says how they were trained.
    fn embedded_weights() -> Option<&'static [u8]> {
        Some(include_bytes!("../lenet.safetensors"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_model;

    #[test]
    fn it_conforms() {
        check_model::<LeNet>(NoParams {}).unwrap();
    }
}
