//! How long each of some cells takes, for those who share them out.

use crate::engine::RunOptions;
use crate::engine::plan::{CellId, Plan};
use crate::estimate::measure::measure;
use crate::estimate::rates::{Own, Rates};
use crate::study::Study;
use anyhow::Result;
use gauntlet_core::registry::Registry;
use std::collections::BTreeSet;

/// The seconds that one worker takes for each of some cells.
pub(crate) struct Seconds {
    /// By cell, in the order in which they were asked for; none where it is not known.
    pub seconds: Vec<Option<f64>>,
    /// Attacks and scores that do not say what they cost.
    pub unknown: Vec<String>,
}

/// Foretells how long each of some cells takes, from the same measurements as
/// [`estimate`](super::estimate()).
///
/// # Errors
/// As [`estimate`](super::estimate()).
pub(crate) fn seconds(
    study: &Study,
    registry: &Registry,
    plan: &Plan,
    options: &RunOptions,
    cells: &[CellId],
) -> Result<Seconds> {
    let measured = measure(study, registry, options)?;
    let rates = Rates::new(study, plan, &measured);
    let mut unknown = BTreeSet::new();
    let takes = cells.iter().map(|&id| {
        let take = rates.of(id);
        let silent = take.own.filter(|own| own.each.is_none());
        unknown.extend(silent.as_ref().map(Own::name));
        silent.is_none().then_some(take.seconds)
    });
    let seconds = takes.collect();
    Ok(Seconds { seconds, unknown: unknown.into_iter().collect() })
}
