//! Strict weights: every tensor is asked for by name and shape, and whatever is missing,
//! unexpected or misshapen is reported in one message.
//!
//! Names and layouts are TensorFlow's, those of the reference checkpoints: `conv1/weights`,
//! kernels H×W×in×out, depthwise kernels H×W×in×multiplier. They come from a safetensors file or
//! from a frozen TensorFlow graph; which of them a file is, its content says. Files in PyTorch's
//! names and layouts go through a network's own rename function, see [`PyTorch`].
//!
//! Nothing of a file is trusted: it is read where it lies, one tensor at a time, and a header's
//! claims are checked against the file's length before anything is allocated.

mod bytes;
mod format;
#[cfg(fuzzing)]
pub mod fuzzing;
mod graphdef;
mod note;
mod pytorch;
mod safetensors;

pub use graphdef::{Graph, Node};
pub use note::Note;
pub use pytorch::PyTorch;
pub use safetensors::read_safetensors;

use crate::guard;
use anyhow::{Context, Error, Result, anyhow, bail};
use bytes::Bytes;
use pytorch::Renamed;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// What a variable is for, hence how one would initialise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Convolution or dense kernel, H×W×in×out or in×out.
    Kernel,
    /// Depthwise kernel, H×W×in×multiplier.
    Depthwise,
    /// Bias, out.
    Bias,
    /// Batch norm's scale.
    Gamma,
    /// Batch norm's shift.
    Beta,
    /// Batch norm's moving mean.
    Mean,
    /// Batch norm's moving variance.
    Variance,
}

/// Why a source cannot give a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// There is none of that name.
    Missing,
    /// There is one of another shape.
    Misshapen {
        /// Its shape.
        found: Vec<i64>,
        /// The shape that it should have.
        expected: Vec<i64>,
    },
    /// There is one, but it cannot be read: says why.
    Unreadable(String),
}

/// Whose conventions weights go with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// TensorFlow's, as in the reference checkpoints.
    #[default]
    TensorFlow,
    /// PyTorch's, as timm and torchvision have them: where their network differs from the reference
    /// in preprocessing, padding or pooling, weights of this dialect go with their way.
    PyTorch,
}

/// What a network reads, see [`Weights::observed`].
pub enum Read<'a> {
    /// A tensor, float32 on the device, under the network's own name for it and in its own layout.
    Tensor(&'a str, &'a Tensor),
    /// The graph that the tensors were frozen into: it decides on more than they do.
    Graph,
}

/// Where tensors come from: a file, a formula, an optimiser's variables.
pub trait Source {
    /// The tensor of that name and shape. A source that makes tensors makes one; it needs no names.
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit>;

    /// All names, for finding the unexpected ones. A source that makes tensors has none.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Number of values in all tensors together, as the file's header has it. A source that makes
    /// tensors has none.
    fn values(&self) -> u64 {
        0
    }

    /// What the source itself calls the tensor, where that differs.
    fn own_name(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Whose conventions hold.
    fn dialect(&self) -> Dialect {
        Dialect::TensorFlow
    }

    /// The graph that the tensors were frozen into, if they were.
    fn graph(&self) -> Option<&Graph> {
        None
    }

    /// What stands beside the tensors, if anything does.
    fn note(&self) -> Option<&Note> {
        None
    }

    /// What kind of source this is, for people.
    fn description(&self) -> String {
        "tensors in memory".to_owned()
    }

    /// Whether batch norm shall use the batch's statistics, as in training.
    fn training(&self) -> bool {
        false
    }

    /// Told of a beginning of names that need not be asked for, see [`Scope::spare`].
    fn spare(&self, _start: &str) {}
}

/// Number of values in a tensor of these sizes: a header can claim any.
fn count(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(1, u64::saturating_mul)
}

/// A set of named tensors under reading.
pub struct Weights {
    source: Box<dyn Source>,
    device: Device,
    reading: RefCell<Reading>,
    observer: Option<Observer>,
    translated: bool,
}

type Observer = Box<dyn Fn(Read)>;

/// What happened so far, under the source's own names.
#[derive(Default)]
struct Reading {
    used: BTreeSet<String>,
    /// Beginnings of names that need not be asked for.
    spare: Vec<String>,
    faults: BTreeMap<(Fault, String), String>,
    /// Values in what stands in for tensors that do not fit.
    made_up: u64,
}

/// So many values more than the source has may stand in for tensors that do not fit: enough for a
/// network whose weights are those of another, and not what a few bytes can ask for by naming
/// parameters.
const MADE_UP: u64 = 1 << 28;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    Missing,
    Misshapen,
    Unreadable,
    Unexpected,
}

impl Weights {
    /// Reads from any source; tensors are moved to `device`.
    pub fn new(source: impl Source + 'static, device: Device) -> Self {
        Self {
            source: Box::new(source),
            device,
            reading: RefCell::default(),
            observer: None,
            translated: false,
        }
    }

    /// Opens a safetensors file or a frozen graph. Half precision is widened to float32.
    pub fn open(path: &Path, device: Device) -> Result<Self> {
        let place = || format!("weights {}", path.display());
        Self::from_file(File::open(path).with_context(place)?, device).with_context(place)
    }

    /// Reads from an open file: safetensors or a frozen graph.
    pub fn from_file(file: File, device: Device) -> Result<Self> {
        Self::recognise(Bytes::of_file(file)?, device)
    }

    /// Reads from the bytes of such a file.
    pub fn from_bytes(bytes: impl Into<Cow<'static, [u8]>>, device: Device) -> Result<Self> {
        Self::recognise(Bytes::in_memory(bytes.into()), device)
    }

    fn recognise(bytes: Bytes, device: Device) -> Result<Self> {
        Ok(Self {
            source: format::open(bytes)?,
            device,
            reading: RefCell::default(),
            observer: None,
            translated: false,
        })
    }

    /// The same, with an observer of all that is read well.
    #[must_use]
    pub fn observed(self, observer: impl Fn(Read) + 'static) -> Self {
        Self { observer: Some(Box::new(observer)), ..self }
    }

    /// The weights under a network's own names, where the network knows about PyTorch's and these
    /// are such.
    ///
    /// # Errors
    /// When they are, and the network differs from those of PyTorch's libraries.
    pub fn translated(self, pytorch: Option<PyTorch>) -> Result<Self> {
        let names = self.source.names();
        let Some(pytorch) = pytorch.filter(|_| !self.translated && pytorch::are_names(&names))
        else {
            return Ok(self);
        };
        match pytorch {
            PyTorch::Fits { library, rename, spare } => Ok(Self {
                source: Box::new(Renamed { source: self.source, library, rename, spare }),
                translated: true,
                ..self
            }),
            PyTorch::Differs(how) => bail!(
                "these are weights in PyTorch's names (`{}`, …), and their network is another: \
                 {how}. \
                 Weights in TensorFlow's names fit, or the study's frozen graph",
                names[0]
            ),
        }
    }

    /// Where the tensors go.
    pub fn device(&self) -> Device {
        self.device
    }

    /// The top of the name tree.
    pub fn root(&self) -> Scope<'_> {
        Scope { weights: self, prefix: String::new() }
    }

    /// Whose conventions hold, see [`Dialect`].
    pub fn dialect(&self) -> Dialect {
        self.source.dialect()
    }

    /// The graph that the weights were frozen into, if they were: for what checkpoints do not hold.
    pub fn graph(&self) -> Option<&Graph> {
        let graph = self.source.graph()?;
        if let Some(observer) = &self.observer {
            observer(Read::Graph);
        }
        Some(graph)
    }

    /// What stands beside the tensors, if anything does.
    pub fn note(&self) -> Option<&Note> {
        self.source.note()
    }

    /// Number of values in all tensors together, as the file's header has it.
    pub fn values(&self) -> u64 {
        self.source.values()
    }

    /// What kind of source this is, for people: `safetensors, 137 tensors`.
    pub fn description(&self) -> String {
        self.source.description()
    }

    /// Checks that everything asked for was there and everything there was asked for.
    ///
    /// # Errors
    /// One message that lists every missing, misshapen, unreadable and unexpected tensor.
    pub fn finish(self) -> Result<()> {
        let Reading { used, spare, mut faults, .. } = self.reading.into_inner();
        for name in self.source.names() {
            if !used.contains(&name) && !spare.iter().any(|start| name.starts_with(start)) {
                faults.insert((Fault::Unexpected, name), String::new());
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Self::unfit(&faults)) }
    }

    fn unfit(faults: &BTreeMap<(Fault, String), String>) -> Error {
        let count = faults.len();
        let mut text = format!(
            "{count} tensor{} not fit the network:",
            if count == 1 { " does" } else { "s do" }
        );
        for ((fault, name), more) in faults {
            let word = match fault {
                Fault::Missing => "missing   ",
                Fault::Misshapen => "misshapen ",
                Fault::Unreadable => "unreadable",
                Fault::Unexpected => "unexpected",
            };
            let _ = write!(text, "\n  {word}  {name}{more}");
        }
        anyhow!(text)
    }

    pub(crate) fn spare(&self, start: &str) {
        self.source.spare(start);
        self.reading.borrow_mut().spare.push(self.source.own_name(start));
    }

    fn get(&self, name: &str, shape: &[i64], role: Role) -> Tensor {
        let found = match self.source.tensor(name, shape, role) {
            Ok(tensor) if tensor.size() == shape => Ok(tensor),
            Ok(tensor) => Err(Misfit::Misshapen { found: tensor.size(), expected: shape.to_vec() }),
            Err(misfit) => Err(misfit),
        };
        let found = found.map(|tensor| tensor.to_device(self.device).to_kind(Kind::Float));
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
            reading.made_up =
                reading.made_up.saturating_add(count(shape.iter().map(|&size| size.max(0) as u64)));
            if reading.made_up > self.source.values().saturating_add(MADE_UP) {
                guard::throw(
                    Self::unfit(&reading.faults)
                        .context("the network is far larger than its weights"),
                );
            }
            // Reading goes on, so that `finish` can report everything at once.
            Tensor::zeros(shape, (Kind::Float, self.device))
        });
        reading.used.insert(name);
        tensor
    }
}

/// A place in the name tree: `weights.root().at("block1").at("conv1")`.
#[derive(Clone)]
pub struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl Scope<'_> {
    /// The place `name` below this one.
    #[must_use]
    pub fn at(&self, name: impl AsRef<str>) -> Self {
        Self { weights: self.weights, prefix: format!("{}{}/", self.prefix, name.as_ref()) }
    }

    /// The float32 tensor `name` of this place. A tensor that is missing or has another shape
    /// reads as zeros; [`Weights::finish`] then reports it.
    pub fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Tensor {
        self.weights.get(&format!("{}{name}", self.prefix), shape, role)
    }

    /// Lets a source have tensors at this place that nobody asks for: what only training needs.
    pub fn spare(&self) {
        self.weights.spare(&self.prefix);
    }

    /// Whose conventions hold, see [`Dialect`].
    pub fn dialect(&self) -> Dialect {
        self.weights.dialect()
    }

    /// Whether batch norm shall use the batch's statistics, see [`Source::training`].
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
