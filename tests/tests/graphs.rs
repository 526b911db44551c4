//! What a frozen graph says beside its weights: the ε of batch norm is taken over, and all else that
//! the network computes otherwise is refused with node, found and expected.

use gauntlet_core::params::parse;
use gauntlet_core::registry::Registry;
use gauntlet_core::weights::{Graph, Misfit, Read, Role, Source, Weights};
use gauntlet_plugins as _;
use gauntlet_tests::golden::{self, Formula};
use std::cell::Cell;
use std::rc::Rc;
use tch::{Device, Tensor};

const FUSED: &[u8] = include_bytes!("../fixtures/frozen/mobilenet_v1_025.pb");
const UNFUSED: &[u8] = include_bytes!("../fixtures/frozen/mobilenet_v1_025.unfused.pb");
/// The first convolution, and the layer after it.
const FIRST: &str = "MobilenetV1/MobilenetV1/Conv2d_0/Conv2D";
const ACTIVATION: &str = "MobilenetV1/MobilenetV1/Conv2d_0/Relu6";

/// A field of a protocol buffer: its key, and its content where that is of a length of its own.
type Field = (u64, Vec<u8>);

fn varint(bytes: &[u8], at: &mut usize) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let byte = bytes[*at];
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            return value;
        }
    }
}

fn encode(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn fields(bytes: &[u8]) -> Vec<Field> {
    let (mut at, mut fields) = (0, Vec::new());
    while at < bytes.len() {
        let key = varint(bytes, &mut at);
        let length = match key & 7 {
            0 => {
                let start = at;
                varint(bytes, &mut at);
                let length = at - start;
                at = start;
                length
            }
            2 => varint(bytes, &mut at) as usize,
            kind => {
                if kind == 1 {
                    8
                } else {
                    4
                }
            }
        };
        fields.push((key, bytes[at..at + length].to_vec()));
        at += length;
    }
    fields
}

fn message(fields: &[Field]) -> Vec<u8> {
    let field = |(key, content): &Field| {
        let length = if key & 7 == 2 { encode(content.len() as u64) } else { Vec::new() };
        [encode(*key), length, content.clone()].concat()
    };
    fields.iter().flat_map(field).collect()
}

/// The fields of a new node: name, operation, inputs.
fn node(name: &str, op: &str, inputs: &[&str]) -> Vec<Field> {
    let mut fields = vec![(0x0a, name.into()), (0x12, op.into())];
    fields.extend(inputs.iter().map(|input| (0x1a, input.as_bytes().to_vec())));
    fields
}

/// The value of an attribute that is a list of integers.
fn list(ints: &[u64]) -> Vec<u8> {
    let packed: Vec<u8> = ints.iter().flat_map(|&int| encode(int)).collect();
    message(&[(0x0a, message(&[(0x1a, packed)]))])
}

/// The value of an attribute that is a text.
fn text(text: &str) -> Vec<u8> {
    message(&[(0x12, text.into())])
}

/// Sets an attribute of a node.
fn set(node: &mut Vec<Field>, name: &str, value: Vec<u8>) {
    node.retain(|(key, entry)| {
        *key != 0x2a || fields(entry).first() != Some(&(0x0a, name.as_bytes().to_vec()))
    });
    node.push((0x2a, message(&[(0x0a, name.into()), (0x12, value)])));
}

/// A scalar constant.
fn constant(name: &str, value: f32) -> Vec<Field> {
    let mut constant = node(name, "Const", &[]);
    let tensor = message(&[(0x08, vec![1]), (0x2d, value.to_le_bytes().to_vec())]);
    set(&mut constant, "value", message(&[(0x42, tensor)]));
    constant
}

/// A graph with its nodes changed, and with others before them.
fn changed(graph: &[u8], before: &[Vec<Field>], change: impl Fn(&str, &mut Vec<Field>)) -> Vec<u8> {
    let mut all: Vec<Field> = before.iter().map(|node| (0x0a, message(node))).collect();
    for (key, content) in fields(graph) {
        let mut node = fields(&content);
        if key == 0x0a {
            let name = String::from_utf8(node[0].1.clone()).unwrap();
            change(&name, &mut node);
        }
        all.push((key, if key == 0x0a { message(&node) } else { content }));
    }
    message(&all)
}

/// Weights by the formula, as though they had been frozen into a graph.
struct Framed {
    graph: Weights,
    formula: Formula,
    /// Added to all variances.
    more: f64,
}

impl Source for Framed {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        let tensor = self.formula.tensor(name, shape, role)?;
        Ok(if role == Role::Variance { tensor + self.more } else { tensor })
    }

    fn graph(&self) -> Option<&Graph> {
        self.graph.graph()
    }
}

/// Logits of two images, and whether more is read of the graph than its weights; or the error.
fn logits(graph: &[u8], more: f64) -> Result<(Tensor, bool), String> {
    let graph = Weights::from_bytes(graph.to_vec(), Device::Cpu).unwrap();
    let formula = Formula { prefix: "public/".into(), gain: 1.0 };
    let taken = Rc::new(Cell::new(false));
    let noting = Rc::clone(&taken);
    let source = Framed { graph, formula, more };
    let weights = Weights::new(source, Device::Cpu)
        .observed(move |read| noting.set(noting.get() || matches!(read, Read::Graph)));
    let registry = Registry::linked().unwrap();
    let entry = registry.find_model("mobilenet_v1_025").unwrap();
    let model =
        entry.load(&parse("side = 64").unwrap(), weights).map_err(|error| format!("{error:#}"))?;
    Ok((model.logits(&golden::network_images(64)), taken.get()))
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    ((a - b).abs().max() / b.std(false)).double_value(&[])
}

#[test]
fn the_epsilon_of_batch_norm_is_taken_over() {
    let (plain, taken) = logits(FUSED, 0.0).unwrap();
    assert!(!taken, "nothing but weights");
    let (unfused, taken) = logits(UNFUSED, 0.0).unwrap();
    assert_eq!(unfused, plain);
    assert!(!taken, "nothing but weights");

    let small = |name: &str, node: &mut Vec<Field>| {
        if node[1].1.starts_with(b"FusedBatchNorm") {
            set(node, "epsilon", message(&[(0x25, 1e-5f32.to_le_bytes().to_vec())]));
        }
        if name.ends_with("batchnorm_1/add/y") {
            *node = constant(name, 1e-5);
        }
    };
    // The same sum with the network's own ε.
    let expected = logits(FUSED, 1e-5 - 1e-3).unwrap().0;
    assert!(distance(&plain, &expected) > 1e-3);
    for graph in [FUSED, UNFUSED] {
        let (found, taken) = logits(&changed(graph, &[], small), 0.0).unwrap();
        assert!(distance(&found, &expected) < 1e-5, "{:.1e}", distance(&found, &expected));
        assert!(taken, "the graph is needed beside the weights");
    }
}

#[test]
fn what_differs_from_the_network_is_refused_with_node_found_and_expected() {
    type Change = (&'static str, fn(&mut Vec<Field>), &'static str);
    let changes: [Change; 10] = [
        (
            FIRST,
            |node| set(node, "strides", list(&[1, 1, 1, 1])),
            "Conv2D: found strides [1, 1, 1, 1], expected [1, 2, 2, 1]",
        ),
        (
            FIRST,
            |node| set(node, "padding", text("VALID")),
            "Conv2D: found padding VALID, expected SAME",
        ),
        (
            FIRST,
            |node| set(node, "dilations", list(&[1, 2, 2, 1])),
            "Conv2D: found dilations [1, 2, 2, 1], expected no dilation",
        ),
        (
            FIRST,
            |node| set(node, "data_format", text("NCHW")),
            "Conv2D: found data format NCHW, expected NHWC",
        ),
        (ACTIVATION, |node| node[1].1 = b"Relu".to_vec(), "Relu6: found Relu, expected Relu6"),
        (ACTIVATION, |node| node[1].1 = b"Elu".to_vec(), "Relu6: found Elu, expected Relu6"),
        (
            ACTIVATION,
            |node| node[1].1 = b"FakeQuantWithMinMaxVars".to_vec(),
            "Relu6: found FakeQuantWithMinMaxVars, expected numbers that are not quantised",
        ),
        (
            "MobilenetV1/Conv2d_0/weights/read",
            |node| node[1].1 = b"FakeQuantWithMinMaxArgs".to_vec(),
            "read: found FakeQuantWithMinMaxArgs, expected numbers that are not quantised",
        ),
        (
            "MobilenetV1/MobilenetV1/Conv2d_0/BatchNorm/FusedBatchNormV3",
            |node| set(node, "is_training", message(&[(0x28, vec![1])])),
            "found statistics of the batch (is_training), expected moving ones",
        ),
        (
            "MobilenetV1/Logits/AvgPool_1a/AvgPool",
            |node| node[1].1 = b"MaxPool".to_vec(),
            "AvgPool: found MaxPool 7×7, strides [1, 2, 2, 1], VALID, expected a mean over the \
             whole map",
        ),
    ];
    for (name, change, expected) in changes {
        let graph = changed(FUSED, &[], |own, node| {
            if own == name {
                change(node);
            }
        });
        assert_ne!(graph, FUSED, "{name} is there");
        let error = logits(&graph, 0.0).unwrap_err();
        let only = "1 setting of the graph does not fit the network:\n  different   ";
        assert!(error.contains(only) && error.ends_with(expected), "{error}");
    }
}

#[test]
fn what_a_graph_does_to_its_input_must_be_what_the_network_does_to_pixels() {
    let with = |op: &str, first: f32, then: &str, second: f32| {
        let before = [
            constant("a", first),
            constant("b", second),
            node("scaled", op, &["input", "a"]),
            node("shifted", then, &["scaled", "b"]),
        ];
        changed(FUSED, &before, |name, node| {
            if name == FIRST {
                node[2].1 = b"shifted".to_vec();
            }
        })
    };
    for same in [
        with("Mul", 2.0, "Sub", 1.0),
        with("Mul", 2.0 / 255.0, "Add", -1.0),
        with("RealDiv", 127.5, "Sub", 1.0),
        with("Sub", 0.5, "Mul", 2.0),
    ] {
        assert!(logits(&same, 0.0).is_ok());
    }
    let error = logits(&with("Sub", 0.45, "RealDiv", 0.225), 0.0).unwrap_err();
    assert!(
        error.contains("shifted: found an input that is multiplied by [4.4")
            && error.contains("expected pixels that become [-1.0, -1.0, -1.0] to [1.0, 1.0, 1.0]"),
        "{error}"
    );
}
