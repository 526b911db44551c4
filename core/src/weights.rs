//! Strict weights: every tensor is asked for by name and shape, and whatever is missing,
//! unexpected or misshapen is reported in one message.
//!
//! Names and layouts are TensorFlow's, those of the reference checkpoints: `conv1/weights`,
//! kernels H×W×in×out, depthwise kernels H×W×in×multiplier.

use anyhow::{Context, Result, bail};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
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

/// Where tensors come from: a file, a formula, an optimiser's variables.
pub trait Source {
    /// The tensor of that name, whatever its shape; `None` when there is none. A source that
    /// makes tensors gives one of `shape`.
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Option<Tensor>;

    /// All names, for finding the unexpected ones. A source that makes tensors has none.
    fn names(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether batch norm shall use the batch's statistics, as in training.
    fn training(&self) -> bool {
        false
    }
}

/// A set of named tensors under reading.
pub struct Weights {
    source: Box<dyn Source>,
    device: Device,
    reading: RefCell<Reading>,
}

#[derive(Default)]
struct Reading {
    used: BTreeSet<String>,
    missing: BTreeMap<String, Vec<i64>>,
    misshapen: BTreeMap<String, (Vec<i64>, Vec<i64>)>,
}

impl Weights {
    /// Reads from any source; tensors are moved to `device`.
    pub fn new(source: impl Source + 'static, device: Device) -> Self {
        Self { source: Box::new(source), device, reading: RefCell::default() }
    }

    /// Opens a safetensors file. Half precision is widened to float32.
    pub fn open(path: &Path, device: Device) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("weights {}", path.display()))?;
        Self::from_safetensors(&bytes, device).with_context(|| format!("weights {}", path.display()))
    }

    /// Reads the bytes of a safetensors file.
    pub fn from_safetensors(bytes: &[u8], device: Device) -> Result<Self> {
        Ok(Self::new(Stored(read_safetensors(bytes)?), device))
    }

    /// The top of the name tree.
    pub fn root(&self) -> Scope<'_> {
        Scope { weights: self, prefix: String::new() }
    }

    /// Checks that everything asked for was there and everything there was asked for.
    ///
    /// # Errors
    /// One message that lists every missing, misshapen and unexpected tensor.
    pub fn finish(self) -> Result<()> {
        let Reading { used, missing, misshapen } = self.reading.into_inner();
        let unexpected: Vec<String> = self.source.names().into_iter().filter(|name| !used.contains(name)).collect();
        let faults = missing.len() + misshapen.len() + unexpected.len();
        if faults == 0 {
            return Ok(());
        }
        let mut text = format!("{faults} tensor{} not fit the network:", if faults == 1 { " does" } else { "s do" });
        for (name, shape) in missing {
            write!(text, "\n  missing     {name} {shape:?}")?;
        }
        for (name, (found, expected)) in misshapen {
            write!(text, "\n  misshapen   {name}: found {found:?}, expected {expected:?}")?;
        }
        for name in unexpected {
            write!(text, "\n  unexpected  {name}")?;
        }
        bail!(text)
    }

    fn get(&self, name: String, shape: &[i64], role: Role) -> Tensor {
        let mut reading = self.reading.borrow_mut();
        let found = self.source.tensor(&name, shape, role);
        let tensor = match found {
            Some(tensor) if tensor.size() == shape => tensor,
            other => {
                match other {
                    Some(tensor) => drop(reading.misshapen.insert(name.clone(), (tensor.size(), shape.to_vec()))),
                    None => drop(reading.missing.insert(name.clone(), shape.to_vec())),
                }
                // Reading goes on, so that `finish` can report everything at once.
                Tensor::zeros(shape, (Kind::Float, Device::Cpu))
            }
        };
        reading.used.insert(name);
        tensor.to_device(self.device).to_kind(Kind::Float)
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
    /// is noted for [`Weights::finish`], and zeros stand in for it.
    pub fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Tensor {
        self.weights.get(format!("{}{name}", self.prefix), shape, role)
    }

    /// Whether batch norm shall use the batch's statistics, see [`Source::training`].
    pub fn training(&self) -> bool {
        self.weights.source.training()
    }
}

/// Tensors in memory, by name.
struct Stored(BTreeMap<String, Tensor>);

impl Source for Stored {
    fn tensor(&self, name: &str, _: &[i64], _: Role) -> Option<Tensor> {
        self.0.get(name).map(Tensor::shallow_clone)
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}

/// The floating-point tensors in the bytes of a safetensors file, by name.
pub fn read_safetensors(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    use safetensors::{Dtype, SafeTensors};

    let file = SafeTensors::deserialize(bytes).map_err(|e| anyhow::anyhow!("not a safetensors file: {e}"))?;
    file.iter()
        .map(|(name, view)| {
            let kind = match view.dtype() {
                Dtype::F16 => Kind::Half,
                Dtype::BF16 => Kind::BFloat16,
                Dtype::F32 => Kind::Float,
                Dtype::F64 => Kind::Double,
                other => bail!("tensor `{name}` has type {other:?}; F16, BF16, F32 or F64 is expected"),
            };
            let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
            Ok((name.to_owned(), Tensor::f_from_data_size(view.data(), &shape, kind)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two;

    impl Source for Two {
        fn tensor(&self, name: &str, _: &[i64], _: Role) -> Option<Tensor> {
            match name {
                "a/weights" => Some(Tensor::ones([2, 3], (Kind::Half, Device::Cpu))),
                "a/biases" => Some(Tensor::ones([3], (Kind::Float, Device::Cpu))),
                _ => None,
            }
        }

        fn names(&self) -> Vec<String> {
            ["a/weights", "a/biases", "global_step"].map(String::from).to_vec()
        }
    }

    #[test]
    fn all_faults_are_reported_together() {
        let weights = Weights::new(Two, Device::Cpu);
        let a = weights.root().at("a");
        assert_eq!(a.tensor("weights", &[2, 3], Role::Kernel).kind(), Kind::Float);
        let _ = a.tensor("biases", &[4], Role::Bias);
        let _ = weights.root().at("b").tensor("weights", &[1, 1, 3, 4], Role::Kernel);
        assert_eq!(
            weights.finish().unwrap_err().to_string(),
            "3 tensors do not fit the network:\n  missing     b/weights [1, 1, 3, 4]\n  \
             misshapen   a/biases: found [3], expected [4]\n  unexpected  global_step"
        );
    }

    #[test]
    fn a_file_that_is_not_safetensors_is_refused() {
        let error = Weights::from_safetensors(b"PK\x03\x04 some zip", Device::Cpu).err().unwrap().to_string();
        assert!(error.starts_with("not a safetensors file"), "{error}");
    }
}
