//! Tests of folders of images, and what they share.

mod folders;
mod label_files;

use crate::data::classes::Classes;
use crate::data::folder::Folder;
use crate::data::images::Data;
use image::RgbImage;
use std::fs;
use std::path::Path;

fn colourful(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 9) as u8, (y * 7) as u8, 40]))
}

fn folder(path: &Path) -> Folder {
    Folder { path: path.into(), ..Folder::default() }
}

fn refusal(folder: &Folder) -> String {
    format!("{:#}", folder.open(None, 0).unwrap_err())
}

/// A folder with small images of these names, each with pixels of its own, and texts.
fn place(images: &[&str], texts: &[(&str, &str)]) -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let path = place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    for (n, name) in images.iter().enumerate() {
        let image = colourful(9 + n as u32, 9);
        image.save_with_format(at(name), image::ImageFormat::Png).unwrap();
    }
    for (name, text) in texts {
        fs::write(at(name), text).unwrap();
    }
    place
}

fn labels(data: &Data) -> Vec<(&str, i64)> {
    let mut labels: Vec<_> = data.pictures.iter().map(|p| (p.name.as_str(), p.label)).collect();
    labels.sort_unstable();
    labels
}

fn skipped(data: &Data) -> Vec<(&str, &str)> {
    data.skipped.iter().map(|s| (s.name.as_str(), s.reason.as_str())).collect()
}
