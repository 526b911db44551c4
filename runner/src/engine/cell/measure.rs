//! Measure cells: a metric of a craft cell's pixels.

use crate::data::{self, Picture};
use crate::engine::cell::verify::to_8bit;
use crate::store::Stored;
use crate::store::rows::{CraftRow, MeasureRow};
use crate::study::StudyMetric;
use anyhow::{Result, ensure};
use gauntlet_core::guard;
use tch::Tensor;

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

pub(super) fn with_extras(
    metric: &StudyMetric,
    values: &[f64],
    images: usize,
) -> Result<Vec<Valued>> {
    let (width, name) = (1 + metric.extras.len(), &metric.part.name);
    ensure!(
        values.len() == images * width,
        "metric `{name}` gave {} values for {images} images, expected {width} for each",
        values.len()
    );
    Ok(values.chunks_exact(width).map(|chunk| (Some(chunk[0]), chunk[1..].to_vec())).collect())
}
