//! AlexNet, as the BVLC published it: two groups, normalization before pooling.
//!
//! Paper: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural
//! Networks", NIPS 2012.
//! Reference: kratzert's `alexnet.py` for TensorFlow (`finetune_alexnet_with_tensorflow`), which
//! takes the weights of Caffe's `bvlc_alexnet`; parameter names likewise.
//! Accuracies: those of the BVLC's weights as commonly quoted.
//!
//! Deviations:
//! - No dropout: it acts in training alone.
//! - `fc6` covers whatever is left of the image (6×6 of 227×227), so that other sides work.
//! - A channel multiplier, with MobileNet's rule, rounded down to an even number for the groups.
//!
//! The reference changed α of the normalization (1e-4, 1e-5, 2e-5) and the order of normalization
//! and pooling over time. Weights do not tell which they were trained with, so both are parameters.
//! A frozen graph does tell, so its nodes decide.

use super::{Published, Shape};
use crate::nn::{
    self, Activation, Connection, Conv, Convolution, Dense, Ending, LocalResponse, Padding, Pool,
};
use gauntlet_core::prelude::*;
use gauntlet_core::weights::{Graph, PyTorch};

struct Row {
    kernel: i64,
    channels: i64,
    stride: i64,
    padding: Padding,
    groups: i64,
    /// Whether local response normalization follows.
    normed: bool,
    /// Whether a 3×3 max-pool with stride 2 follows, without padding.
    pooled: bool,
}

/// The convolutions, each with bias and ReLU.
const ROWS: [Row; 5] = [
    Row {
        kernel: 11,
        channels: 96,
        stride: 4,
        padding: Padding::Valid,
        groups: 1,
        normed: true,
        pooled: true,
    },
    Row {
        kernel: 5,
        channels: 256,
        stride: 1,
        padding: Padding::Same,
        groups: 2,
        normed: true,
        pooled: true,
    },
    Row {
        kernel: 3,
        channels: 384,
        stride: 1,
        padding: Padding::Same,
        groups: 1,
        normed: false,
        pooled: false,
    },
    Row {
        kernel: 3,
        channels: 384,
        stride: 1,
        padding: Padding::Same,
        groups: 2,
        normed: false,
        pooled: false,
    },
    Row {
        kernel: 3,
        channels: 256,
        stride: 1,
        padding: Padding::Same,
        groups: 2,
        normed: false,
        pooled: true,
    },
];
/// Width of `fc6` and `fc7`.
const DENSE: i64 = 4096;
/// Leaves one position after the last pool.
const SMALLEST: i64 = 67;

/// Means of blue, green and red over ImageNet on the scale 0 to 255, as the reference has them.
const MEANS_BGR: [f32; 3] = [104.0, 117.0, 124.0];

const PUBLISHED: Published = Published {
    name: "alexnet",
    family: "AlexNet",
    top1: Some(56.9),
    top5: Some(80.1),
    depth: None,
    source: "Krizhevsky et al. 2012 (NIPS), BVLC AlexNet",
};

params! {
    /// What can be chosen when AlexNet is built. The defaults are those of the reference.
    pub struct AlexNetParams {
        /// Number of logits, at least 2.
        pub classes: i64 = 1000,
        /// Height and width of the pixels, 67 to 4096.
        pub side: i64 = 227,
        /// Multiplier of the channels of every layer, above 0; no layer gets less than 8.
        pub channels: f64 = 1.0,
        /// α of local response normalization, the factor of the sum of squares. A frozen graph has
        /// its own.
        pub lrn_alpha: f64 = 2e-5,
        /// Whether the max-pool comes before local response normalization. A frozen graph has its
        /// own order.
        pub pool_before_lrn: bool = false,
    }
}

impl From<Shape<1000, 227>> for AlexNetParams {
    fn from(Shape { classes, side, channels }: Shape<1000, 227>) -> Self {
        Self { classes, side, channels, ..Self::default() }
    }
}

impl AlexNetParams {
    fn shape(&self) -> Shape<1000, 227> {
        Shape { classes: self.classes, side: self.side, channels: self.channels }
    }
}

/// The local response normalization of a graph, and whether a max-pool comes before it; none if the
/// graph has none. Attributes that its node leaves out have TensorFlow's defaults.
fn frozen(graph: &Graph) -> Option<(LocalResponse, bool)> {
    let (_, node) = graph.nodes().find(|(_, node)| node.op == "LRN")?;
    let float = |name, default: f64| node.float(name).map_or(default, f64::from);
    let norm = LocalResponse {
        radius: node.int("depth_radius").unwrap_or(5),
        alpha: float("alpha", 1.0),
        beta: float("beta", 0.5),
        bias: float("bias", 1.0),
    };
    let before = node.inputs.first().and_then(|input| graph.node(input));
    Some((norm, before.is_some_and(|node| node.op == "MaxPool")))
}

/// What the network takes: blue first, less the means.
fn prepare(pixels: &Tensor) -> Tensor {
    nn::subtract_means(&pixels.flip([1]), MEANS_BGR)
}

/// AlexNet.
pub struct AlexNet {
    card: ModelCard,
    convolutions: Vec<Convolution>,
    norm: LocalResponse,
    pool_before_lrn: bool,
    dense: [Dense; 3],
}

impl Model for AlexNet {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let mut x = prepare(pixels);
        for (row, conv) in ROWS.iter().zip(&self.convolutions) {
            x = conv.forward(&x);
            let pool = |x: Tensor| if row.pooled { nn::max_pool_valid(&x, 3, 2) } else { x };
            let norm = |x: Tensor| if row.normed { self.norm.forward(&x) } else { x };
            x = if self.pool_before_lrn { norm(pool(x)) } else { pool(norm(x)) };
        }
        let [fc6, fc7, fc8] = &self.dense;
        x = fc6.forward(&x).relu_();
        x = fc7.forward(&x).relu_();
        fc8.forward(&x).flatten(1, -1)
    }
}

impl Architecture for AlexNet {
    const NAME: &'static str = PUBLISHED.name;
    type Params = AlexNetParams;

    fn describe(params: &Self::Params) -> ModelCard {
        params.shape().card(&PUBLISHED)
    }

    fn load(params: Self::Params, weights: &Weights) -> Result<Self> {
        params.shape().check(SMALLEST)?;
        ensure!(params.lrn_alpha >= 0.0, "`lrn_alpha` is {}, expected 0 or more", params.lrn_alpha);
        let top = weights.root();
        nn::check_input(&top, prepare);
        nn::check_operations(&top, &[Pool::max(3, 2, Padding::Valid)]);
        let (mut inputs, mut left) = (3, params.side);
        let mut convolutions = Vec::new();
        for (n, row) in (1..).zip(&ROWS) {
            let outputs = nn::depth(row.channels, params.channels) / 2 * 2;
            let conv = Conv {
                kernel: [row.kernel; 2],
                inputs,
                outputs,
                stride: row.stride,
                padding: row.padding,
                connection: Connection::Groups(row.groups),
                ending: Ending::Bias,
                activation: Activation::Relu,
            };
            convolutions.push(conv.load(&top.at(format!("conv{n}"))));
            inputs = outputs;
            let valid = |n: i64, window: i64, stride: i64| (n - window) / stride + 1;
            if row.padding == Padding::Valid {
                left = valid(left, row.kernel, row.stride);
            }
            if row.pooled {
                left = valid(left, 3, 2);
            }
        }
        let width = nn::depth(DENSE, params.channels);
        let dense = [
            Dense::load(&top.at("fc6"), &[left * left * inputs, width]),
            Dense::load(&top.at("fc7"), &[width, width]),
            Dense::load(&top.at("fc8"), &[width, params.classes]),
        ];
        let reference = LocalResponse { radius: 2, alpha: params.lrn_alpha, beta: 0.75, bias: 1.0 };
        let (norm, pool_before_lrn) =
            weights.graph().and_then(frozen).unwrap_or((reference, params.pool_before_lrn));
        Ok(Self { card: Self::describe(&params), convolutions, norm, pool_before_lrn, dense })
    }

    fn pytorch() -> Option<PyTorch> {
        Some(PyTorch::Differs(
            "torchvision's AlexNet has narrower layers, no groups and no normalization",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// A field of a protocol buffer that holds bytes.
    fn field(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let bytes = bytes.as_ref();
        [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat()
    }

    fn node(name: &str, op: &str, inputs: &[&str], attributes: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut parts = vec![field(1, name), field(2, op)];
        parts.extend(inputs.iter().map(|input| field(3, input)));
        parts.extend(
            attributes
                .iter()
                .map(|(key, value)| field(5, [field(1, key), field(2, value)].concat())),
        );
        field(1, parts.concat())
    }

    #[test]
    fn a_frozen_graph_decides_on_the_normalization() {
        let float = |value: f32| [&[4 << 3 | 5], value.to_le_bytes().as_slice()].concat();
        let read = |input: &str, attributes: &[(&str, Vec<u8>)]| {
            let graph = [
                node("conv1/weights", "Const", &[], &[]),
                node("conv1", "Relu", &[], &[]),
                node("pool1", "MaxPool", &["conv1"], &[]),
                node("norm1", "LRN", &[input], attributes),
            ];
            let weights = Weights::from_bytes(graph.concat(), Device::Cpu).unwrap();
            let (norm, pool_first) = frozen(weights.graph().unwrap()).unwrap();
            (norm.radius, norm.alpha as f32, norm.beta as f32, norm.bias as f32, pool_first)
        };
        let written = [
            ("depth_radius", vec![3 << 3, 2]),
            ("alpha", float(1e-4)),
            ("beta", float(0.75)),
            ("bias", float(2.0)),
        ];
        assert_eq!(read("conv1", &written), (2, 1e-4, 0.75, 2.0, false));
        assert_eq!(read("pool1", &[]), (5, 1.0, 0.5, 1.0, true));
    }

    #[test]
    fn alpha_and_order_matter() {
        let logits = |parameters: AlexNetParams| {
            let weights = Weights::new(crate::nn::tests::Waves, Device::Cpu);
            let shape = AlexNetParams { side: 95, channels: 0.125, classes: 5, ..parameters };
            AlexNet::load(shape, &weights).unwrap().logits(&crate::nn::tests::pixels(1, 95))
        };
        let reference = AlexNetParams { lrn_alpha: 1e-3, ..AlexNetParams::default() };
        for other in [
            AlexNetParams { lrn_alpha: 1e-4, ..reference.clone() },
            AlexNetParams { pool_before_lrn: true, ..reference.clone() },
        ] {
            assert!(
                crate::nn::tests::distance(&logits(other.clone()), &logits(reference.clone()))
                    > 1e-4,
                "{other:?}"
            );
        }
    }
}
