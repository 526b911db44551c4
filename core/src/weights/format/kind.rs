//! The formats that are told apart, and what a file can be for.

/// What a file of a model is. [`FileFormat::refusal`] says so in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Named tensors: safetensors.
    Safetensors,
    /// The index of a safetensors file that is split into parts.
    SafetensorsIndex,
    /// The index of a pickle that is split into parts.
    PickleIndex,
    /// A graph of TensorFlow (`GraphDef`), frozen or not.
    Graph,
    /// The same as text.
    GraphText,
    /// A graph of TensorFlow with what training adds (`MetaGraphDef`), without values.
    MetaGraph,
    /// A SavedModel of TensorFlow: its folder, or `saved_model.pb` in it.
    SavedModel,
    /// A checkpoint of TensorFlow: its index, which is a table of LevelDB, or one of version 1.
    Checkpoint,
    /// The values of a checkpoint of TensorFlow, without their names.
    CheckpointData,
    /// The text file `checkpoint`, which names the last one.
    CheckpointState,
    /// A TorchScript module.
    TorchScript {
        /// The version of its format, as far as it can be read.
        version: Option<u64>,
        /// The type of its weights where that is not float32: `float16`, `bfloat16`, `float64`.
        precision: Option<&'static str>,
    },
    /// Weights that `torch.save` wrote.
    StateDict,
    /// A whole module that `torch.save` wrote, as a pickle of its classes.
    PickledModule,
    /// Another pickle.
    Pickle,
    /// What `torch.export.save` wrote.
    ExportedProgram,
    /// An array of NumPy.
    Npy,
    /// Arrays of NumPy.
    Npz,
    /// ONNX.
    Onnx,
    /// TensorFlow Lite.
    TfLite,
    /// What Keras 3 writes.
    Keras,
    /// HDF5, as Keras 2 wrote it.
    Hdf5,
    /// A network of Caffe.
    Caffe,
    /// GGUF, of llama.cpp.
    Gguf,
    /// An archive or a compressed file.
    Archive,
    /// A zip archive whose end is missing.
    CutZip {
        /// Whether it begins as PyTorch's files do.
        torch: bool,
    },
    /// A web page, or other XML.
    WebPage,
    /// A pointer of Git LFS in the place of the file.
    LfsPointer,
    /// JSON.
    Json,
    /// A file without content.
    Empty,
    /// A folder of no known kind.
    Folder,
    /// Another file.
    Unknown,
}

/// What a file shall serve as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The weights of a network that the program knows.
    Weights,
    /// A model by itself: a TorchScript module.
    Module,
}
