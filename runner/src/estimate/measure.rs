//! Measuring models, metrics, disk and images.

use crate::data::{self, Picture};
use crate::engine::plan::SLICE;
use crate::engine::{RunOptions, permit};
use crate::estimate::made_up::load;
use crate::estimate::rates::{Batch, Machine, Pace, made};
use crate::estimate::trial::try_out;
use crate::estimate::{ACCURACY, COUNT, LOADING, PATIENCE, passes};
use crate::store::rows::{Status, TransferRow};
use crate::store::{Address, CellKind, Lookup, Store, Stored};
use crate::study::{Study, StudyAttack, StudyModel};
use crate::threads::crowd;
use crate::weights::WeightsPlace;
use anyhow::{Context, Result, bail};
use gauntlet_core::attack::{Cases, Goal};
use gauntlet_core::device::{self, Device};
use gauntlet_core::guard;
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_core::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tch::{Kind, Tensor};

pub(super) fn measure(
    study: &Study,
    registry: &Registry,
    options: &RunOptions,
) -> Result<(Vec<Pace>, Machine)> {
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
    options: &RunOptions,
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

/// N×3×side×side within [0, 1], each image different.
pub(super) fn images(count: usize, side: i64, device: Device) -> Tensor {
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

pub(super) fn pace(
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
        (Address::new(CellKind::Transfer, &serde_json::json!({ "rows": rows })), stored)
    };
    let [(one, one_row), (full, all_rows)] = [1, SLICE].map(cell);
    store.write(&one, &one_row)?;
    let write = timed(|| store.write(&full, &all_rows))?;
    let read = timed(|| match store.read::<TransferRow>(&full)? {
        Lookup::Whole(_) => Ok(()),
        Lookup::Missing | Lookup::Damaged(_) => bail!("what was written cannot be read back"),
    })?;
    let bytes = |at: &Address| -> Result<f64> {
        let path = folder.path().join(format!("cells/transfer/{}.parquet", at.key));
        Ok(std::fs::metadata(path)?.len() as f64)
    };
    let size = Batch::fit(bytes(&one)?, bytes(&full)?, SLICE);
    let pixels = images(SLICE, 64, Device::Cpu);
    let address = Address::new(CellKind::Craft, &serde_json::json!({}));
    let put = timed(|| {
        let hash = store.write_pixels(&address, &pixels)?;
        store.read_pixels(&address, &hash).map(drop)
    })?;
    let per_byte = (put - write).max(0.0) / 2.0 / (pixels.numel() * 4) as f64;
    Ok((write, read, size, per_byte))
}

/// Seconds to load one of the images.
pub(super) fn loading(pictures: &[Picture], side: i64) -> f64 {
    let some = &pictures[..pictures.len().min(3)];
    let start = Instant::now();
    match data::batch(some, side) {
        Ok(_) => start.elapsed().as_secs_f64() / some.len() as f64,
        Err(_) => LOADING * (side as f64 / 224.0).powi(2),
    }
}
