//! MobileNet v1 at 0.25, 0.5 and 1.0 of its width.
//!
//! Paper: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
//! Applications", 2017, arXiv 1704.04861, table 1.
//! Reference: TF-Slim of April 2018, `nets/mobilenet_v1.py`, parameter names likewise.
//! Accuracies: TF-Slim's tables of checkpoints (224×224; 0.25 and 0.5 have no top-5 there).
//!
//! Deviations:
//! - No dropout: it acts in training alone.
//! - The mean at the end covers the whole image whatever its side; the reference has a window of at
//!   most 7×7, which is the same up to 224×224.

use super::{HALVED_FIVE_TIMES, Published, Shape};
use crate::nn::{
    self, Activation, BatchNorm, Connection, Conv, Convolution, Dense, Ending, Padding,
};
use gauntlet_core::prelude::*;
use gauntlet_core::weights::PyTorch;

/// Channels of the first convolution, 3×3 with stride 2.
const ROOT: i64 = 32;
/// Stride of the depthwise 3×3 and channels of the pointwise 1×1 of each pair.
const PAIRS: [(i64, i64); 13] = [
    (1, 64),
    (2, 128),
    (1, 128),
    (2, 256),
    (1, 256),
    (2, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (1, 512),
    (2, 1024),
    (1, 1024),
];
const NORM: BatchNorm = BatchNorm { epsilon: 1e-3, gamma: true };

/// MobileNet v1 with `PERCENT` of the full width: 25, 50 or 100.
pub struct MobileNetV1<const PERCENT: usize> {
    card: ModelCard,
    convolutions: Vec<Convolution>,
    logits: Dense,
}

impl<const PERCENT: usize> MobileNetV1<PERCENT> {
    const PUBLISHED: Published = match PERCENT {
        25 => Published {
            name: "mobilenet_v1_025",
            family: "MobileNet",
            top1: Some(49.8),
            top5: None,
            depth: None,
            source: "Howard et al. 2017 (arXiv 1704.04861), TF-Slim mobilenet_v1, depth multiplier \
                     0.25",
        },
        50 => Published {
            name: "mobilenet_v1_050",
            family: "MobileNet",
            top1: Some(63.3),
            top5: None,
            depth: None,
            source: "Howard et al. 2017 (arXiv 1704.04861), TF-Slim mobilenet_v1, depth multiplier \
                     0.5",
        },
        100 => Published {
            name: "mobilenet_v1_100",
            family: "MobileNet",
            top1: Some(70.9),
            top5: Some(89.9),
            depth: None,
            source: "Howard et al. 2017 (arXiv 1704.04861), TF-Slim mobilenet_v1",
        },
        _ => panic!("MobileNet v1 comes at 25, 50 or 100 per cent"),
    };
}

impl<const PERCENT: usize> Model for MobileNetV1<PERCENT> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let x =
            self.convolutions.iter().fold(nn::minus_one_to_one(pixels), |x, conv| conv.forward(&x));
        self.logits.forward(&nn::global_mean(&x)).flatten(1, -1)
    }
}

impl<const PERCENT: usize> Architecture for MobileNetV1<PERCENT> {
    const NAME: &'static str = Self::PUBLISHED.name;
    type Params = Shape<1001, 224>;

    fn describe(shape: &Self::Params) -> ModelCard {
        shape.card(&Self::PUBLISHED)
    }

    fn load(shape: Self::Params, weights: &Weights) -> Result<Self> {
        shape.check(HALVED_FIVE_TIMES)?;
        let top = weights.root().at("MobilenetV1");
        nn::check_input(&top, nn::minus_one_to_one);
        nn::check_operations(&top, &[]);
        let depth = |channels| nn::depth(channels, PERCENT as f64 / 100.0 * shape.channels);
        let conv = |name: String,
                    kernel: i64,
                    stride: i64,
                    inputs: i64,
                    outputs: i64,
                    connection: Connection| {
            Conv {
                kernel: [kernel, kernel],
                inputs,
                outputs,
                stride,
                padding: Padding::Same,
                connection,
                ending: Ending::BatchNorm(NORM),
                activation: Activation::Relu6,
            }
            .load(&top.at(name))
        };
        let mut inputs = depth(ROOT);
        let mut convolutions =
            vec![conv("Conv2d_0".into(), 3, 2, 3, inputs, Connection::Groups(1))];
        for (n, (stride, channels)) in (1..).zip(PAIRS) {
            let outputs = depth(channels);
            convolutions.push(conv(
                format!("Conv2d_{n}_depthwise"),
                3,
                stride,
                inputs,
                inputs,
                Connection::Depthwise,
            ));
            convolutions.push(conv(
                format!("Conv2d_{n}_pointwise"),
                1,
                1,
                inputs,
                outputs,
                Connection::Groups(1),
            ));
            inputs = outputs;
        }
        let logits =
            Dense::load(&top.at("Logits").at("Conv2d_1c_1x1"), &[1, 1, inputs, shape.classes]);
        Ok(Self { card: Self::describe(&shape), convolutions, logits })
    }

    fn pytorch() -> Option<PyTorch> {
        Some(PyTorch::Differs(
            "those of timm pad strided convolutions on both sides, and have another ε in batch \
             norm",
        ))
    }
}
