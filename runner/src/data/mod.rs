//! Labelled images: the embedded Fashion-MNIST, a folder of photographs, or those of the published
//! study.
//!
//! Labels are the dataset's own: real classes counted from 0, whatever a model calls them. Which
//! images a study takes, and in which order, follows from the folder and the seed alone.

mod classes;
#[cfg(not(fuzzing))]
mod decode;
#[cfg(fuzzing)]
pub mod decode;
mod folder;
mod resample;

use crate::home;
use anyhow::{Context, Result, bail, ensure};
pub use classes::{Class, Classes};
use decode::decode;
pub use folder::Folder;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// The first 1,000 test images of Fashion-MNIST, 28×28 grey, and their labels (IDX files).
const FASHION_IMAGES: &[u8] = include_bytes!("../../data/fashion-mnist/images.idx");
const FASHION_LABELS: &[u8] = include_bytes!("../../data/fashion-mnist/labels.idx");
const FASHION_SIDE: usize = 28;

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The 1,000 embedded images.
    FashionMnist,
    /// Those of the ECCV 2018 study, in Gauntlet's own folder.
    Eccv2018,
    /// A folder of PNG and JPEG files.
    Folder(Folder),
}

impl Source {
    /// How many classes the images have, where that is known.
    pub fn classes(&self) -> Option<i64> {
        match self {
            Self::FashionMnist => Some(Classes::fashion_mnist().len() as i64),
            Self::Eccv2018 => Some(Classes::imagenet().len() as i64),
            Self::Folder(_) => None,
        }
    }
}

/// The images of the ECCV 2018 study, as its authors publish them: the validation set of ILSVRC
/// 2012, each file named by its label.
pub mod eccv2018 {
    /// Where the archive is.
    pub const URL: &str = "http://download.huan-zhang.com/datasets/adv/img.tar.gz";
    /// Its size in bytes.
    pub const SIZE: u64 = 6_664_105_290;
    /// Its SHA-256, in hexadecimal.
    pub const SHA256: &str = "217c3776db6d53ffca5b232703def0c38221a899d7f1205b4eb5730c7d3a983e";
    /// How many images are in it.
    pub const IMAGES: usize = 50_000;
}

/// The images of a study are not where they are looked for. The message names the commands that get
/// them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingImages {
    /// Where they were looked for.
    pub folder: PathBuf,
    /// Commands that get them, one after the other; none for a folder of the user's own.
    pub commands: Vec<String>,
}

impl MissingImages {
    /// The images of the ECCV 2018 study.
    fn eccv2018(folder: PathBuf) -> Self {
        let place = folder.display();
        let commands = vec![
            format!("mkdir -p '{place}' && cd '{place}'"),
            format!("curl -fLO -C - {}", eccv2018::URL),
            format!(
                "echo '{}  img.tar.gz' | sha256sum -c && tar xzf img.tar.gz --wildcards '*.jpg' \
                 --transform 's,.*/,,' && rm img.tar.gz",
                eccv2018::SHA256
            ),
        ];
        Self { folder, commands }
    }
}

impl fmt::Display for MissingImages {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let path = self.folder.display();
        if self.folder.exists() {
            write!(f, "{path} is a file, a folder is expected")
        } else {
            write!(f, "there is no folder {path}")
        }?;
        if !self.commands.is_empty() {
            let size = eccv2018::SIZE as f64 / 1e9;
            write!(
                f,
                "; these commands get the images ({size:.1} GB):\n  {}\n",
                self.commands.join("\n  ")
            )?;
            write!(f, "or use images of your own: `--set data.folder=DIR`")?;
        }
        Ok(())
    }
}

impl std::error::Error for MissingImages {}

/// The images of a study, in its order.
#[derive(Debug, Default)]
pub struct Data {
    /// The images that are used.
    pub pictures: Vec<Picture>,
    /// The files that were passed over.
    pub skipped: Vec<Skipped>,
    /// How many images were asked for, if not all; there may be fewer.
    pub asked: Option<usize>,
    /// What the classes are called, where the images say.
    pub classes: Option<Classes>,
}

/// A file that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// File name.
    pub name: String,
    /// Reason, in words.
    pub reason: String,
}

/// One labelled image. It can be written down for another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Picture {
    /// The name that results give it.
    pub name: String,
    /// The real class, counted from 0.
    pub label: i64,
    /// The class that attacks with the goal `given` aim at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<i64>,
    /// BLAKE3 of the content, in hexadecimal.
    pub hash: String,
    content: Content,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Content {
    /// Which of the embedded images.
    Fashion(usize),
    File(PathBuf),
    /// It is not there, and only counted.
    Absent,
    #[serde(with = "as_text")]
    Memory(RgbImage),
}

/// Width, height and the samples in base64.
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

    /// The same image for processes that run in other folders.
    pub(crate) fn absolute(mut self) -> Result<Self> {
        if let Content::File(path) = &mut self.content {
            *path = std::path::absolute(&*path)?;
        }
        Ok(self)
    }

    /// The shorter side, unless it is a file that would have to be opened to tell.
    pub fn side(&self) -> Option<i64> {
        match &self.content {
            Content::Fashion(_) => Some(FASHION_SIDE as i64),
            Content::Memory(image) => Some(i64::from(image.width().min(image.height()))),
            Content::File(_) | Content::Absent => None,
        }
    }

    /// The pixels for a model of the given side, 3×S×S float32 in [0, 1]: the shorter side is
    /// resized to S (antialiased Lanczos), the centre cut out.
    ///
    /// # Errors
    /// When the file can no longer be read or is not the image that was planned with.
    pub fn pixels(&self, side: i64) -> Result<Tensor> {
        let image = match &self.content {
            Content::Fashion(number) => grey(fashion(*number)),
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

/// The pixels of a few images for a model of the given side, N×3×S×S float32 in [0, 1].
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

impl Data {
    /// Opens the images that a study uses: the first `count` usable ones (all when `None`).
    /// Fashion-MNIST keeps its order; the files of a folder are shuffled with the seed.
    ///
    /// # Errors
    /// When a folder is not there ([`MissingImages`]), it or a label file cannot be read, a label is not
    /// one, or no image is usable.
    pub fn open(source: &Source, count: Option<usize>, seed: u64) -> Result<Self> {
        let folder = |folder: &Folder, commands: fn(PathBuf) -> MissingImages| {
            if folder.path.is_dir() {
                folder.open(count, seed)
            } else {
                Err(commands(folder.path.clone()).into())
            }
        };
        match source {
            Source::FashionMnist => fashion_mnist(count),
            Source::Folder(given) => {
                folder(given, |folder| MissingImages { folder, commands: Vec::new() })
            }
            Source::Eccv2018 => {
                let path = home::home()
                    .context("there is no home folder: set GAUNTLET_HOME")?
                    .join("images/eccv2018");
                folder(&Folder { path, ..Folder::default() }, MissingImages::eccv2018)
            }
        }
    }

    /// So many images that are not there, to plan with.
    pub(crate) fn absent(count: usize) -> Self {
        let picture = |n: usize| Picture {
            name: format!("image {n}"),
            label: 0,
            target: None,
            hash: blake3::hash(&n.to_le_bytes()).to_string(),
            content: Content::Absent,
        };
        Self { pictures: (0..count).map(picture).collect(), ..Self::default() }
    }
}

fn fashion_mnist(count: Option<usize>) -> Result<Data> {
    let labels = &FASHION_LABELS[8..];
    let count = count.unwrap_or(labels.len());
    ensure!(
        count <= labels.len(),
        "{count} images asked for, but the embedded Fashion-MNIST has {}",
        labels.len()
    );
    let pictures = (0..count)
        .map(|n| Picture {
            name: format!("fashion-{n:04}"),
            label: i64::from(labels[n]),
            target: None,
            hash: blake3::hash(fashion(n)).to_string(),
            content: Content::Fashion(n),
        })
        .collect();
    Ok(Data { pictures, classes: Some(Classes::fashion_mnist()), ..Data::default() })
}

/// A colour image. Like the published study, greyscale files are refused.
fn coloured(bytes: &[u8]) -> Result<RgbImage, String> {
    let image = decode(bytes)?;
    if image.colour { Ok(image.pixels) } else { Err("greyscale".into()) }
}

/// The samples of an embedded image.
fn fashion(number: usize) -> &'static [u8] {
    const SIZE: usize = FASHION_SIDE * FASHION_SIDE;
    &FASHION_IMAGES[16 + number * SIZE..][..SIZE]
}

fn grey(bytes: &[u8]) -> RgbImage {
    let rgb = bytes.iter().flat_map(|&b| [b, b, b]).collect();
    RgbImage::from_raw(FASHION_SIDE as u32, FASHION_SIDE as u32, rgb).expect("28×28 grey samples")
}

/// The centre of an image whose shorter side was resized to `side`, as the published study has it:
/// the longer side is truncated after floating-point arithmetic, which can make a square's longer
/// side the shorter one by a pixel, and black stands where the window reaches over the edge.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn colourful(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 9) as u8, (y * 7) as u8, 40]))
    }

    #[test]
    fn fashion_mnist_is_as_published() {
        let data = Data::open(&Source::FashionMnist, Some(3), 0).unwrap();
        assert_eq!(data.pictures.iter().map(|p| p.label).collect::<Vec<_>>(), [9, 2, 1]);
        let pixels = data.pictures[0].pixels(28).unwrap();
        assert_eq!(pixels.size(), [3, 28, 28]);
        let expected = f64::from(FASHION_IMAGES[16 + 14 * 28 + 20]) / 255.0;
        assert!((pixels.double_value(&[1, 14, 20]) - expected).abs() < 1e-7);
        let error = Data::open(&Source::FashionMnist, Some(5000), 0).unwrap_err().to_string();
        assert_eq!(error, "5000 images asked for, but the embedded Fashion-MNIST has 1000");
    }

    #[test]
    fn a_picture_written_down_comes_back() {
        let fashion = Data::open(&Source::FashionMnist, Some(2), 0).unwrap().pictures.remove(1);
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
