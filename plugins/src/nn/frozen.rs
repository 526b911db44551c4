//! What a frozen graph says of a layer beside its weights, compared with the layer that is built
//! here. The ε of a batch norm is taken over. All else that differs is reported, and the weights are
//! refused. What a graph does not say is not compared.

use super::padding::Padding;
use gauntlet_core::weights::{Graph, Node, VariableScope};
use tch::{Device, Kind, Tensor};

/// Operations that pass a tensor on as it is.
const PASSING: [&str; 5] =
    ["Identity", "ReadVariableOp", "StopGradient", "Snapshot", "CheckNumerics"];
/// Operations between the sum of products and the activation.
const LINEAR: [&str; 16] = [
    "BiasAdd",
    "BiasAddV1",
    "Add",
    "AddV2",
    "Sub",
    "Mul",
    "FusedBatchNorm",
    "FusedBatchNormV2",
    "FusedBatchNormV3",
    "BatchNormWithGlobalNormalization",
    "Concat",
    "ConcatV2",
    "Reshape",
    "Identity",
    "Squeeze",
    "StopGradient",
];
/// Activations, of which networks here have the first two.
const ACTIVATIONS: [&str; 9] =
    ["Relu", "Relu6", "Elu", "Selu", "LeakyRelu", "Sigmoid", "Tanh", "Softplus", "Softsign"];
/// Greatest number of operations that are followed from a layer to its activation, or from the
/// input to the first layer.
const STEPS: usize = 16;
/// Relative difference of ε from which on the graph's is taken.
const SAME_EPSILON: f64 = 1e-4;

/// TensorFlow's ε of a fused batch norm that does not state it.
const DEFAULT_EPSILON: f32 = 1e-4;

/// Whether an operation rounds to few levels.
fn is_quantised(op: &str) -> bool {
    op.starts_with("FakeQuant") || op.starts_with("Quantize") || op == "Dequantize"
}

/// What a convolution here does, as far as a graph says it too.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    /// Height and width of the kernel.
    pub kernel: [i64; 2],
    pub stride: i64,
    pub padding: Padding,
    /// Whether it is a depthwise convolution with a 1×1 convolution after it.
    pub separable: bool,
    /// TensorFlow's name of its activation, if it has one.
    pub activation: Option<&'static str>,
}

/// The node that gives the input of that number, through operations that pass it on.
fn input<'g>(graph: &'g Graph, node: &'g Node, number: usize) -> Option<(&'g str, &'g Node)> {
    let mut name = node.inputs.get(number)?.as_str();
    let mut found = graph.node(name)?;
    for _ in 0..STEPS {
        if !PASSING.contains(&found.op.as_str()) {
            break;
        }
        name = found.inputs.first()?;
        found = graph.node(name)?;
    }
    Some((name, found))
}

/// The nodes that compute with a variable, through operations that pass it on or split it.
fn users<'g>(graph: &'g Graph, variable: &str) -> Vec<(&'g str, &'g Node)> {
    let mut found = Vec::new();
    let mut open = vec![(variable.to_owned(), 0)];
    while let Some((name, depth)) = open.pop() {
        for (consumer, node) in graph.consumers(&name) {
            let passed = PASSING.contains(&node.op.as_str()) || node.op.starts_with("Split");
            if passed && depth < STEPS {
                open.push((consumer.to_owned(), depth + 1));
            } else {
                found.push((consumer, node));
            }
        }
    }
    found
}

/// Compares the operations that use the kernel `variable` with the convolution.
pub(super) fn check_convolution(scope: &VariableScope, variable: &str, layer: Layer) {
    let Some(graph) = scope.graph() else { return };
    for (name, node) in users(graph, &scope.node(variable)) {
        if !matches!(node.op.as_str(), "Conv2D" | "DepthwiseConv2dNative") {
            continue;
        }
        let before = input(graph, node, 0).map(|(_, node)| node);
        check_window(scope, name, node, before, layer);
        // What comes between the two halves of a separable convolution is not its activation.
        if !(layer.separable && node.op == "DepthwiseConv2dNative") {
            check_activation(scope, graph, name, layer.activation);
        }
    }
}

/// Compares stride, dilation, padding and layout.
fn check_window(
    scope: &VariableScope,
    name: &str,
    node: &Node,
    before: Option<&Node>,
    layer: Layer,
) {
    if let Some(format) = node.text("data_format").filter(|format| *format != "NHWC") {
        scope.differs(name, &format!("data format {format}"), "NHWC");
        return;
    }
    let pointwise = layer.kernel == [1, 1] || layer.separable && node.op == "Conv2D";
    // A 1×1 pool before a 1×1 convolution has the stride of both.
    let thinned = before.filter(|node| {
        pointwise && node.ints("ksize").is_some_and(|size| size.iter().all(|n| *n == 1))
    });
    let factor = thinned.and_then(|node| node.ints("strides")).map_or(1, |s| s[s.len() / 2]);
    let expected = if layer.kernel != [1, 1] && pointwise { 1 } else { layer.stride };
    if let Some(strides) = node.ints("strides")
        && !matches!(*strides, [1, rows, columns, 1]
            if rows * factor == expected && columns * factor == expected)
    {
        let expected = format!("[1, {expected}, {expected}, 1]");
        scope.differs(name, &format!("strides {strides:?}"), &expected);
    }
    if let Some(dilations) = node.ints("dilations").filter(|all| all.iter().any(|n| *n != 1)) {
        scope.differs(name, &format!("dilations {dilations:?}"), "no dilation");
    }
    let padded =
        before.is_some_and(|node| matches!(node.op.as_str(), "Pad" | "PadV2" | "MirrorPad"));
    let Some(padding) = node.text("padding").filter(|_| !pointwise || padded) else { return };
    let found = if padded {
        format!("{padding} after {}", before.map_or("", |node| &node.op))
    } else {
        padding.to_owned()
    };
    let expected = match layer.padding {
        Padding::Valid => "VALID",
        Padding::Same => "SAME",
        Padding::Symmetric if layer.stride == 1 => "SAME",
        Padding::Symmetric => "VALID after Pad",
    };
    if found != expected {
        scope.differs(name, &format!("padding {found}"), expected);
    }
}

/// Compares the activation that follows the node `from`.
fn check_activation(
    scope: &VariableScope,
    graph: &Graph,
    from: &str,
    expected: Option<&'static str>,
) {
    let mut at = from.to_owned();
    for _ in 0..STEPS {
        let next = graph.consumers(&at).find(|(_, node)| {
            let op = node.op.as_str();
            LINEAR.contains(&op) || ACTIVATIONS.contains(&op)
        });
        let Some((name, node)) = next else { break };
        if ACTIVATIONS.contains(&node.op.as_str()) {
            // Where none is expected, the next layer may begin with one.
            if node.op != expected.unwrap_or("Relu") {
                scope.differs(name, &node.op, expected.unwrap_or("no activation"));
            }
            return;
        }
        name.clone_into(&mut at);
    }
    let next = graph.consumers(&at).find(|(_, node)| node.op != "Shape" && !is_quantised(&node.op));
    if let (Some(expected), Some((name, node))) = (expected, next) {
        scope.differs(name, &node.op, &format!("{expected} before it"));
    }
}

/// The ε of the batch norm at `scope`, if the graph has another than `ours`.
pub(super) fn epsilon(scope: &VariableScope, ours: f64) -> Option<f64> {
    let graph = scope.graph()?;
    let mut found = None;
    let variable = scope.node("moving_variance");
    for (name, node) in users(graph, &variable) {
        let epsilon = match node.op.as_str() {
            // The variance itself may be a constant of one value.
            "Add" | "AddV2" => (0..2)
                .filter_map(|number| input(graph, node, number))
                .find(|(added, constant)| *added != variable && constant.values.len() == 1)
                .map(|(_, constant)| constant.values[0]),
            "BatchNormWithGlobalNormalization" => node.float("variance_epsilon"),
            op if op.starts_with("FusedBatchNorm") => {
                if node.truth("is_training") == Some(true) {
                    scope.differs(name, "statistics of the batch (is_training)", "moving ones");
                }
                if let Some(format) = node.text("data_format").filter(|f| *f != "NHWC") {
                    scope.differs(name, &format!("data format {format}"), "NHWC");
                }
                Some(node.float("epsilon").unwrap_or(DEFAULT_EPSILON))
            }
            _ => None,
        };
        found = found.or(epsilon.map(f64::from));
    }
    let theirs = found.filter(|theirs| (theirs - ours).abs() > SAME_EPSILON * ours)?;
    scope.take_over();
    Some(theirs)
}

/// A kind of pool: which, the side of its window, stride and padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// `MaxPool` or `AvgPool`.
    pub op: &'static str,
    /// Height and width of the window.
    pub window: i64,
    /// Stride along both axes.
    pub stride: i64,
    /// Zeros around the input.
    pub padding: Padding,
}

impl Pool {
    /// Maximum over `window`×`window` positions every `stride`.
    pub const fn max(window: i64, stride: i64, padding: Padding) -> Self {
        Self { op: "MaxPool", window, stride, padding }
    }

    /// Mean over `window`×`window` positions every `stride`.
    pub const fn mean(window: i64, stride: i64, padding: Padding) -> Self {
        Self { op: "AvgPool", window, stride, padding }
    }
}

/// Smallest window of a mean over a whole map, or of one in a classifier that only training needs.
const WHOLE: i64 = 4;

/// Compares the operations of the graph that have no variables: no number is quantised, and pools
/// are of the network's kinds. The mean over the whole map at its end is none of these.
pub fn check_operations(scope: &VariableScope, kinds: &[Pool]) {
    for (name, node) in scope.graph().into_iter().flat_map(Graph::nodes) {
        if is_quantised(&node.op) {
            scope.differs(name, &node.op, "numbers that are not quantised");
        }
        let Some([_, rows, columns, _]) = node.ints("ksize") else {
            if node.op == "MaxPool" && kinds.iter().all(|kind| kind.op != node.op) {
                scope.differs(name, "MaxPool", "a mean over the whole map");
            }
            continue;
        };
        let pool = matches!(node.op.as_str(), "MaxPool" | "AvgPool");
        if !pool || (*rows, *columns) == (1, 1) {
            continue;
        }
        let padding = node.text("padding").unwrap_or_default();
        let strides = node.ints("strides").unwrap_or_default();
        let whole = node.op == "AvgPool" && padding == "VALID" && *rows >= WHOLE;
        let is = |kind: &Pool| {
            let own = if kind.padding == Padding::Valid { "VALID" } else { "SAME" };
            node.op == kind.op
                && (*rows, *columns) == (kind.window, kind.window)
                && (strides.is_empty() || *strides == [1, kind.stride, kind.stride, 1])
                && (padding.is_empty() || padding == own)
        };
        if !whole && !kinds.iter().any(is) {
            let expected: Vec<String> = kinds
                .iter()
                .map(|Pool { op, window, stride, padding }| {
                    format!("{op} {window}×{window} every {stride}, {padding:?}")
                })
                .collect();
            let expected = if expected.is_empty() {
                "a mean over the whole map".to_owned()
            } else {
                expected.join(" or ")
            };
            let found = format!("{} {rows}×{columns}, strides {strides:?}, {padding}", node.op);
            scope.differs(name, &found, &expected);
        }
    }
}

/// Ranges of the input that graphs take pixels in.
const RANGES: [(f64, f64); 4] = [(0.0, 1.0), (0.0, 255.0), (-0.5, 0.5), (-1.0, 1.0)];

/// Compares what the graph does to its input before the first layer, if it does anything, with what
/// the network does to pixels.
pub fn check_input(scope: &VariableScope, prepare: impl Fn(&Tensor) -> Tensor) {
    let Some(graph) = scope.graph() else { return };
    let ends = [0.0, 1.0].map(|value| {
        let pixels = Tensor::full([1, 3, 1, 1], value, (Kind::Float, Device::Cpu));
        Vec::<f64>::try_from(prepare(&pixels).flatten(0, -1).to_kind(Kind::Double))
            .expect("three channels")
    });
    for (start, _) in graph.nodes().filter(|(_, node)| node.op == "Placeholder") {
        let Some((last, factor, shift)) = arithmetic(graph, start) else { continue };
        let fits = |&(low, high): &(f64, f64)| {
            (0..3).all(|c| {
                let near = |x: f64, expected: f64| {
                    (factor[c] * x + shift[c] - expected).abs() < 1e-3 * (1.0 + expected.abs())
                };
                near(low, ends[0][c]) && near(high, ends[1][c])
            })
        };
        if !RANGES.iter().any(fits) {
            scope.differs(
                last,
                &format!("an input that is multiplied by {factor:?}, plus {shift:?}"),
                &format!("pixels that become {:?} to {:?}", ends[0], ends[1]),
            );
        }
    }
}

/// What a graph does to its input up to the first convolution, as factor and shift of each channel,
/// with the last node that does so. None where it does nothing, or something else.
fn arithmetic<'g>(graph: &'g Graph, start: &'g str) -> Option<(&'g str, [f64; 3], [f64; 3])> {
    let (mut factor, mut shift) = ([1.0; 3], [0.0; 3]);
    let mut last = None;
    let mut at = start;
    for _ in 0..STEPS {
        let mut consumers = graph.consumers(at).filter(|(_, node)| node.op != "Shape");
        let (name, node) = consumers.next()?;
        if consumers.next().is_some() {
            return None;
        }
        let op = node.op.as_str();
        match op {
            "Conv2D" | "DepthwiseConv2dNative" => return Some((last?, factor, shift)),
            "Add" | "AddV2" | "BiasAdd" | "Sub" | "Mul" | "RealDiv" | "Div" => {
                let first = node.inputs.first().is_some_and(|input| input == at);
                let values = &input(graph, node, usize::from(first))?.1.values;
                let value = |c: usize| match values.len() {
                    1 => Some(f64::from(values[0])),
                    3 => Some(f64::from(values[c])),
                    _ => None,
                };
                for c in 0..3 {
                    let value = value(c)?;
                    let (by, plus) = match op {
                        "Sub" if first => (1.0, -value),
                        "Sub" => (-1.0, value),
                        "Mul" => (value, 0.0),
                        "RealDiv" | "Div" if first => (1.0 / value, 0.0),
                        "RealDiv" | "Div" => return None,
                        _ => (1.0, value),
                    };
                    factor[c] *= by;
                    shift[c] = shift[c] * by + plus;
                }
                last = Some(name);
            }
            "Identity" | "Pad" | "PadV2" | "Cast" | "StopGradient" => {}
            _ => return None,
        }
        at = name;
    }
    None
}
