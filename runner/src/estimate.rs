//! What a study takes, before it runs: passes as attacks make them for a few of its images, or
//! where that would take long, as attacks and scores themselves expect them; seconds from a short
//! measurement of every model, bytes from what a cell takes on disk.
//!
//! Measured are, on the device and with as many models at once as there are workers: a forward and
//! a gradient pass of each model, for one image and for a batch; how many passes each attack makes,
//! with one of the slower models, which take most of the time; what it adds to a pass, with the
//! quickest; storing, reading back and loading an image. A model without weights is measured with
//! made-up ones: passes take as long.

use crate::data::{self, Picture};
use crate::execute::{Options, Queue, Silent, Survey, device_kind, permit, probe_cost};
use crate::plan::{CellId, PHASES, Plan, SLICE, Work};
use crate::store::rows::{Status, TransferRow};
use crate::store::{Address, Found, Store, Stored, begun};
use crate::study::{GoalKind, Study, StudyAttack, StudyModel};
use crate::threads::crowd;
use crate::weights::WeightsPlace;
use anyhow::{Context, Result, bail};
use gauntlet_core::attack::{Cases, Cost, Goal};
use gauntlet_core::device::{self, Device};
use gauntlet_core::guard;
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Passes, Settings};
use gauntlet_core::registry::Registry;
use gauntlet_core::weights::{Misfit, Role, Source, Weights};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tch::{Kind, Tensor};

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
pub struct Estimate {
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
#[derive(Clone, Debug, Default, Serialize)]
pub struct Kinds {
    /// `clean`, `craft`, …
    pub kind: &'static str,
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
    fn of(self, images: f64) -> f64 {
        if images > 0.0 { self.fixed + self.each * images } else { 0.0 }
    }

    /// From the times of one image and of a batch.
    fn fit(one: f64, batch: f64, images: usize) -> Self {
        let each = if images > 1 { ((batch - one) / (images - 1) as f64).max(0.0) } else { one };
        let each = each.min(batch / images as f64);
        Self { fixed: (one - each).max(0.0), each }
    }
}

/// Times that go with the machine's disk and processor, not with a model.
struct Machine {
    write: f64,
    read: f64,
    /// Bytes of a cell's rows: for itself, and for each.
    size: Batch,
    /// Seconds per byte of pixels, written or read.
    pixels: f64,
    /// To load an image, by side.
    loading: BTreeMap<i64, f64>,
    /// What an attack adds to a pass, per element of an image, by registered name.
    overhead: BTreeMap<String, f64>,
    /// What an image costs, by attack and goal, as far as that was tried.
    tried: BTreeMap<(usize, GoalKind), Effort>,
}

/// What the images that are attacked side by side cost.
#[derive(Clone, Copy, Default)]
struct Effort {
    /// An image, on average.
    each: Cost,
    /// The one that costs most: as long as it goes on there are batches.
    longest: Cost,
}

impl From<Cost> for Effort {
    fn from(each: Cost) -> Self {
        Self { each, longest: each }
    }
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
    options: &Options,
) -> Result<Estimate> {
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
    options: &Options,
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

/// What a cell takes.
struct Take<'a> {
    forward: f64,
    backward: f64,
    seconds: f64,
    bytes: f64,
    own: Option<Own<'a>>,
}

/// What an attack or a score takes in a cell.
struct Own<'a> {
    key: (bool, usize, GoalKind),
    label: &'a str,
    /// For an image, if that is known.
    each: Option<Cost>,
    seconds: f64,
}

impl Own<'_> {
    fn name(&self) -> String {
        format!("{} ({})", self.label, self.key.2.name())
    }
}

/// All that was measured, for a study.
struct Rates<'a> {
    study: &'a Study,
    plan: &'a Plan,
    models: &'a [Pace],
    machine: &'a Machine,
    /// What a probe costs, for each image.
    probe: Cost,
}

impl<'a> Rates<'a> {
    fn of(&self, id: CellId) -> Take<'a> {
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

fn add_up(
    study: &Study,
    plan: &Plan,
    survey: Option<&Survey>,
    models: Vec<Pace>,
    machine: &Machine,
    workers: usize,
) -> Estimate {
    let mut kinds: Vec<Kinds> = ["clean", "probe", "craft", "score", "measure", "transfer"]
        .map(|kind| Kinds { kind, ..Kinds::default() })
        .to_vec();
    let mut work: BTreeMap<(bool, usize, GoalKind), Campaigns> = BTreeMap::new();
    let rates = Rates { study, plan, models: &models, machine, probe: probe_cost(&study.radii()) };
    let mut phases: [Vec<CellId>; PHASES.len()] = Default::default();
    let mut taken = vec![0.0; plan.cells.len()];
    for (id, cell) in plan.cells.iter().enumerate() {
        let sum = kinds
            .iter_mut()
            .find(|sum| sum.kind == cell.address.kind)
            .expect("there are six kinds");
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
    Estimate {
        cells: kinds,
        work: work.into_values().collect(),
        models,
        workers,
        seconds,
        bytes,
        unknown,
    }
}

fn asked(goal: GoalKind) -> Goal {
    if goal == GoalKind::Untargeted { Goal::Away(0) } else { Goal::Towards(0) }
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

fn measure(study: &Study, registry: &Registry, options: &Options) -> Result<(Vec<Pace>, Machine)> {
    permit(
        &study.plugins,
        "it computes in processes of its own alone, and measuring starts none; ",
    )?;
    let threads = tch::get_num_threads();
    tch::set_num_threads(1);
    let measured = measure_all(study, registry, options);
    tch::set_num_threads(threads);
    measured
}

fn measure_all(
    study: &Study,
    registry: &Registry,
    options: &Options,
) -> Result<(Vec<Pace>, Machine)> {
    let lanes = study.data.pictures.len().min(SLICE);
    let (next, measured) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let paces: Mutex<BTreeMap<usize, Result<Pace>>> = Mutex::default();
    crowd(options.workers, || {
        while measured.load(Ordering::Relaxed) < study.models.len() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let model = &study.models[index % study.models.len()];
            let pace = guard::catch("measuring", || {
                pace(
                    model,
                    registry,
                    options.device,
                    &study.data.pictures,
                    index < study.models.len(),
                )
            });
            // What comes then is for nothing but to keep the machine as busy as it will be.
            if index < study.models.len() {
                let pace = pace.with_context(|| format!("model `{}`", model.part.label));
                paces.lock().expect("nobody panics with the lock").insert(index, pace);
                measured.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let paces: Vec<Pace> = paces
        .into_inner()
        .expect("nobody panics with the lock")
        .into_values()
        .collect::<Result<_>>()?;
    let quickest = (0..paces.len())
        .min_by(|&a, &b| paces[a].gradient.each.total_cmp(&paces[b].gradient.each))
        .context("a study has a model")?;
    let additions: Mutex<BTreeMap<String, Vec<f64>>> = Mutex::default();
    crowd(options.workers, || {
        let Ok(model) = load(&study.models[quickest], registry, options.device) else { return };
        let mut done = BTreeSet::new();
        for attack in study.attacks.iter().filter(|attack| done.insert(attack.part.name.clone())) {
            let found = guard::catch("measuring", || {
                added(attack, model.as_ref(), &paces[quickest], options.device, lanes)
            });
            // An attack that fails does so in its cells.
            let seconds = found.unwrap_or_default();
            additions
                .lock()
                .expect("nobody panics with the lock")
                .entry(attack.part.name.clone())
                .or_default()
                .push(seconds);
        }
    });
    let tried = try_out(study, registry, options, &paces);
    let additions = additions.into_inner().expect("nobody panics with the lock").into_iter();
    let overhead = additions.map(|(name, mut seconds)| (name, median(&mut seconds))).collect();
    let (write, read, size, pixels) = storing()?;
    let loading = study
        .models
        .iter()
        .map(|model| (model.card.side, loading(&study.data.pictures, model.card.side)))
        .collect();
    Ok((paces, Machine { write, read, size, pixels, loading, overhead, tried }))
}

/// What each attack costs for an image, by goal, as far as it can be tried in a short time: by the
/// slowest, a middling or the quickest of the models that have weights, in this order.
fn try_out(
    study: &Study,
    registry: &Registry,
    options: &Options,
    paces: &[Pace],
) -> BTreeMap<(usize, GoalKind), Effort> {
    let mut real: Vec<usize> = (0..paces.len()).filter(|&n| !paces[n].made_up).collect();
    real.sort_by(|&a, &b| paces[b].gradient.each.total_cmp(&paces[a].gradient.each));
    let spread = |n: usize| real.len().saturating_sub(1) * n / (TRIED.1 - 1);
    let mut chosen: Vec<usize> =
        (0..TRIED.1).filter_map(|n| real.get(spread(n)).copied()).collect();
    chosen.dedup();
    let declared = |&(attack, goal): &(usize, GoalKind)| {
        study.attacks[attack].attack.cost(asked(goal)).unwrap_or_default()
    };
    let tasks = study
        .attacks
        .iter()
        .enumerate()
        .flat_map(|(n, attack)| attack.goals.iter().map(move |&goal| (n, goal)));
    let mut left: Vec<(usize, GoalKind)> = tasks.collect();
    let efforts: Mutex<BTreeMap<(usize, GoalKind), Effort>> = Mutex::default();
    for model in chosen {
        // The last comes first: what costs least.
        left.sort_by(|a, b| declared(b).forward.total_cmp(&declared(a).forward));
        let images = study.data.pictures.len().min(TRIED.0) as f64;
        let hopeless = |task: &(usize, GoalKind)| {
            passes(&paces[model], images, declared(task).into()) > HOPELESS * TRIAL.as_secs_f64()
        };
        let (tasks, mut later): (Vec<_>, Vec<_>) =
            left.into_iter().partition(|task| !hopeless(task));
        let workers = options.workers.min(tasks.len());
        let (tasks, failed) = (Mutex::new(tasks), Mutex::new(Vec::new()));
        let next = || tasks.lock().expect("nobody panics with the lock").pop();
        if workers > 0 {
            crowd(workers, || {
                let Ok(model) = guard::catch("loading", || {
                    load(&study.models[model], registry, options.device)
                }) else {
                    return;
                };
                let Ok(seen) = guard::catch("looking", || {
                    Seen::by(model.as_ref(), &study.data.pictures, options.device)
                }) else {
                    return;
                };
                let start = Instant::now();
                while start.elapsed() < TRIALS / TRIED.1 as u32
                    && let Some((attack, goal)) = next()
                {
                    let trial = || tried(&study.attacks[attack], goal, model.as_ref(), &seen);
                    match guard::catch("trying", trial).ok().flatten() {
                        Some(effort) => drop(
                            efforts
                                .lock()
                                .expect("nobody panics with the lock")
                                .insert((attack, goal), effort),
                        ),
                        None => {
                            failed.lock().expect("nobody panics with the lock").push((attack, goal))
                        }
                    }
                }
            });
        }
        later.extend(failed.into_inner().expect("nobody panics with the lock"));
        later.extend(tasks.into_inner().expect("nobody panics with the lock"));
        left = later;
    }
    efforts.into_inner().expect("nobody panics with the lock")
}

/// The model; with made-up weights where it has none.
fn load(model: &StudyModel, registry: &Registry, device: Device) -> Result<Box<dyn Model>> {
    match &model.weights {
        WeightsPlace::Absent(_) => registry
            .find_model(&model.part.name)?
            .load(&model.part.parameters, Weights::new(MadeUp, device)),
        WeightsPlace::Embedded(_) | WeightsPlace::File(_) | WeightsPlace::TorchScript(_) => {
            model.load(registry, device)
        }
    }
}

/// Weights of the size that real ones have, so that no value overflows or vanishes.
struct MadeUp;

impl Source for MadeUp {
    fn tensor(&self, _: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        let count: i64 = shape.iter().product();
        let wave = (Tensor::arange(count, (Kind::Float, Device::Cpu)) * 1.7).sin().view(shape);
        Ok(match role {
            Role::Kernel => wave * 2.0 * (shape[shape.len() - 1] as f64 / count as f64).sqrt(),
            Role::Depthwise | Role::Bias | Role::Beta | Role::Mean => wave * 0.3,
            Role::Gamma | Role::Variance => wave * 0.2 + 1,
        })
    }
}

/// N×3×side×side within [0, 1], each image different.
fn images(count: usize, side: i64, device: Device) -> Tensor {
    let grid = Tensor::arange(count as i64 * 3 * side * side, (Kind::Float, Device::Cpu));
    ((grid * 0.37).sin() * 0.5 + 0.5).view([count as i64, 3, side, side]).to_device(device)
}

/// Time of some work, which is done once before: the median of several, as it will be in a run.
fn timed(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let start = Instant::now();
    let mut times = Vec::new();
    while times.is_empty() || start.elapsed() < PATIENCE / 2 {
        let begun = Instant::now();
        work()?;
        times.push(begun.elapsed().as_secs_f64());
    }
    Ok(median(&mut times))
}

/// 0 where there are none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Part of the images that a model gets right.
fn right(model: &dyn Model, pictures: &[Picture], device: Device) -> Result<f64> {
    let pixels = data::batch(pictures, model.card().side)?.to_device(device);
    let classes = Vec::<i64>::try_from(tch::no_grad(|| model.logits(&pixels)).argmax(1, false))?;
    let count = classes
        .iter()
        .zip(pictures)
        .filter(|(class, picture)| *class - model.card().label_offset == picture.label)
        .count();
    Ok(count as f64 / pictures.len() as f64)
}

fn pace(
    chosen: &StudyModel,
    registry: &Registry,
    device: Device,
    pictures: &[Picture],
    count: bool,
) -> Result<Pace> {
    let model = load(chosen, registry, device)?;
    let (card, lanes) = (model.card(), pictures.len().min(SLICE));
    let made_up = matches!(chosen.weights, WeightsPlace::Absent(_));
    let oracle = Oracle::new(model.as_ref(), vec![0; lanes], Settings::default());
    let all: Vec<usize> = (0..lanes).collect();
    // Reading a number waits for the device.
    let wait = |tensor: &Tensor| {
        let _ = tensor.sum(Kind::Float).double_value(&[]);
    };
    let forward = |count: usize| -> Result<f64> {
        let pixels = images(count, card.side, device);
        timed(|| oracle.logits(&all[..count], &pixels).map(|logits| wait(&logits)))
    };
    let gradient = |count: usize| -> Result<f64> {
        let pixels = images(count, card.side, device);
        timed(|| {
            oracle
                .gradient(&all[..count], &pixels, |z| z.select(1, 0))
                .map(|gradient| wait(&gradient.pixels))
        })
    };
    let (one, one_gradient) = (forward(1)?, gradient(1)?);
    let batch = ((PATIENCE.as_secs_f64() / one_gradient) as usize).clamp(1, lanes);
    let count =
        count && !made_up && pictures.len() <= SLICE && one * (pictures.len() as f64) < COUNT;
    // Pictures that cannot be loaded are told when the study runs.
    let counted = count.then(|| right(model.as_ref(), pictures, device).ok()).flatten();
    Ok(Pace {
        model: chosen.part.label.clone(),
        made_up,
        accuracy: counted.unwrap_or_else(|| card.top1.map_or(ACCURACY, |top1| top1 / 100.0)),
        forward: Batch::fit(one, forward(batch)?, batch),
        gradient: Batch::fit(one_gradient, gradient(batch)?, batch),
    })
}

/// Seconds that an attack adds to a pass, per element of an image: it is begun and soon stopped.
fn added(
    attack: &StudyAttack,
    model: &dyn Model,
    pace: &Pace,
    device: Device,
    lanes: usize,
) -> Result<f64> {
    let card = model.card();
    let cases = Cases::new(
        images(lanes, card.side, device),
        vec![Goal::Towards(card.label_offset); lanes],
    )?;
    let run = |patience: Duration| {
        let settings =
            Settings { lanes, deadline: Some(Instant::now() + patience), ..Settings::default() };
        let oracle = Oracle::new(model, vec![0; lanes], settings);
        let start = Instant::now();
        let _ = attack.attack.run(&oracle, &cases); // out of time, most likely
        device::wait(device);
        let seconds = start.elapsed().as_secs_f64();
        (seconds, made(&oracle))
    };
    run(PATIENCE / 4);
    let (seconds, effort) = run(PATIENCE);
    if effort.each.backward == 0.0 {
        return Ok(0.0);
    }
    let own = seconds - passes(pace, lanes as f64, effort);
    Ok((own / (effort.each.backward * (lanes as i64 * 3 * card.side * card.side) as f64)).max(0.0))
}

/// Passes that were made.
fn made(oracle: &Oracle) -> Effort {
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

/// A few images, and the classes that a model sees in each.
struct Seen {
    /// N×3×side×side within [0, 1].
    pixels: Tensor,
    /// By image, the likeliest first.
    classes: Vec<Vec<i64>>,
}

impl Seen {
    fn by(model: &dyn Model, pictures: &[Picture], device: Device) -> Result<Self> {
        let card = model.card();
        let pixels =
            data::batch(&pictures[..pictures.len().min(TRIED.0)], card.side)?.to_device(device);
        let logits = tch::no_grad(|| model.logits(&pixels)).narrow(
            1,
            card.label_offset,
            card.classes - card.label_offset,
        );
        let classes = Vec::<Vec<i64>>::try_from(logits.argsort(1, true) + card.label_offset)?;
        Ok(Self { pixels, classes })
    }
}

/// What an attack costs for each of a few images, of which it is told to leave the class that the
/// model sees; none where that takes too long, or the attack fails.
fn tried(
    attack: &StudyAttack,
    goal: GoalKind,
    model: &dyn Model,
    seen: &Seen,
) -> Result<Option<Effort>> {
    let goals = seen.classes.iter().enumerate().map(|(n, classes)| match goal {
        GoalKind::Untargeted => Goal::Away(classes[0]),
        GoalKind::LeastLikely => Goal::Towards(classes[classes.len() - 1]),
        GoalKind::Second => Goal::Towards(classes[1]),
        // From the likely ones to those that are not.
        GoalKind::Random | GoalKind::Given => {
            Goal::Towards(classes[1 + n * (classes.len() - 1) / seen.classes.len()])
        }
    });
    let cases = Cases::new(seen.pixels.copy(), goals.collect())?;
    let settings =
        Settings { lanes: SLICE, deadline: Some(Instant::now() + TRIAL), ..Settings::default() };
    let oracle = Oracle::new(model, (0..cases.len() as u64).collect(), settings);
    attack.attack.run(&oracle, &cases)?;
    Ok(oracle.stopped().is_none().then(|| made(&oracle)))
}

/// Seconds to write and to read a cell, its size, and seconds per byte of pixels.
fn storing() -> Result<(f64, f64, Batch, f64)> {
    let folder = tempfile::tempdir().context("the system's temporary folder")?;
    let store = Store::open(folder.path())?;
    let row = |n: usize| TransferRow {
        image: blake3::hash(&n.to_le_bytes()).to_string(),
        label: n as i64,
        target_class: Some(n as i64 * 7),
        status: Status::Adversarial,
        source_success: true,
        source_success_8bit: n.is_multiple_of(2),
        target_correct: !n.is_multiple_of(3),
        prediction: Some(n as i64 * 3),
        prediction_8bit: Some(n as i64 * 3),
        success: n.is_multiple_of(5),
        success_8bit: n.is_multiple_of(5),
        top5: n.is_multiple_of(4),
        top5_8bit: n.is_multiple_of(4),
        milliseconds: n as f64 / 7.0,
    };
    let cell = |rows: usize| {
        let stored = Stored {
            rows: (0..rows).map(row).collect(),
            provenance: " ".repeat(2000),
            pixels: None,
        };
        (Address::new("transfer", &serde_json::json!({ "rows": rows })), stored)
    };
    let [(one, one_row), (full, all_rows)] = [1, SLICE].map(cell);
    store.write(&one, &one_row)?;
    let write = timed(|| store.write(&full, &all_rows))?;
    let read = timed(|| match store.read::<TransferRow>(&full)? {
        Found::Whole(_) => Ok(()),
        Found::Missing | Found::Damaged(_) => bail!("what was written cannot be read back"),
    })?;
    let bytes = |at: &Address| -> Result<f64> {
        let path = folder.path().join(format!("cells/transfer/{}.parquet", at.key));
        Ok(std::fs::metadata(path)?.len() as f64)
    };
    let size = Batch::fit(bytes(&one)?, bytes(&full)?, SLICE);
    let pixels = images(SLICE, 64, Device::Cpu);
    let address = Address::new("craft", &serde_json::json!({}));
    let put = timed(|| {
        let hash = store.write_pixels(&address, &pixels)?;
        store.read_pixels(&address, &hash).map(drop)
    })?;
    let per_byte = (put - write).max(0.0) / 2.0 / (pixels.numel() * 4) as f64;
    Ok((write, read, size, per_byte))
}

/// Seconds to load one of the images.
fn loading(pictures: &[Picture], side: i64) -> f64 {
    let some = &pictures[..pictures.len().min(3)];
    let start = Instant::now();
    match data::batch(some, side) {
        Ok(_) => start.elapsed().as_secs_f64() / some.len() as f64,
        Err(_) => LOADING * (side as f64 / 224.0).powi(2),
    }
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
