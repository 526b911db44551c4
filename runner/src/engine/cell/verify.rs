//! Verifying what a cell's code claims. Nothing that a model, an attack or a metric gives is
//! believed: the engine checks it, with forward passes of its own.

use crate::data::{self, Picture};
use crate::engine::cell::eight_bit::to_8bit;
use crate::store::rows::CleanRow;
use crate::study::Policy;
use anyhow::{Result, ensure};
use gauntlet_core::attack::Goal;
use gauntlet_core::device::Device;
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::oracle::{Oracle, Settings};
use tch::{Kind, Tensor};

/// A model's logits, by a forward pass of the engine's own: N×3×S×S → N×classes, on the CPU, in
/// float32.
pub(super) fn logits(model: &dyn Model, device: Device, pixels: &Tensor) -> Result<Tensor> {
    let count = pixels.size()[0] as usize;
    let oracle = Oracle::new(model, vec![0; count], Settings::default());
    let logits = oracle.logits(&(0..count).collect::<Vec<_>>(), &pixels.to_device(device))?;
    Ok(on_cpu(&logits))
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
}

/// A model's answers to N×3×S×S pixels, by a forward pass of the engine's own.
pub(super) fn classify(
    model: &dyn Model,
    device: Device,
    pixels: &Tensor,
) -> Result<Vec<Classification>> {
    classifications(&logits(model, device, pixels)?, model.card())
}

/// The answers that N×classes logits are.
pub(super) fn classifications(logits: &Tensor, card: &ModelCard) -> Result<Vec<Classification>> {
    let predictions = predictions(logits, card)?;
    let (_, best) = logits.topk(card.classes.min(5), 1, true, true);
    let best = Vec::<Vec<i64>>::try_from(best - card.label_offset)?;
    let classification = |(prediction, best): (Option<i64>, Vec<i64>)| Classification {
        prediction,
        first_five: prediction.map_or_else(Vec::new, |_| best),
    };
    Ok(predictions.into_iter().zip(best).map(classification).collect())
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
    model: &dyn Model,
    device: Device,
    pictures: &[Picture],
    clean: &[CleanRow],
) -> Result<()> {
    let answered =
        pictures.iter().zip(clean).find_map(|(picture, row)| Some((picture, row.prediction?)));
    let Some((picture, before)) = answered else { return Ok(()) };
    let card = model.card();
    let pixels = data::batch(std::slice::from_ref(picture), card.side)?;
    let logits = logits(model, device, &pixels)?;
    let after = predictions(&logits, card)?[0];
    let values = Vec::<f32>::try_from(logits.get(0))?;
    let of = |class: i64| f64::from(values[(class + card.label_offset) as usize]);
    let spread = (logits.max() - logits.min()).double_value(&[]);
    let same = after.is_some_and(|after| of(after) - of(before) <= NEAR * spread);
    ensure!(
        same,
        "the answers of model `{}` do not repeat: to `{}` it answered class {before} at first and \
         {} now; switch to evaluation mode, and keep no state from one call to the next",
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

/// What is put around images that are smaller than a model's.
const MID_GREY: f64 = 0.5;

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

/// Brings 8-bit images, N×3×H×H, to the side of another model. Resizing makes values between the
/// levels: those are rounded, so that the model is given 8-bit images.
pub(super) fn fit_8bit(rounded: &Tensor, side: i64, policy: Policy) -> Tensor {
    let fitted = fit(rounded, side, policy);
    if rounded.size()[3] == side { fitted } else { to_8bit(&fitted) }
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
            let answers = classifications(&logits, &card).unwrap();
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
                Classification { prediction: None, first_five: vec![] },
                Classification { prediction: Some(2), first_five: vec![2, 1, 0] },
            ];
            assert_eq!(classifications(&logits, &card).unwrap(), expected, "{broken}");
        }
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
}
