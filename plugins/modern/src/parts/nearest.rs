//! The nearest adversarial of each case so far.

use super::{keep, rows::index_of};
use gauntlet_core::prelude::*;

/// The nearest adversarials of a batch of M cases.
pub struct Nearest {
    /// M: the distance of each, or the bound that a first one must fall below.
    pub distance: Tensor,
    /// M booleans: whether an adversarial was seen, at any distance.
    pub seen: Tensor,
    pixels: Tensor,
    taken: Tensor,
}

impl Nearest {
    /// None yet; `bound` (M) is the distance that the first must fall below.
    pub fn new(images: &Tensor, bound: &Tensor) -> Self {
        let none = bound.zeros_like().to_kind(Kind::Bool);
        Self { distance: bound.copy(), seen: none.copy(), pixels: images.copy(), taken: none }
    }

    /// Takes the points (M×C×H×W, at these distances, M) that meet their goals (M booleans) and are
    /// nearer than what there is.
    pub fn offer(&mut self, points: &Tensor, distances: &Tensor, met: &Tensor) {
        let nearer = met.logical_and(&distances.lt_tensor(&self.distance));
        self.seen = self.seen.logical_or(met);
        self.taken = self.taken.logical_or(&nearer);
        self.distance = distances.where_self(&nearer, &self.distance);
        keep(&mut self.pixels, points, &nearer);
    }

    /// Takes what is nearer of the adversarials found for some rows.
    pub fn absorb(&mut self, rows: &[usize], other: &Self) {
        let index = index_of(rows, &self.distance);
        let points = self.pixels.index_copy(0, &index, &other.pixels);
        let distances = self.distance.index_copy(0, &index, &other.distance);
        let met = self.taken.zeros_like().index_copy(0, &index, &other.taken);
        self.offer(&points, &distances, &met);
    }

    /// Whether there is an adversarial for each case, M booleans.
    pub fn taken(&self) -> &Tensor {
        &self.taken
    }

    /// The points, M×C×H×W; the images where there is no adversarial.
    pub fn pixels(&self) -> &Tensor {
        &self.pixels
    }

    /// An answer for each case.
    ///
    /// # Errors
    /// Those of libtorch.
    pub fn answers(&self) -> Result<Vec<Answer>> {
        let taken = Vec::<bool>::try_from(&self.taken)?;
        let answers = Answer::rows(&self.pixels).zip(taken);
        Ok(answers.map(|(answer, taken)| if taken { answer } else { Answer::NotFound }).collect())
    }
}
