//! Craft cells: an attack on a model, every answer verified.

use crate::data::{self, Picture};
use crate::engine::cell::context::{CellContext, stream, unhurried};
use crate::engine::cell::verify::{answers, goal, of_model, predictions, to_8bit};
use crate::errors::first_line;
use crate::store::rows::{CleanRow, CraftRow, Status};
use crate::study::{GoalKind, Study, StudyAttack};
use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Cases, Goal, admit};
use gauntlet_core::guard;
use gauntlet_core::model::Model;
use gauntlet_core::oracle::Oracle;
use std::time::Instant;
use tch::Tensor;

/// Computes the rows of a craft cell, and the pixels that were given: M×3×side×side, in the order
/// of the rows' slots. None where there are none.
///
/// An attack that gives no valid pixels for an image has that in its row.
///
/// # Errors
/// When the images cannot be loaded, the attack or the model fails, or the cell is stopped.
pub(super) fn compute(
    context: CellContext,
    model: &dyn Model,
    attack: &StudyAttack,
    kind: GoalKind,
    pictures: &[Picture],
    clean: &[CleanRow],
) -> Result<(Vec<CraftRow>, Option<Tensor>)> {
    let (study, card) = (context.study, model.card());
    let target_class = |n: usize| target_of(study, kind, &pictures[n], &clean[n]);
    let goal = |n: usize| goal(target_class(n), pictures[n].label);
    let of_model = |goal: Goal| of_model(goal, card);
    let mut rows: Vec<CraftRow> = pictures
        .iter()
        .zip(clean)
        .enumerate()
        .map(|(n, (picture, clean))| CraftRow {
            image: picture.hash.clone(),
            label: picture.label,
            target_class: target_class(n),
            clean: clean.prediction,
            status: Status::Misclassified,
            slot: None,
            prediction: None,
            prediction_8bit: None,
            success: false,
            success_8bit: false,
            forward: 0,
            backward: 0,
            milliseconds: 0.0,
        })
        .collect();
    let attacked: Vec<usize> = (0..pictures.len()).filter(|&n| clean[n].correct).collect();
    if attacked.is_empty() {
        return Ok((rows, None));
    }

    let chosen: Vec<Picture> = attacked.iter().map(|&n| pictures[n].clone()).collect();
    let pixels = data::batch(&chosen, card.side)?.to_device(context.device);
    let cases = Cases::new(pixels, attacked.iter().map(|&n| of_model(goal(n))).collect())?;
    let oracle = Oracle::new(model, chosen.iter().map(stream).collect(), context.settings());
    let start = Instant::now();
    let given = context.see_through(&format!("attack `{}`", attack.part.name), || {
        attack.attack.run(&oracle, &cases)
    });
    let given = unhurried(&oracle, given)?;
    ensure!(
        given.len() == attacked.len(),
        "attack `{}` gave {} answers for {} cases",
        attack.part.name,
        given.len(),
        attacked.len()
    );
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / attacked.len() as f64;

    let mut images = Vec::new();
    for ((&n, answer), passes) in attacked.iter().zip(given).zip(oracle.passes()) {
        let row = &mut rows[n];
        (row.forward, row.backward, row.milliseconds) =
            (passes.forward as i64, passes.backward as i64, milliseconds);
        row.status = match answer {
            Answer::NotFound => Status::NotFound,
            Answer::Pixels(pixels) => {
                match guard::catch("reading the pixels", || admit(&pixels, card.side)) {
                    Err(error) => Status::Invalid(first_line(&error)),
                    Ok(pixels) => {
                        row.slot = Some(images.len() as i64);
                        images.push(pixels);
                        Status::NotAdversarial
                    }
                }
            }
        };
    }
    if images.is_empty() {
        return Ok((rows, None));
    }
    let images = Tensor::stack(&images, 0);
    let float_logits = answers(model, context.device, &images)?;
    let rounded_logits = answers(model, context.device, &to_8bit(&images))?;
    let (float, rounded) = (predictions(&float_logits, card)?, predictions(&rounded_logits, card)?);
    for (n, row) in rows.iter_mut().enumerate() {
        let Some(slot) = row.slot.map(|slot| slot as usize) else { continue };
        let met = |prediction: Option<i64>, logits: &Tensor| -> Result<bool> {
            let Some(class) = prediction else { return Ok(false) };
            if study.tie_tolerance == 0.0 {
                return Ok(goal(n).met_by(class));
            }
            let logits = Vec::<f32>::try_from(logits.get(slot as i64))?;
            Ok(of_model(goal(n)).met_within(&logits, study.tie_tolerance))
        };
        (row.prediction, row.prediction_8bit) = (float[slot], rounded[slot]);
        (row.success, row.success_8bit) =
            (met(float[slot], &float_logits)?, met(rounded[slot], &rounded_logits)?);
        if row.success {
            row.status = Status::Adversarial;
        }
    }
    Ok((rows, Some(images)))
}

/// The target class for an image; none for an untargeted goal.
pub(super) fn target_of(
    study: &Study,
    kind: GoalKind,
    picture: &Picture,
    clean: &CleanRow,
) -> Option<i64> {
    match kind {
        GoalKind::Untargeted => None,
        GoalKind::Random => Some(study.random_target(picture)),
        GoalKind::LeastLikely => Some(clean.least_likely),
        GoalKind::Second => Some(clean.second),
        GoalKind::Given => picture.target,
    }
}
