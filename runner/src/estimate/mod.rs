//! What a study takes, before it runs: passes as attacks make them for a few of its images, or
//! where that would take long, as attacks and scores themselves expect them; seconds from a short
//! measurement of every model, bytes from what a cell takes on disk.
//!
//! Measured are, on the device and with as many models at once as there are workers: a forward and
//! a gradient pass of each model, for one image and for a batch; how many passes each attack makes,
//! with one of the slower models, which take most of the time; what it adds to a pass, with the
//! quickest; storing, reading back and loading an image. A model without weights is measured with
//! made-up ones: passes take as long.

mod made_up;
mod measure;
mod rates;
mod trial;

use crate::engine::plan::{CellId, PHASES, Plan};
use crate::engine::{Queue, RunOptions, Silent, Survey, device_kind, probe_cost};
use crate::estimate::measure::measure;
use crate::estimate::rates::{Effort, Machine, Own, Rates};
use crate::store::{CellKind, Store, begun};
use crate::study::{GoalKind, Study};
use anyhow::Result;
use gauntlet_core::attack::Cost;
use gauntlet_core::registry::Registry;
pub use rates::{Batch, Pace};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// How long a measurement goes on, once it has begun.
const PATIENCE: Duration = Duration::from_millis(400);
/// With so many images attacks are tried, by so many models in turn,
const TRIED: (usize, usize) = (8, 3);
/// until one is done in this time,
const TRIAL: Duration = Duration::from_secs(2);
/// as long as this one is not over. What by its own word takes
const TRIALS: Duration = Duration::from_secs(20);
/// times as long as a trial may, is not tried.
const HOPELESS: f64 = 5.0;
/// Images are counted that a model gets right, where that takes at most so long.
const COUNT: f64 = 5.0;
/// Part of the images that a model gets right, where nothing is published.
const ACCURACY: f64 = 0.75;
/// Seconds to load an image of 224 pixels from a file, where there is none to try.
const LOADING: f64 = 0.01;

/// What a study takes. Times are in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct StudyEstimate {
    /// By kind of cell, in the order in which they are computed.
    pub cells: Vec<Kinds>,
    /// By attack and goal, and score and goal.
    pub work: Vec<Campaigns>,
    /// By model.
    pub models: Vec<Pace>,
    /// How many cells are computed at a time.
    pub workers: usize,
    /// From start to end.
    pub seconds: f64,
    /// On disk, in the end.
    pub bytes: f64,
    /// Attacks and scores that do not know what they cost: the figures are without them.
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
    /// On disk.
    pub bytes: f64,
}

impl Kinds {
    /// No cell of that kind.
    fn none(kind: CellKind) -> Self {
        let (cells, done) = (0, 0);
        let (forward, backward, seconds, bytes) = (0.0, 0.0, 0.0, 0.0);
        Self { kind, cells, done, forward, backward, seconds, bytes }
    }
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

/// Estimates a study: those of its cells that the results' folder `out` does not have. The folder
/// is not made.
///
/// # Errors
/// When a model cannot be loaded or run, a plugin ends the process where it panics, or nothing can
/// be stored in the system's temporary folder.
pub fn estimate(
    study: &Study,
    registry: &Registry,
    out: &Path,
    options: &RunOptions,
) -> Result<StudyEstimate> {
    let plan = Plan::new(study, device_kind(options.device));
    let begun = begun(out).then(|| Store::open(out)?.now()).transpose()?;
    let survey = begun.map(|store| Survey::take(&plan, &store, options, &Silent)).transpose()?;
    let (models, machine) = measure(study, registry, options)?;
    Ok(add_up(study, &plan, survey.as_ref(), models, &machine, options.workers))
}

/// The seconds that one worker takes for each of some cells.
pub(crate) struct Seconds {
    /// By cell, in the order in which they were asked for; none where it is not known.
    pub seconds: Vec<Option<f64>>,
    /// Attacks and scores that do not know what they cost.
    pub unknown: Vec<String>,
}

/// Foretells how long each of some cells takes, from the same measurements as [`estimate`].
///
/// # Errors
/// As [`estimate`].
pub(crate) fn seconds(
    study: &Study,
    registry: &Registry,
    plan: &Plan,
    options: &RunOptions,
    cells: &[CellId],
) -> Result<Seconds> {
    let (models, machine) = measure(study, registry, options)?;
    let rates = Rates {
        study,
        plan,
        models: &models,
        machine: &machine,
        probe: probe_cost(&study.radii()),
    };
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

fn add_up(
    study: &Study,
    plan: &Plan,
    survey: Option<&Survey>,
    models: Vec<Pace>,
    machine: &Machine,
    workers: usize,
) -> StudyEstimate {
    let mut kinds: Vec<Kinds> = CellKind::ALL.iter().map(|&kind| Kinds::none(kind)).collect();
    let mut work: BTreeMap<(bool, usize, GoalKind), Campaigns> = BTreeMap::new();
    let rates = Rates { study, plan, models: &models, machine, probe: probe_cost(&study.radii()) };
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
            let goal = own.key.2.name();
            let none =
                || Campaigns { label: own.label.to_owned(), goal, each: own.each, seconds: 0.0 };
            work.entry(own.key).or_insert_with(none).seconds += own.seconds;
        }
    }
    let tables = plan.cells.len() as f64 * machine.read;
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
        models,
        workers,
        seconds,
        bytes,
        unknown,
    }
}

/// Time of the passes of some cases side by side.
fn passes(pace: &Pace, cases: f64, Effort { each, longest }: Effort) -> f64 {
    let alone = |cost: Cost| (cost.forward - cost.backward).max(0.0);
    let batches = |batch: Batch, longest: f64, each: f64| {
        if cases > 0.0 { batch.fixed * longest + batch.each * cases * each } else { 0.0 }
    };
    batches(pace.gradient, longest.backward, each.backward)
        + batches(pace.forward, alone(longest), alone(each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_case_is_waited_for() {
        let pace = Pace {
            model: "any".into(),
            made_up: false,
            accuracy: 1.0,
            forward: Batch { fixed: 0.5, each: 0.25 },
            gradient: Batch { fixed: 1.0, each: 2.0 },
        };
        let each = Cost { forward: 5.0, backward: 3.0 };
        // Three batches of four images forward and back, and two forward alone.
        assert_eq!(passes(&pace, 4.0, each.into()), 3.0 * 9.0 + 2.0 * 1.5);
        // Seven more passes, for a part of the images.
        let longest = Cost { forward: 12.0, backward: 10.0 };
        assert_eq!(passes(&pace, 4.0, Effort { each, longest }), 3.0 * 9.0 + 2.0 * 1.5 + 7.0);
        assert_eq!(passes(&pace, 0.0, Effort { each, longest }), 0.0);
    }

    #[test]
    fn a_batch_is_fitted_to_one_image_and_to_many() {
        let batch = Batch::fit(3.0, 13.0, 11);
        assert_eq!((batch.fixed, batch.each), (2.0, 1.0));
        assert_eq!((batch.of(11.0), batch.of(0.0)), (13.0, 0.0));
        // One image that took longer than its share, or a batch no longer than it.
        assert_eq!(Batch::fit(4.0, 4.0, 4), Batch { fixed: 4.0, each: 0.0 });
        assert_eq!(Batch::fit(4.0, 4.0, 1), Batch { fixed: 0.0, each: 4.0 });
    }
}
