//! Passes that need not be made, since their result is known: as long as a case has not left its
//! image, and at a small c it never does, the model's answer there stays what it was.
//!
//! The host must find these lanes at every iteration. On a GPU it would have to wait each time, so
//! there all passes are made.

use anyhow::Result;
use gauntlet_core::attack::Goals;
use gauntlet_core::device::upload;
use gauntlet_core::lanes::{Lanes, Search};
use tch::{Device, Kind, Tensor};

/// What a model answers at a case's image, with one c.
pub struct AtImage {
    /// Gradient of the loss with respect to the pixels, C×H×W.
    pub gradient: Tensor,
    /// Logits, K.
    pub logits: Tensor,
}

/// The lanes for which the model is asked. In the others, its answer is known or does not matter.
pub struct Asked {
    lanes: Vec<usize>,
    /// The same on the device, int64; none if all lanes are asked for.
    index: Option<Tensor>,
}

impl Asked {
    /// Asks for the lanes of `count` that `asked` says.
    pub fn new(count: usize, device: Device, asked: impl Fn(usize) -> bool) -> Self {
        let lanes: Vec<usize> = (0..count).filter(|&lane| asked(lane)).collect();
        let numbers: Vec<i64> = lanes.iter().map(|&lane| lane as i64).collect();
        let index = (lanes.len() < count).then(|| upload(&numbers, device));
        Self { lanes, index }
    }

    /// The cases in the lanes.
    pub fn cases<S: Search>(&self, lanes: &Lanes<S>) -> Vec<usize> {
        self.lanes.iter().map(|&lane| lanes.cases[lane]).collect()
    }

    /// The goals of the lanes.
    pub fn goals<S: Search>(&self, lanes: &Lanes<S>) -> Goals {
        Goals { class: self.rows(&lanes.goals.class), sign: self.rows(&lanes.goals.sign) }
    }

    /// The lanes' rows of a tensor.
    pub fn rows(&self, tensor: &Tensor) -> Tensor {
        self.index
            .as_ref()
            .map_or_else(|| tensor.shallow_clone(), |index| tensor.index_select(0, index))
    }

    /// Rows for all lanes, in a tensor of this shape: what `ask` gives for the lanes asked for;
    /// what is `known` at the image in the others, and zeros if nothing is.
    pub fn complete<'a>(
        &self,
        shape: &[i64],
        at_image: impl Iterator<Item = Option<&'a AtImage>>,
        known: impl Fn(&AtImage) -> &Tensor,
        ask: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let Some(index) = &self.index else { return ask() };
        let all = Tensor::zeros(shape, (Kind::Float, index.device()));
        for (lane, at_image) in (0..).zip(at_image) {
            if let Some(at_image) = at_image {
                all.get(lane).copy_(known(at_image));
            }
        }
        if self.lanes.is_empty() { Ok(all) } else { Ok(all.index_copy(0, index, &ask()?)) }
    }
}
