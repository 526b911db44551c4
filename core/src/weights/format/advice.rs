//! What a file is in words, and the lines of Python that make of it what is read.

use super::kind::{FileFormat, Purpose};
use super::python;

/// Newest version of TorchScript's format that libtorch 2.11 reads.
const NEWEST_TORCHSCRIPT: u64 = 10;

impl FileFormat {
    /// Whether it is a TorchScript module of a version that libtorch does not read yet.
    pub fn is_too_new(self) -> bool {
        matches!(self, Self::TorchScript { version: Some(n), .. } if n > NEWEST_TORCHSCRIPT)
    }

    /// Says what a file of this format is, that it cannot serve the purpose, and what to do.
    pub fn refusal(self, purpose: Purpose) -> String {
        let name = self.name();
        let expected = match purpose {
            Purpose::Weights => "a safetensors file or a frozen TensorFlow graph (.pb) is expected",
            Purpose::Module => "a TorchScript module is expected",
        };
        let way = match purpose {
            Purpose::Weights => self.to_weights(),
            Purpose::Module => self.to_module(),
        };
        match way {
            Way::Words("") => format!("{name}; {expected}"),
            Way::Words(words) => format!("{name}; {expected}: {words}"),
            Way::Python(before, lines) => {
                let start = if before.is_empty() { "in".into() } else { format!("{before}; in") };
                let lines = lines.join("\n  ");
                format!("{name}; {expected}. {} Python:\n  {lines}", capital(&start))
            }
        }
    }

    /// What it is, as the beginning of a sentence.
    fn name(self) -> String {
        let name = match self {
            Self::Safetensors => "a safetensors file: weights without code",
            Self::SafetensorsIndex => "the index of a safetensors file in several parts",
            Self::PickleIndex => "the index of weights of `torch.save` in several parts",
            Self::Graph => "a TensorFlow graph (.pb)",
            Self::GraphText => "a TensorFlow graph as text (.pbtxt)",
            Self::MetaGraph => {
                "a TensorFlow graph without values (.meta); the checkpoint beside it has them"
            }
            Self::SavedModel => "a TensorFlow SavedModel",
            Self::Checkpoint => "a TensorFlow checkpoint, or its index",
            Self::CheckpointData => {
                "the values of a TensorFlow checkpoint (.data-…), without names"
            }
            Self::CheckpointState => "the list of a folder's TensorFlow checkpoints",
            Self::TorchScript { version: Some(version), .. } if self.is_too_new() => {
                return format!(
                    "a TorchScript module of version {version}, from a newer PyTorch: libtorch \
                     2.11 reads up to version {NEWEST_TORCHSCRIPT}"
                );
            }
            Self::TorchScript { .. } => "a TorchScript module",
            Self::StateDict => {
                "weights of PyTorch's `torch.save` (.pth, .pt, .ckpt, .bin): a pickle, which is a \
                 program rather than data, so it is never opened"
            }
            Self::PickledModule => {
                "a whole module of PyTorch's `torch.save`: a pickle, which is a program rather \
                 than data, so it is never opened"
            }
            Self::Pickle => "a pickle: a program rather than data, so it is never opened",
            Self::ExportedProgram => "a program of PyTorch's `torch.export.save` (.pt2)",
            Self::Npy => "a NumPy array (.npy)",
            Self::Npz => "NumPy arrays (.npz)",
            Self::Onnx => "an ONNX model",
            Self::TfLite => "a TensorFlow Lite model",
            Self::Keras => "a Keras model (.keras)",
            Self::Hdf5 => "an HDF5 file, as Keras writes (.h5)",
            Self::Caffe => "a Caffe model",
            Self::Gguf => "a GGUF file, of llama.cpp",
            Self::Archive => "an archive or a compressed file",
            Self::CutZip { torch: true } => {
                "a zip archive that is cut off, as of PyTorch's `torch.save` or `torch.jit.save`"
            }
            Self::CutZip { torch: false } => "a zip archive that is cut off",
            Self::WebPage => "a web page or XML",
            Self::LfsPointer => "a Git LFS pointer, not the file itself",
            Self::Json => "JSON",
            Self::Empty => "an empty file",
            Self::Folder => "a folder",
            Self::Unknown => "of no format that is known here",
        };
        name.to_owned()
    }

    fn to_weights(self) -> Way {
        match self {
            Self::SafetensorsIndex => Way::Python("", &python::PARTS),
            Self::PickleIndex => Way::Python("where you trust the parts", &python::PICKLED_PARTS),
            Self::GraphText => Way::Python("if the values are in it", &python::TEXT_TO_GRAPH),
            Self::MetaGraph | Self::Checkpoint | Self::CheckpointData | Self::CheckpointState => {
                Way::Python("", &python::CHECKPOINT)
            }
            Self::SavedModel => Way::Python("", &python::SAVED_MODEL),
            Self::TorchScript { .. } => Way::Python(
                "it is a model of its own: `kind = \"torchscript\"` in a study, `--torchscript` of \
                 `predict`. Its weights alone",
                &python::STATE_OF_TORCHSCRIPT,
            ),
            Self::StateDict => Way::Python("where you trust the file", &python::STATE_DICT),
            Self::PickledModule => Way::Python(
                "where you trust the file, and have the module's code",
                &python::STATE_OF_PICKLE,
            ),
            Self::ExportedProgram => Way::Python("", &python::STATE_OF_EXPORTED),
            Self::Npz => Way::Python("", &python::ARRAYS),
            Self::Npy => Way::Python(
                "for a dictionary of arrays, as of `bvlc_alexnet.npy`, where you trust it",
                &python::LAYERS,
            ),
            Self::Onnx => Way::Python(
                "the weights of the model that was exported are the better source",
                &python::INITIALIZERS,
            ),
            Self::Keras | Self::Hdf5 => Way::Python("", &python::KERAS),
            Self::TfLite | Self::Caffe | Self::Gguf => {
                Way::Words("take the checkpoint or the frozen graph that it was converted from")
            }
            other => other.to_anything(),
        }
    }

    fn to_module(self) -> Way {
        match self {
            Self::TorchScript { .. } if self.is_too_new() => {
                Way::Python("with PyTorch 2.11 or older", &python::TRACED)
            }
            Self::TorchScript { .. } => {
                Way::Python("it cannot be read, so write it again", &python::TRACED)
            }
            Self::StateDict => {
                Way::Python("it has no code, so the network is needed", &python::TRACED_WITH_STATE)
            }
            Self::PickledModule => Way::Python(
                "where you trust the file, and have the module's code",
                &python::TRACED_PICKLE,
            ),
            Self::ExportedProgram => Way::Python("", &python::TRACED_EXPORTED),
            Self::Safetensors | Self::SafetensorsIndex => Way::Python(
                "it has no code: give it as `weights` to a network of `runner list models`, or",
                &python::TRACED_WITH_TENSORS,
            ),
            Self::Graph => Way::Words(
                "give it as `weights` to a network of `runner list models`; no other graph runs",
            ),
            Self::Onnx => Way::Python("with `pip install onnx2torch`", &python::TRACED_ONNX),
            Self::GraphText
            | Self::MetaGraph
            | Self::SavedModel
            | Self::Checkpoint
            | Self::CheckpointData
            | Self::CheckpointState
            | Self::Keras
            | Self::Hdf5
            | Self::TfLite => Way::Words(
                "convert it to ONNX with tf2onnx, the ONNX file to PyTorch with onnx2torch, and \
                 write that by `torch.jit.trace`; docs/torchscript.md has the lines",
            ),
            other => other.to_anything(),
        }
    }

    /// What helps whatever the file is for.
    fn to_anything(self) -> Way {
        Way::Words(match self {
            Self::Archive => "unpack it first (`runner weights pull eccv2018` does both)",
            Self::CutZip { .. } | Self::Empty => "fetch or write it again",
            Self::WebPage => "the download went wrong; fetch the file itself",
            Self::LfsPointer => "`git lfs pull` gets it",
            Self::Folder => "name the file in it",
            Self::Pickle => "save it again with the library that made it",
            _ => "",
        })
    }
}

/// How to get from a file to what is expected.
enum Way {
    Words(&'static str),
    /// What to know before, and lines of Python.
    Python(&'static str, &'static python::Lines),
}

/// A text with a capital first letter.
fn capital(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    first.to_uppercase() + rest
}
