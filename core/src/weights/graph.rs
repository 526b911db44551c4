//! The nodes of a TensorFlow graph.

use std::collections::BTreeMap;
use std::ops::Range;

/// The nodes of a graph, by name.
#[derive(Debug, Default)]
pub struct Graph {
    pub(super) nodes: BTreeMap<String, Node>,
}

/// An operation of a graph.
#[derive(Debug, Default)]
pub struct Node {
    /// The operation's name: `Const`, `Conv2D`, `LRN`.
    pub op: String,
    /// Names of the nodes that give its inputs, in order.
    pub inputs: Vec<String>,
    pub(super) attributes: BTreeMap<String, Attribute>,
}

/// A setting of a node. Kinds that nobody asks for are left out.
#[derive(Debug)]
pub(super) enum Attribute {
    Int(i64),
    Float(f32),
    /// Where the message of the tensor lies in the file.
    Tensor(Range<u64>),
}

impl Graph {
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

    /// Where the value of a `Const` lies in the file.
    pub(super) fn constant(&self) -> Option<Range<u64>> {
        match self.attributes.get("value") {
            Some(Attribute::Tensor(span)) if self.op == "Const" => Some(span.clone()),
            _ => None,
        }
    }
}
