//! Frozen TensorFlow graphs, read without TensorFlow: variables became `Const` nodes of their
//! names.
//!
//! The file is a protocol buffer, `GraphDef` of `tensorflow/core/framework/graph.proto`. It is
//! walked field by field where it lies; what a tensor holds is read when the tensor is asked for.
//! Fields that are not needed are passed over, groups (long gone from the format) are refused.
//! There is no recursion: the depth is that of the few messages known here.

use super::bytes::{Bytes, Cursor};
use super::{Misfit, Role, Source, count};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::ops::Range;
use tch::{Kind, Tensor};

/// No graph of a classifier has more fields (NASNet-large has a tenth of it); bounds what is
/// remembered.
const MAX_FIELDS: u64 = 1 << 21;
/// No name is longer.
const MAX_TEXT: u64 = 1 << 16;
/// `tf.import_graph_def` puts this before every name unless told otherwise.
const IMPORTED: &str = "import/";

/// The nodes of a graph, by name.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: BTreeMap<String, Node>,
}

/// An operation of a graph.
#[derive(Debug, Default)]
pub struct Node {
    /// The operation's name: `Const`, `Conv2D`, `LRN`.
    pub op: String,
    /// Names of the nodes that it takes its inputs from, in order.
    pub inputs: Vec<String>,
    attributes: BTreeMap<String, Attribute>,
}

/// A setting of a node, of a kind that somebody asks for.
#[derive(Debug)]
enum Attribute {
    Int(i64),
    Float(f32),
    /// Where its message lies in the file.
    Tensor(Range<u64>),
}

impl Graph {
    /// The node of that name.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// All nodes with their names, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), node))
    }
}

impl Node {
    /// The attribute as a float; a default that was not written is none.
    pub fn float(&self, name: &str) -> Option<f32> {
        match self.attributes.get(name) {
            Some(Attribute::Float(value)) => Some(*value),
            _ => None,
        }
    }

    /// The attribute as a whole number; a default that was not written is none.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attributes.get(name) {
            Some(Attribute::Int(value)) => Some(*value),
            _ => None,
        }
    }

    /// Where the value of a `Const` lies.
    fn constant(&self) -> Option<Range<u64>> {
        match self.attributes.get("value") {
            Some(Attribute::Tensor(span)) if self.op == "Const" => Some(span.clone()),
            _ => None,
        }
    }
}

/// A frozen graph's file, and what is in it.
struct GraphDef {
    bytes: Bytes,
    graph: Graph,
}

/// Whether a file that starts like this can be a graph: with the key of one of its four fields.
pub(super) fn may_begin_with(head: &[u8]) -> bool {
    matches!(head.first(), Some(0x0a | 0x12 | 0x18 | 0x22))
}

/// Opens a file that begins like a graph.
pub(super) fn open(bytes: Bytes) -> Result<Box<dyn Source>> {
    let graph =
        Wire::over(&bytes).graph().context("a damaged TensorFlow graph, or something else")?;
    ensure!(
        graph.nodes.values().any(|node| node.op == "Const"),
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

    /// Variables: constants that an `Identity` passes on under the variable's name. All other
    /// constants belong to operations.
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

/// A `TensorProto` without its values.
struct Constant {
    dtype: u64,
    shape: Vec<i64>,
    /// The values as bytes of memory, if they are given so.
    content: Option<Range<u64>>,
    /// The whole message: values that are given one by one are read from it.
    span: Range<u64>,
}

impl Constant {
    fn read(bytes: &Bytes, span: Range<u64>) -> Result<Self> {
        let mut constant = Self { dtype: 0, shape: Vec::new(), content: None, span: span.clone() };
        let mut wire = Wire::over(bytes);
        // Values may come one by one, each a field.
        wire.fields_left = MAX_FIELDS + (span.end - span.start);
        wire.message(span, &mut |wire, number, value| {
            match (number, value) {
                (1, Value::Varint(dtype)) => constant.dtype = dtype,
                (2, Value::Span(shape)) => constant.shape.extend(wire.shape(shape)?),
                (4, Value::Span(content)) if !content.is_empty() => {
                    constant.content = Some(content)
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(constant)
    }

    fn tensor(&self, bytes: &Bytes) -> Result<Tensor> {
        // `types.proto`, and the field of `TensorProto` that holds values one by one.
        let (kind, size, field) = match self.dtype {
            1 => (Kind::Float, 4, 5),
            2 => (Kind::Double, 8, 6),
            14 => (Kind::BFloat16, 2, 13),
            19 => (Kind::Half, 2, 13),
            other => bail!(
                "it has TensorFlow's type {other}; float (1), double (2), bfloat16 (14) or half \
                 (19) is expected"
            ),
        };
        let count = self.shape.iter().product::<i64>() as usize * size;
        let values = match &self.content {
            Some(content) => {
                let found = content.end - content.start;
                ensure!(
                    found == count as u64,
                    "it has {found} bytes of values, {count} are expected"
                );
                bytes.read(content.clone())?
            }
            None => self.values(bytes, field, size, count)?.into(),
        };
        ensure!(
            values.len() == count,
            "it has {} bytes of values, {count} are expected",
            values.len()
        );
        Ok(Tensor::f_from_data_size(&values, &self.shape, kind)?)
    }

    /// Values one by one: those that are missing at the end equal the last; all are zero where
    /// there is none. The same bytes as in memory, at most `count` and a few.
    fn values(&self, bytes: &Bytes, field: u32, size: usize, count: usize) -> Result<Vec<u8>> {
        let mut values: Vec<u8> = Vec::new();
        let mut wire = Wire::over(bytes);
        wire.fields_left = MAX_FIELDS + count as u64;
        wire.message(self.span.clone(), &mut |wire, number, value| {
            if number != field {
                return Ok(());
            }
            match value {
                Value::Varint(half) if size == 2 => values.extend(half_bits(half)?),
                Value::Fixed32(float) if size == 4 => values.extend(float),
                Value::Fixed64(double) if size == 8 => values.extend(double),
                Value::Span(packed) if size == 2 => {
                    while wire.at < packed.end && values.len() <= count {
                        values.extend(half_bits(wire.varint(packed.end)?)?);
                    }
                }
                Value::Span(packed) => {
                    ensure!(
                        packed.end - packed.start <= count as u64,
                        "more values than its shape has room for"
                    );
                    values.extend(wire.bytes(packed)?);
                }
                _ => bail!("its values are not of its type"),
            }
            ensure!(values.len() <= count, "more values than its shape has room for");
            Ok(())
        })?;
        if values.is_empty() {
            values.resize(count, 0);
        }
        ensure!(values.len().is_multiple_of(size), "its values end in the middle of one");
        while values.len() < count {
            values.extend_from_within(values.len() - size..);
        }
        Ok(values)
    }
}

fn half_bits(value: u64) -> Result<[u8; 2]> {
    Ok(u16::try_from(value).ok().context("a half has 16 bits")?.to_le_bytes())
}

/// The value of a field.
enum Value {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    /// Bytes, text or a message: where it lies.
    Span(Range<u64>),
}

/// A reader of protocol buffers.
struct Wire<'a> {
    input: BufReader<Cursor<'a>>,
    at: u64,
    length: u64,
    fields_left: u64,
}

impl<'a> Wire<'a> {
    fn over(bytes: &'a Bytes) -> Self {
        Self {
            input: BufReader::new(bytes.cursor()),
            at: 0,
            length: bytes.len(),
            fields_left: MAX_FIELDS,
        }
    }

    fn graph(&mut self) -> Result<Graph> {
        let mut nodes = BTreeMap::new();
        self.message(0..self.length, &mut |wire, number, value| {
            if let (1, Value::Span(span)) = (number, value) {
                let start = span.start;
                let (name, node) =
                    wire.node(span).with_context(|| format!("the node at byte {start}"))?;
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
        Ok(Graph { nodes })
    }

    fn node(&mut self, span: Range<u64>) -> Result<(String, Node)> {
        let mut name = String::new();
        let mut node = Node::default();
        self.message(span, &mut |wire, number, value| {
            let Value::Span(span) = value else { return Ok(()) };
            match number {
                1 => name = wire.text(span)?,
                2 => node.op = wire.text(span)?,
                3 => {
                    let input = wire.text(span)?;
                    // `^name` is an order to keep, `name:1` the second output.
                    if !input.starts_with('^') {
                        node.inputs.push(input.split(':').next().unwrap_or_default().to_owned());
                    }
                }
                5 => {
                    if let Some((key, attribute)) = wire.attribute(span)? {
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

    /// An entry of the map of attributes, unless it is of a kind that is left out.
    fn attribute(&mut self, span: Range<u64>) -> Result<Option<(String, Attribute)>> {
        let mut key = String::new();
        let mut attribute = None;
        self.message(span, &mut |wire, number, value| {
            match (number, value) {
                (1, Value::Span(span)) => key = wire.text(span)?,
                (2, Value::Span(span)) => wire.message(span, &mut |_, number, value| {
                    attribute = match (number, value) {
                        (3, Value::Varint(int)) => Some(Attribute::Int(int as i64)),
                        (4, Value::Fixed32(float)) => {
                            Some(Attribute::Float(f32::from_le_bytes(float)))
                        }
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

    /// The sizes of a `TensorShapeProto`.
    fn shape(&mut self, span: Range<u64>) -> Result<Vec<i64>> {
        let mut sizes = Vec::new();
        self.message(span, &mut |wire, number, value| {
            if let (2, Value::Span(dimension)) = (number, value) {
                let mut size = 0; // not written when zero
                wire.message(dimension, &mut |_, number, value| {
                    if let (1, Value::Varint(value)) = (number, value) {
                        size = value as i64;
                    }
                    Ok(())
                })?;
                ensure!(sizes.len() < 16, "a shape of more than 16 axes");
                sizes.push(size);
            }
            Ok(())
        })?;
        Ok(sizes)
    }

    /// Gives every field of the message in `span` to `each`.
    fn message(
        &mut self,
        span: Range<u64>,
        each: &mut dyn FnMut(&mut Self, u32, Value) -> Result<()>,
    ) -> Result<()> {
        self.go(span.start)?;
        while self.at < span.end {
            self.fields_left =
                self.fields_left.checked_sub(1).context("more fields than any network has")?;
            let place = self.at;
            let (number, value) =
                self.field(span.end).with_context(|| format!("at byte {place}"))?;
            let after = if let Value::Span(inner) = &value { inner.end } else { self.at };
            each(self, number, value)?;
            self.go(after)?;
        }
        Ok(())
    }

    /// The number and the value of the field that begins here, in a message that ends at `end`.
    fn field(&mut self, end: u64) -> Result<(u32, Value)> {
        let key = self.varint(end)?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number))
            .context("no field has that number")?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint(end)?),
            1 => Value::Fixed64(self.fixed(end)?),
            2 => {
                let length = self.varint(end)?;
                ensure!(
                    length <= end - self.at,
                    "{length} bytes are announced, {} are left",
                    end - self.at
                );
                Value::Span(self.at..self.at + length)
            }
            5 => Value::Fixed32(self.fixed(end)?),
            other => bail!("wire type {other}"),
        };
        Ok((number, value))
    }

    fn varint(&mut self, end: u64) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.fixed(end)?;
            ensure!(shift < 63 || byte <= 1, "a number of more than 64 bits");
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        bail!("a number without end")
    }

    fn fixed<const N: usize>(&mut self, end: u64) -> Result<[u8; N]> {
        ensure!(N as u64 <= end - self.at, "the message ends in the middle of a field");
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    /// The bytes of a span, which lies within the file.
    fn bytes(&mut self, span: Range<u64>) -> Result<Vec<u8>> {
        self.go(span.start)?;
        let mut bytes = vec![0; (span.end - span.start) as usize];
        self.input.read_exact(&mut bytes)?;
        self.at = span.end;
        Ok(bytes)
    }

    fn text(&mut self, span: Range<u64>) -> Result<String> {
        let length = span.end - span.start;
        ensure!(length <= MAX_TEXT, "a name of {length} bytes");
        String::from_utf8(self.bytes(span)?).context("a name that is not UTF-8")
    }

    fn go(&mut self, to: u64) -> Result<()> {
        self.input.seek_relative(to as i64 - self.at as i64)?;
        self.at = to;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
