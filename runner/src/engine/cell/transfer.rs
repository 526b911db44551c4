//! Transfer cells: another model's answers to a craft cell's pixels.

use crate::engine::cell::bring::{bring, bring_8bit};
use crate::engine::cell::context::CellContext;
use crate::engine::cell::crafted::Crafted;
use crate::engine::cell::verify::{Classification, classify, goal, still_answers};
use crate::store::rows::{CleanRow, ControlRow, CraftRow, TransferRow};
use crate::study::Policy;
use anyhow::Result;
use gauntlet_core::model::Model;
use std::time::Instant;

/// Computes the rows of a transfer cell. `clean` and `control` are the target's answers to the
/// unperturbed images: at its own side, and brought to it from the source's side.
///
/// # Errors
/// When the target fails, or its answers do not repeat.
pub(super) fn compute(
    context: CellContext,
    target: &dyn Model,
    policy: Policy,
    crafted: &Crafted,
    clean: &[CleanRow],
    control: &[ControlRow],
) -> Result<Vec<TransferRow>> {
    let unperturbed = clean.iter().zip(control);
    let mut rows: Vec<TransferRow> = crafted
        .rows
        .iter()
        .zip(unperturbed)
        .map(|(craft, (clean, control))| unanswered(craft, clean, control))
        .collect();
    let Some(pixels) = &crafted.pixels else { return Ok(rows) };
    let shape = target.card().shape();
    let start = Instant::now();
    let given = || crafted.slots().map(|(n, _)| &crafted.pictures[n]);
    let float = classify(context, target, given(), &bring(&pixels.float, shape, policy))?;
    let rounded = bring_8bit(&pixels.eight_bit(), shape, policy);
    let rounded = classify(context, target, given(), &rounded)?;
    still_answers(context, target, crafted.pictures, clean)?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / float.len() as f64;
    for (n, slot) in crafted.slots() {
        let row = &mut rows[n];
        (row.prediction, row.prediction_8bit) = (float[slot].prediction, rounded[slot].prediction);
        (row.success, row.top5) = met(row, &float[slot]);
        (row.success_8bit, row.top5_8bit) = met(row, &rounded[slot]);
        let goal = goal(row.target_class, row.label);
        (row.success_rate, row.success_rate_8bit) =
            (float[slot].rate(goal), rounded[slot].rate(goal));
        row.milliseconds = milliseconds;
    }
    Ok(rows)
}

/// A row before the target has answered.
fn unanswered(craft: &CraftRow, clean: &CleanRow, control: &ControlRow) -> TransferRow {
    let row = TransferRow {
        image: craft.image.clone(),
        label: craft.label,
        target_class: craft.target_class,
        status: craft.status.clone(),
        source_success: craft.success,
        source_success_8bit: craft.success_8bit,
        target_correct: clean.correct,
        control_prediction: control.prediction,
        control_prediction_8bit: control.prediction_8bit,
        control_success: false,
        control_success_8bit: false,
        control_top5: false,
        control_top5_8bit: false,
        prediction: None,
        prediction_8bit: None,
        success: false,
        success_8bit: false,
        success_rate: None,
        success_rate_8bit: None,
        top5: false,
        top5_8bit: false,
        milliseconds: 0.0,
    };
    let of = |prediction, first_five: &[i64]| Classification {
        prediction,
        first_five: first_five.to_vec(),
        draws: Vec::new(),
    };
    let (control_success, control_top5) = met(&row, &of(control.prediction, &control.first_five));
    let (control_success_8bit, control_top5_8bit) =
        met(&row, &of(control.prediction_8bit, &control.first_five_8bit));
    TransferRow { control_success, control_success_8bit, control_top5, control_top5_8bit, ..row }
}

/// Whether an answer meets a row's goal, and whether the row's target class is among its first
/// five.
fn met(row: &TransferRow, answer: &Classification) -> (bool, bool) {
    let goal = goal(row.target_class, row.label);
    let top5 = row.target_class.is_some_and(|class| answer.first_five.contains(&class));
    (answer.prediction.is_some_and(|class| goal.met_by(class)), top5)
}
