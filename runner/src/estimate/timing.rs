//! Taking the time of some work, and images to do it with.

use anyhow::Result;
use gauntlet_core::device::Device;
use gauntlet_core::model::ImageShape;
use std::time::{Duration, Instant};
use tch::{Kind, Tensor};

/// How long a measurement goes on, once it has begun.
pub(super) const PATIENCE: Duration = Duration::from_millis(400);

/// Seconds that some work takes: the median of several times, after one that does not count.
///
/// # Errors
/// Those of the work.
pub(super) fn timed(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
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

/// The median, which is 0 where there are no values.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// N×C×H×W within [0, 1], each image different.
pub(super) fn images(count: usize, shape: ImageShape, device: Device) -> Tensor {
    let grid = Tensor::arange(count as i64 * shape.values(), (Kind::Float, Device::Cpu));
    ((grid * 0.37).sin() * 0.5 + 0.5).view(shape.batch(count)).to_device(device)
}
