//! Probe cells: a few passes per image that tell whether attacks on a model can be believed.
//! [`crate::analysis::flags`] says what the figures mean; here they are measured:
//!
//! - gradients of two losses: where softmax is saturated, cross entropy has no gradient, but the
//!   margin has one;
//! - logits of the same batch twice, and of some images by themselves;
//! - random perturbations, which need no gradient: an attack with one should do no worse.

use crate::data::{self, Picture};
use crate::engine::cell::context::{CellContext, stream, unhurried};
use crate::engine::cell::verify::{of_model, on_cpu, predictions};
use crate::engine::plan::SLICE;
use crate::store::rows::{CleanRow, ProbeRow};
use anyhow::Result;
use gauntlet_core::attack::{Cases, Cost, Goal, Goals};
use gauntlet_core::logits::{are_probabilities, relative_difference};
use gauntlet_core::model::{ImageShape, Model};
use gauntlet_core::oracle::{Detached, Draws, Oracle, Purpose, Settings};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use std::time::Instant;
use tch::{Kind, Tensor};

/// Computes the rows of a probe cell. Images that the model gets wrong are not probed.
///
/// # Errors
/// When the images cannot be loaded, the model fails, or the cell is stopped.
pub(super) fn compute(
    context: CellContext,
    model: &dyn Model,
    pictures: &[Picture],
    clean: &[CleanRow],
) -> Result<Vec<ProbeRow>> {
    let mut rows: Vec<ProbeRow> = pictures.iter().map(unprobed).collect();
    let probed: Vec<usize> = (0..pictures.len()).filter(|&n| clean[n].correct).collect();
    if probed.is_empty() {
        return Ok(rows);
    }
    let chosen: Vec<Picture> = probed.iter().map(|&n| pictures[n].clone()).collect();
    let pixels = data::batch(&chosen, model.card().shape())?.to_device(context.device);
    let goals =
        chosen.iter().map(|picture| of_model(Goal::Away(picture.label), model.card())).collect();
    let cases = Cases::new(pixels, goals)?;
    let oracle = Oracle::new(model, chosen.iter().map(stream).collect(), context.settings());
    let start = Instant::now();
    let draws = context.samples.map(|_| draw_twice(context, model, &chosen, &cases)).transpose()?;
    let seen = observe(&oracle, &cases, &context.study.radii(), draws.as_ref());
    let seen = unhurried(&oracle, seen)?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / probed.len() as f64;
    for ((n, seen), passes) in probed.into_iter().zip(seen).zip(oracle.passes()) {
        rows[n] = ProbeRow {
            probed: true,
            forward: passes.forward as i64,
            backward: passes.backward as i64,
            milliseconds,
            ..seen.of(&pictures[n])
        };
    }
    Ok(rows)
}

/// Images of a slice whose logits are also computed without the others.
const ALONE: usize = 4;
/// Random perturbations per radius.
const PATTERNS: usize = 4;

/// Height and width of the blocks of pixels that share a sign, for each perturbation of a radius.
///
/// Single pixels average out in the first layers of a network. Larger blocks do not, nor do
/// columns, with which Square Attack begins (Andriushchenko et al., ECCV 2020).
fn patterns(shape: ImageShape) -> [(i64, i64); PATTERNS] {
    let part = |of: i64| ((shape.height / of).max(1), (shape.width / of).max(1));
    [(1, 1), part(8), part(4), (shape.height, 1)]
}

/// Passes per image, if no random perturbation deceives the model.
pub(crate) fn cost(radii: &[f64]) -> Cost {
    let alone = ALONE as f64 / SLICE as f64;
    Cost { forward: 2.0 + alone + (radii.len() * PATTERNS) as f64, backward: 2.0 }
}

fn unprobed(picture: &Picture) -> ProbeRow {
    ProbeRow {
        image: picture.hash.clone(),
        label: picture.label,
        probed: false,
        cross_entropy: None,
        margin: None,
        again: None,
        again_differs: false,
        alone: None,
        probabilities: false,
        outputs: Vec::new(),
        random_radius: None,
        forward: 0,
        backward: 0,
        milliseconds: 0.0,
    }
}

/// What is measured of one image: the fields of [`ProbeRow`].
struct Probed {
    cross_entropy: Option<f64>,
    margin: Option<f64>,
    again: Option<f64>,
    again_differs: bool,
    alone: Option<f64>,
    probabilities: bool,
    outputs: Vec<f64>,
    random_radius: Option<f64>,
}

impl Probed {
    fn of(self, picture: &Picture) -> ProbeRow {
        let Self {
            cross_entropy,
            margin,
            again,
            again_differs,
            alone,
            probabilities,
            outputs,
            random_radius,
        } = self;
        ProbeRow {
            cross_entropy,
            margin,
            again,
            again_differs,
            alone,
            probabilities,
            outputs,
            random_radius,
            ..unprobed(picture)
        }
    }
}

/// The logits of a draw of a model that answers at random, and of the same draw again: random
/// numbers of libtorch's generator repeat.
fn draw_twice(
    context: CellContext,
    model: &dyn Model,
    pictures: &[Picture],
    cases: &Cases,
) -> Result<[Tensor; 2]> {
    let draw = || {
        let one_draw = Draws { count: 1, purpose: Purpose::Attack };
        let settings = Settings { draws: Some(one_draw), ..context.settings() };
        let oracle = Oracle::new(model, pictures.iter().map(stream).collect(), settings);
        oracle.logits(&(0..cases.len()).collect::<Vec<_>>(), &cases.pixels)
    };
    Ok([draw()?, draw()?])
}

/// `draws` are a draw and the same again, of a model that answers at random.
fn observe(
    oracle: &Oracle,
    cases: &Cases,
    radii: &[f64],
    draws: Option<&[Tensor; 2]>,
) -> Result<Vec<Probed>> {
    let goals = Goals::new(&cases.goals, &cases.pixels);
    let (logits, cross_entropy) =
        slopes(oracle, cases, |z| -goals.logit(&z.log_softmax(1, Kind::Float)))?;
    let (second, margin) = slopes(oracle, cases, |z| goals.margin(z))?;
    let (once, again) = draws.map_or((&logits, &second), |[once, again]| (once, again));
    let [first_answers, second_answers] =
        [once, again].map(|logits| predictions(&on_cpu(logits), oracle.card()));
    let again = relative_difference(once, again);
    let (first_answers, second_answers) = (first_answers?, second_answers?);
    let alone = if draws.is_none() { alone(oracle, cases, &logits)? } else { Vec::new() };
    let probabilities = are_probabilities(&logits);
    let outputs = outputs(&logits)?;
    let random_radius = random_radii(oracle, cases, radii)?;
    let seen = |n: usize| Probed {
        cross_entropy: cross_entropy[n],
        margin: margin[n],
        again: Some(again[n]).filter(|again| again.is_finite()),
        again_differs: first_answers[n] != second_answers[n],
        alone: alone.get(n).copied(),
        probabilities: probabilities[n],
        outputs: outputs[n].clone(),
        random_radius: random_radius[n],
    };
    Ok((0..cases.len()).map(seen).collect())
}

/// Per case the least and the greatest output; neither where an output is not finite.
fn outputs(logits: &Tensor) -> Result<Vec<Vec<f64>>> {
    let logits = logits.to_kind(Kind::Double);
    let least = Vec::<f64>::try_from(logits.amin([1], false))?;
    let greatest = Vec::<f64>::try_from(logits.amax([1], false))?;
    let ends = |(low, high): (f64, f64)| {
        if low.is_finite() && high.is_finite() { vec![low, high] } else { Vec::new() }
    };
    Ok(least.into_iter().zip(greatest).map(ends).collect())
}

/// The logits of all cases, and per case the greatest absolute element of the loss's gradient: NaN
/// where the gradient is not finite, none where there is none.
fn slopes(
    oracle: &Oracle,
    cases: &Cases,
    loss: impl FnOnce(&Tensor) -> Tensor,
) -> Result<(Tensor, Vec<Option<f64>>)> {
    let all: Vec<usize> = (0..cases.len()).collect();
    match oracle.gradient(&all, &cases.pixels, loss) {
        Ok(gradient) => {
            let rows = gradient.pixels.flatten(1, -1).to_kind(Kind::Double);
            let finite = rows.isfinite().all_dim(1, false);
            let greatest = rows
                .abs()
                .amax([1], false)
                .where_self(&finite, &Tensor::full_like(&finite.to_kind(Kind::Double), f64::NAN));
            Ok((gradient.logits, Vec::<f64>::try_from(greatest)?.into_iter().map(Some).collect()))
        }
        Err(error) if error.is::<Detached>() => {
            Ok((oracle.logits(&all, &cases.pixels)?, vec![None; cases.len()]))
        }
        Err(error) => Err(error),
    }
}

/// How far the logits of the first images by themselves are from those in the batch. Empty if the
/// batch is one image.
fn alone(oracle: &Oracle, cases: &Cases, together: &Tensor) -> Result<Vec<f64>> {
    if cases.len() < 2 {
        return Ok(Vec::new());
    }
    let apart = |n: usize| {
        let by_itself = oracle.logits(&[n], &cases.pixels.narrow(0, n as i64, 1))?;
        Ok(relative_difference(&together.narrow(0, n as i64, 1), &by_itself)[0])
    };
    (0..cases.len().min(ALONE)).map(apart).collect()
}

/// Per case the least radius at which a random perturbation changes the answer.
fn random_radii(oracle: &Oracle, cases: &Cases, radii: &[f64]) -> Result<Vec<Option<f64>>> {
    let card = oracle.card().clone();
    let mut found = vec![None; cases.len()];
    let mut streams: Vec<ChaCha8Rng> = (0..cases.len()).map(|case| oracle.rng(case)).collect();
    let tries =
        radii.iter().flat_map(|&radius| patterns(card.shape()).map(|block| (radius, block)));
    for (radius, block) in tries {
        let standing: Vec<usize> = (0..cases.len()).filter(|&case| found[case].is_none()).collect();
        if standing.is_empty() {
            break;
        }
        let drawn: Vec<Tensor> =
            standing.iter().map(|&case| signs(&mut streams[case], card.shape(), block)).collect();
        let images: Vec<Tensor> = standing.iter().map(|&case| cases.image(case)).collect();
        let moves = Tensor::stack(&drawn, 0).to_device(cases.pixels.device()) * radius;
        let logits =
            oracle.logits(&standing, &(Tensor::stack(&images, 0) + moves).clamp(0.0, 1.0))?;
        for (case, answer) in standing.into_iter().zip(predictions(&on_cpu(&logits), &card)?) {
            let met = |class: i64| cases.goals[case].met_by(class + card.label_offset);
            found[case] = answer.is_some_and(met).then_some(radius);
        }
    }
    Ok(found)
}

/// C×H×W of −1 and 1, at random, the same within each block (rows, columns) of a channel.
fn signs(stream: &mut ChaCha8Rng, shape: ImageShape, (height, width): (i64, i64)) -> Tensor {
    let (down, across) = ((shape.height + height - 1) / height, (shape.width + width - 1) / width);
    let count = (shape.channels * down * across) as usize;
    let mut drawn = Vec::with_capacity(count);
    while drawn.len() < count {
        let bits = stream.next_u64();
        drawn.extend(
            (0..64.min(count - drawn.len()))
                .map(|bit| if bits >> bit & 1 == 0 { -1f32 } else { 1.0 }),
        );
    }
    let blocks = Tensor::from_slice(&drawn).view([shape.channels, down, across]);
    let spread = blocks
        .repeat_interleave_self_int(height, 1, None)
        .repeat_interleave_self_int(width, 2, None);
    spread.narrow(1, 0, shape.height).narrow(2, 0, shape.width).contiguous()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::Affine;
    use rand_chacha::rand_core::SeedableRng;
    use tch::Device;

    #[test]
    fn signs_are_shared_within_blocks_and_differ_between_them() {
        let mut stream = ChaCha8Rng::seed_from_u64(1);
        for (block, expected) in [((1, 1), 3 * 100), ((4, 4), 3 * 9), ((10, 1), 3 * 10)] {
            let drawn = signs(&mut stream, ImageShape::rgb(10), block);
            assert_eq!(drawn.size(), [3, 10, 10]);
            assert_eq!((drawn.abs() - 1.0).abs().max().double_value(&[]), 0.0);
            let first = drawn.narrow(1, 0, block.0).narrow(2, 0, block.1);
            assert_eq!(
                (&first - first.select(1, 0).select(1, 0).view([3, 1, 1]))
                    .abs()
                    .max()
                    .double_value(&[]),
                0.0
            );
            let sum = drawn.sum(Kind::Double).double_value(&[]).abs();
            assert!(sum < 300.0 * 5.0 / f64::from(expected).sqrt(), "{block:?}: {sum}");
        }
    }

    #[test]
    fn random_perturbations_do_not_depend_on_the_other_images() {
        let model = Affine::new(10, 8, 2);
        let pixels = (Tensor::arange(6 * 3 * 8 * 8, (Kind::Float, Device::Cpu)) * 1.7)
            .sin()
            .view([6, 3, 8, 8])
            * 0.1
            + 0.5;
        let labels = Vec::<i64>::try_from(model.logits(&pixels).argmax(1, false)).unwrap();
        let run = |chosen: &[usize]| {
            let index = Tensor::from_slice(&chosen.iter().map(|&n| n as i64).collect::<Vec<_>>());
            let goals = chosen.iter().map(|&n| Goal::Away(labels[n])).collect();
            let cases = Cases::new(pixels.index_select(0, &index), goals).unwrap();
            let streams = chosen.iter().map(|&n| n as u64).collect();
            random_radii(
                &Oracle::new(&model, streams, Settings::default()),
                &cases,
                &[0.1, 0.3, 0.6],
            )
            .unwrap()
        };
        let together = run(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(run(&[4, 1]), [together[4], together[1]]);
        assert!(
            together.iter().any(Option::is_some)
                && together.iter().flatten().all(|radius| [0.1, 0.3, 0.6].contains(radius))
        );
    }

    #[test]
    fn the_passes_are_those_that_were_foretold() {
        let model = Affine::new(3, 8, 2);
        let pixels = Tensor::full([SLICE as i64, 3, 8, 8], 0.4, (Kind::Float, Device::Cpu));
        let label = model.logits(&pixels.narrow(0, 0, 1)).argmax(1, false).int64_value(&[0]);
        let cases = Cases::new(pixels, vec![Goal::Away(label); SLICE]).unwrap();
        let oracle = Oracle::new(&model, (0..SLICE as u64).collect(), Settings::default());
        let radii = [1e-6, 2e-6]; // so small that no perturbation deceives the model
        let seen = observe(&oracle, &cases, &radii, None).unwrap();
        assert!(seen.iter().all(
            |seen| seen.random_radius.is_none() && seen.margin.is_some_and(|slope| slope > 0.0)
        ));
        let sum = oracle
            .passes()
            .iter()
            .fold((0, 0), |sum, passes| (sum.0 + passes.forward, sum.1 + passes.backward));
        let cost = cost(&radii);
        assert_eq!(
            (sum.0 as f64, sum.1 as f64),
            (SLICE as f64 * cost.forward, SLICE as f64 * cost.backward)
        );
    }
}
