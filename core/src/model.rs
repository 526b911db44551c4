//! Models: differentiable functions from pixels to logits, with their preprocessing inside.

use crate::params::Params;
use crate::weights::{PyTorch, Weights};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// A classifier with frozen weights. Tensors are not shared between threads: each worker loads its
/// own model.
pub trait Model: Send {
    /// What the model is.
    fn card(&self) -> &ModelCard;

    /// Logits of a batch.
    ///
    /// `pixels` are N×3×S×S float32 RGB in [0, 1] with S = `card().side`. The logits are
    /// N×`card().classes` float32, differentiable with respect to `pixels`. Preprocessing happens
    /// in here. Weights must not require a gradient. Row n may depend on image n alone.
    fn logits(&self, pixels: &Tensor) -> Tensor;

    /// Whether the model must be loaded again before it is given other work: a plugin's model after
    /// a panic.
    #[doc(hidden)]
    fn needs_reload(&self) -> bool {
        false
    }
}

/// What a reader of a result needs to know about a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Name in studies and tables, such as `vgg_16`.
    pub name: String,
    /// Family, such as `VGG`. Figures give each family a colour.
    pub family: String,
    /// Height and width of the images, in pixels.
    pub side: i64,
    /// Number of logits.
    pub classes: i64,
    /// Index of the first real class: 1 where class 0 is "background", otherwise 0.
    #[serde(default)]
    pub label_offset: i64,
    /// Published top-1 accuracy of these weights, in per cent.
    #[serde(default)]
    pub top1: Option<f64>,
    /// Published top-5 accuracy of these weights, in per cent.
    #[serde(default)]
    pub top5: Option<f64>,
    /// Number of layers with weights from input to output, for networks that come in several depths
    /// and are otherwise alike. The effect of depth is measured on these.
    #[serde(default)]
    pub depth: Option<u32>,
    /// One line: the paper and the reference implementation.
    #[serde(default)]
    pub source: String,
}

/// How a model is built from parameters and weights. `export_plugin!(model …)` registers it.
pub trait Architecture: Model + Sized + 'static {
    /// The registered name, such as `vgg_16`.
    const NAME: &'static str;

    /// The parameters, such as the number of classes or the side of the images.
    type Params: Params;

    /// The card of the model that `params` would give.
    fn describe(params: &Self::Params) -> ModelCard;

    /// Builds the model from weights. The caller checks afterwards that every tensor of `weights`
    /// was used, see [`Weights::finish`].
    fn load(params: Self::Params, weights: &Weights) -> Result<Self>;

    /// How weights in PyTorch's names fit this network. `None` for a network that asks for its
    /// tensors by the names and layouts of the file, whatever these are.
    fn pytorch() -> Option<PyTorch> {
        None
    }

    /// Weights that are part of the program, as the bytes of a safetensors file. `None` where the
    /// user names a file. [`NO_WEIGHTS`](crate::weights::NO_WEIGHTS) for a model without weights.
    fn embedded_weights() -> Option<&'static [u8]> {
        None
    }
}
