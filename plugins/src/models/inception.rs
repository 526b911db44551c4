//! What the Inception networks share: the layers that their tables are written in, and the network
//! that follows such a table.
//!
//! Reference: TF-Slim of April 2018, `nets/inception_*.py`.
//!
//! Deviations of all of them:
//! - No dropout and no auxiliary classifier: they act in training alone.
//! - The mean at the end covers the whole map whatever its side.
//! - A channel multiplier, with MobileNet's rule; where the reference has one, no layer gets less
//!   than 16 channels.

use super::{Published, Shape, pytorch_leaf};
use crate::nn::{
    self, Activation, BatchNorm, Connection, Conv, Convolution, Dense, Ending, Padding, Pool,
};
use gauntlet_core::prelude::*;
use gauntlet_core::weights::{Dialect, PyTorch, VariableScope};
use std::marker::PhantomData;

/// Batch norm by dialect. The reference has no scale γ; PyTorch's files have one.
const fn norm(dialect: Dialect) -> BatchNorm {
    BatchNorm { epsilon: 1e-3, gamma: matches!(dialect, Dialect::PyTorch) }
}

/// What sets one Inception network apart from another.
pub trait Version: Send + 'static {
    /// What is known of the published weights.
    const PUBLISHED: Published;
    /// Top of the variables' names.
    const SCOPE: &'static str;
    /// From pixels in [−1, 1] to the last map.
    const LAYERS: &'static [Layer];
    /// From the mean of the last map to the logits.
    const LOGITS: Logits;
    /// The smallest side that leaves every unpadded window something to see.
    const SMALLEST: i64;
    /// Whether weights of PyTorch's libraries fit.
    const PYTORCH: PyTorch;
    /// Whether average pools count the zeros beyond the edge when the weights are PyTorch's.
    const PYTORCH_MEANS_COUNT_PADDING: bool = false;
}

/// Where in a table a convolution within branches stands.
pub struct Place {
    /// Which layer of the table it is in, from 0.
    pub row: usize,
    /// Which branch, from 0.
    pub branch: usize,
    /// Which layer of the branch, from 0, and of how many.
    pub layer: (usize, usize),
    /// Which convolution of the branch, from 0, and of how many.
    pub conv: (usize, usize),
    /// `a` or `b` on the first or second side of a fork, else empty.
    pub side: &'static str,
    /// Whether the branch has a fork.
    pub forked: bool,
}

impl Place {
    /// Finds the convolution `name` in `branch` (`Branch_0`, …) of the layer `module`.
    pub fn find(table: &[Layer], module: &str, branch: &str, name: &str) -> Option<Self> {
        let branch: usize = branch.strip_prefix("Branch_")?.parse().ok()?;
        let (row, branches) = (0..).zip(table).find_map(|(row, layer)| match *layer {
            Layer::Mixed(own, branches) | Layer::Residual(own, Block { branches, .. })
                if own == module =>
            {
                Some((row, branches))
            }
            Layer::Repeat(_, own, Block { branches, .. })
                if module.strip_prefix(own)?.starts_with('_') =>
            {
                Some((row, branches))
            }
            _ => None,
        })?;
        let layers = *branches.get(branch)?;
        let is = |layer: &Layer| matches!(layer, Layer::Conv { name: own, .. } if *own == name);
        let holds_conv = |layer: &&Layer| matches!(layer, Layer::Conv { .. } | Layer::Fork(_));
        let (layer, side) = (0..).zip(layers).find_map(|(n, layer)| match layer {
            Layer::Fork(sides) => Some((n, *["a", "b"].get(sides.iter().position(is)?)?)),
            layer => is(layer).then_some((n, "")),
        })?;
        let convs = |layers: &[Layer]| layers.iter().filter(holds_conv).count();
        let forked = layers.iter().any(|layer| matches!(layer, Layer::Fork(_)));
        Some(Self {
            row,
            branch,
            layer: (layer, layers.len()),
            conv: (convs(&layers[..layer]), convs(layers)),
            side,
            forked,
        })
    }
}

/// The name that timm gives a tensor of a convolution, `weights` or `BatchNorm/beta`: a convolution
/// and its batch norm are two parts of a layer.
pub fn timm_tensor(layer: &str, tensor: &[&str]) -> Option<String> {
    match *tensor {
        [leaf] => Some(format!("{layer}.conv.{}", pytorch_leaf(leaf)?)),
        ["BatchNorm", leaf] => Some(format!("{layer}.bn.{}", pytorch_leaf(leaf)?)),
        _ => None,
    }
}

/// Branches side by side on one input, joined along the channels. A branch is layers in a row.
pub type Branches = &'static [&'static [Layer]];

/// A row of a network's table.
#[derive(Clone, Copy)]
pub enum Layer {
    /// A convolution with batch norm and ReLU.
    Conv {
        /// Scope of its variables.
        name: &'static str,
        /// Height and width of the kernel.
        kernel: [i64; 2],
        /// Output channels at multiplier 1.
        channels: i64,
        /// Stride along both axes.
        stride: i64,
        /// Zeros around the input.
        padding: Padding,
    },
    /// A 7×7 convolution with stride 2, factored in 8 kernels per input channel and a 1×1
    /// convolution to this many channels, with bias and ReLU.
    Separable(&'static str, i64),
    /// Maximum: side of the window, stride, padding.
    MaxPool(i64, i64, Padding),
    /// Mean of 3×3 positions around each.
    AveragePool,
    /// Branches, with their variables under `Branch_0`, `Branch_1`, … of this scope.
    Mixed(&'static str, Branches),
    /// Layers side by side within a branch.
    Fork(&'static [Layer]),
    /// A block, with its variables under this scope.
    Residual(&'static str, Block),
    /// This many blocks in a row, with their variables under this scope followed by `_1`, `_2`, ….
    Repeat(usize, &'static str, Block),
}

/// A residual block. A 1×1 convolution with bias brings the join of the branches to the width of
/// their input; scaled, it is added to that input.
#[derive(Clone, Copy)]
pub struct Block {
    /// The branches, with their variables under `Branch_0`, `Branch_1`, ….
    pub branches: Branches,
    /// Factor of what is added.
    pub scale: f64,
    /// Activation of the sum.
    pub activation: Activation,
}

/// The last layer.
#[derive(Clone, Copy)]
pub enum Logits {
    /// A 1×1 convolution of this name in `Logits`.
    Convolution(&'static str),
    /// A matrix in `Logits/Logits`.
    Matrix,
}

/// A convolution whose kernel is what its name ends in, `…_1x7`, with stride 1 and padding SAME.
pub const fn conv(name: &'static str, channels: i64) -> Layer {
    strided(name, channels, 1, Padding::Same)
}

/// As [`conv`], with any stride and padding.
pub const fn strided(name: &'static str, channels: i64, stride: i64, padding: Padding) -> Layer {
    let letters = name.as_bytes();
    let kernel =
        [(letters[letters.len() - 3] - b'0') as i64, (letters[letters.len() - 1] - b'0') as i64];
    Layer::Conv { name, kernel, channels, stride, padding }
}

/// Adds the kinds of pools in a table.
fn pools(layers: &[Layer], kinds: &mut Vec<Pool>) {
    for layer in layers {
        match *layer {
            Layer::MaxPool(window, stride, padding) => {
                kinds.push(Pool::max(window, stride, padding));
            }
            Layer::AveragePool => kinds.push(Pool::mean(3, 1, Padding::Same)),
            Layer::Fork(layers) => pools(layers, kinds),
            Layer::Mixed(_, branches)
            | Layer::Residual(_, Block { branches, .. })
            | Layer::Repeat(_, _, Block { branches, .. }) => {
                for branch in branches {
                    pools(branch, kinds);
                }
            }
            Layer::Conv { .. } | Layer::Separable(..) => {}
        }
    }
}

/// A layer with its weights.
enum Loaded {
    Conv(Convolution),
    MaxPool(i64, i64, Padding),
    AveragePool { counts_padding: bool },
    Row(Row),
    Join(Vec<Row>),
    Residual { branches: Vec<Row>, up: Convolution, activation: Activation },
}

/// Layers one after the other.
type Row = Vec<Loaded>;

fn run(row: &[Loaded], x: &Tensor) -> Tensor {
    row.iter().fold(x.shallow_clone(), |x, layer| layer.forward(&x))
}

fn join(branches: &[Row], x: &Tensor) -> Tensor {
    Tensor::cat(&branches.iter().map(|branch| run(branch, x)).collect::<Vec<_>>(), 1)
}

impl Loaded {
    fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Self::Conv(conv) => conv.forward(x),
            Self::MaxPool(window, stride, Padding::Valid) => {
                nn::max_pool_valid(x, *window, *stride)
            }
            Self::MaxPool(window, stride, _) => nn::max_pool_same(x, *window, *stride),
            Self::AveragePool { counts_padding: false } => nn::average_pool_same(x, 3, 1),
            Self::AveragePool { counts_padding: true } => nn::average_pool_same_counting(x, 3, 1),
            Self::Row(row) => run(row, x),
            Self::Join(branches) => join(branches, x),
            Self::Residual { branches, up, activation } => {
                activation.apply(up.forward(&join(branches, x)) + x)
            }
        }
    }
}

/// Loads layers in the order in which an image passes them.
struct Loader {
    multiplier: f64,
    dialect: Dialect,
    means_count_padding: bool,
    /// Channels of the map that the next layer gets.
    channels: i64,
}

impl Loader {
    fn row(&mut self, layers: &[Layer], scope: &VariableScope) -> Row {
        layers.iter().map(|layer| self.layer(layer, scope)).collect()
    }

    fn layer(&mut self, layer: &Layer, scope: &VariableScope) -> Loaded {
        match *layer {
            Layer::Conv { name, kernel, channels, stride, padding } => {
                let conv = Conv { kernel, stride, padding, ..self.conv(channels) };
                Loaded::Conv(conv.load(&scope.at(name)))
            }
            Layer::Separable(name, channels) => {
                let conv = self.conv(channels);
                let connection = Connection::Separable(8.min(conv.outputs / conv.inputs));
                let conv =
                    Conv { kernel: [7, 7], stride: 2, connection, ending: Ending::Bias, ..conv };
                Loaded::Conv(conv.load(&scope.at(name)))
            }
            Layer::MaxPool(window, stride, padding) => Loaded::MaxPool(window, stride, padding),
            Layer::AveragePool => Loaded::AveragePool { counts_padding: self.means_count_padding },
            Layer::Mixed(name, branches) => Loaded::Join(self.branches(branches, &scope.at(name))),
            Layer::Fork(layers) => Loaded::Join(self.side_by_side(
                layers.iter().map(|layer| (std::slice::from_ref(layer), scope.clone())),
            )),
            Layer::Residual(name, block) => self.residual(block, &scope.at(name)),
            Layer::Repeat(times, name, block) => Loaded::Row(
                (1..=times)
                    .map(|n| self.residual(block, &scope.at(format!("{name}_{n}"))))
                    .collect(),
            ),
        }
    }

    /// A 1×1 convolution of the current map to `channels` (at multiplier 1); the next layer gets
    /// its output.
    fn conv(&mut self, channels: i64) -> Conv {
        let outputs = nn::depth(channels, self.multiplier);
        Conv {
            kernel: [1, 1],
            inputs: std::mem::replace(&mut self.channels, outputs),
            outputs,
            stride: 1,
            padding: Padding::Same,
            connection: Connection::Groups(1),
            ending: Ending::BatchNorm(norm(self.dialect)),
            activation: Activation::Relu,
        }
    }

    fn branches(&mut self, branches: Branches, scope: &VariableScope) -> Vec<Row> {
        self.side_by_side(
            (0..).zip(branches).map(|(n, layers)| (*layers, scope.at(format!("Branch_{n}")))),
        )
    }

    fn side_by_side<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a [Layer], VariableScope<'a>)>,
    ) -> Vec<Row> {
        let inputs = std::mem::take(&mut self.channels);
        let mut outputs = 0;
        let loaded = rows
            .map(|(layers, scope)| {
                self.channels = inputs;
                let row = self.row(layers, &scope);
                outputs += self.channels;
                row
            })
            .collect();
        self.channels = outputs;
        loaded
    }

    fn residual(
        &mut self,
        Block { branches, scale, activation }: Block,
        scope: &VariableScope,
    ) -> Loaded {
        let outputs = self.channels;
        let branches = self.branches(branches, scope);
        let up = Conv {
            outputs,
            ending: Ending::Scaled(scale),
            activation: Activation::Identity,
            ..self.conv(1)
        };
        self.channels = outputs;
        Loaded::Residual { branches, up: up.load(&scope.at("Conv2d_1x1")), activation }
    }
}

/// The network of version `V`; published for images of `SIDE`×`SIDE` pixels.
pub struct Inception<V, const SIDE: i64> {
    card: ModelCard,
    layers: Row,
    logits: Dense,
    version: PhantomData<V>,
}

impl<V: Version, const SIDE: i64> Model for Inception<V, SIDE> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let x = run(&self.layers, &nn::minus_one_to_one(pixels));
        self.logits.forward(&nn::global_mean(&x)).flatten(1, -1)
    }
}

impl<V: Version, const SIDE: i64> Architecture for Inception<V, SIDE> {
    const NAME: &'static str = V::PUBLISHED.name;
    type Params = Shape<1001, SIDE>;

    fn describe(shape: &Self::Params) -> ModelCard {
        shape.card(&V::PUBLISHED)
    }

    fn load(shape: Self::Params, weights: &Weights) -> Result<Self> {
        shape.check(V::SMALLEST)?;
        let top = weights.root().at(V::SCOPE);
        top.at("AuxLogits").spare();
        nn::check_input(&top, nn::minus_one_to_one);
        let mut kinds = Vec::new();
        pools(V::LAYERS, &mut kinds);
        nn::check_operations(&top, &kinds);
        let dialect = weights.dialect();
        let means_count_padding = dialect == Dialect::PyTorch && V::PYTORCH_MEANS_COUNT_PADDING;
        let mut loader =
            Loader { multiplier: shape.channels, dialect, means_count_padding, channels: 3 };
        let layers = loader.row(V::LAYERS, &top);
        let (scope, inputs, outputs) = (top.at("Logits"), loader.channels, shape.classes);
        let logits = match V::LOGITS {
            Logits::Convolution(name) => Dense::load(&scope.at(name), &[1, 1, inputs, outputs]),
            Logits::Matrix => Dense::load(&scope.at("Logits"), &[inputs, outputs]),
        };
        Ok(Self { card: Self::describe(&shape), layers, logits, version: PhantomData })
    }

    fn pytorch() -> Option<PyTorch> {
        Some(V::PYTORCH)
    }
}
