//! Control cells: a model's answers to the unperturbed images of another side, brought to its own
//! side in the way in which adversarials are.

use crate::data::{self, Picture};
use crate::engine::cell::context::CellContext;
use crate::engine::cell::eight_bit::to_8bit;
use crate::engine::cell::verify::{classify, fit, fit_8bit, still_answers};
use crate::store::rows::{CleanRow, ControlRow};
use crate::study::Policy;
use anyhow::Result;
use gauntlet_core::model::Model;

/// Computes the rows of a control cell: `target` is given the images of `side`. `clean` are its
/// answers to those of its own side.
///
/// # Errors
/// When the images cannot be loaded, or the target fails, or its answers do not repeat.
pub(super) fn compute(
    context: CellContext,
    target: &dyn Model,
    policy: Policy,
    side: i64,
    pictures: &[Picture],
    clean: &[CleanRow],
) -> Result<Vec<ControlRow>> {
    let (device, own) = (context.device, target.card().side);
    let pixels = data::batch(pictures, side)?;
    let float = classify(target, device, &fit(&pixels, own, policy))?;
    let rounded = classify(target, device, &fit_8bit(&to_8bit(&pixels), own, policy))?;
    still_answers(target, device, pictures, clean)?;
    let rows = pictures.iter().zip(float).zip(rounded);
    Ok(rows
        .map(|((picture, float), rounded)| ControlRow {
            image: picture.hash.clone(),
            label: picture.label,
            prediction: float.prediction,
            prediction_8bit: rounded.prediction,
            first_five: float.first_five,
            first_five_8bit: rounded.first_five,
        })
        .collect())
}
