//! The tiny network of `attacks.json`: two convolutions, an average, a dense layer. It is smooth, so
//! that attacks on it can be reproduced to float32 noise.

use crate::golden::values;
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::weights::Role;
use tch::{Kind, Tensor};

/// A network of 10 classes for 16×16 pixels. It computes with x = p − 0.5.
pub struct TinyNet {
    card: ModelCard,
    conv1: (Tensor, Tensor),
    conv2: (Tensor, Tensor),
    dense: (Tensor, Tensor),
    multiplier: f64,
}

impl TinyNet {
    /// The network with formula weights of `seed`, kernels scaled by `kernel_constant` and logits
    /// scaled by `multiplier`.
    pub fn new(seed: &str, kernel_constant: f64, multiplier: f64) -> Self {
        let tensor = |layer: &str, kind: &str, shape: &[i64], role| {
            Tensor::from_slice(&values(
                &format!("{seed}/tiny/{layer}/{kind}"),
                shape,
                role,
                kernel_constant,
            ))
            .view(shape)
        };
        let conv = |layer: &str, inputs: i64, outputs: i64| {
            let kernel = tensor(layer, "weights", &[3, 3, inputs, outputs], Role::Kernel);
            (
                kernel.permute([3, 2, 0, 1]).contiguous(),
                tensor(layer, "biases", &[outputs], Role::Bias),
            )
        };
        Self {
            card: ModelCard {
                name: "tiny".into(),
                family: "tiny".into(),
                side: 16,
                classes: 10,
                source: "formula network of the golden values".into(),
                ..ModelCard::default()
            },
            conv1: conv("conv1", 3, 8),
            conv2: conv("conv2", 8, 16),
            dense: (
                tensor("fc", "weights", &[16, 10], Role::Kernel).tr(),
                tensor("fc", "biases", &[10], Role::Bias),
            ),
            multiplier,
        }
    }
}

impl TinyNet {
    /// The same network, for pixels in float64.
    #[must_use]
    pub fn in_double(&self) -> Self {
        let double = |(kernel, bias): &(Tensor, Tensor)| {
            (kernel.to_kind(Kind::Double), bias.to_kind(Kind::Double))
        };
        Self {
            card: self.card.clone(),
            conv1: double(&self.conv1),
            conv2: double(&self.conv2),
            dense: double(&self.dense),
            multiplier: self.multiplier,
        }
    }
}

/// ln(1 + e⁵ᵗ)/5.
fn activation(t: &Tensor) -> Tensor {
    (t * 5.0).softplus() / 5.0
}

impl Model for TinyNet {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let x = pixels - 0.5;
        let x =
            activation(&x.conv2d(&self.conv1.0, Some(&self.conv1.1), [1, 1], [1, 1], [1, 1], 1));
        // TensorFlow's SAME at stride 2 on an even side: nothing before, one after.
        let x = x.constant_pad_nd([0, 1, 0, 1]);
        let x =
            activation(&x.conv2d(&self.conv2.0, Some(&self.conv2.1), [2, 2], [0, 0], [1, 1], 1));
        let x = x.mean_dim([2i64, 3].as_slice(), false, None::<Kind>);
        x.linear(&self.dense.0, Some(&self.dense.1)) * self.multiplier
    }
}
