//! ResNet v2 (preactivation) of 50, 101 and 152 layers.
//!
//! Paper: He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", ECCV 2016, arXiv
//! 1603.05027; sizes from table 1 of arXiv 1512.03385.
//! Reference: TF-Slim of April 2018, `nets/resnet_v2.py`, parameter names likewise.
//! Accuracies: TF-Slim's table of checkpoints (299×299).
//!
//! Where the reference differs from the paper, this follows the reference: the stride of a block
//! sits in its last unit, on the 3×3 convolution; the first convolution has a bias and neither
//! batch norm nor activation after it.
//!
//! Deviations:
//! - A channel multiplier, with MobileNet's rule; the reference has none.

use super::{HALVED_FIVE_TIMES, Published, Shape};
use crate::nn::{
    self, Activation, BatchNorm, Connection, Conv, Convolution, Dense, Ending, Normalization,
    Padding, Pool,
};
use gauntlet_core::prelude::*;
use gauntlet_core::weights::{PyTorch, VariableScope};

/// Channels of the 7×7 convolution at the start.
const ROOT: i64 = 64;
/// Channels inside the units of each block; a unit gives four times as many.
const BOTTLENECK: [i64; 4] = [64, 128, 256, 512];
const EXPANSION: i64 = 4;
/// Stride of the last unit of each block.
const STRIDES: [i64; 4] = [2, 2, 2, 1];
const NORM: BatchNorm = BatchNorm { epsilon: 1e-5, gamma: true };

struct Variant {
    published: Published,
    /// Units in each block.
    units: [usize; 4],
}

/// ResNet v2 with `LAYERS` layers that have weights: 50, 101 or 152.
pub struct ResNetV2<const LAYERS: usize> {
    card: ModelCard,
    root: Convolution,
    units: Vec<Unit>,
    postnorm: Normalization,
    logits: Dense,
}

impl<const LAYERS: usize> ResNetV2<LAYERS> {
    const VARIANT: Variant = match LAYERS {
        50 => Variant {
            published: Published {
                name: "resnet_v2_50",
                family: "ResNet-v2",
                top1: Some(75.6),
                top5: Some(92.8),
                depth: Some(50),
                source: "He et al. 2016 (arXiv 1603.05027), TF-Slim resnet_v2_50",
            },
            units: [3, 4, 6, 3],
        },
        101 => Variant {
            published: Published {
                name: "resnet_v2_101",
                family: "ResNet-v2",
                top1: Some(77.0),
                top5: Some(93.7),
                depth: Some(101),
                source: "He et al. 2016 (arXiv 1603.05027), TF-Slim resnet_v2_101",
            },
            units: [3, 4, 23, 3],
        },
        152 => Variant {
            published: Published {
                name: "resnet_v2_152",
                family: "ResNet-v2",
                top1: Some(77.8),
                top5: Some(94.1),
                depth: Some(152),
                source: "He et al. 2016 (arXiv 1603.05027), TF-Slim resnet_v2_152",
            },
            units: [3, 8, 36, 3],
        },
        _ => panic!("ResNet v2 has 50, 101 or 152 layers"),
    };
}

/// A convolution as the units have them: strided ones are padded alike on both sides.
fn conv(
    scope: &VariableScope,
    kernel: i64,
    stride: i64,
    [inputs, outputs]: [i64; 2],
    ending: Ending,
    activation: Activation,
) -> Convolution {
    let padding = if stride == 1 { Padding::Same } else { Padding::Symmetric };
    Conv {
        kernel: [kernel, kernel],
        inputs,
        outputs,
        stride,
        padding,
        connection: Connection::Groups(1),
        ending,
        activation,
    }
    .load(scope)
}

/// Batch norm and ReLU before a unit, 1×1, 3×3 and 1×1 convolutions, and the way around them.
struct Unit {
    stride: i64,
    preact: Normalization,
    /// A projection where the number of channels changes; otherwise the input itself goes around.
    shortcut: Option<Convolution>,
    convolutions: [Convolution; 3],
}

impl Unit {
    fn load(
        scope: &VariableScope,
        stride: i64,
        inputs: i64,
        bottleneck: i64,
        outputs: i64,
    ) -> Self {
        let normed = Ending::BatchNorm(NORM);
        Self {
            stride,
            preact: NORM.load(&scope.at("preact"), inputs),
            shortcut: (inputs != outputs).then(|| {
                conv(
                    &scope.at("shortcut"),
                    1,
                    stride,
                    [inputs, outputs],
                    Ending::Bias,
                    Activation::Identity,
                )
            }),
            convolutions: [
                conv(&scope.at("conv1"), 1, 1, [inputs, bottleneck], normed, Activation::Relu),
                conv(
                    &scope.at("conv2"),
                    3,
                    stride,
                    [bottleneck, bottleneck],
                    normed,
                    Activation::Relu,
                ),
                conv(
                    &scope.at("conv3"),
                    1,
                    1,
                    [bottleneck, outputs],
                    Ending::Bias,
                    Activation::Identity,
                ),
            ],
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        let preact = self.preact.forward(x).relu_();
        let around = match &self.shortcut {
            Some(projection) => projection.forward(&preact),
            // Without activation: every stride-th row and column, a 1×1 max-pool in the reference.
            None if self.stride > 1 => nn::max_pool_valid(x, 1, self.stride),
            None => x.shallow_clone(),
        };
        self.convolutions.iter().fold(preact, |x, conv| conv.forward(&x)) + around
    }
}

impl<const LAYERS: usize> Model for ResNetV2<LAYERS> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let x = self.root.forward(&nn::minus_one_to_one(pixels));
        let x = self.units.iter().fold(nn::max_pool_same(&x, 3, 2), |x, unit| unit.forward(&x));
        let x = self.postnorm.forward(&x).relu_();
        self.logits.forward(&nn::global_mean(&x)).flatten(1, -1)
    }
}

impl<const LAYERS: usize> Architecture for ResNetV2<LAYERS> {
    const NAME: &'static str = Self::VARIANT.published.name;
    type Params = Shape<1001, 299>;

    fn describe(shape: &Self::Params) -> ModelCard {
        shape.card(&Self::VARIANT.published)
    }

    fn load(shape: Self::Params, weights: &Weights) -> Result<Self> {
        shape.check(HALVED_FIVE_TIMES)?;
        let top = weights.root().at(Self::NAME);
        nn::check_input(&top, nn::minus_one_to_one);
        nn::check_operations(&top, &[Pool::max(3, 2, Padding::Same)]);
        let depth = |channels| nn::depth(channels, shape.channels);
        let mut inputs = depth(ROOT);
        let root = conv(&top.at("conv1"), 7, 2, [3, inputs], Ending::Bias, Activation::Identity);
        let mut units = Vec::new();
        for (b, count) in Self::VARIANT.units.into_iter().enumerate() {
            let outputs = depth(BOTTLENECK[b] * EXPANSION);
            for n in 1..=count {
                let scope =
                    top.at(format!("block{}", b + 1)).at(format!("unit_{n}")).at("bottleneck_v2");
                let stride = if n == count { STRIDES[b] } else { 1 };
                units.push(Unit::load(&scope, stride, inputs, depth(BOTTLENECK[b]), outputs));
                inputs = outputs;
            }
        }
        let postnorm = NORM.load(&top.at("postnorm"), inputs);
        let logits = Dense::load(&top.at("logits"), &[1, 1, inputs, shape.classes]);
        Ok(Self { card: Self::describe(&shape), root, units, postnorm, logits })
    }

    fn pytorch() -> Option<PyTorch> {
        Some(PyTorch::Differs(
            "those of timm halve the map in the first unit of a block, here the last does, and its \
             convolutions have biases",
        ))
    }
}
