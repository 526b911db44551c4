//! Whether a network with its weights gives numbers at all.

use anyhow::{Result, ensure};
use gauntlet_core::device::Device;
use gauntlet_core::guard;
use gauntlet_core::model::{ImageShape, Model};
use serde::Serialize;
use tch::{Kind, Tensor};

/// A network's answer to two plain images: mid-grey, and a slope from black to white.
#[derive(Debug, Serialize)]
pub struct PlainAnswer {
    /// Mean of all logits.
    pub mean: f64,
    /// Standard deviation of all logits.
    pub deviation: f64,
    /// The greatest logit's index, per image.
    pub classes: Vec<i64>,
}

impl PlainAnswer {
    /// Asks a model on a device.
    ///
    /// # Errors
    /// When its logits are of the wrong shape or not finite.
    pub(crate) fn of(model: &dyn Model, device: Device) -> Result<Self> {
        let (ImageShape { channels, height, width }, classes) =
            (model.card().shape(), model.card().classes);
        let shape = [channels, height, width];
        let grey = Tensor::full(shape, 0.5, (Kind::Float, device));
        let slope = Tensor::linspace(0.0, 1.0, width, (Kind::Float, device)).expand(shape, true);
        let logits = guard::catch("the forward pass", || {
            Ok(tch::no_grad(|| model.logits(&Tensor::stack(&[grey, slope], 0))))
        })?;
        ensure!(
            logits.size() == [2, classes],
            "its logits have shape {:?}, expected [2, {classes}]",
            logits.size()
        );
        let logits = logits.to_kind(Kind::Double);
        ensure!(
            logits.isfinite().all().int64_value(&[]) == 1,
            "its logits are not finite: the weights hold NaN, infinity or far too large numbers"
        );
        Ok(PlainAnswer {
            mean: logits.mean(Kind::Double).double_value(&[]),
            deviation: logits.std(false).double_value(&[]),
            classes: Vec::try_from(logits.argmax(1, false))?,
        })
    }
}
