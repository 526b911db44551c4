//! Measuring a study's models, attacks and images on this machine.

use crate::data::{self, Picture};
use crate::engine::plan::SLICE;
use crate::engine::{RunOptions, permit};
use crate::estimate::disk::Disk;
use crate::estimate::made_up::load;
use crate::estimate::pace::{AttackGoal, Batch, Effort, Pace};
use crate::estimate::timing::{PATIENCE, images, median, timed};
use crate::estimate::trial::try_out;
use crate::study::{Study, StudyAttack, StudyModel};
use crate::threads::crowd;
use crate::weights::WeightsPlace;
use anyhow::{Context, Result};
use gauntlet_core::attack::{Cases, Goal};
use gauntlet_core::device::{self, Device};
use gauntlet_core::guard;
use gauntlet_core::model::{ImageShape, Model};
use gauntlet_core::oracle::{Draws, Oracle, Purpose, Settings};
use gauntlet_core::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tch::{Kind, Tensor};

/// What was measured for a study. Times are in seconds.
pub(super) struct Measured {
    /// By model, in the study's order.
    pub paces: Vec<Pace>,
    /// What it takes to store a cell.
    pub disk: Disk,
    /// Time to load an image, by the side that it is brought to.
    pub loading: BTreeMap<ImageShape, f64>,
    /// Time that an attack adds to a pass, per element of an image, by registered name.
    pub overheads: BTreeMap<String, f64>,
    /// Passes for an image, of those attacks and goals that could be tried.
    pub efforts: BTreeMap<AttackGoal, Effort>,
}

/// Measures, on the device and with as many threads as a run would have workers.
///
/// # Errors
/// When a model cannot be loaded or run, a plugin ends the process where it panics, or nothing can
/// be stored in the system's temporary folder.
pub(super) fn measure(
    study: &Study,
    registry: &Registry,
    options: &RunOptions,
) -> Result<Measured> {
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

fn measure_all(study: &Study, registry: &Registry, options: &RunOptions) -> Result<Measured> {
    let paces = paces(study, registry, options)?;
    let overheads = overheads(study, registry, options, &paces)?;
    let efforts = try_out(study, registry, options, &paces);
    let loading = study
        .models
        .iter()
        .map(|model| (model.card.shape(), loading(&study.data.pictures, model.card.shape())))
        .collect();
    Ok(Measured { paces, disk: Disk::measure()?, loading, overheads, efforts })
}

fn paces(study: &Study, registry: &Registry, options: &RunOptions) -> Result<Vec<Pace>> {
    let (next, measured) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let paces: Mutex<BTreeMap<usize, Result<Pace>>> = Mutex::default();
    crowd(options.workers, || {
        while measured.load(Ordering::Relaxed) < study.models.len() {
            let index = next.fetch_add(1, Ordering::Relaxed);
            // Once every model has its thread, the others measure again, for nothing but to keep
            // the machine as busy as it will be in a run.
            let counts = index < study.models.len();
            let model = &study.models[index % study.models.len()];
            let pace = guard::catch("measuring", || {
                pace(model, registry, options.device, &study.data.pictures, counts)
            });
            if counts {
                let pace = pace.with_context(|| format!("model `{}`", model.part.label));
                paces.lock().expect("nobody panics with the lock").insert(index, pace);
                measured.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    paces.into_inner().expect("nobody panics with the lock").into_values().collect()
}

/// How quick one model is. Its accuracy is counted only if `count` says so, and that is quick.
fn pace(
    chosen: &StudyModel,
    registry: &Registry,
    device: Device,
    pictures: &[Picture],
    count: bool,
) -> Result<Pace> {
    /// Greatest number of seconds that counting the images that a model gets right may take.
    const COUNTING: f64 = 5.0;
    /// Accuracy of a model of which none is published.
    const ACCURACY: f64 = 0.75;
    let model = load(chosen, registry, device)?;
    let (card, lanes) = (model.card(), pictures.len().min(SLICE));
    let made_up = matches!(chosen.weights, WeightsPlace::Absent(_));
    // The time of one draw, of a model that answers at random.
    let one_draw = Draws { count: 1, purpose: Purpose::Attack };
    let settings = Settings { draws: chosen.samples.map(|_| one_draw), ..Settings::default() };
    let oracle = Oracle::new(model.as_ref(), vec![0; lanes], settings);
    let all: Vec<usize> = (0..lanes).collect();
    // Reading a number waits for the device.
    let wait = |tensor: &Tensor| {
        let _ = tensor.sum(Kind::Float).double_value(&[]);
    };
    let forward = |count: usize| -> Result<f64> {
        let pixels = images(count, card.shape(), device);
        timed(|| oracle.logits(&all[..count], &pixels).map(|logits| wait(&logits)))
    };
    let gradient = |count: usize| -> Result<f64> {
        let pixels = images(count, card.shape(), device);
        timed(|| {
            oracle
                .gradient(&all[..count], &pixels, |z| z.select(1, 0))
                .map(|gradient| wait(&gradient.pixels))
        })
    };
    let (one, one_gradient) = (forward(1)?, gradient(1)?);
    let batch = ((PATIENCE.as_secs_f64() / one_gradient) as usize).clamp(1, lanes);
    let count =
        count && !made_up && pictures.len() <= SLICE && one * (pictures.len() as f64) < COUNTING;
    // A picture that cannot be loaded is an error when the study runs, not here.
    let counted = count.then(|| accuracy(model.as_ref(), pictures, device).ok()).flatten();
    Ok(Pace {
        model: chosen.part.label.clone(),
        made_up,
        accuracy: counted.unwrap_or_else(|| card.top1.map_or(ACCURACY, |top1| top1 / 100.0)),
        forward: Batch::fit(one, forward(batch)?, batch),
        gradient: Batch::fit(one_gradient, gradient(batch)?, batch),
    })
}

/// Share of the images that a model gets right.
fn accuracy(model: &dyn Model, pictures: &[Picture], device: Device) -> Result<f64> {
    let pixels = data::batch(pictures, model.card().shape())?.to_device(device);
    let classes = Vec::<i64>::try_from(tch::no_grad(|| model.logits(&pixels)).argmax(1, false))?;
    let right = classes
        .iter()
        .zip(pictures)
        .filter(|(class, picture)| *class - model.card().label_offset == picture.label)
        .count();
    Ok(right as f64 / pictures.len() as f64)
}

/// What attacks add to the passes of the quickest model, by registered name.
fn overheads(
    study: &Study,
    registry: &Registry,
    options: &RunOptions,
    paces: &[Pace],
) -> Result<BTreeMap<String, f64>> {
    let quickest = (0..paces.len())
        .min_by(|&a, &b| paces[a].gradient.each.total_cmp(&paces[b].gradient.each))
        .context("a study has a model")?;
    let lanes = study.data.pictures.len().min(SLICE);
    let all: Mutex<BTreeMap<String, Vec<f64>>> = Mutex::default();
    crowd(options.workers, || {
        let Ok(model) = load(&study.models[quickest], registry, options.device) else { return };
        let mut done = BTreeSet::new();
        for attack in study.attacks.iter().filter(|attack| done.insert(attack.part.name.clone())) {
            let found = guard::catch("measuring", || {
                overhead(attack, model.as_ref(), &paces[quickest], options.device, lanes)
            });
            // An attack that fails does so in its cells.
            let seconds = found.unwrap_or_default();
            all.lock()
                .expect("nobody panics with the lock")
                .entry(attack.part.name.clone())
                .or_default()
                .push(seconds);
        }
    });
    let all = all.into_inner().expect("nobody panics with the lock").into_iter();
    Ok(all.map(|(name, mut seconds)| (name, median(&mut seconds))).collect())
}

/// Seconds that an attack adds to a pass, per element of an image: it is begun and soon stopped.
fn overhead(
    attack: &StudyAttack,
    model: &dyn Model,
    pace: &Pace,
    device: Device,
    lanes: usize,
) -> Result<f64> {
    let card = model.card();
    let cases = Cases::new(
        images(lanes, card.shape(), device),
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
        (seconds, Effort::made(&oracle))
    };
    run(PATIENCE / 4);
    let (seconds, effort) = run(PATIENCE);
    if effort.each.backward == 0.0 {
        return Ok(0.0);
    }
    let own = seconds - pace.passes(lanes as f64, effort);
    Ok((own / (effort.each.backward * (lanes as i64 * card.shape().values()) as f64)).max(0.0))
}

/// Seconds to load one of the images.
fn loading(pictures: &[Picture], shape: ImageShape) -> f64 {
    /// Seconds for an image of 224 pixels, where none can be loaded to measure it.
    const GUESS: f64 = 0.01;
    let some = &pictures[..pictures.len().min(3)];
    let start = Instant::now();
    match data::batch(some, shape) {
        Ok(_) => start.elapsed().as_secs_f64() / some.len() as f64,
        Err(_) => GUESS * shape.values() as f64 / ImageShape::rgb(224).values() as f64,
    }
}
