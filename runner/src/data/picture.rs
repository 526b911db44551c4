//! One labelled image, and its pixels for a model.

use crate::data::decode::decode;
use crate::data::{fashion, resample};
use anyhow::{Context, Result, bail, ensure};
use gauntlet_core::model::ImageShape;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// One labelled image. It can be serialised for another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Picture {
    /// The image's name in results.
    pub name: String,
    /// The real class, counted from 0.
    pub label: i64,
    /// The class that attacks with the goal `given` aim at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<i64>,
    /// BLAKE3 of the content, in hexadecimal.
    pub hash: String,
    pub(super) content: Content,
}

/// Where an image's pixels are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Content {
    /// An embedded image, by number.
    Fashion(usize),
    File(PathBuf),
    /// The image is not there: a study without it can be planned, not run.
    Absent,
    #[serde(with = "as_text")]
    Memory(RgbImage),
}

impl Picture {
    /// An image in memory, for programs that embed the engine.
    pub fn from_rgb(name: &str, label: i64, image: RgbImage) -> Self {
        let hash = blake3::Hasher::new()
            .update(&image.width().to_le_bytes())
            .update(&image.height().to_le_bytes())
            .update(image.as_raw())
            .finalize()
            .to_string();
        Self { name: name.to_owned(), label, target: None, hash, content: Content::Memory(image) }
    }

    /// Image number `n` of those that are not there, see [`Content::Absent`].
    pub(super) fn absent(n: usize) -> Self {
        Self {
            name: format!("image {n}"),
            label: 0,
            target: None,
            hash: blake3::hash(&n.to_le_bytes()).to_string(),
            content: Content::Absent,
        }
    }

    /// The same image for a process that runs in another folder: its path is absolute.
    pub(crate) fn absolute(mut self) -> Result<Self> {
        if let Content::File(path) = &mut self.content {
            *path = std::path::absolute(&*path)?;
        }
        Ok(self)
    }

    /// The shorter side in pixels; `None` for a file, which would have to be opened to tell.
    pub fn side(&self) -> Option<i64> {
        match &self.content {
            Content::Fashion(_) => Some(fashion::SIDE as i64),
            Content::Memory(image) => Some(i64::from(image.width().min(image.height()))),
            Content::File(_) | Content::Absent => None,
        }
    }

    /// The pixels for a model that takes images of this shape, C×H×W float32 in [0, 1]: the image
    /// is resized (antialiased Lanczos) until it just covers height and width, and the centre is
    /// cut out. For a grey model, colours become their brightness; for an RGB model, grey becomes
    /// three equal channels. A number is the side of square RGB images.
    ///
    /// # Errors
    /// When the file can no longer be read, or has changed since the study was planned.
    pub fn pixels(&self, shape: impl Into<ImageShape>) -> Result<Tensor> {
        let image = match &self.content {
            Content::Fashion(number) => fashion::pixels(*number),
            Content::Memory(image) => image.clone(),
            Content::Absent => bail!("image `{}` is not there", self.name),
            Content::File(path) => {
                let bytes = fs::read(path).with_context(|| format!("image {}", path.display()))?;
                ensure!(
                    blake3::hash(&bytes).to_string() == self.hash,
                    "image {} changed while the study ran: leave the folder alone and run it again",
                    path.display()
                );
                let decoded = decode(&bytes)
                    .map_err(|reason| anyhow::anyhow!("image {}: {reason}", path.display()))?;
                decoded.pixels
            }
        };
        Ok(pixels_of(image, shape.into()))
    }
}

/// The pixels of N images for a model that takes images of this shape, N×C×H×W float32 in [0, 1].
pub fn batch(pictures: &[Picture], shape: impl Into<ImageShape>) -> Result<Tensor> {
    let shape = shape.into();
    let rows: Vec<Tensor> =
        pictures.iter().map(|picture| picture.pixels(shape)).collect::<Result<_>>()?;
    Ok(Tensor::stack(&rows, 0))
}

/// The pixels of an image file for a model that takes images of this shape, C×H×W float32 in
/// [0, 1], as [`Picture::pixels`] gives them.
///
/// # Errors
/// When the file cannot be read, or is no image of a format that is read.
pub fn open_image(path: &Path, shape: impl Into<ImageShape>) -> Result<Tensor> {
    let bytes = fs::read(path).with_context(|| format!("image {}", path.display()))?;
    let image =
        decode(&bytes).map_err(|reason| anyhow::anyhow!("image {}: {reason}", path.display()))?;
    Ok(pixels_of(image.pixels, shape.into()))
}

/// The pixels of an image for a model that takes images of this shape.
fn pixels_of(image: RgbImage, shape: ImageShape) -> Tensor {
    let image = if shape.is_grey() { brightness(image) } else { image };
    let pixels = tensor(&fit(&image, (shape.width as u32, shape.height as u32)));
    pixels.narrow(0, 0, shape.channels)
}

/// Each pixel's brightness in all three channels, as Pillow's `convert("L")` gives it: ITU-R BT.601
/// in 16-bit fixed point.
fn brightness(mut image: RgbImage) -> RgbImage {
    for pixel in image.pixels_mut() {
        let [red, green, blue] = pixel.0.map(u32::from);
        let level = (red * 19595 + green * 38470 + blue * 7471 + (1 << 15)) >> 16;
        pixel.0 = [level as u8; 3];
    }
    image
}

/// The centre of an image that is resized until it just covers a window, as in the published study:
/// the length that is cut is truncated after floating-point arithmetic. For an image of the
/// window's own proportions this can make it one pixel too short; the window then reaches over the
/// edge and is black there.
fn fit(image: &RgbImage, (wide, high): (u32, u32)) -> RgbImage {
    let (width, height) = image.dimensions();
    let ratio = |window: u32, length: u32| f64::from(window) / f64::from(length);
    let (across, down) = (ratio(wide, width), ratio(high, height));
    let cut = |length: u32, ratio: f64| ((f64::from(length) * ratio) as u32).max(1);
    let (width, height) =
        if across > down { (wide, cut(height, across)) } else { (cut(width, down), high) };
    let start = |length: u32, window: u32| i64::from(length / 2) - i64::from(window / 2);
    let inside = |length: u32, window: u32| {
        let start = start(length, window);
        start.max(0) as u32..(start + i64::from(window)).min(i64::from(length)) as u32
    };
    let (columns, rows) = (inside(width, wide), inside(height, high));
    let resized = resample::lanczos(image, (width, height), columns, rows);
    let (left, top) = ((-start(width, wide)).max(0), (-start(height, high)).max(0));
    let mut window = RgbImage::new(wide, high);
    image::imageops::replace(&mut window, &resized, left, top);
    window
}

/// Height×width×3 samples to 3×H×W in [0, 1].
fn tensor(image: &RgbImage) -> Tensor {
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    let samples = Tensor::from_slice(image.as_raw()).view([height, width, 3]);
    (samples.permute([2, 0, 1]).to_kind(tch::Kind::Float) / 255.0).contiguous()
}

/// An image as JSON: its width, its height and its samples in base64.
mod as_text {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use image::RgbImage;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(image: &RgbImage, serializer: S) -> Result<S::Ok, S::Error> {
        (image.width(), image.height(), BASE64_STANDARD.encode(image.as_raw()))
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RgbImage, D::Error> {
        let (width, height, samples) = <(u32, u32, String)>::deserialize(deserializer)?;
        let samples = BASE64_STANDARD.decode(samples).map_err(D::Error::custom)?;
        RgbImage::from_raw(width, height, samples)
            .ok_or_else(|| D::Error::custom("fewer samples than pixels"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colourful(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 9) as u8, (y * 7) as u8, 40]))
    }

    #[test]
    fn a_serialised_picture_comes_back() {
        let fashion = Picture {
            name: "fashion-0001".into(),
            label: 2,
            target: None,
            hash: blake3::hash(fashion::samples(1)).to_string(),
            content: Content::Fashion(1),
        };
        for picture in [Picture::from_rgb("x", 3, colourful(5, 4)), fashion] {
            let text = serde_json::to_string(&picture).unwrap();
            let again: Picture = serde_json::from_str(&text).unwrap();
            assert_eq!(
                (&again.name, again.label, &again.hash),
                (&picture.name, picture.label, &picture.hash)
            );
            assert_eq!(again.pixels(4).unwrap(), picture.pixels(4).unwrap());
        }
        assert!(
            serde_json::from_str::<Picture>(
                r#"{"name":"x","label":0,"hash":"","content":{"Memory":[2,2,"AAAA"]}}"#
            )
            .is_err()
        );
    }

    #[test]
    fn the_centre_of_the_resized_image_is_taken() {
        let image = colourful(40, 20);
        let crop = |x, y, w, h| image::imageops::crop_imm(&image, x, y, w, h).to_image();
        assert_eq!(fit(&image, (20, 20)), crop(10, 0, 20, 20));
        assert_eq!(fit(&image, (40, 10)), crop(0, 5, 40, 10));
        assert_eq!(fit(&image, (30, 20)), crop(5, 0, 30, 20));
        assert_eq!(fit(&colourful(30, 71), (10, 10)).dimensions(), (10, 10));
        assert_eq!(fit(&colourful(30, 71), (10, 25)).dimensions(), (10, 25));
    }

    #[test]
    fn a_grey_model_is_given_brightness() {
        let shape = |channels| ImageShape { channels, height: 1, width: 4 };
        let image = RgbImage::from_raw(4, 1, vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9]);
        let picture = Picture::from_rgb("colours", 0, image.unwrap());
        // Pillow 13.0.0: Image.fromarray(a).convert("L").tobytes()
        let levels = (picture.pixels(shape(1)).unwrap() * 255.0).round();
        assert_eq!(Vec::<f32>::try_from(levels.view([-1])).unwrap(), [76.0, 150.0, 29.0, 9.0]);
        assert_eq!(picture.pixels(shape(3)).unwrap().size(), [3, 1, 4]);
    }
}
