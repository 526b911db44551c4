//! One labelled image, and its pixels for a model.

use crate::data::decode::decode;
use crate::data::{fashion, resample};
use anyhow::{Context, Result, bail, ensure};
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

    /// The pixels for a model of the given side S, 3×S×S float32 in [0, 1]: the shorter side is
    /// resized to S (antialiased Lanczos), and the centre is cut out.
    ///
    /// # Errors
    /// When the file can no longer be read, or has changed since the study was planned.
    pub fn pixels(&self, side: i64) -> Result<Tensor> {
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
                coloured(&bytes)
                    .map_err(|reason| anyhow::anyhow!("image {}: {reason}", path.display()))?
            }
        };
        Ok(tensor(&fit(&image, side as u32)))
    }
}

/// The pixels of N images for a model of the given side, N×3×S×S float32 in [0, 1].
pub fn batch(pictures: &[Picture], side: i64) -> Result<Tensor> {
    let rows: Vec<Tensor> =
        pictures.iter().map(|picture| picture.pixels(side)).collect::<Result<_>>()?;
    Ok(Tensor::stack(&rows, 0))
}

/// The pixels of an image file for a model of the given side, 3×S×S float32 in [0, 1].
///
/// # Errors
/// When the file cannot be read or is not a PNG or JPEG image. Greyscale is taken as RGB.
pub fn open_image(path: &Path, side: i64) -> Result<Tensor> {
    let bytes = fs::read(path).with_context(|| format!("image {}", path.display()))?;
    let image =
        decode(&bytes).map_err(|reason| anyhow::anyhow!("image {}: {reason}", path.display()))?;
    Ok(tensor(&fit(&image.pixels, side as u32)))
}

/// The pixels of a colour image. Greyscale files are refused, as in the published study.
pub(super) fn coloured(bytes: &[u8]) -> Result<RgbImage, String> {
    let image = decode(bytes)?;
    if image.colour { Ok(image.pixels) } else { Err("greyscale".into()) }
}

/// The centre of an image whose shorter side is resized to `side`, as in the published study: the
/// longer side is truncated after floating-point arithmetic. For a square this can make the longer
/// side one pixel too short; the window then reaches over the edge and is black there.
fn fit(image: &RgbImage, side: u32) -> RgbImage {
    let (width, height) = image.dimensions();
    let ratio = f64::from(side) / f64::from(width.min(height));
    let longer = |length: u32| ((f64::from(length) * ratio) as u32).max(1);
    let (width, height) =
        if width < height { (side, longer(height)) } else { (longer(width), side) };
    let start = |length: u32| i64::from(length / 2) - i64::from(side / 2);
    let inside = |length: u32| {
        start(length).max(0) as u32..(start(length) + i64::from(side)).min(i64::from(length)) as u32
    };
    let resized = resample::lanczos(image, (width, height), inside(width), inside(height));
    let mut window = RgbImage::new(side, side);
    image::imageops::replace(
        &mut window,
        &resized,
        (-start(width)).max(0),
        (-start(height)).max(0),
    );
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
        assert_eq!(fit(&image, 20), image::imageops::crop_imm(&image, 10, 0, 20, 20).to_image());
        assert_eq!(fit(&colourful(30, 71), 10).dimensions(), (10, 10));
    }
}
