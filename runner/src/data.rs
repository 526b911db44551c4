//! Labelled images: the embedded Fashion-MNIST, or a folder of photographs.
//!
//! Labels are the dataset's own: real classes counted from 0, whatever a model calls them. Which
//! images a study takes, and in which order, follows from the folder and the seed alone.

mod decode;
mod resample;

use anyhow::{Context, Result, bail, ensure};
use decode::decode;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tch::Tensor;

/// The ten classes of Fashion-MNIST.
pub const FASHION_CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// The first 1,000 test images of Fashion-MNIST, 28×28 grey, and their labels (IDX files).
const FASHION_IMAGES: &[u8] = include_bytes!("../data/fashion-mnist/images.idx");
const FASHION_LABELS: &[u8] = include_bytes!("../data/fashion-mnist/labels.idx");
const FASHION_SIDE: usize = 28;

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The 1,000 embedded images.
    FashionMnist,
    /// A folder of PNG and JPEG files.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// A CSV file with the columns `file` and `label`; without it, files are named
        /// `<label 1..>.<id>.<extension>`.
        labels: Option<PathBuf>,
    },
}

impl Source {
    /// How many classes the images have, where that is known.
    pub fn classes(&self) -> Option<i64> {
        match self {
            Self::FashionMnist => Some(FASHION_CLASSES.len() as i64),
            Self::Folder { .. } => None,
        }
    }
}

/// The images of a study, in its order.
#[derive(Debug)]
pub struct Data {
    /// The images that are used.
    pub pictures: Vec<Picture>,
    /// The files that were passed over.
    pub skipped: Vec<Skipped>,
}

/// A file that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// BLAKE3 of the content, in hexadecimal.
    pub hash: String,
    content: Content,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Content {
    /// Which of the embedded images.
    Fashion(usize),
    File(PathBuf),
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
        (image.width(), image.height(), BASE64_STANDARD.encode(image.as_raw())).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RgbImage, D::Error> {
        let (width, height, samples) = <(u32, u32, String)>::deserialize(deserializer)?;
        let samples = BASE64_STANDARD.decode(samples).map_err(D::Error::custom)?;
        RgbImage::from_raw(width, height, samples).ok_or_else(|| D::Error::custom("fewer samples than pixels"))
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
        Self { name: name.to_owned(), label, hash, content: Content::Memory(image) }
    }

    /// The shorter side, unless it is a file that would have to be opened to tell.
    pub fn side(&self) -> Option<i64> {
        match &self.content {
            Content::Fashion(_) => Some(FASHION_SIDE as i64),
            Content::Memory(image) => Some(i64::from(image.width().min(image.height()))),
            Content::File(_) => None,
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
            Content::File(path) => {
                let bytes = fs::read(path).with_context(|| format!("image {}", path.display()))?;
                ensure!(
                    blake3::hash(&bytes).to_string() == self.hash,
                    "image {} changed while the study ran: leave the folder alone and run it again",
                    path.display()
                );
                coloured(&bytes).map_err(|reason| anyhow::anyhow!("image {}: {reason}", path.display()))?
            }
        };
        Ok(tensor(&fit(&image, side as u32)))
    }
}

/// The pixels of a few images for a model of the given side, N×3×S×S float32 in [0, 1].
pub fn batch(pictures: &[Picture], side: i64) -> Result<Tensor> {
    let rows: Vec<Tensor> = pictures.iter().map(|picture| picture.pixels(side)).collect::<Result<_>>()?;
    Ok(Tensor::stack(&rows, 0))
}

/// The pixels of an image file for a model of the given side, 3×S×S float32 in [0, 1].
///
/// # Errors
/// When the file cannot be read or is not a PNG or JPEG image. Greyscale is taken as RGB.
pub fn open_image(path: &Path, side: i64) -> Result<Tensor> {
    let bytes = fs::read(path).with_context(|| format!("image {}", path.display()))?;
    let image = decode(&bytes).map_err(|reason| anyhow::anyhow!("image {}: {reason}", path.display()))?;
    Ok(tensor(&fit(&image.pixels, side as u32)))
}

impl Data {
    /// Opens the images that a study uses: the first `count` usable ones (all when `None`).
    /// Fashion-MNIST keeps its order; the files of a folder are shuffled with the seed.
    ///
    /// # Errors
    /// When a folder or label file cannot be read, a label is not one, or no image is usable.
    pub fn open(source: &Source, count: Option<usize>, seed: u64) -> Result<Self> {
        match source {
            Source::FashionMnist => fashion_mnist(count),
            Source::Folder { folder, labels } => from_folder(folder, labels.as_deref(), count, seed),
        }
    }
}

fn fashion_mnist(count: Option<usize>) -> Result<Data> {
    let labels = &FASHION_LABELS[8..];
    let count = count.unwrap_or(labels.len());
    ensure!(count <= labels.len(), "{count} images asked for, but the embedded Fashion-MNIST has {}", labels.len());
    let pictures = (0..count)
        .map(|n| Picture {
            name: format!("fashion-{n:04}"),
            label: i64::from(labels[n]),
            hash: blake3::hash(fashion(n)).to_string(),
            content: Content::Fashion(n),
        })
        .collect();
    Ok(Data { pictures, skipped: Vec::new() })
}

fn from_folder(folder: &Path, labels: Option<&Path>, count: Option<usize>, seed: u64) -> Result<Data> {
    let mut skipped = Vec::new();
    let mut files: Vec<(String, i64)> = match labels {
        Some(path) => read_labels(path)?.into_iter().collect(),
        None => labelled_by_name(list(folder)?, &mut skipped),
    };
    files.sort();
    files.sort_by_cached_key(|(name, _)| *blake3::Hasher::new().update(&seed.to_le_bytes()).update(name.as_bytes()).finalize().as_bytes());

    let count = count.unwrap_or(files.len());
    let mut pictures = Vec::new();
    let mut waiting = files.as_slice();
    while pictures.len() < count && !waiting.is_empty() {
        let (now, later) = waiting.split_at(waiting.len().min(count - pictures.len()));
        waiting = later;
        for ((name, label), examined) in now.iter().zip(examine_all(folder, now)) {
            match examined {
                Ok(hash) => {
                    pictures.push(Picture { name: name.clone(), label: *label, hash, content: Content::File(folder.join(name)) });
                }
                Err(reason) => skipped.push(Skipped { name: name.clone(), reason }),
            }
        }
    }
    skipped.sort_by(|a, b| a.name.cmp(&b.name));
    ensure!(
        !pictures.is_empty(),
        "no usable image in {}: {} file{} skipped{}",
        folder.display(),
        skipped.len(),
        if skipped.len() == 1 { "" } else { "s" },
        skipped.first().map_or_else(String::new, |s| format!(" ({}: {}, …)", s.name, s.reason))
    );
    Ok(Data { pictures, skipped })
}

fn labelled_by_name(names: Vec<String>, skipped: &mut Vec<Skipped>) -> Vec<(String, i64)> {
    let mut files = Vec::new();
    for name in names {
        match label_in_name(&name) {
            Some(label) => files.push((name, label)),
            None => skipped.push(Skipped { name, reason: "the name is not `<label, from 1>.<id>.jpg`".into() }),
        }
    }
    files
}

/// The content hash of every file that is a usable image, or the reason why it is not.
fn examine_all(folder: &Path, files: &[(String, i64)]) -> Vec<Result<String, String>> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let next = AtomicUsize::new(0);
    let mut examined: Vec<(usize, Result<String, String>)> = std::thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some((name, _)) = files.get(n) else { return done };
                done.push((n, examine(&folder.join(name))));
            }
        };
        let handles: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().expect("decoders return errors")).collect()
    });
    examined.sort_by_key(|(n, _)| *n);
    examined.into_iter().map(|(_, result)| result).collect()
}

fn examine(path: &Path) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    coloured(&bytes)?;
    Ok(blake3::hash(&bytes).to_string())
}

/// A colour image. Like the published study, greyscale files are refused.
fn coloured(bytes: &[u8]) -> Result<RgbImage, String> {
    let image = decode(bytes)?;
    if image.colour { Ok(image.pixels) } else { Err("greyscale".into()) }
}

fn list(folder: &Path) -> Result<Vec<String>> {
    let context = || format!("folder of images {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.path().is_file() {
            names.push(name);
        }
    }
    ensure!(!names.is_empty(), "folder of images {} is empty", folder.display());
    Ok(names)
}

/// `437.ILSVRC2012_val_00000006.jpg` is of the real class 436.
fn label_in_name(name: &str) -> Option<i64> {
    let mut parts = name.splitn(3, '.');
    let label: i64 = parts.next()?.parse().ok()?;
    (label >= 1 && parts.count() == 2).then_some(label - 1)
}

fn read_labels(path: &Path) -> Result<BTreeMap<String, i64>> {
    let place = path.display();
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("labels {place}"))?;
    let header = reader.headers().with_context(|| format!("labels {place}"))?.clone();
    let column = |name: &str| {
        header.iter().position(|h| h.trim() == name).with_context(|| {
            format!("labels {place}: the columns `file` and `label` are expected, found {}", header.iter().collect::<Vec<_>>().join(", "))
        })
    };
    let (file, label) = (column("file")?, column("label")?);
    let mut labels = BTreeMap::new();
    for record in reader.records() {
        let record = record.with_context(|| format!("labels {place}"))?;
        let line = record.position().map_or(0, csv::Position::line);
        let name = record.get(file).unwrap_or_default().trim().to_owned();
        let text = record.get(label).unwrap_or_default().trim();
        let Some(class) = text.parse::<i64>().ok().filter(|class| *class >= 0) else {
            bail!("labels {place}, line {line}: the label of `{name}` is `{text}`, expected a class counted from 0");
        };
        ensure!(labels.insert(name.clone(), class).is_none(), "labels {place}, line {line}: `{name}` stands there twice");
    }
    ensure!(!labels.is_empty(), "labels {place}: no line after the header");
    Ok(labels)
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
    let longer = |length: u32| (f64::from(length) * ratio) as u32;
    let (width, height) = if width < height { (side, longer(height)) } else { (longer(width), side) };
    let resized = resample::lanczos(image, width, height);
    let start = |length: u32| i64::from(length / 2) - i64::from(side / 2);
    let mut window = RgbImage::new(side, side);
    image::imageops::replace(&mut window, &resized, -start(width), -start(height));
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
            assert_eq!((&again.name, again.label, &again.hash), (&picture.name, picture.label, &picture.hash));
            assert_eq!(again.pixels(4).unwrap(), picture.pixels(4).unwrap());
        }
        assert!(serde_json::from_str::<Picture>(r#"{"name":"x","label":0,"hash":"","content":{"Memory":[2,2,"AAAA"]}}"#).is_err());
    }

    #[test]
    fn the_centre_of_the_resized_image_is_taken() {
        let image = colourful(40, 20);
        assert_eq!(fit(&image, 20), image::imageops::crop_imm(&image, 10, 0, 20, 20).to_image());
        assert_eq!(fit(&colourful(30, 71), 10).dimensions(), (10, 10));
    }

    #[test]
    fn unusable_files_are_skipped_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["3.a.png", "1.b.png", "7.c.png"] {
            colourful(12, 10).save(at(name)).unwrap();
        }
        image::GrayImage::new(8, 8).save(at("2.grey.png")).unwrap();
        let whole = fs::read(at("3.a.png")).unwrap();
        fs::write(at("4.cut.png"), &whole[..whole.len() / 2]).unwrap();
        fs::write(at("5.text.jpg"), "hello").unwrap();
        fs::write(at("notes.txt"), "hello").unwrap();
        let source = Source::Folder { folder: folder.path().into(), labels: None };
        let data = Data::open(&source, None, 1).unwrap();
        let mut found: Vec<(&str, i64)> = data.pictures.iter().map(|p| (p.name.as_str(), p.label)).collect();
        found.sort_unstable();
        assert_eq!(found, [("1.b.png", 0), ("3.a.png", 2), ("7.c.png", 6)]);
        let reasons: Vec<(&str, &str)> = data.skipped.iter().map(|s| (s.name.as_str(), s.reason.as_str())).collect();
        assert_eq!(reasons[0], ("2.grey.png", "greyscale"));
        assert!(reasons[1].1.starts_with("damaged image: "), "{reasons:?}");
        assert_eq!(reasons[2..], [("5.text.jpg", "neither PNG nor JPEG"), ("notes.txt", "the name is not `<label, from 1>.<id>.jpg`")]);

        let order = |seed| -> Vec<String> { Data::open(&source, None, seed).unwrap().pictures.into_iter().map(|p| p.name).collect() };
        assert_eq!(order(1), order(1));
        assert!((2..20).any(|seed| order(seed) != order(1)), "the seed shuffles");
        assert_eq!(Data::open(&source, Some(2), 1).unwrap().pictures.len(), 2);
    }

    #[test]
    fn a_label_file_names_the_images() {
        let folder = tempfile::tempdir().unwrap();
        colourful(12, 10).save(folder.path().join("a.png")).unwrap();
        let labels = folder.path().join("labels.csv");
        let source = Source::Folder { folder: folder.path().into(), labels: Some(labels.clone()) };
        let open = |text: &str| {
            fs::write(&labels, text).unwrap();
            Data::open(&source, None, 0)
        };
        let data = open("label,file,licence\n4,a.png,CC0\n2,gone.png,CC0\n").unwrap();
        assert_eq!((data.pictures[0].label, data.skipped[0].name.as_str()), (4, "gone.png"));
        for (text, expected) in [
            ("file,label\na.png,cat\n", "line 2: the label of `a.png` is `cat`, expected a class counted from 0"),
            ("file,label\na.png,1\na.png,1\n", "line 3: `a.png` stands there twice"),
            ("name,label\na.png,1\n", "the columns `file` and `label` are expected, found name, label"),
            ("file,label\n", "no line after the header"),
        ] {
            let error = open(text).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{error}");
        }
    }

    #[test]
    fn a_file_that_changes_under_the_study_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.x.png");
        colourful(12, 10).save(&path).unwrap();
        let data = Data::open(&Source::Folder { folder: folder.path().into(), labels: None }, None, 0).unwrap();
        colourful(11, 10).save(&path).unwrap();
        assert!(data.pictures[0].pixels(8).unwrap_err().to_string().contains("changed while the study ran"));
    }
}
