//! What one cell takes, from what was measured.

use crate::engine::plan::{CellId, Plan, SLICE, Work};
use crate::estimate::passes;
use crate::study::{GoalKind, Study};
use gauntlet_core::attack::{Cost, Goal};
use gauntlet_core::oracle::{Oracle, Passes};
use serde::Serialize;
use std::collections::BTreeMap;

/// How quick a model is.
#[derive(Clone, Debug, Serialize)]
pub struct Pace {
    /// The label.
    pub model: String,
    /// Whether its weights were made up for the measurement.
    pub made_up: bool,
    /// Part of the images that are attacked: as counted where they are few, as published, or a
    /// guess.
    pub accuracy: f64,
    /// Forward pass of a batch.
    pub forward: Batch,
    /// Forward and backward pass of a batch.
    pub gradient: Batch,
}

/// Time of a batch: so much for itself, and so much for each image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Batch {
    /// Whatever its size.
    pub fixed: f64,
    /// For each image.
    pub each: f64,
}

impl Batch {
    pub(super) fn of(self, images: f64) -> f64 {
        if images > 0.0 { self.fixed + self.each * images } else { 0.0 }
    }

    /// From the times of one image and of a batch.
    pub(super) fn fit(one: f64, batch: f64, images: usize) -> Self {
        let each = if images > 1 { ((batch - one) / (images - 1) as f64).max(0.0) } else { one };
        let each = each.min(batch / images as f64);
        Self { fixed: (one - each).max(0.0), each }
    }
}

/// Times that go with the machine's disk and processor, not with a model.
pub(super) struct Machine {
    pub(super) write: f64,
    pub(super) read: f64,
    /// Bytes of a cell's rows: for itself, and for each.
    pub(super) size: Batch,
    /// Seconds per byte of pixels, written or read.
    pub(super) pixels: f64,
    /// To load an image, by side.
    pub(super) loading: BTreeMap<i64, f64>,
    /// What an attack adds to a pass, per element of an image, by registered name.
    pub(super) overhead: BTreeMap<String, f64>,
    /// What an image costs, by attack and goal, as far as that was tried.
    pub(super) tried: BTreeMap<(usize, GoalKind), Effort>,
}

/// What the images that are attacked side by side cost.
#[derive(Clone, Copy, Default)]
pub(super) struct Effort {
    /// An image, on average.
    pub(super) each: Cost,
    /// The one that costs most: as long as it goes on there are batches.
    pub(super) longest: Cost,
}

impl From<Cost> for Effort {
    fn from(each: Cost) -> Self {
        Self { each, longest: each }
    }
}

/// What a cell takes.
pub(super) struct Take<'a> {
    pub(super) forward: f64,
    pub(super) backward: f64,
    pub(super) seconds: f64,
    pub(super) bytes: f64,
    pub(super) own: Option<Own<'a>>,
}

/// What an attack or a score takes in a cell.
pub(super) struct Own<'a> {
    pub(super) key: (bool, usize, GoalKind),
    pub(super) label: &'a str,
    /// For an image, if that is known.
    pub(super) each: Option<Cost>,
    pub(super) seconds: f64,
}

impl Own<'_> {
    pub(super) fn name(&self) -> String {
        format!("{} ({})", self.label, self.key.2.name())
    }
}

/// All that was measured, for a study.
pub(super) struct Rates<'a> {
    pub(super) study: &'a Study,
    pub(super) plan: &'a Plan,
    pub(super) models: &'a [Pace],
    pub(super) machine: &'a Machine,
    /// What a probe costs, for each image.
    pub(super) probe: Cost,
}

impl<'a> Rates<'a> {
    pub(super) fn of(&self, id: CellId) -> Take<'a> {
        let Self { study, plan, models, machine, probe } = *self;
        let images = plan.cases(id) as f64;
        let source = |craft: CellId| plan.model(craft).expect("a craft cell has a model");
        let attacked = |model: usize| images * models[model].accuracy;
        let side = plan.side(id);
        let (elements, loading) = ((3 * side * side) as f64, machine.loading[&side]);
        let pixels = |model: usize| attacked(model) * elements * 4.0;
        // Rows of attacks and transfer stand in the merged tables once more.
        let bytes = machine.size.of(images) + machine.size.each * images;
        let mut take =
            Take { forward: 0.0, backward: 0.0, seconds: machine.write, bytes, own: None };
        match plan.cells[id].work {
            Work::Clean { model, .. } => {
                take.forward = images;
                take.seconds += images * loading + models[model].forward.of(images);
            }
            Work::Probe { model, .. } => {
                let (pace, cases) = (&models[model], attacked(model));
                (take.forward, take.backward) = (cases * probe.forward, cases * probe.backward);
                take.seconds += cases * loading + passes(pace, cases, probe.into()) + machine.read;
            }
            Work::Craft { model, attack, goal, .. } => {
                let chosen = &study.attacks[attack];
                let (pace, cases) = (&models[model], attacked(model));
                let known = machine
                    .tried
                    .get(&(attack, goal))
                    .copied()
                    .or_else(|| chosen.attack.cost(asked(goal)).map(Effort::from));
                let effort = known.unwrap_or_default();
                let each = effort.each;
                let overhead =
                    machine.overhead.get(&chosen.part.name).copied().unwrap_or_default() * elements;
                let seconds = passes(pace, cases, effort) + cases * each.backward * overhead;
                (take.forward, take.backward) =
                    (cases * (each.forward + 2.0), cases * each.backward);
                take.seconds += cases * loading
                    + seconds
                    + 2.0 * pace.forward.of(cases)
                    + machine.read
                    + pixels(model) * machine.pixels;
                take.bytes += pixels(model);
                take.own = Some(Own {
                    key: (false, attack, goal),
                    label: &chosen.part.label,
                    each: known.map(|effort| effort.each),
                    seconds,
                });
            }
            Work::Score { model, metric, goal, .. } => {
                let chosen = &study.metrics[metric];
                let cases = attacked(model);
                let cost = chosen.metric.cost(asked(goal), study.models[model].card.classes);
                let each = cost.unwrap_or_default();
                (take.forward, take.backward) = (cases * each.forward, cases * each.backward);
                // A score fills its batches with points around one image.
                let seconds = cases
                    * (each.backward / SLICE as f64).ceil()
                    * models[model].gradient.of((SLICE as f64).min(each.backward));
                take.seconds += cases * loading + seconds + machine.read;
                take.own = Some(Own {
                    key: (true, metric, goal),
                    label: &chosen.part.label,
                    each: cost,
                    seconds,
                });
            }
            Work::Measure { craft, .. } => {
                let model = source(craft);
                take.seconds +=
                    machine.read + pixels(model) * machine.pixels + attacked(model) * loading;
            }
            Work::Transfer { craft, target, .. } => {
                let cases = attacked(source(craft));
                take.forward = 2.0 * cases;
                take.seconds += 2.0 * machine.read
                    + pixels(source(craft)) * machine.pixels
                    + 2.0 * models[target].forward.of(cases);
            }
        }
        take
    }
}

pub(super) fn asked(goal: GoalKind) -> Goal {
    if goal == GoalKind::Untargeted { Goal::Away(0) } else { Goal::Towards(0) }
}

/// Passes that were made.
pub(super) fn made(oracle: &Oracle) -> Effort {
    let passes = oracle.passes();
    let [forward, backward] = [|made: &Passes| made.forward, |made: &Passes| made.backward]
        .map(|of| passes.iter().map(|made| of(made) as f64).collect::<Vec<_>>());
    let mean = |counts: &[f64]| counts.iter().sum::<f64>() / counts.len() as f64;
    let most = |counts: &[f64]| counts.iter().copied().fold(0.0, f64::max);
    Effort {
        each: Cost { forward: mean(&forward), backward: mean(&backward) },
        longest: Cost { forward: most(&forward), backward: most(&backward) },
    }
}
