//! Models that are given images of another side than their own.

use gauntlet_core::model::{Model, ModelCard};
use tch::Tensor;

/// A model that takes images of any side. They are resized to its own side, bilinear and
/// antialiased, and gradients pass through that. Images of its own side are left as they are.
pub(crate) struct Resized {
    model: Box<dyn Model>,
    card: ModelCard,
    side: i64,
}

impl Resized {
    pub fn new(model: Box<dyn Model>) -> Self {
        let card = model.card().clone();
        Self { side: card.side, card, model }
    }

    /// The model, with a card that says that it takes images of `side`.
    pub fn at(&mut self, side: i64) -> &dyn Model {
        self.card.side = side;
        self
    }
}

impl Model for Resized {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        if self.card.side == self.side {
            return self.model.logits(pixels);
        }
        self.model.logits(&pixels.internal_upsample_bilinear2d_aa(
            [self.side; 2],
            false,
            None,
            None,
        ))
    }

    fn needs_reload(&self) -> bool {
        self.model.needs_reload()
    }
}
