//! What one cell takes, by what was measured.

use crate::engine::plan::{CellId, Plan, SLICE, Work};
use crate::engine::probe_cost;
use crate::estimate::measure::Measured;
use crate::estimate::pace::{AttackGoal, Effort, any_goal};
use crate::study::{GoalKind, Study};
use gauntlet_core::attack::Cost;

/// Bytes of an element of an image: float32.
const ELEMENT: f64 = 4.0;
/// Bytes of an element of an 8-bit image, which attacks with a budget may store too.
const LEVEL: f64 = 1.0;

/// A study, its plan, and what was measured for it.
pub(super) struct Rates<'a> {
    pub study: &'a Study,
    pub plan: &'a Plan,
    pub measured: &'a Measured,
    /// What a probe costs, for each image.
    probe: Cost,
}

impl<'a> Rates<'a> {
    pub fn new(study: &'a Study, plan: &'a Plan, measured: &'a Measured) -> Self {
        Self { study, plan, measured, probe: probe_cost(&study.radii()) }
    }

    /// What a cell takes.
    pub fn of(&self, id: CellId) -> Take<'a> {
        let disk = &self.measured.disk;
        let paces = &self.measured.paces;
        let images = self.images(id);
        let mut take = match self.plan.cells[id].work {
            Work::Control { target: model, .. } => {
                let judged = self.judged(model, images);
                Take {
                    forward: 2.0 * judged.forward,
                    seconds: images * self.loading(id) + 2.0 * judged.seconds,
                    ..Take::default()
                }
            }
            Work::Clean { model, .. } => {
                let judged = self.judged(model, images);
                Take { seconds: images * self.loading(id) + judged.seconds, ..judged }
            }
            Work::Probe { model, .. } => {
                let cases = self.attacked(id, model);
                let draws = self.draws(model, None);
                let passes = paces[model].passes(cases, self.probe.into());
                Take {
                    forward: draws * cases * self.probe.forward,
                    backward: draws * cases * self.probe.backward,
                    seconds: cases * self.loading(id) + draws * passes + disk.read,
                    ..Take::default()
                }
            }
            Work::Craft { model, attack, goal, .. } => {
                self.craft(id, model, AttackGoal { attack, goal })
            }
            Work::Score { model, metric, goal, .. } => self.score(id, model, metric, goal),
            Work::Measure { craft, .. } => {
                let source = self.source(craft);
                let loading = self.attacked(id, source) * self.loading(id);
                Take {
                    seconds: disk.read + self.pixels(id, source) * disk.per_pixel_byte + loading,
                    ..Take::default()
                }
            }
            Work::Transfer { craft, target, .. } => {
                let source = self.source(craft);
                let judged = self.judged(target, self.attacked(id, source));
                Take {
                    forward: 2.0 * judged.forward,
                    seconds: 2.0 * disk.read
                        + self.pixels(id, source) * disk.per_pixel_byte
                        + 2.0 * judged.seconds,
                    ..Take::default()
                }
            }
        };
        take.seconds += disk.write;
        // Rows of attacks and transfer stand in the merged tables once more.
        take.bytes += disk.size.of(images) + disk.size.each * images;
        take
    }

    fn craft(&self, id: CellId, model: usize, of: AttackGoal) -> Take<'a> {
        let Self { study, measured, .. } = *self;
        let (disk, pace) = (&measured.disk, &measured.paces[model]);
        let chosen = &study.attacks[of.attack];
        let cases = self.attacked(id, model);
        let declared = || chosen.attack.cost(any_goal(of.goal)).map(Effort::from);
        let known = measured.efforts.get(&of).copied().or_else(declared);
        let effort = known.unwrap_or_default();
        let each = effort.each;
        let overhead = measured.overheads.get(&chosen.part.name).copied().unwrap_or_default()
            * self.elements(id);
        let draws = self.draws(model, chosen.samples);
        let seconds = draws * pace.passes(cases, effort) + cases * each.backward * overhead;
        let pixels = self.pixels(id, model);
        let judged = self.judged(model, cases);
        Take {
            // The engine verifies what an attack gives, and that the model's answers to the
            // originals have not changed, with three forward passes of its own.
            forward: draws * cases * each.forward + 3.0 * judged.forward,
            backward: draws * cases * each.backward,
            seconds: cases * self.loading(id)
                + seconds
                + 3.0 * judged.seconds
                + disk.read
                + pixels * disk.per_pixel_byte,
            bytes: if chosen.budget().is_some() {
                pixels * (1.0 + LEVEL / ELEMENT)
            } else {
                pixels
            },
            own: Some(Own {
                key: OwnKey { part: OwnPart::Attack(of.attack), goal: of.goal },
                label: &chosen.part.label,
                each: known.map(|effort| effort.each),
                seconds,
            }),
        }
    }

    fn score(&self, id: CellId, model: usize, metric: usize, goal: GoalKind) -> Take<'a> {
        let Self { study, measured, .. } = *self;
        let chosen = &study.metrics[metric];
        let cases = self.attacked(id, model);
        let cost = chosen.metric.cost(any_goal(goal), study.models[model].card.classes);
        let each = cost.unwrap_or_default();
        // A score fills its batches with points around one image.
        let draws = self.draws(model, None);
        let seconds = draws
            * cases
            * (each.backward / SLICE as f64).ceil()
            * measured.paces[model].gradient.of((SLICE as f64).min(each.backward));
        Take {
            forward: draws * cases * each.forward,
            backward: draws * cases * each.backward,
            seconds: cases * self.loading(id) + seconds + measured.disk.read,
            own: Some(Own {
                key: OwnKey { part: OwnPart::Score(metric), goal },
                label: &chosen.part.label,
                each: cost,
                seconds,
            }),
            ..Take::default()
        }
    }

    /// Number of draws of each pass of an attack: 1 for a model whose answers repeat. `own` are
    /// those of the attack.
    fn draws(&self, model: usize, own: Option<usize>) -> f64 {
        let samples = self.study.models[model].samples;
        samples.map_or(1.0, |samples| own.unwrap_or(samples.attack) as f64)
    }

    /// The forward passes by which the engine asks a model about images itself.
    fn judged(&self, model: usize, images: f64) -> Take<'a> {
        let draws = self.study.models[model].samples.map_or(1.0, |samples| samples.judge as f64);
        Take {
            forward: draws * images,
            seconds: draws * self.measured.paces[model].forward.of(images),
            ..Take::default()
        }
    }

    /// The model that a craft cell attacks.
    fn source(&self, craft: CellId) -> usize {
        self.plan.model(craft).expect("a craft cell has a model")
    }

    fn images(&self, id: CellId) -> f64 {
        self.plan.cases(id) as f64
    }

    /// How many of a cell's images a model gets right: the others are not attacked.
    fn attacked(&self, id: CellId, model: usize) -> f64 {
        self.images(id) * self.measured.paces[model].accuracy
    }

    /// Elements of an image of a cell.
    fn elements(&self, id: CellId) -> f64 {
        self.plan.shape(id).values() as f64
    }

    /// Bytes of the pixels that an attack on `model` gives for a cell's images.
    fn pixels(&self, id: CellId, model: usize) -> f64 {
        self.attacked(id, model) * self.elements(id) * ELEMENT
    }

    /// Seconds to load an image of a cell.
    fn loading(&self, id: CellId) -> f64 {
        self.measured.loading[&self.plan.shape(id)]
    }
}

/// What a cell takes.
#[derive(Default)]
pub(super) struct Take<'a> {
    /// Forward passes, of one image each.
    pub forward: f64,
    /// Backward passes, of one image each.
    pub backward: f64,
    /// Seconds that one worker takes.
    pub seconds: f64,
    /// Bytes on disk.
    pub bytes: f64,
    /// The attack or the score, in a cell that has one.
    pub own: Option<Own<'a>>,
}

/// The part of an attack or a score in what a cell takes.
pub(super) struct Own<'a> {
    pub key: OwnKey,
    pub label: &'a str,
    /// For an image, if that is known.
    pub each: Option<Cost>,
    /// Seconds without storing and loading.
    pub seconds: f64,
}

/// An attack or a score with a goal. Attacks come first, then the study's order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OwnKey {
    pub part: OwnPart,
    pub goal: GoalKind,
}

/// An attack or a score, by its index in the study.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum OwnPart {
    Attack(usize),
    Score(usize),
}

impl Own<'_> {
    /// The label and the goal.
    pub fn name(&self) -> String {
        format!("{} ({})", self.label, self.key.goal.name())
    }
}
