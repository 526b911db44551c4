//! Measure cells: a metric of a craft cell's pixels.

use crate::data::{self, Picture};
use crate::engine::cell::verify::to_8bit;
use crate::store::Stored;
use crate::store::rows::{CraftRow, MeasureRow};
use crate::study::StudyMetric;
use anyhow::{Result, ensure};
use gauntlet_core::guard;
use tch::Tensor;

/// Computes the rows of a measure cell. `pixels` are those of the craft cell: M×3×side×side, in the
/// order of its slots.
///
/// # Errors
/// When the images cannot be loaded, or the metric fails or gives another number of values.
pub(super) fn compute(
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
        let of = |values: &[Measurement]| {
            row.slot.map_or_else(Measurement::default, |slot| values[slot as usize].clone())
        };
        let (float, rounded) = (of(&float), of(&rounded));
        MeasureRow {
            image: row.image.clone(),
            value: float.value,
            value_8bit: rounded.value,
            extras: float.extras,
            extras_8bit: rounded.extras,
        }
    };
    Ok(craft.rows.iter().map(row).collect())
}

/// What a metric says of an image.
#[derive(Clone, Default)]
pub(super) struct Measurement {
    /// None where nothing was measured.
    pub value: Option<f64>,
    /// Extra values, in the order of the metric's `extras`.
    pub extras: Vec<f64>,
}

/// Takes a metric's values apart: of each image the value, then the extras.
///
/// # Errors
/// When the number of values is not that of images × (1 + extras).
pub(super) fn with_extras(
    metric: &StudyMetric,
    values: &[f64],
    images: usize,
) -> Result<Vec<Measurement>> {
    let (width, name) = (1 + metric.extras.len(), &metric.part.name);
    ensure!(
        values.len() == images * width,
        "metric `{name}` gave {} values for {images} images, expected {width} for each",
        values.len()
    );
    Ok(values
        .chunks_exact(width)
        .map(|chunk| Measurement { value: Some(chunk[0]), extras: chunk[1..].to_vec() })
        .collect())
}
