//! Models that are given images of another shape than their own.

use crate::engine::cell::bring::{resize, to_channels};
use gauntlet_core::model::{ImageShape, Model, ModelCard};
use tch::Tensor;

/// A model that takes images of any shape. They are brought to its own, bilinear and antialiased,
/// and gradients pass through that. Images of its own shape are left as they are.
pub(crate) struct Resized {
    model: Box<dyn Model>,
    card: ModelCard,
    own: ImageShape,
}

impl Resized {
    pub fn new(model: Box<dyn Model>) -> Self {
        let card = model.card().clone();
        Self { own: card.shape(), card, model }
    }

    /// The model, with a card that says that it takes images of `shape`.
    pub fn at(&mut self, shape: ImageShape) -> &dyn Model {
        if self.card.shape() != shape {
            self.card = self.model.card().clone().with_shape(shape);
        }
        self
    }
}

impl Model for Resized {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        if self.card.shape() == self.own {
            return self.model.logits(pixels);
        }
        let pixels = to_channels(pixels, self.own);
        if pixels.size()[2..] == [self.own.height, self.own.width] {
            return self.model.logits(&pixels);
        }
        self.model.logits(&resize(&pixels, self.own))
    }

    fn needs_reload(&self) -> bool {
        self.model.needs_reload()
    }
}
