//! Clean cells: a model's answers to the images as they are.

use crate::data::{self, Picture};
use crate::engine::cell::context::CellContext;
use crate::engine::cell::eight_bit::to_8bit;
use crate::engine::cell::verify::{Classification, Said, ask, classifications, classify};
use crate::store::rows::CleanRow;
use anyhow::Result;
use gauntlet_core::attack::Goal;
use gauntlet_core::model::Model;
use tch::Tensor;

/// Computes the rows of a clean cell.
///
/// # Errors
/// When the images cannot be loaded, or the model fails.
pub(super) fn compute(
    context: CellContext,
    model: &dyn Model,
    pictures: &[Picture],
) -> Result<Vec<CleanRow>> {
    let card = model.card();
    let pixels = data::batch(pictures, card.shape())?;
    let said = ask(context, model, pictures, &pixels)?;
    let answers = classifications(&said, card)?;
    let answers_8bit = answers_to_8bit(context, model, pictures, &pixels, &answers)?;
    let Said { logits, .. } = said;
    let real = logits.narrow(1, card.label_offset, card.classes - card.label_offset);
    let labels: Vec<i64> = pictures.iter().map(|picture| picture.label).collect();
    let label = Tensor::from_slice(&labels).unsqueeze(1);
    let second =
        Vec::<i64>::try_from(real.scatter_value(1, &label, f64::NEG_INFINITY).argmax(1, false))?;
    let least =
        Vec::<i64>::try_from(real.scatter_value(1, &label, f64::INFINITY).argmin(1, false))?;
    let hashes = (0..pictures.len() as i64).map(|n| pixel_hash(&pixels.get(n)));
    let hashes = hashes.collect::<Result<Vec<_>>>()?;
    let row = |(n, picture): (usize, &Picture)| {
        let Classification { prediction, first_five, .. } = &answers[n];
        let right = Goal::Towards(picture.label);
        CleanRow {
            image: picture.hash.clone(),
            pixels: hashes[n].clone(),
            label: picture.label,
            prediction: *prediction,
            prediction_8bit: answers_8bit[n].prediction,
            correct: *prediction == Some(picture.label),
            correct_rate: answers[n].rate(right),
            top5: first_five.contains(&picture.label),
            first_five: first_five.clone(),
            first_five_8bit: answers_8bit[n].first_five.clone(),
            second: prediction.map(|_| second[n]),
            least_likely: prediction.map(|_| least[n]),
        }
    };
    Ok(pictures.iter().enumerate().map(row).collect())
}

/// BLAKE3 of an image's pixels, in hexadecimal.
fn pixel_hash(pixels: &Tensor) -> Result<String> {
    let values = Vec::<f32>::try_from(pixels.contiguous().view([-1]))?;
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(blake3::hash(&bytes).to_string())
}

/// Greatest difference between a pixel and a level that is float32's.
const ROUNDING: f64 = 1e-6;

/// The answers to the pixels rounded to 8 bits, which are those to the pixels themselves where the
/// images have 8 bits.
fn answers_to_8bit(
    context: CellContext,
    model: &dyn Model,
    pictures: &[Picture],
    pixels: &Tensor,
    answers_to_pixels: &[Classification],
) -> Result<Vec<Classification>> {
    let rounded = to_8bit(pixels);
    if (&rounded - pixels).abs().max().double_value(&[]) < ROUNDING {
        return Ok(answers_to_pixels.to_vec());
    }
    classify(context, model, pictures, &rounded)
}
