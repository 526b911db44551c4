//! DenseNet-121, -169 and -161.
//!
//! Paper: Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks",
//! CVPR 2017, arXiv 1608.06993, table 1 (161 with growth rate 48 is the paper's, from the authors'
//! repository). Reference: pudae's `tensorflow-densenet`, `nets/densenet.py` (reduction 0.5),
//! parameter names likewise. Accuracies: that repository's table of checkpoints. Weights of
//! torchvision's networks fit. Those networks pad the first convolution and max-pool on both sides,
//! have 1e-5 in batch norm, and take pixels less ImageNet's mean, over its standard deviation.
//!
//! Deviations:
//! - No dropout: it acts in training alone.
//! - A channel multiplier, with MobileNet's rule; the reference has none.

use super::{HALVED_FIVE_TIMES, Published, Shape, pytorch_leaf};
use crate::nn::{
    self, Activation, BatchNorm, Connection, Conv, Convolution, Dense, Ending, Normalization,
    Padding, Pool,
};
use gauntlet_core::prelude::*;
use gauntlet_core::weights::{Dialect, PyTorch, VariableScope};

/// Batch norm by dialect.
const fn norm(dialect: Dialect) -> BatchNorm {
    let epsilon = match dialect {
        Dialect::TensorFlow => 1.1e-5,
        Dialect::PyTorch => 1e-5,
    };
    BatchNorm { epsilon, gamma: true }
}

/// Channels of a layer's 1×1 convolution, as a multiple of the growth rate.
const BOTTLENECK: i64 = 4;
/// Divisor of the channels in a transition.
const COMPRESSION: i64 = 2;
/// Factor of pixels on the scale 0 to 255, after the means are subtracted.
const SCALE: f64 = 0.017;

struct Variant {
    published: Published,
    /// Top of the variables' names.
    scope: &'static str,
    /// Channels of the 7×7 convolution at the start.
    root: i64,
    /// Channels that a layer adds.
    growth: i64,
    /// Layers in each dense block.
    layers: [usize; 4],
}

/// DenseNet with `LAYERS` layers that have weights: 121, 161 or 169.
pub struct DenseNet<const LAYERS: usize> {
    card: ModelCard,
    dialect: Dialect,
    root: Convolution,
    blocks: Vec<Block>,
    postnorm: Normalization,
    logits: Dense,
}

impl<const LAYERS: usize> DenseNet<LAYERS> {
    const VARIANT: Variant = match LAYERS {
        121 => Variant {
            published: Published {
                name: "densenet121_k32",
                family: "DenseNet",
                top1: Some(74.9),
                top5: Some(92.2),
                depth: Some(121),
                source: "Huang et al. 2017 (arXiv 1608.06993), tensorflow-densenet densenet121",
            },
            scope: "densenet121",
            root: 64,
            growth: 32,
            layers: [6, 12, 24, 16],
        },
        161 => Variant {
            published: Published {
                name: "densenet161_k48",
                family: "DenseNet",
                top1: Some(77.6),
                top5: Some(93.8),
                depth: Some(161),
                source: "Huang et al. 2017 (arXiv 1608.06993), tensorflow-densenet densenet161",
            },
            scope: "densenet161",
            root: 96,
            growth: 48,
            layers: [6, 12, 36, 24],
        },
        169 => Variant {
            published: Published {
                name: "densenet169_k32",
                family: "DenseNet",
                top1: Some(76.1),
                top5: Some(93.1),
                depth: Some(169),
                source: "Huang et al. 2017 (arXiv 1608.06993), tensorflow-densenet densenet169",
            },
            scope: "densenet169",
            root: 64,
            growth: 32,
            layers: [6, 12, 32, 32],
        },
        _ => panic!("DenseNet has 121, 161 or 169 layers"),
    };

    /// How torchvision's published files spell parts of names.
    const PUBLISHED: &[(&str, &str)] = &[
        (".norm1.", ".norm.1."),
        (".norm2.", ".norm.2."),
        (".conv1.", ".conv.1."),
        (".conv2.", ".conv.2."),
    ];

    fn torchvision(name: &str) -> Option<String> {
        let (layer, leaf) =
            name.strip_prefix(Self::VARIANT.scope)?.strip_prefix('/')?.rsplit_once('/')?;
        let parts: Vec<&str> = layer.split('/').collect();
        let layer = match parts[..] {
            ["conv1"] => "features.conv0".to_owned(),
            ["BatchNorm"] => "features.norm0".to_owned(),
            [block, layer, half, kind] => {
                let (block, layer, half) = (
                    block.strip_prefix("dense_block")?,
                    layer.strip_prefix("conv_block")?,
                    half.strip_prefix('x')?,
                );
                let kind = if kind == "Conv" { "conv" } else { "norm" };
                format!("features.denseblock{block}.denselayer{layer}.{kind}{half}")
            }
            [transition, "blk", kind] => {
                let kind = if kind == "Conv" { "conv" } else { "norm" };
                format!(
                    "features.transition{}.{kind}",
                    transition.strip_prefix("transition_block")?
                )
            }
            ["final_block", "BatchNorm"] => "features.norm5".to_owned(),
            ["logits"] => "classifier".to_owned(),
            _ => return None,
        };
        Some(format!("{layer}.{}", pytorch_leaf(leaf)?))
    }
}

/// What the reference takes: pixels less the means, scaled.
fn prepare(pixels: &Tensor) -> Tensor {
    nn::subtract_means(pixels, nn::VGG_MEANS) * SCALE
}

/// A convolution without bias.
fn conv(
    kernel: i64,
    stride: i64,
    [inputs, outputs]: [i64; 2],
    ending: Ending,
    activation: Activation,
) -> Conv {
    Conv {
        kernel: [kernel; 2],
        inputs,
        outputs,
        stride,
        padding: Padding::Same,
        connection: Connection::Groups(1),
        ending,
        activation,
    }
}

/// A layer: batch norm, ReLU and a 1×1 convolution, then batch norm, ReLU and a 3×3 convolution.
/// Its block joins its output to its input.
struct Layer {
    norm: Normalization,
    /// With the second batch norm and ReLU.
    narrow: Convolution,
    grow: Convolution,
}

/// Batch norm, ReLU, 1×1 convolution and 2×2 mean between two blocks.
struct Transition {
    norm: Normalization,
    narrow: Convolution,
}

/// Layers that each see the block's input and the outputs of all layers before.
struct Block {
    layers: Vec<Layer>,
    /// After all blocks but the last.
    transition: Option<Transition>,
}

impl Layer {
    fn load(scope: &VariableScope, inputs: i64, growth: i64, bottleneck: i64) -> Self {
        let [x1, x2] = ["x1", "x2"].map(|name| scope.at(name));
        Self {
            norm: norm(scope.dialect()).load(&x1.at("BatchNorm"), inputs),
            narrow: conv(
                1,
                1,
                [inputs, bottleneck],
                Ending::BatchNorm(norm(scope.dialect())),
                Activation::Relu,
            )
            .load_normed(&x1.at("Conv"), &x2.at("BatchNorm")),
            grow: conv(3, 1, [bottleneck, growth], Ending::Nothing, Activation::Identity)
                .load(&x2.at("Conv")),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        self.grow.forward(&self.narrow.forward(&self.norm.forward(x).relu_()))
    }
}

impl Transition {
    fn load(scope: &VariableScope, inputs: i64) -> Self {
        Self {
            norm: norm(scope.dialect()).load(&scope.at("BatchNorm"), inputs),
            narrow: conv(
                1,
                1,
                [inputs, inputs / COMPRESSION],
                Ending::Nothing,
                Activation::Identity,
            )
            .load(&scope.at("Conv")),
        }
    }

    fn forward(&self, x: &Tensor) -> Tensor {
        nn::average_pool_valid(&self.narrow.forward(&self.norm.forward(x).relu_()), 2, 2)
    }
}

impl Block {
    fn forward(&self, x: Tensor) -> Tensor {
        let x = self.layers.iter().fold(x, |x, layer| Tensor::cat(&[&x, &layer.forward(&x)], 1));
        match &self.transition {
            Some(transition) => transition.forward(&x),
            None => x,
        }
    }
}

impl<const LAYERS: usize> Model for DenseNet<LAYERS> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let x = match self.dialect {
            Dialect::TensorFlow => nn::max_pool_same(&self.root.forward(&prepare(pixels)), 3, 2),
            Dialect::PyTorch => nn::max_pool_around(&self.root.forward(&nn::torchvision(pixels))),
        };
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = self.postnorm.forward(&x).relu_();
        self.logits.forward(&nn::global_mean(&x)).flatten(1, -1)
    }
}

impl<const LAYERS: usize> Architecture for DenseNet<LAYERS> {
    const NAME: &'static str = Self::VARIANT.published.name;
    type Params = Shape<1000, 224>;

    fn describe(shape: &Self::Params) -> ModelCard {
        shape.card(&Self::VARIANT.published)
    }

    fn load(shape: Self::Params, weights: &Weights) -> Result<Self> {
        shape.check(HALVED_FIVE_TIMES)?;
        let top = weights.root().at(Self::VARIANT.scope);
        nn::check_input(&top, prepare);
        let pools = [Pool::max(3, 2, Padding::Same), Pool::mean(2, 2, Padding::Valid)];
        nn::check_operations(&top, &pools);
        let depth = |channels| nn::depth(channels, shape.channels);
        let [growth, bottleneck] = [1, BOTTLENECK].map(|times| depth(Self::VARIANT.growth * times));
        let mut inputs = depth(Self::VARIANT.root);
        let dialect = weights.dialect();
        let padding = if dialect == Dialect::PyTorch { Padding::Symmetric } else { Padding::Same };
        let root = Conv {
            padding,
            ..conv(7, 2, [3, inputs], Ending::BatchNorm(norm(dialect)), Activation::Relu)
        }
        .load_normed(&top.at("conv1"), &top.at("BatchNorm"));
        let mut blocks = Vec::new();
        for (b, count) in (1..).zip(Self::VARIANT.layers) {
            let scope = top.at(format!("dense_block{b}"));
            let mut layers = Vec::new();
            for n in 1..=count {
                layers.push(Layer::load(
                    &scope.at(format!("conv_block{n}")),
                    inputs,
                    growth,
                    bottleneck,
                ));
                inputs += growth;
            }
            let last = b == Self::VARIANT.layers.len();
            let transition = (!last).then(|| {
                Transition::load(&top.at(format!("transition_block{b}")).at("blk"), inputs)
            });
            if !last {
                inputs /= COMPRESSION;
            }
            blocks.push(Block { layers, transition });
        }
        let postnorm = norm(dialect).load(&top.at("final_block").at("BatchNorm"), inputs);
        let logits = Dense::load(&top.at("logits"), &[1, 1, inputs, shape.classes]);
        Ok(Self { card: Self::describe(&shape), dialect, root, blocks, postnorm, logits })
    }

    fn pytorch() -> Option<PyTorch> {
        let library = match LAYERS {
            121 => "torchvision densenet121",
            161 => "torchvision densenet161",
            _ => "torchvision densenet169",
        };
        Some(PyTorch::Fits {
            library,
            rename: Self::torchvision,
            also: Self::PUBLISHED,
            spare: &[],
        })
    }
}
