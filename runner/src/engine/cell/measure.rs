//! Measure cells: a metric of a craft cell's pixels.

use crate::engine::cell::crafted::Crafted;
use crate::store::rows::{CraftRow, MeasureRow};
use crate::study::StudyMetric;
use anyhow::{Result, ensure};
use gauntlet_core::guard;
use tch::Tensor;

/// Computes the rows of a measure cell.
///
/// # Errors
/// When the images cannot be loaded, or the metric fails or gives another number of values.
pub(super) fn compute(metric: &StudyMetric, crafted: &Crafted) -> Result<Vec<MeasureRow>> {
    let (mut float, mut rounded) = (Vec::new(), Vec::new());
    if let Some(pixels) = &crafted.pixels {
        let originals = crafted.originals()?;
        let what = format!("metric `{}`", metric.part.name);
        let measured = |pixels: &Tensor| {
            let values =
                guard::catch(&what, || metric.metric.outcome(&originals.copy(), &pixels.copy()))?;
            with_extras(metric, &values, originals.size()[0] as usize)
        };
        (float, rounded) = (measured(&pixels.float)?, measured(&pixels.eight_bit())?);
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
    Ok(crafted.rows.iter().map(row).collect())
}

/// What a metric says of an image.
#[derive(Clone, Default)]
pub(super) struct Measurement {
    /// None where nothing was measured, or the value is not finite.
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
        .map(|chunk| Measurement {
            value: Some(chunk[0]).filter(|value| value.is_finite()),
            extras: chunk[1..].to_vec(),
        })
        .collect())
}
