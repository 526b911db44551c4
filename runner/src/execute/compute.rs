//! What happens in a cell. Nothing that a model, an attack or a metric gives is believed: shapes,
//! ranges and every claim are checked here, with forward passes of the engine's own.

use crate::data::{self, Picture};
use crate::errors::first_line;
use crate::plan::Work;
use crate::store::Stored;
use crate::store::rows::{CleanRow, CraftRow, MeasureRow, ScoreRow, Status, TransferRow};
use crate::study::{GoalKind, Policy, Study, StudyAttack, StudyMetric};
use anyhow::{Result, bail, ensure};
use gauntlet_core::attack::{Answer, Cases, Goal, admit};
use gauntlet_core::device::{self, Device};
use gauntlet_core::guard;
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::oracle::{Oracle, Settings};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;
use tch::{Kind, Tensor};

const MID_GREY: f64 = 0.5;

/// What a cell is computed under.
#[derive(Clone, Copy)]
pub(super) struct Bench<'a> {
    pub study: &'a Study,
    pub device: Device,
    /// Lanes per batch: the size of a slice.
    pub lanes: usize,
    /// When the cell is to be given up.
    pub deadline: Option<Instant>,
    /// Set when all are.
    pub cancel: &'a Arc<AtomicBool>,
}

impl Bench<'_> {
    /// What an attack or a score works under.
    pub fn settings(self) -> Settings {
        Settings {
            lanes: self.lanes,
            seed: self.study.seed,
            deadline: self.deadline,
            cancel: self.cancel.clone(),
        }
    }

    /// Does what may panic, up to the end of a GPU's part in it.
    fn see_through<T>(self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        guard::catch(what, || {
            let answer = work();
            device::wait(self.device);
            answer
        })
    }
}

/// The answer of an attack or a score, if the clock had no part in it.
pub(super) fn unhurried<T>(oracle: &Oracle, answer: Result<T>) -> Result<T> {
    oracle.stopped().map_or(answer, |stop| Err(stop.into()))
}

/// Rounds pixels to what an 8-bit image can hold.
pub(super) fn to_8bit(pixels: &Tensor) -> Tensor {
    let rounded = pixels.copy();
    // One image at a time stays in the cache.
    for n in 0..pixels.size()[0] {
        let _ = rounded.get(n).g_mul_scalar_(255.0).round_().g_div_scalar_(255.0);
    }
    rounded
}

/// The engine's own look at a model: N×3×S×S → N×classes, on the CPU, in float32.
fn answers(model: &dyn Model, device: Device, pixels: &Tensor) -> Result<Tensor> {
    let count = pixels.size()[0] as usize;
    let oracle = Oracle::new(model, vec![0; count], Settings::default());
    let logits = oracle.logits(&(0..count).collect::<Vec<_>>(), &pixels.to_device(device))?;
    Ok(answers_of(&logits))
}

/// Logits on the CPU, in float32.
pub(super) fn answers_of(logits: &Tensor) -> Tensor {
    logits.to_device(Device::Cpu).to_kind(Kind::Float)
}

/// Per row the class with the greatest logit, counted as in the dataset; none where a logit is NaN.
pub(super) fn predictions(logits: &Tensor, card: &ModelCard) -> Result<Vec<Option<i64>>> {
    let classes = Vec::<i64>::try_from(logits.argmax(1, false))?;
    let broken = Vec::<i64>::try_from(logits.isnan().any_dim(1, false).to_kind(Kind::Int64))?;
    Ok(classes
        .iter()
        .zip(broken)
        .map(|(class, broken)| (broken == 0).then_some(class - card.label_offset))
        .collect())
}

/// Per row whether the class is among the five with the greatest logits.
fn in_top5(logits: &Tensor, card: &ModelCard, classes: &[i64]) -> Result<Vec<bool>> {
    let (_, best) = logits.topk(card.classes.min(5), 1, true, true);
    let classes = Tensor::from_slice(classes) + card.label_offset;
    let found = best.eq_tensor(&classes.unsqueeze(1)).any_dim(1, false);
    Ok(Vec::<i64>::try_from(found.to_kind(Kind::Int64))?
        .into_iter()
        .map(|found| found == 1)
        .collect())
}

pub(super) fn clean(
    bench: Bench,
    model: &dyn Model,
    pictures: &[Picture],
) -> Result<Vec<CleanRow>> {
    let card = model.card();
    let logits = answers(model, bench.device, &data::batch(pictures, card.side)?)?;
    let labels: Vec<i64> = pictures.iter().map(|picture| picture.label).collect();
    let predictions = predictions(&logits, card)?;
    let top5 = in_top5(&logits, card, &labels)?;
    let real = logits.narrow(1, card.label_offset, card.classes - card.label_offset);
    let label = Tensor::from_slice(&labels).unsqueeze(1);
    let second =
        Vec::<i64>::try_from(real.scatter_value(1, &label, f64::NEG_INFINITY).argmax(1, false))?;
    let least =
        Vec::<i64>::try_from(real.scatter_value(1, &label, f64::INFINITY).argmin(1, false))?;
    pictures
        .iter()
        .enumerate()
        .map(|(n, picture)| {
            let Some(prediction) = predictions[n] else {
                bail!("model `{}` gave logits that are NaN for image `{}`", card.name, picture.name)
            };
            Ok(CleanRow {
                image: picture.hash.clone(),
                label: picture.label,
                prediction,
                correct: prediction == picture.label,
                top5: top5[n],
                second: second[n],
                least_likely: least[n],
            })
        })
        .collect()
}

/// The number of a picture's random stream: the same in whatever company.
pub(super) fn stream(picture: &Picture) -> u64 {
    u64::from_str_radix(&picture.hash[..16], 16).expect("a hash is hexadecimal")
}

/// The class that a goal is about, beside the true one.
fn aimed_at(study: &Study, kind: GoalKind, picture: &Picture, clean: &CleanRow) -> Option<i64> {
    match kind {
        GoalKind::Untargeted => None,
        GoalKind::Random => Some(study.random_target(picture)),
        GoalKind::LeastLikely => Some(clean.least_likely),
        GoalKind::Second => Some(clean.second),
        GoalKind::Given => picture.target,
    }
}

/// In the dataset's classes.
fn goal(target_class: Option<i64>, label: i64) -> Goal {
    target_class.map_or(Goal::Away(label), Goal::Towards)
}

/// The model counts its background too.
pub(super) fn of_model(goal: Goal, card: &ModelCard) -> Goal {
    match goal {
        Goal::Away(class) => Goal::Away(class + card.label_offset),
        Goal::Towards(class) => Goal::Towards(class + card.label_offset),
    }
}

pub(super) fn craft(
    bench: Bench,
    model: &dyn Model,
    attack: &StudyAttack,
    kind: GoalKind,
    pictures: &[Picture],
    clean: &[CleanRow],
) -> Result<(Vec<CraftRow>, Option<Tensor>)> {
    let (study, card) = (bench.study, model.card());
    let target_class = |n: usize| aimed_at(study, kind, &pictures[n], &clean[n]);
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
    let pixels = data::batch(&chosen, card.side)?.to_device(bench.device);
    let cases = Cases::new(pixels, attacked.iter().map(|&n| of_model(goal(n))).collect())?;
    let oracle = Oracle::new(model, chosen.iter().map(stream).collect(), bench.settings());
    let start = Instant::now();
    let given = bench.see_through(&format!("attack `{}`", attack.part.name), || {
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
    let float_logits = answers(model, bench.device, &images)?;
    let rounded_logits = answers(model, bench.device, &to_8bit(&images))?;
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

pub(super) fn transfer(
    bench: Bench,
    target: &dyn Model,
    policy: Policy,
    craft: &Stored<CraftRow>,
    pixels: Option<&Tensor>,
    clean: &[CleanRow],
) -> Result<Vec<TransferRow>> {
    let mut rows: Vec<TransferRow> = craft
        .rows
        .iter()
        .zip(clean)
        .map(|(row, clean)| TransferRow {
            image: row.image.clone(),
            label: row.label,
            target_class: row.target_class,
            status: row.status.clone(),
            source_success: row.success,
            source_success_8bit: row.success_8bit,
            target_correct: clean.correct,
            prediction: None,
            prediction_8bit: None,
            success: false,
            success_8bit: false,
            top5: false,
            top5_8bit: false,
            milliseconds: 0.0,
        })
        .collect();
    let Some(pixels) = pixels else { return Ok(rows) };
    let card = target.card();
    let start = Instant::now();
    let given: Vec<usize> = (0..rows.len()).filter(|&n| craft.rows[n].slot.is_some()).collect();
    let classes: Vec<i64> =
        given.iter().map(|&n| rows[n].target_class.unwrap_or(rows[n].label)).collect();
    ensure!(
        pixels.size()[0] as usize == given.len(),
        "{} images are stored for {} rows",
        pixels.size()[0],
        given.len()
    );
    let look = |pixels: &Tensor| -> Result<(Vec<Option<i64>>, Vec<bool>)> {
        let logits = answers(target, bench.device, pixels)?;
        Ok((predictions(&logits, card)?, in_top5(&logits, card, &classes)?))
    };
    let (float, float_top5) = look(&fit(pixels, card.side, policy))?;
    let mut rounded = fit(&to_8bit(pixels), card.side, policy);
    if card.side != pixels.size()[3] {
        // The target too is given 8-bit pixels: resizing makes new values in between.
        rounded = to_8bit(&rounded);
    }
    let (rounded, rounded_top5) = look(&rounded)?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / given.len() as f64;
    for (slot, &n) in given.iter().enumerate() {
        let row = &mut rows[n];
        let goal = goal(row.target_class, row.label);
        let met = |prediction: Option<i64>| prediction.is_some_and(|class| goal.met_by(class));
        let targeted = row.target_class.is_some();
        (row.prediction, row.prediction_8bit) = (float[slot], rounded[slot]);
        (row.success, row.success_8bit) = (met(float[slot]), met(rounded[slot]));
        row.top5 = targeted && float[slot].is_some() && float_top5[slot];
        row.top5_8bit = targeted && rounded[slot].is_some() && rounded_top5[slot];
        row.milliseconds = milliseconds;
    }
    Ok(rows)
}

/// Brings N×3×H×H to the side of another model.
pub(super) fn fit(pixels: &Tensor, side: i64, policy: Policy) -> Tensor {
    let have = pixels.size()[3];
    match policy {
        _ if have == side => pixels.shallow_clone(),
        Policy::Resize => {
            pixels.internal_upsample_bilinear2d_aa([side, side], false, None, None).clamp(0.0, 1.0)
        }
        _ if have > side => {
            let margin = (have - side) / 2;
            pixels.narrow(2, margin, side).narrow(3, margin, side).contiguous()
        }
        _ => {
            let before = (side - have) / 2;
            let after = side - have - before;
            pixels.pad([before, after, before, after], "constant", MID_GREY)
        }
    }
}

pub(super) fn measure(
    metric: &StudyMetric,
    side: i64,
    pictures: &[Picture],
    craft: &Stored<CraftRow>,
    pixels: Option<&Tensor>,
) -> Result<Vec<MeasureRow>> {
    let given: Vec<Picture> = pictures
        .iter()
        .zip(&craft.rows)
        .filter(|(_, row)| row.slot.is_some())
        .map(|(picture, _)| picture.clone())
        .collect();
    let (mut float, mut rounded) = (Vec::new(), Vec::new());
    if let Some(pixels) = pixels {
        let originals = data::batch(&given, side)?;
        let what = format!("metric `{}`", metric.part.name);
        let measured = |pixels: &Tensor| {
            let values =
                guard::catch(&what, || metric.metric.outcome(&originals.copy(), &pixels.copy()))?;
            with_extras(metric, &values, given.len())
        };
        (float, rounded) = (measured(pixels)?, measured(&to_8bit(pixels))?);
    }
    let row = |row: &CraftRow| {
        let of = |values: &[Valued]| {
            row.slot.map_or((None, Vec::new()), |slot| values[slot as usize].clone())
        };
        let ((value, extras), (value_8bit, extras_8bit)) = (of(&float), of(&rounded));
        MeasureRow { image: row.image.clone(), value, value_8bit, extras, extras_8bit }
    };
    Ok(craft.rows.iter().map(row).collect())
}

/// A metric's value and its extras.
type Valued = (Option<f64>, Vec<f64>);

fn with_extras(metric: &StudyMetric, values: &[f64], images: usize) -> Result<Vec<Valued>> {
    let (width, name) = (1 + metric.extras.len(), &metric.part.name);
    ensure!(
        values.len() == images * width,
        "metric `{name}` gave {} values for {images} images, expected {width} for each",
        values.len()
    );
    Ok(values.chunks_exact(width).map(|chunk| (Some(chunk[0]), chunk[1..].to_vec())).collect())
}

pub(super) fn score(
    bench: Bench,
    model: &dyn Model,
    metric: &StudyMetric,
    kind: GoalKind,
    pictures: &[Picture],
    clean: &[CleanRow],
) -> Result<Vec<ScoreRow>> {
    let (study, card) = (bench.study, model.card());
    let target_class = |n: usize| aimed_at(study, kind, &pictures[n], &clean[n]);
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
    let pixels = data::batch(&chosen, card.side)?.to_device(bench.device);
    let goals =
        scored.iter().map(|&n| of_model(goal(target_class(n), pictures[n].label), card)).collect();
    let cases = Cases::new(pixels, goals)?;
    let oracle = Oracle::new(model, chosen.iter().map(stream).collect(), bench.settings());
    let start = Instant::now();
    let values = bench.see_through(&format!("metric `{}`", metric.part.name), || {
        metric.metric.model(&oracle, &cases)
    });
    let values = with_extras(metric, &unhurried(&oracle, values)?, scored.len())?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / scored.len() as f64;
    for ((n, (value, extras)), passes) in scored.into_iter().zip(values).zip(oracle.passes()) {
        let row = &mut rows[n];
        (row.value, row.extras) = (value, extras);
        (row.forward, row.backward, row.milliseconds) =
            (passes.forward as i64, passes.backward as i64, milliseconds);
    }
    Ok(rows)
}

/// What a cell was made from, in words that a reader of one file understands; as JSON.
/// `origin` is the work that the pixels come from, if they come from another.
pub(super) fn provenance(
    study: &Study,
    device: Device,
    model: usize,
    work: Work,
    origin: Work,
) -> String {
    use serde_json::json;
    let model = &study.models[model];
    let part = |part: &crate::study::Part| json!({ "name": part.name, "origin": part.origin, "plugin": part.plugin, "parameters": part.parameters });
    let (attack, goal) = match origin {
        Work::Craft { attack, goal, .. } => (Some(&study.attacks[attack]), Some(goal)),
        Work::Score { goal, .. } => (None, Some(goal)),
        _ => (None, None),
    };
    let (metric, target) = match work {
        Work::Score { metric, .. } | Work::Measure { metric, .. } => {
            (Some(&study.metrics[metric]), None)
        }
        Work::Transfer { target, .. } => (None, Some(&study.models[target])),
        Work::Clean { .. } | Work::Craft { .. } | Work::Probe { .. } => (None, None),
    };
    let who = |model: &crate::study::StudyModel| json!({ "card": model.card, "weights": model.weights_hash, "model": part(&model.part) });
    crate::store::canonical(&json!({
        "program": concat!("gauntlet ", env!("CARGO_PKG_VERSION")),
        "engine": crate::plan::ENGINE,
        "libtorch": gauntlet_core::LIBTORCH,
        "device": format!("{device:?}"),
        "machine": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        "seed": study.seed,
        "model": who(model),
        "attack": attack.map(|attack| part(&attack.part)),
        "goal": goal,
        "metric": metric.map(|metric| part(&metric.part)),
        "target": target.map(who),
        "policy": study.transfer,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_items_of_a_list_are_in_its_first_line() {
        let line = |text: &str| first_line(&anyhow::anyhow!("{text}").context("weights w"));
        assert_eq!(line("broken\nand a second line"), "weights w: broken");
        assert_eq!(
            line("2 do not fit:\n  missing     a [1]\n  unexpected  b"),
            "weights w: 2 do not fit: missing a [1]; unexpected b"
        );
        assert_eq!(
            line("4 do not fit:\n  a\n  b\n  c\n  d"),
            "weights w: 4 do not fit: a; b; c; …"
        );
    }

    #[test]
    fn each_network_of_the_study_counts_its_background_and_the_engine_does_not() {
        use gauntlet_plugins as _;
        let registry = gauntlet_core::registry::Registry::linked().unwrap();
        let with_background = |name: &str| {
            !["alexnet", "vgg_16", "vgg_19"].contains(&name) && !name.starts_with("densenet")
        };
        for member in crate::weights::ECCV2018.members {
            let entry = registry.find_model(member.model).unwrap();
            let card = entry.card(&entry.entry.defaults).unwrap();
            let background = i64::from(with_background(member.model));
            assert_eq!(
                (card.classes, card.label_offset),
                (1000 + background, background),
                "{}",
                member.model
            );
            // Logits that rise to one class alone, for the first, some and the last of the real
            // ones.
            let labels = [0i64, 436, 999];
            let index = Tensor::from_slice(&labels) + card.label_offset;
            let logits = Tensor::zeros([3, card.classes], (Kind::Float, Device::Cpu))
                .scatter_value(1, &index.unsqueeze(1), 1.0);
            assert_eq!(predictions(&logits, &card).unwrap(), labels.map(Some), "{}", member.model);
            assert_eq!(in_top5(&logits, &card, &labels).unwrap(), [true; 3]);
            assert_eq!(of_model(Goal::Towards(436), &card), Goal::Towards(436 + background));
        }
        assert_eq!(crate::weights::ECCV2018.members.len(), 18);
    }

    /// 1×3×side×side: every pixel says where it is.
    fn grid(side: i64) -> Tensor {
        (Tensor::arange(side * side, (Kind::Float, Device::Cpu)) / (side * side) as f64)
            .view([1, 1, side, side])
            .repeat([1, 3, 1, 1])
    }

    #[test]
    fn the_centre_is_cut_out_or_grey_put_around() {
        let pixels = grid(4);
        let cropped = fit(&pixels, 2, Policy::CropOrPad);
        assert_eq!(cropped, pixels.narrow(2, 1, 2).narrow(3, 1, 2));
        let padded = fit(&pixels, 7, Policy::CropOrPad);
        assert_eq!(padded.size(), [1, 3, 7, 7]);
        assert_eq!(
            padded.narrow(2, 1, 4).narrow(3, 1, 4),
            pixels,
            "the odd row and column are after"
        );
        assert_eq!(padded.select(2, 6).min().double_value(&[]), MID_GREY);
        assert_eq!(fit(&pixels, 4, Policy::Resize), pixels);
    }

    #[test]
    fn resizing_keeps_the_mean() {
        let pixels = grid(8);
        for side in [4, 16] {
            let resized = fit(&pixels, side, Policy::Resize);
            assert_eq!(resized.size(), [1, 3, side, side]);
            let mean = |pixels: &Tensor| pixels.mean(Kind::Float).double_value(&[]);
            assert!((mean(&resized) - mean(&pixels)).abs() < 1e-3);
        }
    }

    #[test]
    fn eight_bits_round_and_do_not_truncate() {
        let pixels = Tensor::from_slice(&[0.0f32, 0.6 / 255.0, 1.4 / 255.0, 254.6 / 255.0, 1.0]);
        let levels = Vec::<f32>::try_from(to_8bit(&pixels) * 255.0).unwrap();
        let rounded: Vec<i64> = levels.iter().map(|level| level.round() as i64).collect();
        assert_eq!(rounded, [0, 1, 1, 255, 255]);
    }
}
