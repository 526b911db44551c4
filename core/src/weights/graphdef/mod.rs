//! Frozen TensorFlow graphs, read without TensorFlow. In a frozen graph, variables are `Const`
//! nodes of their names.
//!
//! The file is a protocol buffer, `GraphDef` of `tensorflow/core/framework/graph.proto`. The values
//! of a tensor are read when the tensor is asked for. Fields that are not needed are skipped.

mod constant;

use super::bytes::Bytes;
use super::conventions::Role;
use super::graph::{Attribute, Graph, Node};
use super::protobuf::{Reader, Value};
use super::source::{Misfit, Source, count};
use anyhow::{Context, Result, ensure};
use constant::Constant;
use std::collections::BTreeMap;
use std::ops::Range;
use tch::{Kind, Tensor};

/// What `tf.import_graph_def` puts before every name by default.
const IMPORTED: &str = "import/";

/// Greatest size of a constant that is kept, in bytes of its message and in values.
const SMALL: u64 = 128;
/// Greatest number of integers in a packed list that are read.
const MAX_INTS: usize = 64;

/// A frozen graph's file, and its nodes.
struct GraphDef {
    bytes: Bytes,
    graph: Graph,
}

/// Opens a file that begins like a graph.
pub(super) fn open(bytes: Bytes) -> Result<Box<dyn Source>> {
    let mut nodes = read_nodes(&mut Reader::new(&bytes))
        .context("a damaged TensorFlow graph, or something else")?;
    for node in nodes.values_mut() {
        node.values = small(&bytes, node).unwrap_or_default();
    }
    let graph = Graph::new(nodes);
    ensure!(
        graph.nodes().any(|(_, node)| node.op == "Const"),
        "a TensorFlow graph without constants: freeze it with its variables' values"
    );
    Ok(Box::new(GraphDef { bytes, graph }))
}

impl Source for GraphDef {
    fn tensor(&self, name: &str, expected: &[i64], _: Role) -> Result<Tensor, Misfit> {
        let node = self.graph.node(name).ok_or(Misfit::Missing)?;
        let Some(span) = node.constant() else {
            return Err(Misfit::Unreadable(format!(
                "it is of type `{}`, not a constant: the graph is not frozen",
                node.op
            )));
        };
        let unreadable = |error: anyhow::Error| Misfit::Unreadable(format!("{error:#}"));
        let constant = Constant::read(&self.bytes, span).map_err(unreadable)?;
        // Compared before anything is allocated: a few bytes can claim any shape.
        if constant.shape != expected {
            return Err(Misfit::Misshapen { found: constant.shape, expected: expected.to_vec() });
        }
        constant.tensor(&self.bytes).map_err(unreadable)
    }

    /// Names of variables: constants that an `Identity` passes on under the variable's name. All
    /// other constants belong to operations.
    fn names(&self) -> Vec<String> {
        let read = |(name, node): (&str, &Node)| {
            let variable = node.inputs.first().filter(|_| node.op == "Identity")?;
            let passed_on =
                name.strip_prefix(variable.as_str()).is_some_and(|rest| rest == "/read")
                    || name.ends_with("/ReadVariableOp");
            self.graph.node(variable)?.constant().filter(|_| passed_on).map(|_| variable.clone())
        };
        self.graph.nodes().filter_map(read).collect()
    }

    fn values(&self) -> u64 {
        let constant =
            |name: String| Constant::read(&self.bytes, self.graph.node(&name)?.constant()?).ok();
        let counts = self
            .names()
            .into_iter()
            .filter_map(constant)
            .map(|constant| count(constant.shape.iter().map(|&n| n as u64)));
        counts.fold(0, u64::saturating_add)
    }

    fn graph(&self) -> Option<&Graph> {
        Some(&self.graph)
    }

    fn description(&self) -> String {
        format!("a frozen TensorFlow graph, {} nodes", self.graph.nodes.len())
    }
}

fn read_nodes(reader: &mut Reader) -> Result<BTreeMap<String, Node>> {
    let mut nodes = BTreeMap::new();
    reader.message(reader.everything(), &mut |reader, number, value| {
        if let (1, Value::Span(span)) = (number, value) {
            let start = span.start;
            let (name, node) =
                read_node(reader, span).with_context(|| format!("the node at byte {start}"))?;
            ensure!(!nodes.contains_key(&name), "two nodes are called `{name}`");
            nodes.insert(name, node);
        }
        Ok(())
    })?;
    if nodes.keys().all(|name| name.starts_with(IMPORTED)) {
        let own = |name: String| name.strip_prefix(IMPORTED).map(str::to_owned).unwrap_or(name);
        nodes = nodes
            .into_iter()
            .map(|(name, node)| {
                (own(name), Node { inputs: node.inputs.into_iter().map(own).collect(), ..node })
            })
            .collect();
    }
    Ok(nodes)
}

/// The values of a constant of a few floats, such as the ε of a batch norm.
fn small(bytes: &Bytes, node: &Node) -> Option<Vec<f32>> {
    let span = node.constant().filter(|span| span.end - span.start <= SMALL)?;
    let constant = Constant::read(bytes, span).ok()?;
    let in_range = |&size: &i64| (0..=SMALL as i64).contains(&size);
    let few = constant.shape.len() <= 4 && constant.shape.iter().all(in_range);
    let values = few.then(|| constant.shape.iter().product::<i64>())?;
    let tensor = (values <= SMALL as i64).then(|| constant.tensor(bytes).ok())??;
    Vec::try_from(tensor.to_kind(Kind::Float).flatten(0, -1)).ok()
}

fn read_node(reader: &mut Reader, span: Range<u64>) -> Result<(String, Node)> {
    let mut name = String::new();
    let mut node = Node::default();
    reader.message(span, &mut |reader, number, value| {
        let Value::Span(span) = value else { return Ok(()) };
        match number {
            1 => name = reader.text(span)?,
            2 => node.op = reader.text(span)?,
            3 => {
                let input = reader.text(span)?;
                // `^name` is a control dependency, `name:1` the second output of a node.
                if !input.starts_with('^') {
                    node.inputs.push(input.split(':').next().unwrap_or_default().to_owned());
                }
            }
            5 => {
                if let Some((key, attribute)) = read_attribute(reader, span)? {
                    node.attributes.insert(key, attribute);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    ensure!(
        !name.is_empty() && !node.op.is_empty(),
        "it has no {}",
        if name.is_empty() { "name" } else { "type" }
    );
    Ok((name, node))
}

/// An entry of the map of attributes; `None` for a kind that is left out.
fn read_attribute(reader: &mut Reader, span: Range<u64>) -> Result<Option<(String, Attribute)>> {
    let mut key = String::new();
    let mut attribute = None;
    reader.message(span, &mut |reader, number, value| {
        match (number, value) {
            (1, Value::Span(span)) => key = reader.text(span)?,
            (2, Value::Span(span)) => reader.message(span, &mut |reader, number, value| {
                attribute = match (number, value) {
                    (1, Value::Span(list)) => Some(Attribute::Ints(read_ints(reader, list)?)),
                    (2, Value::Span(text)) => reader.text(text).ok().map(Attribute::Text),
                    (3, Value::Varint(int)) => Some(Attribute::Int(int as i64)),
                    (5, Value::Varint(truth)) => Some(Attribute::Truth(truth != 0)),
                    (4, Value::Fixed32(float)) => Some(Attribute::Float(f32::from_le_bytes(float))),
                    (8, Value::Span(tensor)) => Some(Attribute::Tensor(tensor)),
                    _ => None,
                };
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(attribute.map(|attribute| (key, attribute)))
}

/// The integers of a list (`AttrValue.ListValue`), packed or one by one; others are left out.
fn read_ints(reader: &mut Reader, span: Range<u64>) -> Result<Vec<i64>> {
    let mut ints = Vec::new();
    reader.message(span, &mut |reader, number, value| {
        match (number, value) {
            (3, Value::Varint(int)) => ints.push(int as i64),
            (3, Value::Span(packed)) => reader.varints(packed, |int| {
                ints.push(int as i64);
                Ok(ints.len() < MAX_INTS)
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(ints)
}

#[cfg(test)]
mod tests;
