//! NASNet-A (large): 6 @ 4032.
//!
//! Paper: Zoph, Vasudevan, Shlens and Le, "Learning Transferable Architectures for Scalable Image
//! Recognition", CVPR 2018, arXiv 1707.07012, figure 4 and appendix A.4.
//! Reference: TF-Slim of April 2018, `nets/nasnet/nasnet.py` and `nasnet_utils.py`
//! (`build_nasnet_large`), parameter names likewise.
//! Accuracies: TF-Slim's table of checkpoints (331×331).
//!
//! Weights of timm's `nasnetalarge` fit, with 1000 classes; its means at stride 2 count the zeros
//! beyond the edge.
//!
//! Deviations:
//! - No dropout, no dropped paths and no auxiliary classifier: they act in training alone.
//! - A factorized reduction to an odd number of channels gives the odd one to its second path; the
//!   reference loses it. No reduction of the published network is odd.
//! - A channel multiplier, with MobileNet's rule; the reference has none.

use super::{HALVED_FIVE_TIMES, Published, Shape, pytorch_leaf};
use crate::nn::{
    self, Activation, BatchNorm, Connection, Conv, Convolution, Dense, Ending, Normalization,
    Padding, Pool,
};
use gauntlet_core::prelude::*;
use gauntlet_core::weights::{Dialect, PyTorch, VariableScope};
use std::cell::OnceCell;

/// What is done to a state within a cell.
#[derive(Clone, Copy)]
enum Operation {
    /// Nothing.
    Identity,
    /// ReLU, a separable convolution with a kernel of this side, and batch norm; all of it twice.
    Separable(i64),
    /// Mean of 3×3 positions.
    Average,
    /// Maximum of 3×3 positions.
    Max,
}
use Operation::{Average, Identity, Max, Separable};

/// The sums of a cell, each of two states with an operation on either. State 0 is the cell's input,
/// state 1 the input of the cell before, and the sums are states 2 to 6.
type Sums = [[(Operation, usize); 2]; 5];

/// A kind of cell.
struct CellPlan {
    sums: Sums,
    /// The output is these states, joined along the channels.
    outputs: &'static [usize],
    /// Stride of operations on states 0 and 1.
    stride: i64,
}

const NORMAL: CellPlan = CellPlan {
    sums: [
        [(Separable(5), 0), (Separable(3), 1)],
        [(Separable(5), 1), (Separable(3), 1)],
        [(Average, 0), (Identity, 1)],
        [(Average, 1), (Average, 1)],
        [(Separable(3), 0), (Identity, 0)],
    ],
    outputs: &[1, 2, 3, 4, 5, 6],
    stride: 1,
};

const REDUCTION: CellPlan = CellPlan {
    sums: [
        [(Separable(5), 0), (Separable(7), 1)],
        [(Max, 0), (Separable(7), 1)],
        [(Average, 0), (Separable(5), 1)],
        [(Identity, 3), (Average, 2)],
        [(Separable(3), 2), (Max, 0)],
    ],
    outputs: &[3, 4, 5, 6],
    stride: 2,
};

/// The pools of all cells.
const POOLS: [Pool; 3] = [
    Pool::mean(3, 1, Padding::Same),
    Pool::mean(3, 2, Padding::Same),
    Pool::max(3, 2, Padding::Same),
];

/// Channels of the 3×3 convolution at the start.
const ROOT: i64 = 96;
/// Channels of the states in the two reduction cells at the start.
const STEM: [i64; 2] = [42, 84];
/// Channels of the states in the three runs of normal cells, and in the reduction cell before each
/// but the first.
const CHANNELS: [i64; 3] = [168, 336, 672];
/// Normal cells in a run.
const RUN: usize = 6;
const NORM: BatchNorm = BatchNorm { epsilon: 1e-3, gamma: true };

const PUBLISHED: Published = Published {
    name: "nasnet_large",
    family: "NASNet",
    top1: Some(82.7),
    top5: Some(96.2),
    depth: None,
    source: "Zoph et al. 2018 (arXiv 1707.07012), TF-Slim nasnet_large",
};

/// NASNet-A (large).
pub struct NasNetLarge {
    card: ModelCard,
    root: Convolution,
    cells: Vec<Cell>,
    logits: Dense,
}

impl Model for NasNetLarge {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let mut outputs = vec![State::new(self.root.forward(&nn::minus_one_to_one(pixels)))];
        for cell in &self.cells {
            let last = outputs.len() - 1;
            outputs.push(cell.forward(&outputs[last.saturating_sub(cell.back)], &outputs[last]));
        }
        let x = nn::global_mean(outputs[outputs.len() - 1].relu());
        self.logits.forward(&x).flatten(1, -1)
    }
}

impl Architecture for NasNetLarge {
    const NAME: &'static str = PUBLISHED.name;
    type Params = Shape<1001, 331>;

    fn describe(shape: &Self::Params) -> ModelCard {
        shape.card(&PUBLISHED)
    }

    fn load(shape: Self::Params, weights: &Weights) -> Result<Self> {
        shape.check(HALVED_FIVE_TIMES)?;
        let top = weights.root();
        nn::check_input(&top, nn::minus_one_to_one);
        nn::check_operations(&top, &POOLS);
        top.at("aux_11").spare();
        let depth = |channels| nn::depth(channels, shape.channels);
        let root = Conv {
            padding: Padding::Valid,
            ..conv(3, 2, [3, depth(ROOT)], Connection::Groups(1), Ending::BatchNorm(NORM))
        }
        .load_normed(&top.at("conv0"), &top.at("conv0_bn"));

        // Channels of all outputs so far; how far back the one before the last is for the next
        // cell.
        let mut widths = vec![depth(ROOT)];
        let mut cells = Vec::new();
        let mut add = |plan: &CellPlan,
                       name: String,
                       channels: i64,
                       back: usize,
                       before: fn(i64) -> Before| {
            let last = widths.len() - 1;
            let before =
                widths.get(last.wrapping_sub(back)).map_or(Before::Nothing, |&width| before(width));
            cells.push(Cell::load(
                plan,
                &top.at(name),
                widths[last],
                before,
                back,
                depth(channels),
            ));
            widths.push(depth(channels) * plan.outputs.len() as i64);
        };
        for (n, channels) in STEM.into_iter().enumerate() {
            add(&REDUCTION, format!("cell_stem_{n}"), channels, 1, Before::Larger);
        }
        for (run, channels) in CHANNELS.into_iter().enumerate() {
            if run > 0 {
                add(&REDUCTION, format!("reduction_cell_{}", run - 1), channels, 1, Before::Alike);
            }
            for n in 0..RUN {
                let (back, before): (_, fn(i64) -> Before) = match (n, run) {
                    (0, 0) => (1, Before::Larger),
                    (0, _) => (2, Before::Larger), // what the reduction cell saw as the one before
                    _ => (1, Before::Alike),
                };
                add(&NORMAL, format!("cell_{}", run * RUN + n), channels, back, before);
            }
        }
        let logits = Dense::load(
            &top.at("final_layer").at("FC"),
            &[widths[widths.len() - 1], shape.classes],
        );
        Ok(Self { card: Self::describe(&shape), root, cells, logits })
    }

    fn pytorch() -> Option<PyTorch> {
        Some(PyTorch::Fits { library: "timm nasnetalarge", rename: timm, also: &[], spare: &[] })
    }
}

/// A map, N×C×H×W, and its ReLU, computed once for the layers that share it.
struct State {
    x: Tensor,
    relu: OnceCell<Tensor>,
}

impl State {
    fn new(x: Tensor) -> Self {
        Self { x, relu: OnceCell::new() }
    }

    fn relu(&self) -> &Tensor {
        self.relu.get_or_init(|| self.x.relu())
    }
}

/// A convolution without activation.
fn conv(
    kernel: i64,
    stride: i64,
    [inputs, outputs]: [i64; 2],
    connection: Connection,
    ending: Ending,
) -> Conv {
    Conv {
        kernel: [kernel; 2],
        inputs,
        outputs,
        stride,
        padding: Padding::Same,
        connection,
        ending,
        activation: Activation::Identity,
    }
}

/// A 1×1 convolution at `name` with a batch norm at `norm`.
fn project(scope: &VariableScope, name: &str, norm: &str, channels: [i64; 2]) -> Convolution {
    conv(1, 1, channels, Connection::Groups(1), Ending::BatchNorm(NORM))
        .load_normed(&scope.at(name), &scope.at(norm))
}

/// An operation with its weights.
enum Loaded {
    Identity,
    /// Depthwise, pointwise, depthwise, pointwise. The input has passed a ReLU.
    Separable(Vec<Convolution>),
    /// Stride, and whether zeros beyond the edge count in the mean.
    Average(i64, bool),
    Max(i64),
}

impl Loaded {
    fn load(
        operation: Operation,
        scope: &VariableScope,
        stride: i64,
        [inputs, outputs]: [i64; 2],
    ) -> Self {
        let kernel = match operation {
            Identity => return Self::Identity,
            Average => {
                return Self::Average(stride, stride > 1 && scope.dialect() == Dialect::PyTorch);
            }
            Max => return Self::Max(stride),
            Separable(kernel) => kernel,
        };
        let depthwise = |n: usize, stride: i64, inputs: i64| {
            conv(kernel, stride, [inputs, inputs], Connection::Depthwise, Ending::Nothing)
                .load(&scope.at(format!("separable_{kernel}x{kernel}_{n}")))
        };
        let pointwise = |n: usize, inputs: i64, activation: Activation| {
            Conv {
                activation,
                ..conv(1, 1, [inputs, outputs], Connection::Pointwise, Ending::BatchNorm(NORM))
            }
            .load_normed(
                &scope.at(format!("separable_{kernel}x{kernel}_{n}")),
                &scope.at(format!("bn_sep_{kernel}x{kernel}_{n}")),
            )
        };
        Self::Separable(vec![
            depthwise(1, stride, inputs),
            pointwise(1, inputs, Activation::Relu),
            depthwise(2, 1, outputs),
            pointwise(2, outputs, Activation::Identity),
        ])
    }

    fn forward(&self, state: &State) -> Tensor {
        match self {
            Self::Identity => state.x.shallow_clone(),
            Self::Separable(convolutions) => {
                convolutions.iter().fold(state.relu().shallow_clone(), |x, conv| conv.forward(&x))
            }
            Self::Average(stride, false) => nn::average_pool_same(&state.x, 3, *stride),
            Self::Average(stride, true) => nn::average_pool_same_counting(&state.x, 3, *stride),
            Self::Max(stride) => nn::max_pool_same(&state.x, 3, *stride),
        }
    }
}

/// How a cell brings the output of the cell before the last one to its own shape.
enum Previous {
    /// There is none: the input takes its place, as it is.
    Absent,
    /// ReLU, 1×1 convolution and batch norm.
    Projected(Convolution),
    /// To half the size: ReLU, 1×1 convolutions of every second position and of those diagonally
    /// between, joined, and batch norm.
    Halved { paths: Vec<Convolution>, norm: Normalization },
}

/// The output of the cell before the last one, compared with a cell's input.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// This many channels, as large as the input.
    Alike(i64),
    /// This many channels, twice as large as the input.
    Larger(i64),
}

impl Previous {
    fn load(before: Before, scope: &VariableScope, outputs: i64) -> Self {
        match before {
            Before::Nothing => Self::Absent,
            Before::Alike(inputs) => {
                Self::Projected(project(scope, "prev_1x1", "prev_bn", [inputs, outputs]))
            }
            Before::Larger(inputs) => {
                let path = |name, outputs| {
                    conv(1, 2, [inputs, outputs], Connection::Groups(1), Ending::Nothing)
                        .load(&scope.at(name))
                };
                Self::Halved {
                    paths: vec![
                        path("path1_conv", outputs / 2),
                        path("path2_conv", outputs - outputs / 2),
                    ],
                    norm: NORM.load(&scope.at("final_path_bn"), outputs),
                }
            }
        }
    }

    fn forward(&self, previous: &State, input: &State) -> State {
        match self {
            Self::Absent => State::new(input.x.shallow_clone()),
            Self::Projected(project) => State::new(project.forward(previous.relu())),
            Self::Halved { paths, norm } => {
                let x = previous.relu();
                let [_, _, height, width] = x.size()[..] else { unreachable!("N×C×H×W") };
                // One row and column of zeros at the end make up for the first, which is dropped.
                let shifted = x
                    .narrow(2, 1, height - 1)
                    .narrow(3, 1, width - 1)
                    .constant_pad_nd([0, 1, 0, 1]);
                let halves: Vec<Tensor> =
                    paths.iter().zip([x, &shifted]).map(|(path, x)| path.forward(x)).collect();
                State::new(norm.forward(&Tensor::cat(&halves, 1)))
            }
        }
    }
}

/// A cell of either kind.
struct Cell {
    begin: Convolution,
    /// The second input is the output this many cells before the last one.
    back: usize,
    previous: Previous,
    sums: Vec<[(Loaded, usize); 2]>,
    outputs: &'static [usize],
}

impl Cell {
    fn load(
        plan: &CellPlan,
        scope: &VariableScope,
        inputs: i64,
        before: Before,
        back: usize,
        channels: i64,
    ) -> Self {
        let previous = Previous::load(before, scope, channels);
        let begin = project(scope, "1x1", "beginning_bn", [inputs, channels]);
        let sums = (0..).zip(&plan.sums).map(|(n, sum)| {
            let scope = scope.at(format!("comb_iter_{n}"));
            let load = |side: &str, (operation, state): (Operation, usize)| {
                let stride = if state < 2 { plan.stride } else { 1 };
                let inputs =
                    if state == 1 && matches!(before, Before::Nothing) { inputs } else { channels };
                (Loaded::load(operation, &scope.at(side), stride, [inputs, channels]), state)
            };
            [load("left", sum[0]), load("right", sum[1])]
        });
        Self { begin, back, previous, sums: sums.collect(), outputs: plan.outputs }
    }

    fn forward(&self, previous: &State, input: &State) -> State {
        let mut states = vec![
            State::new(self.begin.forward(input.relu())),
            self.previous.forward(previous, input),
        ];
        for [(left, a), (right, b)] in &self.sums {
            let sum = left.forward(&states[*a]) + right.forward(&states[*b]);
            states.push(State::new(sum));
        }
        State::new(Tensor::cat(&self.outputs.iter().map(|&n| &states[n].x).collect::<Vec<_>>(), 1))
    }
}

/// timm's name of a tensor.
fn timm(name: &str) -> Option<String> {
    // `separable_5x5_1` and `bn_sep_5x5_1` without their kernels.
    let step = |name: &str| Some(name.rsplit_once('_')?.1.to_owned());
    let parts: Vec<&str> = name.split('/').collect();
    let (layer, leaf) = match parts[..] {
        ["conv0", leaf] => ("conv0.conv".to_owned(), leaf),
        ["conv0_bn", leaf] => ("conv0.bn".to_owned(), leaf),
        ["final_layer", "FC", leaf] => ("last_linear".to_owned(), leaf),
        [cell, layer, leaf] => {
            let layer = match layer {
                "1x1" => "conv_1x1.conv",
                "beginning_bn" => "conv_1x1.bn",
                "prev_1x1" => "conv_prev_1x1.conv",
                "prev_bn" => "conv_prev_1x1.bn",
                "path1_conv" => "path_1.conv",
                "path2_conv" => "path_2.conv",
                "final_path_bn" => "final_path_bn",
                _ => return None,
            };
            (format!("{cell}.{layer}"), leaf)
        }
        [cell, sum, side, convolution, kernel @ ("depthwise_weights" | "pointwise_weights")] => {
            let kernel = kernel.strip_suffix("_weights")?;
            (
                format!("{cell}.{sum}_{side}.separable_{}.{kernel}_conv2d", step(convolution)?),
                "weights",
            )
        }
        [cell, sum, side, norm, leaf] => {
            (format!("{cell}.{sum}_{side}.bn_sep_{}", step(norm)?), leaf)
        }
        _ => return None,
    };
    Some(format!("{layer}.{}", pytorch_leaf(leaf)?))
}
