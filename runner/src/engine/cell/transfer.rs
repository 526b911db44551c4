//! Transfer cells: another model's answers to a craft cell's pixels.

use crate::engine::cell::context::CellContext;
use crate::engine::cell::verify::{answers, fit, goal, in_top5, predictions, to_8bit};
use crate::store::Stored;
use crate::store::rows::{CleanRow, CraftRow, TransferRow};
use crate::study::Policy;
use anyhow::{Result, ensure};
use gauntlet_core::model::Model;
use std::time::Instant;
use tch::Tensor;

/// Computes the rows of a transfer cell. `pixels` are those of the craft cell: M×3×side×side, in
/// the order of its slots.
///
/// # Errors
/// When the pixels are not as many as the craft cell's slots, or the target fails.
pub(super) fn compute(
    context: CellContext,
    target: &dyn Model,
    policy: Policy,
    craft: &Stored<CraftRow>,
    pixels: Option<&Tensor>,
    clean: &[CleanRow],
) -> Result<Vec<TransferRow>> {
    let mut rows: Vec<TransferRow> = craft
        .rows
        .iter()
        .zip(clean)
        .map(|(row, clean)| TransferRow {
            image: row.image.clone(),
            label: row.label,
            target_class: row.target_class,
            status: row.status.clone(),
            source_success: row.success,
            source_success_8bit: row.success_8bit,
            target_correct: clean.correct,
            prediction: None,
            prediction_8bit: None,
            success: false,
            success_8bit: false,
            top5: false,
            top5_8bit: false,
            milliseconds: 0.0,
        })
        .collect();
    let Some(pixels) = pixels else { return Ok(rows) };
    let card = target.card();
    let start = Instant::now();
    let given: Vec<usize> = (0..rows.len()).filter(|&n| craft.rows[n].slot.is_some()).collect();
    let classes: Vec<i64> =
        given.iter().map(|&n| rows[n].target_class.unwrap_or(rows[n].label)).collect();
    ensure!(
        pixels.size()[0] as usize == given.len(),
        "{} images are stored for {} rows",
        pixels.size()[0],
        given.len()
    );
    let answer_to = |pixels: &Tensor| -> Result<(Vec<Option<i64>>, Vec<bool>)> {
        let logits = answers(target, context.device, pixels)?;
        Ok((predictions(&logits, card)?, in_top5(&logits, card, &classes)?))
    };
    let (float, float_top5) = answer_to(&fit(pixels, card.side, policy))?;
    let mut rounded = fit(&to_8bit(pixels), card.side, policy);
    if card.side != pixels.size()[3] {
        // Resizing makes values between the levels: round again, so that the target is given 8-bit
        // pixels.
        rounded = to_8bit(&rounded);
    }
    let (rounded, rounded_top5) = answer_to(&rounded)?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / given.len() as f64;
    for (slot, &n) in given.iter().enumerate() {
        let row = &mut rows[n];
        let goal = goal(row.target_class, row.label);
        let met = |prediction: Option<i64>| prediction.is_some_and(|class| goal.met_by(class));
        let targeted = row.target_class.is_some();
        (row.prediction, row.prediction_8bit) = (float[slot], rounded[slot]);
        (row.success, row.success_8bit) = (met(float[slot]), met(rounded[slot]));
        row.top5 = targeted && float[slot].is_some() && float_top5[slot];
        row.top5_8bit = targeted && rounded[slot].is_some() && rounded_top5[slot];
        row.milliseconds = milliseconds;
    }
    Ok(rows)
}
