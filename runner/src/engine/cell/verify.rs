//! Verifying what a cell's code claims. Nothing that a model, an attack or a metric gives is
//! believed: the engine checks it, with forward passes of its own.

use crate::data::{self, Picture};
use crate::engine::cell::context::{CellContext, stream};
use crate::store::rows::CleanRow;
use anyhow::{Result, ensure};
use gauntlet_core::attack::Goal;
use gauntlet_core::device::Device;
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::oracle::{Draws, Oracle, Purpose, Settings};
use tch::{Kind, Tensor};

/// What a model says of N images, on the CPU, in float32.
pub(super) struct Said {
    /// N×classes. Of a model that answers at random, the means of the draws.
    pub logits: Tensor,
    /// Each draw of a model that answers at random, N×classes; none of a model whose answers
    /// repeat.
    draws: Vec<Tensor>,
}

/// What a model says of N×C×H×W pixels, made from these pictures, by forward passes of the engine's
/// own.
pub(super) fn ask<'a>(
    context: CellContext,
    model: &dyn Model,
    pictures: impl IntoIterator<Item = &'a Picture>,
    pixels: &Tensor,
) -> Result<Said> {
    let streams: Vec<u64> = pictures.into_iter().map(stream).collect();
    let all: Vec<usize> = (0..streams.len()).collect();
    let one_draw = Draws { count: 1, purpose: Purpose::Judgement };
    let settings = Settings {
        seed: context.study.seed,
        draws: context.samples.map(|_| one_draw),
        ..Settings::default()
    };
    let oracle = Oracle::new(model, streams, settings);
    let pixels = pixels.to_device(context.device);
    let ask = || Ok(on_cpu(&oracle.logits(&all, &pixels)?));
    let Some(samples) = context.samples else {
        return Ok(Said { logits: ask()?, draws: Vec::new() });
    };
    let draws: Vec<Tensor> = (0..samples.judge).map(|_| ask()).collect::<Result<_>>()?;
    let logits = Tensor::stack(&draws, 0).mean_dim([0i64].as_slice(), false, Kind::Float);
    Ok(Said { logits, draws })
}

/// Logits on the CPU, in float32.
pub(super) fn on_cpu(logits: &Tensor) -> Tensor {
    logits.to_device(Device::Cpu).to_kind(Kind::Float)
}

/// A model's answer to an image, in the dataset's classes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Classification {
    /// The class with the greatest logit; none where a logit is not finite.
    pub prediction: Option<i64>,
    /// The five classes with the greatest logits, the greatest first; empty where a logit is not
    /// finite.
    pub first_five: Vec<i64>,
    /// The class of each draw of a model that answers at random, as `prediction`.
    pub draws: Vec<Option<i64>>,
}

impl Classification {
    /// The share of the draws that meet a goal; none of a model whose answers repeat.
    pub fn rate(&self, goal: Goal) -> Option<f64> {
        let met = self.draws.iter().flatten().filter(|class| goal.met_by(**class)).count();
        (!self.draws.is_empty()).then(|| met as f64 / self.draws.len() as f64)
    }
}

/// A model's answers to N×C×H×W pixels, made from these pictures, by forward passes of the engine's
/// own.
pub(super) fn classify<'a>(
    context: CellContext,
    model: &dyn Model,
    pictures: impl IntoIterator<Item = &'a Picture>,
    pixels: &Tensor,
) -> Result<Vec<Classification>> {
    classifications(&ask(context, model, pictures, pixels)?, model.card())
}

/// The answers that a model's logits are.
pub(super) fn classifications(said: &Said, card: &ModelCard) -> Result<Vec<Classification>> {
    let logits = &said.logits;
    let best = Vec::<Vec<i64>>::try_from(
        logits.topk(card.classes.min(5), 1, true, true).1 - card.label_offset,
    )?;
    let draws =
        said.draws.iter().map(|draw| predictions(draw, card)).collect::<Result<Vec<_>>>()?;
    let classification =
        |(n, (prediction, best)): (usize, (Option<i64>, Vec<i64>))| Classification {
            prediction,
            first_five: prediction.map_or_else(Vec::new, |_| best),
            draws: draws.iter().map(|draw| draw[n]).collect(),
        };
    Ok(predictions(logits, card)?.into_iter().zip(best).enumerate().map(classification).collect())
}

/// Per row the class with the greatest logit, counted as in the dataset; none where a logit is not
/// finite.
pub(super) fn predictions(logits: &Tensor, card: &ModelCard) -> Result<Vec<Option<i64>>> {
    let classes = Vec::<i64>::try_from(logits.argmax(1, false))?;
    let finite = Vec::<bool>::try_from(logits.isfinite().all_dim(1, false))?;
    let prediction = |(class, finite): (i64, bool)| finite.then_some(class - card.label_offset);
    Ok(classes.into_iter().zip(finite).map(prediction).collect())
}

/// Share of the logits' spread by which two classes may be apart where one answer becomes the other
/// in another batch.
const NEAR: f64 = 1e-3;

/// Checks that a model's answers are those that it gave at first: it is asked about the first of
/// the images again.
///
/// # Errors
/// When it gives another answer, other than between classes that are nearly equal.
pub(super) fn still_answers(
    context: CellContext,
    model: &dyn Model,
    pictures: &[Picture],
    clean: &[CleanRow],
) -> Result<()> {
    let answered =
        pictures.iter().zip(clean).find_map(|(picture, row)| Some((picture, row.prediction?)));
    let Some((picture, before)) = answered else { return Ok(()) };
    let card = model.card();
    let one = std::slice::from_ref(picture);
    let logits = ask(context, model, one, &data::batch(one, card.shape())?)?.logits;
    let after = predictions(&logits, card)?[0];
    let values = Vec::<f32>::try_from(logits.get(0))?;
    let of = |class: i64| f64::from(values[(class + card.label_offset) as usize]);
    let spread = (logits.max() - logits.min()).double_value(&[]);
    let same = after.is_some_and(|after| of(after) - of(before) <= NEAR * spread);
    ensure!(
        same,
        "the answers of model `{}` do not repeat: to `{}` it answered class {before} at first and \
         {} now; switch to evaluation mode, and keep no state from one call to the next; where the \
         model answers at random on purpose, `samples` of [[models]] attacks its expectation",
        card.name,
        picture.name,
        after.map_or("no class".to_owned(), |class| format!("class {class}"))
    );
    Ok(())
}

/// The goal in the dataset's classes: towards the target class, if there is one, or away from the
/// label.
pub(super) fn goal(target_class: Option<i64>, label: i64) -> Goal {
    target_class.map_or(Goal::Away(label), Goal::Towards)
}

/// The goal in the model's classes, which may begin with a background.
pub(super) fn of_model(goal: Goal, card: &ModelCard) -> Goal {
    match goal {
        Goal::Away(class) => Goal::Away(class + card.label_offset),
        Goal::Towards(class) => Goal::Towards(class + card.label_offset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let answers = classifications(&Said { logits, draws: vec![] }, &card).unwrap();
            let first: Vec<i64> = answers.iter().map(|answer| answer.first_five[0]).collect();
            assert_eq!(first, labels);
            assert_eq!(of_model(Goal::Towards(436), &card), Goal::Towards(436 + background));
        }
        assert_eq!(crate::weights::ECCV2018.members.len(), 18);
    }

    #[test]
    fn logits_that_are_not_finite_are_no_answer() {
        let card = gauntlet_core::testing::Affine::new(3, 2, 1).card().clone();
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let logits = Tensor::from_slice(&[broken, 1.0, 2.0, 0.0, 1.0, 2.0]).view([2, 3]);
            let expected = [
                Classification { prediction: None, first_five: vec![], draws: vec![] },
                Classification { prediction: Some(2), first_five: vec![2, 1, 0], draws: vec![] },
            ];
            let said = Said { logits, draws: vec![] };
            assert_eq!(classifications(&said, &card).unwrap(), expected, "{broken}");
        }
    }
}
