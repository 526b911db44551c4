//! Clean cells: a model's answers to the images as they are.

use crate::data::{self, Picture};
use crate::engine::cell::context::CellContext;
use crate::engine::cell::verify::{answers, in_top5, predictions};
use crate::store::rows::CleanRow;
use anyhow::{Result, bail};
use gauntlet_core::model::Model;
use tch::Tensor;

/// Computes the rows of a clean cell.
///
/// # Errors
/// When the images cannot be loaded, or the model fails or gives NaN.
pub(super) fn compute(
    context: CellContext,
    model: &dyn Model,
    pictures: &[Picture],
) -> Result<Vec<CleanRow>> {
    let card = model.card();
    let logits = answers(model, context.device, &data::batch(pictures, card.side)?)?;
    let labels: Vec<i64> = pictures.iter().map(|picture| picture.label).collect();
    let predictions = predictions(&logits, card)?;
    let top5 = in_top5(&logits, card, &labels)?;
    let real = logits.narrow(1, card.label_offset, card.classes - card.label_offset);
    let label = Tensor::from_slice(&labels).unsqueeze(1);
    let second =
        Vec::<i64>::try_from(real.scatter_value(1, &label, f64::NEG_INFINITY).argmax(1, false))?;
    let least =
        Vec::<i64>::try_from(real.scatter_value(1, &label, f64::INFINITY).argmin(1, false))?;
    pictures
        .iter()
        .enumerate()
        .map(|(n, picture)| {
            let Some(prediction) = predictions[n] else {
                bail!("model `{}` gave logits that are NaN for image `{}`", card.name, picture.name)
            };
            Ok(CleanRow {
                image: picture.hash.clone(),
                label: picture.label,
                prediction,
                correct: prediction == picture.label,
                top5: top5[n],
                second: second[n],
                least_likely: least[n],
            })
        })
        .collect()
}
