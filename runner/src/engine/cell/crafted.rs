//! What is computed from a craft cell's pixels needs of it.

use crate::data::{self, Picture};
use crate::engine::cell::eight_bit::to_8bit;
use crate::store::Adversarials;
use crate::store::rows::CraftRow;
use anyhow::{Result, ensure};
use gauntlet_core::model::ImageShape;
use tch::Tensor;

/// A craft cell, with the images that it is about.
pub(super) struct Crafted<'a> {
    pub rows: Vec<CraftRow>,
    /// In the order of the rows' slots; none where there are none.
    pub pixels: Option<Adversarials>,
    pub pictures: &'a [Picture],
    shape: ImageShape,
}

impl<'a> Crafted<'a> {
    /// Puts the parts together.
    ///
    /// # Errors
    /// When the pixels are not as many as the slots.
    pub fn new(
        rows: Vec<CraftRow>,
        pixels: Option<Adversarials>,
        pictures: &'a [Picture],
        shape: ImageShape,
    ) -> Result<Self> {
        let crafted = Self { rows, pixels, pictures, shape };
        let stored = crafted.pixels.as_ref().map_or(0, |pixels| pixels.float.size()[0] as usize);
        let slots = crafted.slots().count();
        ensure!(stored == slots, "{stored} images are stored for {slots} rows");
        Ok(crafted)
    }

    /// The rows with pixels: number of the row, and of its pixels.
    pub fn slots(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let slot = |(n, row): (usize, &CraftRow)| Some((n, row.slot? as usize));
        self.rows.iter().enumerate().filter_map(slot)
    }

    /// The originals of the pixels, M×C×H×W.
    ///
    /// # Errors
    /// When an image cannot be loaded.
    pub fn originals(&self) -> Result<Tensor> {
        let given: Vec<Picture> = self.slots().map(|(n, _)| self.pictures[n].clone()).collect();
        data::batch(&given, self.shape)
    }
}

impl Adversarials {
    /// The 8-bit images, N×C×H×W.
    pub(super) fn eight_bit(&self) -> Tensor {
        self.rounded.as_ref().map_or_else(|| to_8bit(&self.float), Tensor::shallow_clone)
    }
}
