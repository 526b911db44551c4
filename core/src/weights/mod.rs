//! Strict weights: every tensor is asked for by name and shape. Whatever is missing, unexpected or
//! misshapen is reported in one message.
//!
//! Names and layouts are those of the reference checkpoints, TensorFlow's: `conv1/weights`, kernels
//! H×W×in×out, depthwise kernels H×W×in×multiplier. The file is a safetensors file or a frozen
//! TensorFlow graph; its content says which. Files in PyTorch's names and layouts go through the
//! network's own rename function, see [`PyTorch`].
//!
//! Nothing in a file is trusted. It is read one tensor at a time, and what its header claims is
//! checked against its length before anything is allocated.

mod bytes;
mod conventions;
mod digest;
mod format;
#[cfg(fuzzing)]
pub mod fuzzing;
mod graph;
mod graphdef;
mod note;
mod protobuf;
mod pytorch;
mod safetensors;
mod scope;
mod source;

pub use conventions::{Dialect, Role};
pub use digest::module_digest;
pub use format::{FileFormat, Purpose};
pub use graph::{Graph, Node};
pub use note::Note;
pub use pytorch::PyTorch;
pub use safetensors::read_safetensors;
pub use source::{Misfit, Source};

use crate::guard;
use anyhow::{Context, Error, Result, anyhow, bail};
use bytes::Bytes;
use pytorch::Renamed;
use source::count;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The embedded weights of a model that has none: a safetensors file without tensors. See
/// [`Architecture::embedded_weights`](crate::model::Architecture::embedded_weights).
pub const NO_WEIGHTS: &[u8] = b"\x02\0\0\0\0\0\0\0{}";

/// What a network reads, see [`Weights::observed`].
pub enum Read<'a> {
    /// A tensor, float32 on the device, under the network's own name and in the network's layout.
    Tensor(&'a str, &'a Tensor),
    /// The graph that the tensors were frozen into. It holds more settings than the tensors do.
    Graph,
}

/// Named tensors, and a record of which were asked for.
pub struct Weights {
    source: Box<dyn Source>,
    device: Device,
    reading: RefCell<Reading>,
    observer: Option<Observer>,
    /// Whether the source is behind a network's rename function.
    translated: bool,
}

type Observer = Box<dyn Fn(Read)>;

/// What has been read so far, under the source's own names.
#[derive(Default)]
struct Reading {
    /// Names that were asked for.
    used: BTreeSet<String>,
    /// Beginnings of names that need not be asked for, as the network calls them.
    spare: Vec<String>,
    /// Kind and name of each fault, with what else is to be said of it.
    faults: BTreeMap<(Fault, String), String>,
    /// Number of values in the zeros that stand in for tensors that do not fit.
    stand_ins: u64,
}

/// How many more values than the source has may stand in for tensors that do not fit. It is enough
/// for a network that is given the weights of another. It stops a few bytes of parameters from
/// asking for all memory.
const MAX_STAND_INS: u64 = 1 << 28;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Missing,
    Misshapen,
    Unreadable,
    Unexpected,
    Different,
}

impl Weights {
    /// Reads from any source. Tensors are moved to `device`.
    pub fn new(source: impl Source + 'static, device: Device) -> Self {
        Self::of(Box::new(source), device)
    }

    fn of(source: Box<dyn Source>, device: Device) -> Self {
        let reading = RefCell::default();
        let source = scope::around(source);
        Self { source, device, reading, observer: None, translated: false }
    }

    /// Opens a safetensors file or a frozen graph. Numbers of other precision become float32.
    pub fn open(path: &Path, device: Device) -> Result<Self> {
        let place = || format!("weights {}", path.display());
        Ok(Self::of(format::open_path(path, None).with_context(place)?, device))
    }

    /// Reads from a file that is open already: a safetensors file or a frozen graph. Its path tells
    /// the values of a TensorFlow checkpoint, which nothing else does.
    pub fn of_open_file(path: &Path, file: File, device: Device) -> Result<Self> {
        Ok(Self::of(format::open_path(path, Some(file))?, device))
    }

    /// Reads from an open file: a safetensors file or a frozen graph.
    pub fn from_file(file: File, device: Device) -> Result<Self> {
        Ok(Self::of(format::open(Bytes::of_file(file)?)?, device))
    }

    /// Reads from the bytes of a safetensors file or a frozen graph.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>, device: Device) -> Result<Self> {
        Ok(Self::of(format::open(Bytes::in_memory(bytes.into()))?, device))
    }

    /// The same weights with an observer, which is told of everything that is read without fault.
    #[must_use]
    pub fn observed(self, observer: impl Fn(Read) + 'static) -> Self {
        Self { observer: Some(Box::new(observer)), ..self }
    }

    /// Puts weights in PyTorch's names under the network's own names, by `pytorch`. Other weights
    /// stay as they are, and so do all weights where `pytorch` is `None`.
    ///
    /// # Errors
    /// When the weights are in PyTorch's names, but no library has the same network.
    pub fn translated(self, pytorch: Option<PyTorch>) -> Result<Self> {
        let names = self.source.names();
        let Some(pytorch) = pytorch.filter(|_| !self.translated && pytorch::are_names(&names))
        else {
            return Ok(self);
        };
        match pytorch {
            PyTorch::Fits { library, rename, also, spare } => Ok(Self {
                source: Box::new(Renamed::new(self.source, library, rename, also, spare)),
                translated: true,
                ..self
            }),
            PyTorch::Differs(how) => bail!(
                "these are weights in PyTorch's names (`{}`, …), and their network is another: \
                 {how}. Weights in TensorFlow's names fit, or the study's frozen graph",
                names[0]
            ),
        }
    }

    /// The device that tensors are moved to.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The top of the name tree.
    pub fn root(&self) -> VariableScope<'_> {
        VariableScope { weights: self, prefix: String::new() }
    }

    /// Whose conventions the tensors follow.
    pub fn dialect(&self) -> Dialect {
        self.source.dialect()
    }

    /// The graph that the weights were frozen into, if any. It holds settings that checkpoints
    /// lack.
    pub fn graph(&self) -> Option<&Graph> {
        let graph = self.source.graph()?;
        if let Some(observer) = &self.observer {
            observer(Read::Graph);
        }
        Some(graph)
    }

    /// The note in the file's metadata, if any.
    pub fn note(&self) -> Option<&Note> {
        self.source.note()
    }

    /// Number of values in all tensors together, as the file's header has it.
    pub fn values(&self) -> u64 {
        self.source.values()
    }

    /// What kind of source this is, for people, such as `safetensors, 137 tensors`.
    pub fn description(&self) -> String {
        self.source.description()
    }

    /// Checks that the source has everything that was asked for, and nothing else.
    ///
    /// # Errors
    /// Lists every missing, misshapen, unreadable and unexpected tensor in one message.
    pub fn finish(self) -> Result<()> {
        let Reading { used, spare, mut faults, .. } = self.reading.into_inner();
        let names = self.source.names();
        let spare: Vec<String> = spare.iter().map(|start| self.source.own_name(start)).collect();
        for name in &names {
            if !used.contains(name) && !spare.iter().any(|start| name.starts_with(start)) {
                faults.insert((Fault::Unexpected, name.clone()), String::new());
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        let error = Self::unfit(&faults);
        if names.iter().any(|name| used.contains(name)) {
            return Err(error);
        }
        Err(match scope::beginnings(&names) {
            Some(beginnings) => anyhow!("{error}\n{beginnings}"),
            None => error,
        })
    }

    fn unfit(faults: &BTreeMap<(Fault, String), String>) -> Error {
        let count = faults.len();
        let mut text = format!(
            "{count} {} not fit the network:",
            match (faults.keys().all(|(fault, _)| *fault != Fault::Different), count) {
                (true, 1) => "tensor does",
                (true, _) => "tensors do",
                (false, 1) => "setting of the graph does",
                (false, _) => "tensors or settings of the graph do",
            }
        );
        for ((fault, name), more) in faults {
            let word = match fault {
                Fault::Missing => "missing   ",
                Fault::Misshapen => "misshapen ",
                Fault::Unreadable => "unreadable",
                Fault::Unexpected => "unexpected",
                Fault::Different => "different ",
            };
            let _ = write!(text, "\n  {word}  {name}{more}");
        }
        anyhow!(text)
    }

    pub(crate) fn spare(&self, start: &str) {
        self.source.spare(start);
        self.reading.borrow_mut().spare.push(start.to_owned());
    }

    fn get(&self, name: &str, shape: &[i64], role: Role) -> Tensor {
        let found = match self.source.tensor(name, shape, role) {
            Ok(tensor) if tensor.size() == shape => Ok(tensor),
            Ok(tensor) => Err(Misfit::Misshapen { found: tensor.size(), expected: shape.to_vec() }),
            Err(misfit) => Err(misfit),
        };
        let found = found
            .and_then(|tensor| check_values(tensor.to_kind(Kind::Float), role))
            .map(|tensor| tensor.to_device(self.device));
        if let (Some(observer), Ok(tensor)) = (&self.observer, &found) {
            observer(Read::Tensor(name, tensor));
        }
        let mut reading = self.reading.borrow_mut();
        let name = self.source.own_name(name);
        let tensor = found.unwrap_or_else(|misfit| {
            let (fault, more) = match misfit {
                Misfit::Missing => (Fault::Missing, format!(" {shape:?}")),
                Misfit::Misshapen { found, expected } => {
                    (Fault::Misshapen, format!(": found {found:?}, expected {expected:?}"))
                }
                Misfit::Unreadable(why) => (Fault::Unreadable, format!(": {why}")),
            };
            reading.faults.insert((fault, name.clone()), more);
            let values = count(shape.iter().map(|&size| size.max(0) as u64));
            reading.stand_ins = reading.stand_ins.saturating_add(values);
            if reading.stand_ins > self.source.values().saturating_add(MAX_STAND_INS) {
                guard::throw(
                    Self::unfit(&reading.faults)
                        .context("the network is far larger than its weights"),
                );
            }
            // Reading goes on, so that `finish` can report all faults at once.
            Tensor::zeros(shape, (Kind::Float, self.device))
        });
        reading.used.insert(name);
        tensor
    }
}

/// Checks that all values are finite, and that no variance is negative: a network with others gives
/// NaN, or far too large numbers.
fn check_values(tensor: Tensor, role: Role) -> Result<Tensor, Misfit> {
    if tensor.numel() == 0 {
        return Ok(tensor);
    }
    let (least, greatest) = tensor.aminmax(None, false);
    let (least, greatest) = (least.double_value(&[]), greatest.double_value(&[]));
    if !least.is_finite() || !greatest.is_finite() {
        let broken = tensor.isfinite().logical_not().sum(Kind::Int64).int64_value(&[]);
        return Err(Misfit::Unreadable(format!(
            "{broken} of its {} values are NaN or infinite; finite numbers are expected",
            tensor.numel()
        )));
    }
    if role == Role::Variance && least < 0.0 {
        return Err(Misfit::Unreadable(format!("a variance is {least}; 0 or more is expected")));
    }
    Ok(tensor)
}

/// A place in the name tree: `weights.root().at("block1").at("conv1")`.
#[derive(Clone)]
pub struct VariableScope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl VariableScope<'_> {
    /// The place `name` below this one.
    #[must_use]
    pub fn at(&self, name: impl AsRef<str>) -> Self {
        Self { weights: self.weights, prefix: format!("{}{}/", self.prefix, name.as_ref()) }
    }

    /// The float32 tensor `name` at this place. For a tensor that is missing or has another shape
    /// it gives zeros, and [`Weights::finish`] reports the tensor.
    pub fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Tensor {
        self.weights.get(&format!("{}{name}", self.prefix), shape, role)
    }

    /// Lets the source have tensors below this place that nobody asks for, such as those that only
    /// training needs.
    pub fn spare(&self) {
        self.weights.spare(&self.prefix);
    }

    /// Whose conventions the tensors follow.
    pub fn dialect(&self) -> Dialect {
        self.weights.dialect()
    }

    /// The graph that the weights were frozen into, to compare its settings with those of the
    /// network. Where one is taken over, [`take_over`](Self::take_over) says so.
    pub fn graph(&self) -> Option<&Graph> {
        self.weights.source.graph()
    }

    /// The name that the source itself has for the tensor `name` at this place: in a graph, that of
    /// the tensor's node.
    pub fn node(&self, name: &str) -> String {
        self.weights.source.own_name(&format!("{}{name}", self.prefix))
    }

    /// Reports a node of the graph that computes something else than the network;
    /// [`Weights::finish`] refuses the weights with what was found and what is expected.
    pub fn differs(&self, node: &str, found: &str, expected: &str) {
        let key = (Fault::Different, node.to_owned());
        let text = format!(": found {found}, expected {expected}");
        let mut reading = self.weights.reading.borrow_mut();
        let said = reading.faults.entry(key).or_default();
        if !said.contains(&text) {
            said.push_str(&text);
        }
    }

    /// Tells the observer that the network takes a setting over from the graph, so that its weights
    /// alone are not enough.
    pub fn take_over(&self) {
        let _ = self.weights.graph();
    }

    /// Whether batch norm shall use the statistics of the batch, as in training.
    pub fn training(&self) -> bool {
        self.weights.source.training()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two;

    impl Source for Two {
        fn tensor(&self, name: &str, _: &[i64], _: Role) -> Result<Tensor, Misfit> {
            match name {
                "a/weights" => Ok(Tensor::ones([2, 3], (Kind::Half, Device::Cpu))),
                "a/biases" => Ok(Tensor::ones([3], (Kind::Float, Device::Cpu))),
                "a/gone" => Err(Misfit::Unreadable("the disk is broken".into())),
                _ => Err(Misfit::Missing),
            }
        }

        fn names(&self) -> Vec<String> {
            ["a/weights", "a/biases", "a/gone", "global_step", "aux/weights"]
                .map(String::from)
                .to_vec()
        }
    }

    #[test]
    fn all_faults_are_reported_together() {
        let weights = Weights::new(Two, Device::Cpu);
        let a = weights.root().at("a");
        assert_eq!(a.tensor("weights", &[2, 3], Role::Kernel).kind(), Kind::Float);
        let _ = a.tensor("biases", &[4], Role::Bias);
        let _ = a.tensor("gone", &[4], Role::Bias);
        let _ = weights.root().at("b").tensor("weights", &[1, 1, 3, 4], Role::Kernel);
        weights.root().at("aux").spare();
        assert_eq!(
            weights.finish().unwrap_err().to_string(),
            "4 tensors do not fit the network:\n  missing     b/weights [1, 1, 3, 4]\n  \
             misshapen   a/biases: found [3], expected [4]\n  unreadable  a/gone: the disk is \
             broken\n  unexpected  global_step"
        );
    }

    #[test]
    fn values_that_no_network_has_are_refused() {
        let read = |values: &[f32], role| {
            check_values(Tensor::from_slice(values), role).map(|tensor| tensor.numel())
        };
        for role in [Role::Kernel, Role::Variance] {
            assert_eq!(read(&[0.0, f32::MAX], role), Ok(2));
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let error = "1 of its 3 values are NaN or infinite; finite numbers are expected";
                assert_eq!(
                    read(&[1.0, broken, 2.0], role),
                    Err(Misfit::Unreadable(error.into())),
                    "{broken}"
                );
            }
        }
        assert_eq!(read(&[-0.5], Role::Mean), Ok(1));
        assert_eq!(
            read(&[1.0, -0.5], Role::Variance),
            Err(Misfit::Unreadable("a variance is -0.5; 0 or more is expected".into()))
        );
        assert_eq!(read(&[], Role::Variance), Ok(0));
    }

    #[test]
    fn a_network_far_larger_than_its_weights_is_not_made() {
        let error = guard::catch::<()>("it", || {
            let weights = Weights::new(Two, Device::Cpu);
            let _ = weights.root().at("a").tensor("weights", &[1 << 20, 1 << 20], Role::Kernel);
            panic!("four terabytes were made")
        });
        let error = format!("{:#}", error.unwrap_err());
        assert_eq!(
            error,
            "the network is far larger than its weights: 1 tensor does not fit the network:\n  \
             misshapen   a/weights: found [2, 3], expected [1048576, 1048576]"
        );
    }
}
