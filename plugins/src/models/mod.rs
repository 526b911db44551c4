//! The networks, a file per family.

mod mini;
mod mobilenet_v1;
mod resnet_v2;
mod vgg;

pub use mini::Mini;
pub use mobilenet_v1::MobileNetV1;
pub use resnet_v2::ResNetV2;
pub use vgg::Vgg;

use gauntlet_core::model::ModelCard;
use gauntlet_core::prelude::*;

/// What can be chosen when a network is built. The defaults are those of the published weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
// The empty bound is what lets serde derive a default for a type with constants in its name.
#[serde(default, deny_unknown_fields, bound = "")]
pub struct Shape<const CLASSES: i64, const SIDE: i64> {
    /// Number of logits, at least 2.
    pub classes: i64,
    /// Height and width of the pixels; at least 32.
    pub side: i64,
    /// Multiplier of the channels of every layer, above 0; no layer gets less than 8.
    pub channels: f64,
}

impl<const CLASSES: i64, const SIDE: i64> Default for Shape<CLASSES, SIDE> {
    fn default() -> Self {
        Self { classes: CLASSES, side: SIDE, channels: 1.0 }
    }
}

impl<const CLASSES: i64, const SIDE: i64> Shape<CLASSES, SIDE> {
    /// Says which value is out of range, and what the range is.
    fn check(&self) -> Result<()> {
        ensure!(self.classes >= 2, "`classes` is {}, expected 2 or more", self.classes);
        // Each of the networks halves its input five times.
        ensure!(self.side >= 32, "`side` is {}, expected 32 or more", self.side);
        ensure!(self.channels > 0.0 && self.channels <= 16.0, "`channels` is {}, expected above 0 and up to 16", self.channels);
        Ok(())
    }

    /// The card of a network of this shape; what was published holds for the default alone.
    fn card(&self, published: &Published) -> ModelCard {
        let as_published = *self == Self::default();
        ModelCard {
            name: published.name.into(),
            family: published.family.into(),
            side: self.side,
            classes: self.classes,
            label_offset: i64::from(self.classes == 1001),
            top1: published.top1.filter(|_| as_published),
            top5: published.top5.filter(|_| as_published),
            source: published.source.into(),
        }
    }
}

/// What is known of a network's published weights.
struct Published {
    name: &'static str,
    family: &'static str,
    /// Per cent.
    top1: Option<f64>,
    /// Per cent.
    top5: Option<f64>,
    source: &'static str,
}
