//! Pixels as PNG files.

use crate::store::levels;
use anyhow::{Context, Result, bail};
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
use std::io::Cursor;
use tch::Tensor;

/// Pixels as the bytes of a PNG file: C×H×W in [0, 1], grey or RGB, rounded to 8 bits.
///
/// # Errors
/// When the pixels have another shape.
pub fn png(pixels: &Tensor) -> Result<Vec<u8>> {
    let size = pixels.size();
    let levels = levels(&pixels.clamp(0.0, 1.0));
    let samples = Vec::<u8>::try_from(levels.permute([1, 2, 0]).contiguous().view([-1]))?;
    let image = match size[..] {
        [1, height, width] => {
            GrayImage::from_raw(width as u32, height as u32, samples).map(DynamicImage::from)
        }
        [3, height, width] => {
            RgbImage::from_raw(width as u32, height as u32, samples).map(DynamicImage::from)
        }
        _ => bail!("pixels have shape {size:?}, expected 1×H×W or 3×H×W"),
    };
    let mut file = Cursor::new(Vec::new());
    image.context("fewer samples than pixels")?.write_to(&mut file, ImageFormat::Png)?;
    Ok(file.into_inner())
}
