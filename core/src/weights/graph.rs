//! The nodes of a TensorFlow graph.

use std::collections::BTreeMap;
use std::ops::Range;

/// The nodes of a graph, by name.
#[derive(Debug, Default)]
pub struct Graph {
    pub(super) nodes: BTreeMap<String, Node>,
    /// Names of the nodes that take a node's output.
    consumers: BTreeMap<String, Vec<String>>,
}

/// An operation of a graph.
#[derive(Debug, Default)]
pub struct Node {
    /// The operation's name: `Const`, `Conv2D`, `LRN`.
    pub op: String,
    /// Names of the nodes that give its inputs, in order.
    pub inputs: Vec<String>,
    /// The values of a constant of a few floats; empty for all else.
    pub values: Vec<f32>,
    pub(super) attributes: BTreeMap<String, Attribute>,
}

/// A setting of a node. Kinds that nobody asks for are left out.
#[derive(Debug)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Text(String),
    Truth(bool),
    /// Where the message of the tensor lies in the file.
    Tensor(Range<u64>),
}

impl Graph {
    pub(super) fn new(nodes: BTreeMap<String, Node>) -> Self {
        let mut consumers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, node) in &nodes {
            for input in &node.inputs {
                consumers.entry(input.clone()).or_default().push(name.clone());
            }
        }
        Self { nodes, consumers }
    }

    /// The nodes that take the output of the node of that name, sorted by name.
    pub fn consumers(&self, name: &str) -> impl Iterator<Item = (&str, &Node)> {
        let names = self.consumers.get(name).into_iter().flatten();
        names.filter_map(|name| Some((name.as_str(), self.nodes.get(name)?)))
    }

    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// All nodes and their names, sorted by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), node))
    }
}

impl Node {
    /// The attribute of that name as a float. `None` for a default that the file does not write.
    pub fn float(&self, name: &str) -> Option<f32> {
        match self.attributes.get(name) {
            Some(Attribute::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// The attribute of that name as an integer. `None` for a default that the file does not write.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attributes.get(name) {
            Some(Attribute::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// The attribute of that name as a list of integers, such as `strides`.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attributes.get(name) {
            Some(Attribute::Ints(values)) => Some(values),
            _ => None,
        }
    }

    /// The attribute of that name as a text, such as `padding`.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.attributes.get(name) {
            Some(Attribute::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The attribute of that name as a truth value, such as `is_training`.
    pub fn truth(&self, name: &str) -> Option<bool> {
        match self.attributes.get(name) {
            Some(Attribute::Truth(value)) => Some(*value),
            _ => None,
        }
    }

    /// Where the value of a `Const` lies in the file.
    pub(super) fn constant(&self) -> Option<Range<u64>> {
        match self.attributes.get("value") {
            Some(Attribute::Tensor(span)) if self.op == "Const" => Some(span.clone()),
            _ => None,
        }
    }
}
