//! Control cells: a model's answers to the unperturbed images of another shape, brought to its own
//! side in the way in which adversarials are.

use crate::data::{self, Picture};
use crate::engine::cell::bring::{bring, bring_8bit};
use crate::engine::cell::context::CellContext;
use crate::engine::cell::eight_bit::to_8bit;
use crate::engine::cell::verify::{classify, still_answers};
use crate::store::rows::{CleanRow, ControlRow};
use crate::study::Policy;
use anyhow::Result;
use gauntlet_core::model::{ImageShape, Model};

/// Computes the rows of a control cell: `target` is given the images of `side`. `clean` are its
/// answers to those of its own side.
///
/// # Errors
/// When the images cannot be loaded, or the target fails, or its answers do not repeat.
pub(super) fn compute(
    context: CellContext,
    target: &dyn Model,
    policy: Policy,
    shape: ImageShape,
    pictures: &[Picture],
    clean: &[CleanRow],
) -> Result<Vec<ControlRow>> {
    let own = target.card().shape();
    let pixels = data::batch(pictures, shape)?;
    let float = classify(context, target, pictures, &bring(&pixels, own, policy))?;
    let rounded = classify(context, target, pictures, &bring_8bit(&to_8bit(&pixels), own, policy))?;
    still_answers(context, target, pictures, clean)?;
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
