//! What a whole study takes: its cells added up.

use crate::engine::plan::{CellId, PHASES};
use crate::engine::{Queue, Survey};
use crate::estimate::pace::Pace;
use crate::estimate::rates::{OwnKey, Rates};
use crate::store::CellKind;
use gauntlet_core::attack::Cost;
use serde::Serialize;
use std::collections::BTreeMap;

/// What a study takes. Times are in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct StudyEstimate {
    /// By kind of cell, in the order in which they are computed.
    pub cells: Vec<Kinds>,
    /// By attack and goal, then by score and goal.
    pub work: Vec<Campaigns>,
    /// By model.
    pub models: Vec<Pace>,
    /// How many cells are computed at a time.
    pub workers: usize,
    /// Time from start to end.
    pub seconds: f64,
    /// Bytes on disk, in the end.
    pub bytes: f64,
    /// Attacks and scores that do not say what they cost: the figures leave them out.
    pub unknown: Vec<String>,
}

/// All cells of one kind. Passes, times and bytes are of those to compute.
#[derive(Clone, Debug, Serialize)]
pub struct Kinds {
    /// The kind.
    pub kind: CellKind,
    /// How many there are.
    pub cells: usize,
    /// How many of them are done.
    pub done: usize,
    /// Forward passes, of one image each.
    pub forward: f64,
    /// Backward passes, of one image each.
    pub backward: f64,
    /// Seconds that one worker takes.
    pub seconds: f64,
    /// Bytes on disk.
    pub bytes: f64,
}

/// An attack or a score with a goal, over all models.
#[derive(Clone, Debug, Serialize)]
pub struct Campaigns {
    /// The label.
    pub label: String,
    /// What it is asked for.
    pub goal: &'static str,
    /// What an image costs, if that is known.
    pub each: Option<Cost>,
    /// Seconds that one worker takes for the cells that are to be computed.
    pub seconds: f64,
}

/// Adds up the cells that a survey misses; without one, all.
pub(super) fn add_up(rates: &Rates, survey: Option<&Survey>, workers: usize) -> StudyEstimate {
    let plan = rates.plan;
    let mut kinds: Vec<Kinds> = CellKind::ALL.iter().map(|&kind| Kinds::none(kind)).collect();
    let mut work: BTreeMap<OwnKey, Campaigns> = BTreeMap::new();
    let mut phases: [Vec<CellId>; PHASES.len()] = Default::default();
    let mut taken = vec![0.0; plan.cells.len()];
    for (id, cell) in plan.cells.iter().enumerate() {
        let sum = kinds
            .iter_mut()
            .find(|sum| sum.kind == cell.address.kind)
            .expect("every kind is among them");
        sum.cells += 1;
        if survey.is_some_and(|survey| !survey.is_missing(id)) {
            sum.done += 1;
            continue;
        }
        let take = rates.of(id);
        sum.forward += take.forward;
        sum.backward += take.backward;
        sum.seconds += take.seconds;
        sum.bytes += take.bytes;
        phases[plan.phase(id)].push(id);
        taken[id] = take.seconds;
        if let Some(own) = take.own {
            let goal = own.key.goal.name();
            let none =
                || Campaigns { label: own.label.to_owned(), goal, each: own.each, seconds: 0.0 };
            work.entry(own.key).or_insert_with(none).seconds += own.seconds;
        }
    }
    let tables = plan.cells.len() as f64 * rates.measured.disk.read;
    let queue = |phase: &Vec<CellId>| Queue::new(phase, |id| plan.model(id), |id| plan.cases(id));
    let seconds =
        phases.iter().map(|phase| queue(phase).makespan(workers, |id| taken[id])).sum::<f64>()
            + tables;
    let bytes = kinds.iter().map(|sum| sum.bytes).sum();
    kinds.retain(|sum| sum.cells > 0);
    let unknown = work
        .values()
        .filter(|work| work.each.is_none())
        .map(|work| format!("{} ({})", work.label, work.goal))
        .collect();
    StudyEstimate {
        cells: kinds,
        work: work.into_values().collect(),
        models: rates.measured.paces.clone(),
        workers,
        seconds,
        bytes,
        unknown,
    }
}

impl Kinds {
    /// No cell of that kind.
    fn none(kind: CellKind) -> Self {
        let (cells, done) = (0, 0);
        let (forward, backward, seconds, bytes) = (0.0, 0.0, 0.0, 0.0);
        Self { kind, cells, done, forward, backward, seconds, bytes }
    }
}
