//! Opening the images of a study.

use crate::data::classes::Classes;
use crate::data::fashion;
use crate::data::folder::Folder;
use crate::data::images::Data;
use crate::data::picture::{Content, Picture};
use crate::data::source::{MissingImages, OpenError, Source};
use crate::home;
use anyhow::{Context, Result, ensure};

impl Data {
    /// Opens the images that a study uses: the first `count` usable ones, or all when `None`.
    /// Fashion-MNIST keeps its order; the files of a folder are shuffled with the seed.
    ///
    /// # Errors
    /// [`OpenError::Missing`] when there is no such folder; [`OpenError::Unusable`] when the folder
    /// or a label file cannot be read, a label is wrong, or no image is usable.
    pub fn open(source: &Source, count: Option<usize>, seed: u64) -> Result<Self, OpenError> {
        match source {
            Source::FashionMnist => Ok(fashion_mnist(count)?),
            Source::Folder(folder) if !folder.path.is_dir() => {
                Err(MissingImages::own(folder.path.clone()).into())
            }
            Source::Folder(folder) => Ok(folder.open(count, seed)?),
            Source::Eccv2018 => {
                let path = home::home()
                    .context("there is no home folder: set GAUNTLET_HOME")?
                    .join("images/eccv2018");
                if !path.is_dir() {
                    return Err(MissingImages::eccv2018(path).into());
                }
                Ok(Folder { path, ..Folder::default() }.open(count, seed)?)
            }
        }
    }
}

fn fashion_mnist(count: Option<usize>) -> Result<Data> {
    let labels = fashion::labels();
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
            hash: blake3::hash(fashion::samples(n)).to_string(),
            content: Content::Fashion(n),
        })
        .collect();
    Ok(Data { pictures, classes: Some(Classes::fashion_mnist()), ..Data::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fashion_mnist_is_as_published() {
        let data = Data::open(&Source::FashionMnist, Some(3), 0).unwrap();
        assert_eq!(data.pictures.iter().map(|p| p.label).collect::<Vec<_>>(), [9, 2, 1]);
        let pixels = data.pictures[0].pixels(28).unwrap();
        assert_eq!(pixels.size(), [3, 28, 28]);
        let expected = f64::from(fashion::samples(0)[14 * 28 + 20]) / 255.0;
        assert!((pixels.double_value(&[1, 14, 20]) - expected).abs() < 1e-7);
        let error = Data::open(&Source::FashionMnist, Some(5000), 0).unwrap_err().to_string();
        assert_eq!(error, "5000 images asked for, but the embedded Fashion-MNIST has 1000");
    }
}
