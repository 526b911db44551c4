//! Weights in PyTorch's names and layouts, as timm and torchvision write them.

use super::conventions::{Dialect, Role};
use super::graph::Graph;
use super::note::Note;
use super::scope::common_scope;
use super::source::{Misfit, Source};
use std::collections::BTreeSet;
use tch::Tensor;

/// How files in PyTorch's names fit a network.
#[derive(Clone, Copy, Debug)]
pub enum PyTorch {
    /// A library has the same network.
    Fits {
        /// The library and its name for the network: `torchvision vgg16`.
        library: &'static str,
        /// Turns the network's own name of a tensor (`vgg_16/conv1/conv1_1/weights`) into the
        /// library's (`features.0.weight`). `None` where the library has no such tensor.
        rename: fn(&str) -> Option<String>,
        /// Other spellings of parts of the library's names: the part, and how published files or
        /// another library have it in its place (`.norm1.`, `.norm.1.`).
        also: &'static [(&'static str, &'static str)],
        /// Beginnings of the library's names that the network does not need, such as those of a
        /// second head for training.
        spare: &'static [&'static str],
    },
    /// No library has the same network. Says how theirs differ.
    Differs(&'static str),
}

/// End of the names of counters. Each batch norm of PyTorch counts its batches.
const COUNTER: &str = ".num_batches_tracked";

/// Whether names are PyTorch's, which have dots. TensorFlow's have slashes.
pub(super) fn are_names(names: &[String]) -> bool {
    let scope = common_scope(names.iter().map(String::as_str)).len();
    names.iter().any(|name| name.ends_with(".weight"))
        && names.iter().all(|name| !name[scope..].contains('/'))
}

/// A source in PyTorch's names and layouts, read by the network's own.
pub(super) struct Renamed {
    source: Box<dyn Source>,
    library: &'static str,
    rename: fn(&str) -> Option<String>,
    also: &'static [(&'static str, &'static str)],
    spare: &'static [&'static str],
    names: BTreeSet<String>,
}

impl Renamed {
    pub fn new(
        source: Box<dyn Source>,
        library: &'static str,
        rename: fn(&str) -> Option<String>,
        also: &'static [(&'static str, &'static str)],
        spare: &'static [&'static str],
    ) -> Self {
        let names = source.names().into_iter().collect();
        Self { source, library, rename, also, spare, names }
    }

    /// The library's name of a tensor, in the spelling that the file has.
    fn theirs(&self, name: &str) -> Option<String> {
        let theirs = (self.rename)(name)?;
        let there = |name: &String| self.names.contains(&self.source.own_name(name));
        if there(&theirs) {
            return Some(theirs);
        }
        // Names begin with a part too: `classifier.0.`.
        let spellings = self.also.iter().map(|(own, other)| theirs.replacen(own, other, 1));
        Some(spellings.into_iter().find(there).unwrap_or(theirs))
    }
}

impl Source for Renamed {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        let theirs = self.theirs(name).ok_or(Misfit::Missing)?;
        let tensor = |shape: &[i64]| self.source.tensor(&theirs, shape, role);
        match (role, shape) {
            // PyTorch has out×in×H×W, or out×(in·H·W) where a dense layer sees a whole image.
            (Role::Kernel, &[height, width, inputs, outputs]) => {
                let kernel = [outputs, inputs, height, width];
                match tensor(&kernel) {
                    Err(Misfit::Misshapen { found, .. }) if found.len() == 2 => {
                        tensor(&[outputs, inputs * height * width]).map(|flat| flat.view(kernel))
                    }
                    other => other,
                }
                .map(|kernel| kernel.permute([2, 3, 1, 0]))
            }
            (Role::Kernel, &[inputs, outputs]) => {
                tensor(&[outputs, inputs]).map(|kernel| kernel.tr())
            }
            // PyTorch has (in·multiplier)×1×H×W.
            (Role::Depthwise, &[height, width, inputs, multiplier]) => {
                tensor(&[inputs * multiplier, 1, height, width]).map(|kernel| {
                    kernel.view([inputs, multiplier, height, width]).permute([2, 3, 0, 1])
                })
            }
            _ => tensor(shape),
        }
    }

    fn names(&self) -> Vec<String> {
        let wanted = |name: &String| {
            !name.ends_with(COUNTER)
                && !self.spare.iter().any(|start| name.starts_with(&self.source.own_name(start)))
        };
        self.source.names().into_iter().filter(wanted).collect()
    }

    fn values(&self) -> u64 {
        self.source.values()
    }

    fn own_name(&self, name: &str) -> String {
        self.theirs(name).map_or_else(|| name.to_owned(), |theirs| self.source.own_name(&theirs))
    }

    fn dialect(&self) -> Dialect {
        Dialect::PyTorch
    }

    fn graph(&self) -> Option<&Graph> {
        self.source.graph()
    }

    fn note(&self) -> Option<&Note> {
        self.source.note()
    }

    fn description(&self) -> String {
        format!("{} in the names of {}", self.source.description(), self.library)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::Weights;
    use anyhow::Result;
    use tch::{Device, Kind};

    /// Tensors of two channels in, three out, as PyTorch lays them out; each element is its
    /// position.
    struct Theirs;

    impl Source for Theirs {
        fn tensor(&self, name: &str, shape: &[i64], _: Role) -> Result<Tensor, Misfit> {
            let found: &[i64] = match name {
                "conv.weight" => &[3, 2, 4, 5],
                "depthwise.weight" => &[6, 1, 4, 5],
                "flat.weight" => &[3, 40],
                "fc.weight" => &[3, 2],
                "fc.bias" => &[3],
                _ => return Err(Misfit::Missing),
            };
            if found != shape {
                return Err(Misfit::Misshapen { found: found.to_vec(), expected: shape.to_vec() });
            }
            Ok(Tensor::arange(shape.iter().product::<i64>(), (Kind::Float, Device::Cpu))
                .view(shape))
        }

        fn names(&self) -> Vec<String> {
            [
                "conv.weight",
                "depthwise.weight",
                "flat.weight",
                "fc.weight",
                "fc.bias",
                "bn.num_batches_tracked",
                "aux.fc.weight",
            ]
            .map(String::from)
            .to_vec()
        }
    }

    const FITS: PyTorch = PyTorch::Fits {
        library: "a library",
        rename: |name| Some(format!("{}.weight", name.strip_suffix("/weights")?)),
        also: &[("conv.", "conv.0.")],
        spare: &["aux."],
    };

    fn weights() -> Weights {
        Weights::new(Theirs, Device::Cpu).translated(Some(FITS)).unwrap()
    }

    #[test]
    fn kernels_are_turned_into_tensorflow_s_layout() {
        let weights = weights();
        let [h, w, i, o, m] = [3, 1, 1, 2, 2];
        let at = |name: &str, shape: &[i64], role| {
            weights.root().at(name).tensor("weights", shape, role)
        };
        let conv = at("conv", &[4, 5, 2, 3], Role::Kernel).double_value(&[h, w, i, o]);
        assert_eq!(conv as i64, ((o * 2 + i) * 4 + h) * 5 + w);
        assert_eq!(
            at("flat", &[4, 5, 2, 3], Role::Kernel).double_value(&[h, w, i, o]),
            conv,
            "an image flattened as channel, row, column"
        );
        let depthwise = at("depthwise", &[4, 5, 2, 3], Role::Depthwise).double_value(&[h, w, i, m]);
        assert_eq!(depthwise as i64, ((i * 3 + m) * 4 + h) * 5 + w);
        assert_eq!(at("fc", &[2, 3], Role::Kernel).double_value(&[i, o]) as i64, o * 2 + i);
    }

    #[test]
    fn faults_are_told_in_the_file_s_names_and_spare_tensors_are_not() {
        let weights = weights();
        let at = |name: &str, shape: &[i64], role| {
            weights.root().at(name).tensor("weights", shape, role)
        };
        let _ = at("conv", &[4, 5, 2, 7], Role::Kernel);
        let _ = at("depthwise", &[4, 5, 2, 3], Role::Depthwise);
        let _ = at("flat", &[4, 5, 2, 3], Role::Kernel);
        let _ = at("gone", &[2, 3], Role::Kernel);
        let _ = weights.root().at("fc").tensor("offset", &[3], Role::Bias);
        assert_eq!(
            weights.finish().unwrap_err().to_string(),
            "5 tensors do not fit the network:\n  \
             missing     fc/offset [3]\n  \
             missing     gone.weight [2, 3]\n  \
             misshapen   conv.weight: found [3, 2, 4, 5], expected [7, 2, 4, 5]\n  \
             unexpected  fc.bias\n  \
             unexpected  fc.weight"
        );
    }

    #[test]
    fn a_network_that_differs_says_in_what() {
        let theirs = || Weights::new(Theirs, Device::Cpu);
        let error = theirs()
            .translated(Some(PyTorch::Differs("it has no stride")))
            .err()
            .unwrap()
            .to_string();
        assert!(
            error.starts_with(
                "these are weights in PyTorch's names (`conv.weight`, …), and their \
                 network is another: it has no stride."
            ),
            "{error}"
        );
        // Weights are translated only once.
        let weights = self::weights().translated(Some(FITS)).unwrap();
        assert_eq!(
            weights.root().at("fc").tensor("weights", &[2, 3], Role::Kernel).double_value(&[1, 0]),
            1.0
        );
        // A network that does not know PyTorch's names asks for the names of the file.
        let weights = theirs().translated(None).unwrap();
        assert_eq!(weights.root().tensor("fc.weight", &[3, 2], Role::Kernel).size(), [3, 2]);
        assert_eq!(
            (weights.dialect(), self::weights().dialect()),
            (Dialect::TensorFlow, Dialect::PyTorch)
        );
    }
}
