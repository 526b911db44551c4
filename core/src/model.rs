//! Models: differentiable functions from pixels to logits, with their preprocessing inside.

use crate::params::Params;
use crate::weights::{PyTorch, Weights};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// A classifier with frozen weights. Tensors are not shared between threads: a worker loads its
/// own.
pub trait Model: Send {
    /// Who this is.
    fn card(&self) -> &ModelCard;

    /// Logits of a batch.
    ///
    /// `pixels` is N×3×S×S float32 RGB in [0, 1] with S = `card().side`; the answer is
    /// N×`card().classes`, differentiable with respect to `pixels`. Preprocessing happens in
    /// here. Only the input ever needs a gradient: weights must not require one. Row n may
    /// depend on image n alone.
    fn logits(&self, pixels: &Tensor) -> Tensor;

    /// Whether it must be loaded anew before it is given other work, as a plugin's after a panic.
    #[doc(hidden)]
    fn spoilt(&self) -> bool {
        false
    }
}

/// What a reader of a result needs to know about a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The name in studies and tables, such as `vgg_16`.
    pub name: String,
    /// The family that figures colour by, such as `VGG`.
    pub family: String,
    /// Height and width of the pixel domain, in pixels.
    pub side: i64,
    /// Number of logits.
    pub classes: i64,
    /// Index of the first real class: 1 where class 0 is "background", otherwise 0.
    #[serde(default)]
    pub label_offset: i64,
    /// Published top-1 accuracy, per cent, for the weights the study used.
    #[serde(default)]
    pub top1: Option<f64>,
    /// Published top-5 accuracy, per cent.
    #[serde(default)]
    pub top5: Option<f64>,
    /// Number of layers with weights from input to output, of networks that come in several depths
    /// and are otherwise alike: the effect of depth is read off those.
    #[serde(default)]
    pub depth: Option<u32>,
    /// One line: the paper and the reference implementation.
    #[serde(default)]
    pub source: String,
}

/// How a model comes to be: what `export_plugin!(model …)` registers.
pub trait Architecture: Model + Sized + 'static {
    /// The registered name, such as `vgg_16`.
    const NAME: &'static str;

    /// What can be chosen when the model is built (class count, input side, …).
    type Params: Params;

    /// The card of the model that `params` would give.
    fn describe(params: &Self::Params) -> ModelCard;

    /// Builds the model from weights. The caller checks afterwards that every tensor in
    /// `weights` was used, see [`Weights::finish`].
    fn load(params: Self::Params, weights: &Weights) -> Result<Self>;

    /// How weights in PyTorch's names go with this network. None: names mean what they say, the
    /// network asks for its tensors in whatever names and layouts it likes.
    fn pytorch() -> Option<PyTorch> {
        None
    }

    /// Weights that are part of the program, as the bytes of a safetensors file.
    fn embedded_weights() -> Option<&'static [u8]> {
        None
    }
}
