//! Lines of Python that make a safetensors file, or a TorchScript module, of files of other formats.

/// Three lines of Python.
pub type Lines = [&'static str; 3];

/// A state dict in memory to safetensors.
const SAVE: &str = "save_file({k: v.contiguous().clone() for k, v in state.items()}, \
                    \"FILE.safetensors\")";
/// A module in memory to TorchScript.
const TRACE: &str = "torch.jit.trace(model, torch.rand(1, 3, S, S)).save(\"FILE.pt\")";
/// The same, switched to evaluation.
const TRACE_EVAL: &str = "torch.jit.trace(model.eval(), torch.rand(1, 3, S, S)).save(\"FILE.pt\")";
/// The variables of a TensorFlow checkpoint.
pub const CHECKPOINT: Lines = [
    "import tensorflow as tf; from safetensors.numpy import save_file",
    "c = tf.train.load_checkpoint(\"model.ckpt\")  # without .index, .meta or .data-…",
    "save_file({n: c.get_tensor(n) for n in c.get_variable_to_shape_map() if n != \
     \"global_step\"}, \"FILE.safetensors\")",
];

/// Safetensors in several parts.
pub const PARTS: Lines = [
    "import json; from safetensors.torch import load_file, save_file",
    "parts = set(json.load(open(\"FILE.safetensors.index.json\"))\
                     [\"weight_map\"].values())",
    "save_file({k: v for p in parts for k, v in load_file(p).items()}, \
                     \"FILE.safetensors\")",
];
/// Pickles in several parts.
pub const PICKLED_PARTS: Lines = [
    "import json, torch; from safetensors.torch import save_file",
    "parts = set(json.load(open(\"FILE.bin.index.json\"))[\"weight_map\"].values())",
    "save_file({k: v.contiguous().clone() for p in parts for k, v in \
                     torch.load(p, map_location=\"cpu\", weights_only=True).items()}, \
                     \"FILE.safetensors\")",
];
/// A graph as text.
pub const TEXT_TO_GRAPH: Lines = [
    "import tensorflow as tf; from google.protobuf import text_format",
    "graph = text_format.Parse(open(\"FILE.pbtxt\").read(), \
                     tf.compat.v1.GraphDef())",
    "open(\"FILE.pb\", \"wb\").write(graph.SerializeToString())",
];
/// The variables of a SavedModel.
pub const SAVED_MODEL: Lines = [
    "import tensorflow as tf; from safetensors.numpy import save_file",
    "model = tf.saved_model.load(\"FOLDER\")  # the folder of saved_model.pb",
    "save_file({v.name.removesuffix(\":0\"): v.numpy() for v in \
                     model.variables}, \"FILE.safetensors\")",
];
/// The weights of a TorchScript module.
pub const STATE_OF_TORCHSCRIPT: Lines = [
    "import torch; from safetensors.torch import save_file",
    "state = torch.jit.load(\"FILE.pt\", map_location=\"cpu\").state_dict()",
    SAVE,
];
/// Weights of `torch.save`.
pub const STATE_DICT: Lines = [
    "import torch; from safetensors.torch import save_file",
    "w = torch.load(\"FILE.pth\", map_location=\"cpu\", weights_only=True); state \
                     = next((w[k] for k in (\"state_dict\", \"model\") if k in w), w)",
    SAVE,
];
/// The weights of a pickled module.
pub const STATE_OF_PICKLE: Lines = [
    "import torch; from safetensors.torch import save_file",
    "state = torch.load(\"FILE.pt\", map_location=\"cpu\", \
                     weights_only=False).state_dict()",
    SAVE,
];
/// The weights of an exported program.
pub const STATE_OF_EXPORTED: Lines = [
    "import torch; from safetensors.torch import save_file",
    "state = torch.export.load(\"FILE.pt2\").state_dict",
    SAVE,
];
/// Arrays of NumPy.
pub const ARRAYS: Lines = [
    "import numpy as np; from safetensors.numpy import save_file",
    "arrays = np.load(\"FILE.npz\")",
    "save_file({k: np.ascontiguousarray(arrays[k]) for k in arrays}, \
                     \"FILE.safetensors\")",
];
/// A dictionary of layers in an array of NumPy.
pub const LAYERS: Lines = [
    "import numpy as np; from safetensors.numpy import save_file",
    "layers = np.load(\"FILE.npy\", allow_pickle=True, encoding=\"latin1\").item()",
    "save_file({f\"{k}/{n}\": a for k, v in layers.items() for n, a in \
                     zip((\"weights\", \"biases\"), v)}, \"FILE.safetensors\")",
];
/// The weights in an ONNX model.
pub const INITIALIZERS: Lines = [
    "import onnx; from onnx import numpy_helper; from safetensors.numpy import \
                     save_file",
    "graph = onnx.load(\"FILE.onnx\").graph",
    "save_file({t.name: numpy_helper.to_array(t) for t in graph.initializer}, \
                     \"FILE.safetensors\")",
];
/// The weights of a Keras model.
pub const KERAS: Lines = [
    "import keras; from safetensors.numpy import save_file",
    "model = keras.models.load_model(\"FILE.keras\")",
    "save_file({getattr(v, \"path\", v.name): v.numpy() for v in model.weights}, \
                     \"FILE.safetensors\")",
];
/// A network in memory.
pub const TRACED: Lines =
    ["import torch", "model = …  # the network, with its weights", TRACE_EVAL];
/// A network with weights of `torch.save`.
pub const TRACED_WITH_STATE: Lines = [
    "import torch",
    "model = …; model.load_state_dict(torch.load(\"FILE.pth\", \
                     map_location=\"cpu\", weights_only=True))",
    TRACE_EVAL,
];
/// A pickled module.
pub const TRACED_PICKLE: Lines = [
    "import torch",
    "model = torch.load(\"FILE.pt\", map_location=\"cpu\", weights_only=False)",
    TRACE_EVAL,
];
/// An exported program.
pub const TRACED_EXPORTED: Lines =
    ["import torch", "model = torch.export.load(\"FILE.pt2\").module()", TRACE];
/// A network with weights of a safetensors file.
pub const TRACED_WITH_TENSORS: Lines = [
    "import torch; from safetensors.torch import load_file",
    "model = …; model.load_state_dict(load_file(\"FILE.safetensors\"))",
    TRACE_EVAL,
];
/// An ONNX model.
pub const TRACED_ONNX: Lines =
    ["import onnx2torch, torch", "model = onnx2torch.convert(\"FILE.onnx\").eval()", TRACE];
