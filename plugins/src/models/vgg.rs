//! VGG-16 and VGG-19.
//!
//! Paper: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
//! Recognition", ICLR 2015, arXiv 1409.1556, columns D and E of table 1. Reference: TF-Slim of
//! April 2018, `nets/vgg.py` (`vgg_16`, `vgg_19`), parameter names likewise. Accuracies: TF-Slim's
//! table of checkpoints. Weights of torchvision's `vgg16` and `vgg19` fit; with them, pixels are
//! taken less ImageNet's mean, over its standard deviation.
//!
//! Deviations:
//! - No dropout: it acts in training alone.
//! - `fc6` always covers the whole of what is left of the image (7×7 of 224×224), so that other
//!   sides work; the reference has 7×7 whatever the side.
//! - A channel multiplier, with MobileNet's rule; the reference has none.

use super::{HALVED_FIVE_TIMES, Published, Shape, pytorch_leaf};
use crate::nn::{self, Activation, Connection, Conv, Convolution, Dense, Ending, Padding, Pool};
use gauntlet_core::prelude::*;
use gauntlet_core::weights::{Dialect, PyTorch, VariableScope};

/// Channels of the five groups of 3×3 convolutions; a 2×2 max-pool ends each.
const CHANNELS: [i64; 5] = [64, 128, 256, 512, 512];
/// Width of `fc6` and `fc7`.
const DENSE: i64 = 4096;

struct Variant {
    published: Published,
    /// Convolutions in each group.
    convolutions: [usize; 5],
}

/// VGG with `LAYERS` layers that have weights: 16 or 19.
pub struct Vgg<const LAYERS: usize> {
    card: ModelCard,
    dialect: Dialect,
    groups: Vec<Vec<Convolution>>,
    dense: [Dense; 3],
}

impl<const LAYERS: usize> Vgg<LAYERS> {
    const VARIANT: Variant = match LAYERS {
        16 => Variant {
            published: Published {
                name: "vgg_16",
                family: "VGG",
                top1: Some(71.5),
                top5: Some(89.8),
                depth: Some(16),
                source: "Simonyan and Zisserman 2015 (arXiv 1409.1556), TF-Slim vgg_16",
            },
            convolutions: [2, 2, 3, 3, 3],
        },
        19 => Variant {
            published: Published {
                name: "vgg_19",
                family: "VGG",
                top1: Some(71.1),
                top5: Some(89.8),
                depth: Some(19),
                source: "Simonyan and Zisserman 2015 (arXiv 1409.1556), TF-Slim vgg_19",
            },
            convolutions: [2, 2, 4, 4, 4],
        },
        _ => panic!("VGG has 16 or 19 layers"),
    };

    /// Layers that timm calls otherwise than torchvision. Its first two are convolutions.
    const TIMM: &[(&str, &str)] = &[
        ("classifier.0.", "pre_logits.fc1."),
        ("classifier.3.", "pre_logits.fc2."),
        ("classifier.6.", "head.fc."),
    ];

    /// torchvision's name of a tensor: it numbers all layers, ReLU and pooling included.
    fn torchvision(name: &str) -> Option<String> {
        let parts: Vec<&str> =
            name.strip_prefix(Self::NAME)?.strip_prefix('/')?.split('/').collect();
        let (layer, leaf) = match parts[..] {
            [_, conv, leaf] => {
                let (group, n) = conv.strip_prefix("conv")?.split_once('_')?;
                let [group, n]: [usize; 2] = [group.parse().ok()?, n.parse().ok()?];
                let before: usize = Self::VARIANT
                    .convolutions
                    .iter()
                    .take(group - 1)
                    .map(|count| 2 * count + 1)
                    .sum();
                (format!("features.{}", before + 2 * (n - 1)), leaf)
            }
            [dense, leaf] => (
                format!(
                    "classifier.{}",
                    3 * (dense.strip_prefix("fc")?.parse::<usize>().ok()? - 6)
                ),
                leaf,
            ),
            _ => return None,
        };
        Some(format!("{layer}.{}", pytorch_leaf(leaf)?))
    }
}

fn conv3x3(scope: &VariableScope, inputs: i64, outputs: i64) -> Convolution {
    Conv {
        kernel: [3, 3],
        inputs,
        outputs,
        stride: 1,
        padding: Padding::Same,
        connection: Connection::Groups(1),
        ending: Ending::Bias,
        activation: Activation::Relu,
    }
    .load(scope)
}

impl<const LAYERS: usize> Model for Vgg<LAYERS> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let mut x = match self.dialect {
            Dialect::TensorFlow => nn::subtract_means(pixels, nn::VGG_MEANS),
            Dialect::PyTorch => nn::torchvision(pixels),
        };
        for group in &self.groups {
            x = group.iter().fold(x, |x, conv| conv.forward(&x));
            x = nn::max_pool_valid(&x, 2, 2);
        }
        let [fc6, fc7, fc8] = &self.dense;
        x = fc6.forward(&x).relu_();
        x = fc7.forward(&x).relu_();
        fc8.forward(&x).flatten(1, -1)
    }
}

impl<const LAYERS: usize> Architecture for Vgg<LAYERS> {
    const NAME: &'static str = Self::VARIANT.published.name;
    type Params = Shape<1000, 224>;

    fn describe(shape: &Self::Params) -> ModelCard {
        shape.card(&Self::VARIANT.published)
    }

    fn load(shape: Self::Params, weights: &Weights) -> Result<Self> {
        shape.check(HALVED_FIVE_TIMES)?;
        let top = weights.root().at(Self::NAME);
        nn::check_input(&top, |pixels| nn::subtract_means(pixels, nn::VGG_MEANS));
        nn::check_operations(&top, &[Pool::max(2, 2, Padding::Valid)]);
        let mut inputs = 3;
        let mut groups = Vec::new();
        for (g, (channels, count)) in
            (1..).zip(CHANNELS.into_iter().zip(Self::VARIANT.convolutions))
        {
            let outputs = nn::depth(channels, shape.channels);
            let scope = top.at(format!("conv{g}"));
            let mut group = Vec::new();
            for n in 1..=count {
                group.push(conv3x3(&scope.at(format!("conv{g}_{n}")), inputs, outputs));
                inputs = outputs;
            }
            groups.push(group);
        }
        let left = shape.side >> CHANNELS.len(); // each pool halves, rounding down
        let width = nn::depth(DENSE, shape.channels);
        let dense = [
            Dense::load(&top.at("fc6"), &[left, left, inputs, width]),
            Dense::load(&top.at("fc7"), &[1, 1, width, width]),
            Dense::load(&top.at("fc8"), &[1, 1, width, shape.classes]),
        ];
        Ok(Self { card: Self::describe(&shape), dialect: weights.dialect(), groups, dense })
    }

    fn pytorch() -> Option<PyTorch> {
        let library = if LAYERS == 16 { "torchvision vgg16" } else { "torchvision vgg19" };
        Some(PyTorch::Fits { library, rename: Self::torchvision, also: Self::TIMM, spare: &[] })
    }
}
