//! Models: differentiable functions from pixels to logits, with their preprocessing inside.

use crate::params::Params;
use crate::weights::{PyTorch, Weights};
use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use tch::Tensor;

/// A classifier with frozen weights. Tensors are not shared between threads: each worker loads its
/// own model.
pub trait Model: Send {
    /// What the model is.
    fn card(&self) -> &ModelCard;

    /// Logits of a batch.
    ///
    /// `pixels` are N×C×H×W float32 in [0, 1], grey or RGB, with C, H and W those of
    /// [`card().shape()`](ModelCard::shape). The logits are N×`card().classes` float32,
    /// differentiable with respect to `pixels`. Preprocessing happens in here. Weights must not
    /// require a gradient. Row n may depend on image n alone.
    fn logits(&self, pixels: &Tensor) -> Tensor;

    /// Whether the model must be loaded again before it is given other work: a plugin's model after
    /// a panic.
    #[doc(hidden)]
    fn needs_reload(&self) -> bool {
        false
    }
}

/// What a reader of a result needs to know about a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Name in studies and tables, such as `vgg_16`.
    pub name: String,
    /// Family, such as `VGG`. Figures give each family a colour.
    pub family: String,
    /// Height and width of the images, in pixels. 0 where `height` and `width` say it.
    #[serde(default)]
    pub side: i64,
    /// Height of the images, in pixels, where they are not square.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<i64>,
    /// Width of the images, in pixels, where they are not square.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<i64>,
    /// Number of channels of the images: 3 for RGB, 1 for grey.
    #[serde(default = "rgb")]
    pub channels: i64,
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

impl Default for ModelCard {
    /// A card of RGB images on which all else is empty.
    fn default() -> Self {
        Self {
            name: String::new(),
            family: String::new(),
            side: 0,
            height: None,
            width: None,
            channels: RGB,
            classes: 0,
            label_offset: 0,
            top1: None,
            top5: None,
            depth: None,
            source: String::new(),
        }
    }
}

impl ModelCard {
    /// The shape of the images that the model takes.
    pub fn shape(&self) -> ImageShape {
        ImageShape {
            channels: self.channels,
            height: self.height.unwrap_or(self.side),
            width: self.width.unwrap_or(self.side),
        }
    }

    /// The card of the same model with images of another shape.
    #[must_use]
    pub fn with_shape(self, shape: ImageShape) -> Self {
        let ImageShape { channels, height, width } = shape;
        let square = height == width;
        Self {
            side: if square { height } else { 0 },
            height: (!square).then_some(height),
            width: (!square).then_some(width),
            channels,
            ..self
        }
    }

    /// Checks what the card says of images and classes.
    ///
    /// # Errors
    /// When the images have no possible shape, the classes are fewer than two, or `label_offset` is
    /// not 0 or 1; the error begins with the key.
    pub fn check(&self) -> Result<()> {
        let Self { side, height, width, channels, classes, label_offset, .. } = self;
        ensure!(
            [GREY, RGB].contains(channels),
            "`channels` is {channels}, expected 1 (grey) or 3 (RGB)"
        );
        match (height, width) {
            (None, None) => possible("side", *side)?,
            (Some(height), Some(width)) => {
                possible("height", *height)?;
                possible("width", *width)?;
                ensure!(
                    *side == 0 || (side == height && side == width),
                    "`side` is {side} beside `height` {height} and `width` {width}: expected \
                     `side` for square images, or `height` and `width`"
                );
            }
            (Some(_), None) => bail!("`height` stands without `width`: both are expected"),
            (None, Some(_)) => bail!("`width` stands without `height`: both are expected"),
        }
        ensure!(*classes >= 2, "`classes` is {classes}, expected the number of logits, 2 or more");
        ensure!(
            [0, 1].contains(label_offset),
            "`label_offset` is {label_offset}, expected 0, or 1 where class 0 is \"background\""
        );
        ensure!(
            classes - label_offset >= 2,
            "`classes` is {classes} with a background, expected 2 real classes at least"
        );
        Ok(())
    }
}

/// Greatest height or width of an image, in pixels.
const MAX_SIDE: i64 = 4096;

fn possible(key: &str, pixels: i64) -> Result<()> {
    ensure!(
        (1..=MAX_SIDE).contains(&pixels),
        "`{key}` is {pixels}, expected 1 to {MAX_SIDE} pixels"
    );
    Ok(())
}

/// Number of channels of a grey image.
const GREY: i64 = 1;
/// Number of channels of an RGB image.
const RGB: i64 = 3;

fn rgb() -> i64 {
    RGB
}

/// The shape of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageShape {
    /// 3 for RGB, 1 for grey.
    pub channels: i64,
    /// In pixels.
    pub height: i64,
    /// In pixels.
    pub width: i64,
}

impl ImageShape {
    /// A square RGB image.
    pub fn rgb(side: i64) -> Self {
        Self { channels: RGB, height: side, width: side }
    }

    /// Whether the image is grey.
    pub fn is_grey(self) -> bool {
        self.channels == GREY
    }

    /// The shorter of height and width.
    pub fn side(self) -> i64 {
        self.height.min(self.width)
    }

    /// Number of values: channels × height × width.
    pub fn values(self) -> i64 {
        self.channels * self.height * self.width
    }

    /// The size of a tensor of so many images, N×C×H×W.
    pub fn batch(self, count: usize) -> [i64; 4] {
        [count as i64, self.channels, self.height, self.width]
    }
}

impl From<i64> for ImageShape {
    /// A square RGB image of that side.
    fn from(side: i64) -> Self {
        Self::rgb(side)
    }
}

impl fmt::Display for ImageShape {
    /// `224×224`, or `28×28 grey`: height × width.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { height, width, .. } = self;
        write!(f, "{height}×{width}{}", if self.is_grey() { " grey" } else { "" })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str) -> ModelCard {
        toml::from_str(&format!("name = \"m\"\nfamily = \"f\"\nclasses = 10\n{toml}")).unwrap()
    }

    #[test]
    fn a_card_says_the_shape_of_the_images() {
        let shape = |channels, height, width| ImageShape { channels, height, width };
        for (toml, expected, said) in [
            ("side = 28", shape(3, 28, 28), "28×28"),
            ("side = 28\nchannels = 1", shape(1, 28, 28), "28×28 grey"),
            ("height = 32\nwidth = 64", shape(3, 32, 64), "32×64"),
            ("side = 28\nheight = 28\nwidth = 28", shape(3, 28, 28), "28×28"),
        ] {
            let card = read(toml);
            card.check().unwrap();
            assert_eq!((card.shape(), card.shape().to_string().as_str()), (expected, said));
            let again = read("side = 7").with_shape(expected);
            again.check().unwrap();
            assert_eq!(again.shape(), expected);
            let written = toml::to_string(&again).unwrap();
            assert_eq!(toml::from_str::<ModelCard>(&written).unwrap(), again);
        }
    }

    #[test]
    fn a_card_that_cannot_be_is_refused() {
        for (toml, expected) in [
            ("side = 0", "`side` is 0, expected 1 to 4096 pixels"),
            ("side = 28\nchannels = 2", "`channels` is 2, expected 1 (grey) or 3 (RGB)"),
            ("height = 32", "`height` stands without `width`: both are expected"),
            ("side = 32\nwidth = 64", "`width` stands without `height`: both are expected"),
            (
                "side = 32\nheight = 32\nwidth = 64",
                "`side` is 32 beside `height` 32 and `width` 64: expected `side` for square images, \
                 or `height` and `width`",
            ),
            ("side = 28\nlabel_offset = 2", "`label_offset` is 2, expected 0, or 1 where class 0"),
        ] {
            let error = read(toml).check().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
