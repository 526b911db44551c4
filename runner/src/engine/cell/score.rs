//! Score cells: a metric of a model.

use crate::data::{self, Picture};
use crate::engine::cell::context::{CellContext, stream, unhurried};
use crate::engine::cell::craft::target_of;
use crate::engine::cell::measure::with_extras;
use crate::engine::cell::verify::{goal, of_model};
use crate::store::rows::{CleanRow, ScoreRow};
use crate::study::{GoalKind, StudyMetric};
use anyhow::Result;
use gauntlet_core::attack::Cases;
use gauntlet_core::model::Model;
use gauntlet_core::oracle::Oracle;
use std::time::Instant;

/// Computes the rows of a score cell.
///
/// # Errors
/// When the images cannot be loaded, the metric or the model fails, or the cell is stopped.
pub(super) fn compute(
    context: CellContext,
    model: &dyn Model,
    metric: &StudyMetric,
    kind: GoalKind,
    pictures: &[Picture],
    clean: &[CleanRow],
) -> Result<Vec<ScoreRow>> {
    let (study, card) = (context.study, model.card());
    let target_class = |n: usize| target_of(study, kind, &pictures[n], &clean[n]);
    let scored: Vec<usize> = (0..pictures.len()).filter(|&n| clean[n].correct).collect();
    let mut rows: Vec<ScoreRow> = (0..pictures.len())
        .map(|n| ScoreRow {
            image: pictures[n].hash.clone(),
            label: pictures[n].label,
            target_class: target_class(n),
            value: None,
            extras: Vec::new(),
            forward: 0,
            backward: 0,
            milliseconds: 0.0,
        })
        .collect();
    if scored.is_empty() {
        return Ok(rows);
    }
    let chosen: Vec<Picture> = scored.iter().map(|&n| pictures[n].clone()).collect();
    let pixels = data::batch(&chosen, card.shape())?.to_device(context.device);
    let goals =
        scored.iter().map(|&n| of_model(goal(target_class(n), pictures[n].label), card)).collect();
    let cases = Cases::new(pixels, goals)?;
    let oracle = Oracle::new(model, chosen.iter().map(stream).collect(), context.settings());
    let start = Instant::now();
    let values = context.see_through(&format!("metric `{}`", metric.part.name), || {
        metric.metric.model(&oracle, &cases)
    });
    let values = with_extras(metric, &unhurried(&oracle, values)?, scored.len())?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / scored.len() as f64;
    for ((n, measured), passes) in scored.into_iter().zip(values).zip(oracle.passes()) {
        let row = &mut rows[n];
        (row.value, row.extras) = (measured.value, measured.extras);
        (row.forward, row.backward, row.milliseconds) =
            (passes.forward as i64, passes.backward as i64, milliseconds);
    }
    Ok(rows)
}
