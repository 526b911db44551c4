use crate::weights::{Misfit, Role, Weights};
use proptest::prelude::*;
use tch::{Device, Tensor};

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn span(field: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    [&varint(field << 3 | 2), &varint(content.as_ref().len() as u64), content.as_ref()].concat()
}

fn fixed32(field: u64, value: f32) -> Vec<u8> {
    [&varint(field << 3 | 5)[..], &value.to_le_bytes()].concat()
}

fn attribute(key: &str, value: Vec<u8>) -> Vec<u8> {
    span(5, [span(1, key), span(2, value)].concat())
}

fn node(name: &str, op: &str, inputs: &[&str], attributes: &[Vec<u8>]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| span(3, input)).collect();
    span(1, [span(1, name), span(2, op), inputs, attributes.concat()].concat())
}

fn constant(name: &str, dtype: u64, shape: &[u64], values: Vec<u8>) -> Vec<u8> {
    let shape: Vec<u8> = shape.iter().flat_map(|&size| span(2, number(1, size))).collect();
    let tensor = [number(1, dtype), span(2, shape), values].concat();
    node(
        name,
        "Const",
        &[],
        &[attribute("value", span(8, tensor)), attribute("dtype", number(6, dtype))],
    )
}

fn variable(name: &str, dtype: u64, shape: &[u64], values: Vec<u8>) -> Vec<u8> {
    [constant(name, dtype, shape, values), node(&format!("{name}/read"), "Identity", &[name], &[])]
        .concat()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn open(graph: &[u8]) -> anyhow::Result<Weights> {
    Weights::from_bytes(graph.to_vec(), Device::Cpu)
}

fn refusal(graph: &[u8]) -> String {
    format!("{:#}", open(graph).err().expect("the graph is refused"))
}

fn read(values: Vec<u8>, dtype: u64, count: u64) -> Result<Vec<f32>, String> {
    let weights = open(&variable("v", dtype, &[count], values)).unwrap();
    let tensor = weights.root().tensor("v", &[count as i64], Role::Bias);
    weights.finish().map_err(|error| error.to_string())?;
    Ok(Vec::try_from(tensor).unwrap())
}

#[test]
fn every_encoding_of_values_is_read() {
    const HALF: u64 = 0x3c00; // 1
    let three = Ok(vec![1.0, 2.5, -3.0]);
    let values = [1.0f32, 2.5, -3.0];
    let halves = [HALF, 0x4100, 0xc200];
    assert_eq!(read(span(4, floats(&values)), 1, 3), three, "memory");
    assert_eq!(read(span(5, floats(&values)), 1, 3), three, "packed");
    assert_eq!(
        read(values.iter().flat_map(|&v| fixed32(5, v)).collect(), 1, 3),
        three,
        "one by one"
    );
    assert_eq!(
        read([span(5, floats(&values[..2])), fixed32(5, -3.0)].concat(), 1, 3),
        three,
        "both"
    );
    let doubles: Vec<u8> = values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect();
    assert_eq!(read(span(6, doubles), 2, 3), three, "double");
    let memory: Vec<u8> = halves.iter().flat_map(|&h| (h as u16).to_le_bytes()).collect();
    assert_eq!(read(span(4, memory), 19, 3), three, "half in memory");
    assert_eq!(
        read(span(13, halves.iter().flat_map(|&h| varint(h)).collect::<Vec<u8>>()), 19, 3),
        three,
        "half packed"
    );
    assert_eq!(
        read(halves.iter().flat_map(|&h| number(13, h)).collect(), 19, 3),
        three,
        "half one by one"
    );
    assert_eq!(read(number(13, 0x3f80), 14, 1), Ok(vec![1.0]), "bfloat16");
}

#[test]
fn values_that_are_left_out_equal_the_last() {
    assert_eq!(read(fixed32(5, 2.0), 1, 4), Ok(vec![2.0; 4]));
    assert_eq!(read(span(5, floats(&[1.0, 2.0])), 1, 4), Ok(vec![1.0, 2.0, 2.0, 2.0]));
    assert_eq!(read(number(13, 0x3c00), 19, 3), Ok(vec![1.0; 3]));
    assert_eq!(read(Vec::new(), 1, 3), Ok(vec![0.0; 3]), "no value means zero");
    assert_eq!(read(Vec::new(), 1, 0), Ok(Vec::new()));
}

#[test]
fn values_that_do_not_fit_their_shape_are_unreadable() {
    for (values, dtype, expected) in [
        (span(4, floats(&[1.0])), 1, "it has 4 bytes of values, 8 are expected"),
        (span(4, floats(&[1.0; 3])), 1, "it has 12 bytes of values, 8 are expected"),
        (span(5, floats(&[1.0; 3])), 1, "more values than its shape has room for"),
        (fixed32(5, 1.0).repeat(3), 1, "more values than its shape has room for"),
        (number(13, 1).repeat(3), 19, "more values than its shape has room for"),
        (span(5, [0; 5]), 1, "its values end in the middle of one"),
        (number(5, 1), 1, "its values are not of its type"),
        (number(13, 65_536), 19, "a half has 16 bits"),
        (span(7, [1, 2]), 3, "it has TensorFlow's type 3; float (1), double (2)"),
    ] {
        let error = read(values, dtype, 2).unwrap_err();
        assert!(
            error.starts_with(&format!(
                "1 tensor does not fit the network:\n  unreadable  v: {expected}"
            )),
            "{error}"
        );
    }
}

#[test]
fn shapes_are_compared_before_values_are_read() {
    // Each claims more than any memory from one value.
    for shape in [&[1 << 40][..], &[1 << 31, 1 << 31, 1 << 31], &[u64::MAX], &[3; 16]] {
        let weights = open(&variable("v", 1, shape, fixed32(5, 1.0))).unwrap();
        let _ = weights.root().tensor("v", &[2], Role::Bias);
        assert!(weights.finish().unwrap_err().to_string().contains("misshapen   v: found ["));
    }
}

#[test]
fn constants_of_operations_are_not_unexpected_but_variables_are() {
    let graph = [
        variable("a/weights", 1, &[1], fixed32(5, 1.0)),
        variable("b/weights", 1, &[1], fixed32(5, 1.0)),
        constant("a/BatchNorm/Const", 1, &[1], fixed32(5, 1.0)),
        node("x", "Identity", &["a/BatchNorm/Const"], &[]),
        constant("shape", 3, &[2], span(4, [0; 8])),
        constant("c", 1, &[1], fixed32(5, 1.0)),
        node("y/ReadVariableOp", "Identity", &["c"], &[]),
        span(4, number(1, 1645)),
    ]
    .concat();
    let weights = open(&graph).unwrap();
    assert_eq!(weights.description(), "a frozen TensorFlow graph, 9 nodes");
    let _ = weights.root().at("a").tensor("weights", &[1], Role::Bias);
    assert_eq!(
        weights.finish().unwrap_err().to_string(),
        "2 tensors do not fit the network:\n  unexpected  b/weights\n  unexpected  c"
    );
}

#[test]
fn what_import_put_before_the_names_is_taken_off() {
    let graph = [
        variable("import/a", 1, &[1], fixed32(5, 7.0)),
        node("import/b", "LRN", &["^import/z", "import/a/read:0"], &[]),
    ]
    .concat();
    let weights = open(&graph).unwrap();
    assert_eq!(weights.root().tensor("a", &[1], Role::Bias).double_value(&[0]), 7.0);
    assert_eq!(weights.graph().unwrap().node("b").unwrap().inputs, ["a/read"]);
    weights.finish().unwrap();
}

#[test]
fn nodes_show_their_settings() {
    let radius = attribute("depth_radius", number(3, 2));
    let alpha = attribute("alpha", fixed32(4, 2e-5));
    let list = attribute("ksize", span(1, [number(3, 3), span(3, [1, 2])].concat()));
    let padding = attribute("padding", span(2, "SAME"));
    let training = attribute("is_training", number(5, 1));
    let graph = [
        variable("a", 1, &[1], fixed32(5, 7.0)),
        node("norm1", "LRN", &["a"], &[radius, alpha, list, padding, training]),
    ]
    .concat();
    let weights = open(&graph).unwrap();
    let node = weights.graph().unwrap().node("norm1").unwrap();
    assert_eq!(
        (node.op.as_str(), node.int("depth_radius"), node.float("alpha")),
        ("LRN", Some(2), Some(2e-5))
    );
    assert_eq!((node.float("beta"), node.int("ksize"), node.int("alpha")), (None, None, None));
    assert_eq!(
        (node.ints("ksize"), node.text("padding"), node.truth("is_training")),
        (Some(&[3, 1, 2][..]), Some("SAME"), Some(true))
    );
    let graph = weights.graph().unwrap();
    assert_eq!(graph.consumers("a").map(|(name, _)| name).collect::<Vec<_>>(), ["a/read", "norm1"]);
    assert_eq!(graph.node("a").unwrap().values, [7.0]);
}

#[test]
fn a_graph_that_is_not_frozen_is_told() {
    let unfrozen = node("a", "VariableV2", &[], &[]);
    assert_eq!(
        refusal(&unfrozen),
        "a TensorFlow graph without constants: freeze it with its variables' values"
    );
    let weights = open(&[unfrozen, constant("shape", 3, &[0], Vec::new())].concat()).unwrap();
    let _ = weights.root().tensor("a", &[1], Role::Bias);
    let error = weights.finish().unwrap_err().to_string();
    assert!(
        error.ends_with(
            "unreadable  a: it is of type `VariableV2`, not a constant: the graph is not frozen"
        ),
        "{error}"
    );
}

#[test]
fn damage_is_told_with_its_place() {
    let good = variable("v", 1, &[2], span(4, floats(&[1.0, 2.0])));
    let long_varint = [vec![0x18], vec![0xff; 10], vec![1]].concat();
    for (graph, expected) in [
        (&good[..good.len() - 1], "at byte 56: 21 bytes are announced, 20 are left"),
        (&[0x0a], "at byte 0: the message ends in the middle of a field"),
        (
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            "bytes are announced, 0 are left",
        ),
        (&long_varint, "at byte 0: a number of more than 64 bits"),
        (&[0x18, 0x05, 0x00, 0x01], "at byte 2: no field has that number"),
        (&[0x18, 0x05, 0x0b, 0x0c], "at byte 2: wire type 3"),
        (&span(1, span(1, "a")), "the node at byte 2: it has no type"),
        (&span(1, ""), "the node at byte 2: it has no name"),
        (
            &span(1, span(1, [0xff])),
            "a name that is not UTF-8: invalid utf-8 sequence of 1 bytes from index 0",
        ),
        (&good.repeat(2), "two nodes are called `v`"),
        (&number(3, 0).repeat(3 << 20), "more fields than any network has"),
        (&span(1, span(1, vec![b'a'; 70_000])), "a name of 70000 bytes"),
    ] {
        let error = refusal(graph);
        assert!(
            error.starts_with("a damaged TensorFlow graph, or something else: ")
                && error.ends_with(expected),
            "{error}"
        );
    }
}

/// A graph with every encoding.
fn sample() -> Vec<u8> {
    [
        variable("a", 1, &[2, 2], span(4, floats(&[1.0, 2.0, 3.0, 4.0]))),
        variable("b", 1, &[3], span(5, floats(&[1.0, 2.0]))),
        variable("c", 19, &[3], number(13, 0x3c00)),
        node(
            "norm",
            "LRN",
            &["a/read", "^b"],
            &[attribute("depth_radius", number(3, 2)), attribute("alpha", fixed32(4, 2e-5))],
        ),
        span(4, number(1, 1645)),
    ]
    .concat()
}

fn read_all(weights: Weights) {
    for (name, shape) in [("a", &[2, 2][..]), ("b", &[3]), ("c", &[3])] {
        assert_eq!(weights.root().tensor(name, shape, Role::Bias).size(), shape);
    }
    let _ = weights.finish();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_graphs_give_errors_or_tensors(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut graph = sample();
        for (place, byte) in flips {
            let place = place.index(graph.len());
            graph[place] = byte;
        }
        if let Some(cut) = cut {
            graph.truncate(cut.index(graph.len()));
        }
        if let Ok(weights) = open(&graph) {
            read_all(weights);
        }
    }

    #[test]
    fn any_bytes_give_errors_or_tensors(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(weights) = open(&[&[0x0a][..], &bytes].concat()) {
            read_all(weights);
        }
    }
}

#[test]
fn the_sample_itself_is_whole() {
    let weights = open(&sample()).unwrap();
    let c: Vec<f32> = Vec::try_from(weights.root().tensor("c", &[3], Role::Bias)).unwrap();
    assert_eq!(c, [1.0; 3]);
    let tensor: Result<Tensor, Misfit> = weights.source.tensor("norm", &[1], Role::Bias);
    assert!(matches!(tensor, Err(Misfit::Unreadable(_))));
}

#[test]
fn two_gigabytes_of_nothing_are_refused_at_once() {
    use std::io::{Seek, SeekFrom, Write};
    let sparse = |start: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(start).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.set_len(2 << 30).unwrap();
        format!("{:#}", Weights::from_file(file, Device::Cpu).err().unwrap())
    };
    let length = varint((2 << 30) - 6);
    for (start, expected) in [
        (
            &b""[..],
            "of no format that is known here; a safetensors file or a frozen TensorFlow graph (.pb) \
             is expected",
        ),
        (
            &[&[0x0a], &length[..]].concat(),
            "the node at byte 6: at byte 6: no field has that number",
        ),
        // One node whose name is all that follows; one field that is passed over.
        (
            &[&[0x0a], &length[..], &[0x0a], &varint((2 << 30) - 12)].concat(),
            "a name of 2147483636 bytes",
        ),
        (
            &[&[0x12], &length[..]].concat(),
            "a TensorFlow graph without constants: freeze it with its variables' values",
        ),
        (&[0x0a, 0x00], "the node at byte 2: it has no name"),
    ] {
        let error = sparse(start);
        assert!(error.ends_with(expected), "{error}");
    }
}
