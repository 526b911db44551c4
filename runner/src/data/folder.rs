//! A folder of images: which of its files are used, and in which order.

use crate::data::class_folders::ClassFolders;
use crate::data::classes::Classes;
use crate::data::decode::{decode, is_cmyk};
use crate::data::images::{Data, SkippedImage};
use crate::data::labels::{
    LabelFile, Labelled, LabelledFile, class_in_name, label_in_name, labelled_by_name,
};
use crate::data::lookup::is_image_name;
use crate::data::picture::{Content, Picture};
use crate::data::walk::{self, Listing};
use crate::threads::crowd;
use anyhow::{Result, bail, ensure};
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A label file that is found in the folder itself without being named, as data sets of Hugging
/// Face have it.
const METADATA: &str = "metadata.csv";

/// Why a grey file is left out.
pub(super) const GREYSCALE: &str = "greyscale: `greyscale = \"keep\"` in [data] takes such images";

/// A folder of image files: PNG, JPEG, WebP and BMP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// The folder. Without `labels` it holds a `metadata.csv` with labels, or folders named by
    /// WordNet ids, names or numbers of classes, or files with their label in their name:
    /// `<label, from 1>.<id>.<extension>` as in the published study, or a WordNet id anywhere.
    pub path: PathBuf,
    /// A file that says which image has which label, and optionally which target: CSV with a
    /// header, or lines `name label`.
    pub labels: Option<PathBuf>,
    /// Number of the first class, 0 or 1, where labels are numbers. Where it is not given it is 1
    /// in the names of files and in label files of the NIPS 2017 competition, otherwise 0.
    pub first_label: Option<i64>,
    /// A file with the names of the classes, one a line; ImageNet's unless given.
    pub classes: Option<PathBuf>,
    /// Whether CMYK images are used too. The published study left them out.
    pub cmyk: bool,
    /// What is done with grey files.
    pub greyscale: Greyscale,
}

/// What is done with grey files among the images of a study.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, strum::IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Greyscale {
    /// They are left out, as in the published study.
    #[default]
    Drop,
    /// They are used: an RGB model is given three equal channels.
    Keep,
}

impl Greyscale {
    /// The name in study files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The files of a folder that have a label.
#[derive(Default)]
struct Labels {
    /// In any order.
    files: Vec<LabelledFile>,
    /// Number of the first class, where labels are numbers.
    first_label: i64,
    /// Whether labels are ImageNet's classes by name or id.
    imagenet: bool,
    /// How labels were found, where the study does not say so.
    notes: Vec<String>,
}

impl Folder {
    /// The first `count` usable images, in an order that the seed and the file names decide.
    pub(super) fn open(&self, count: Option<usize>, seed: u64) -> Result<Data> {
        let mut skipped = Vec::new();
        let classes = self.classes.as_deref().map(Classes::read).transpose()?;
        let Labels { mut files, first_label, imagenet, notes } =
            self.labels(classes.as_ref(), &mut skipped)?;
        let classes = classes.or_else(|| imagenet.then(Classes::imagenet));
        files.sort_by(|a, b| a.name.cmp(&b.name));
        files.sort_by_cached_key(|file| {
            *blake3::Hasher::new()
                .update(&seed.to_le_bytes())
                .update(file.name.as_bytes())
                .finalize()
                .as_bytes()
        });

        let wanted = count.unwrap_or(files.len());
        let mut pictures = Vec::new();
        let mut waiting = files.as_slice();
        while pictures.len() < wanted && !waiting.is_empty() {
            let (now, later) = waiting.split_at(waiting.len().min(wanted - pictures.len()));
            waiting = later;
            for (LabelledFile { name, label, target }, examined) in
                now.iter().zip(self.examine_all(now))
            {
                match examined {
                    Ok(hash) => pictures.push(Picture {
                        name: name.clone(),
                        label: *label,
                        target: *target,
                        hash,
                        content: Content::File(self.path.join(name)),
                    }),
                    Err(reason) => skipped.push(SkippedImage { name: name.clone(), reason }),
                }
            }
        }
        skipped.sort_by(|a, b| a.name.cmp(&b.name));
        ensure!(
            !pictures.is_empty(),
            "no usable image in {}: {} file{} skipped{}",
            self.path.display(),
            skipped.len(),
            if skipped.len() == 1 { "" } else { "s" },
            skipped.first().map_or_else(String::new, |s| format!(" ({}: {}, …)", s.name, s.reason))
        );
        Ok(Data { pictures, skipped, classes, first_label, notes, ..Data::default() })
    }

    /// The files of the folder that have a label.
    fn labels(&self, classes: Option<&Classes>, skipped: &mut Vec<SkippedImage>) -> Result<Labels> {
        if let Some(path) = &self.labels {
            return Ok(self.label_file(path).read(classes)?.into());
        }
        let Listing { mut files, folders, links, others } = walk::list(&self.path, "")?;
        let folders: Vec<String> = folders.into_iter().chain(links).collect();
        ensure!(
            !folders.is_empty() || !files.is_empty() || !others.is_empty(),
            "folder of images {} is empty",
            self.path.display()
        );
        skipped.extend(others);
        if let Some(at) = files.iter().position(|name| name == METADATA) {
            match self.metadata(classes)? {
                Ok(labels) => return Ok(labels),
                Err(reason) => skipped.push(SkippedImage { name: files.remove(at), reason }),
            }
        }
        let imagenet = Classes::imagenet();
        let index = classes.unwrap_or(&imagenet).index();
        let first = self.first_label.unwrap_or(1);
        let by_name = files.iter().find(|name| label_in_name(name, &index, first) != Ok(None));
        if folders.is_empty() {
            let by_id = files
                .iter()
                .any(|name| class_in_name(name, &index).is_ok_and(|class| class.is_some()));
            let files = labelled_by_name(files, &index, first, skipped);
            return Ok(Labels { files, first_label: first, imagenet: by_id, ..Labels::default() });
        }
        if let Some(file) = by_name.filter(|name| is_image_name(name)) {
            bail!(
                "folder of images {}: `{file}` has its label in its name, but there are also \
                 folders ({}, …): \
                 move either elsewhere, or name the labels in a CSV file (`labels = \"…\"`)",
                self.path.display(),
                folders[0]
            );
        }
        skipped.extend(
            files
                .into_iter()
                .map(|name| SkippedImage { name, reason: "not in a folder of a class".into() }),
        );
        let first_label = self.first_label.unwrap_or_else(|| index.first_number());
        let class_folders =
            ClassFolders { path: &self.path, index, names: self.classes.as_deref(), first_label };
        let files = class_folders.files(&folders, skipped)?;
        let numbers = folders.iter().all(|name| name.parse::<i64>().is_ok());
        Ok(Labels { files, first_label, imagenet: !numbers, ..Labels::default() })
    }

    fn label_file<'a>(&'a self, path: &'a Path) -> LabelFile<'a> {
        LabelFile { path, folder: &self.path, first_label: self.first_label }
    }

    /// The labels of `metadata.csv`, or the reason why it has none.
    ///
    /// # Errors
    /// When the file has labels, but they are wrong.
    fn metadata(&self, classes: Option<&Classes>) -> Result<Result<Labels, String>> {
        let path = self.path.join(METADATA);
        let file = self.label_file(&path);
        if let Err(error) = file.check() {
            return Ok(Err(format!("no label file: {error:#}")));
        }
        let mut labels = Labels::from(file.read(classes)?);
        labels.notes.insert(0, format!("labels are those of {}", path.display()));
        Ok(Ok(labels))
    }

    /// The content hash of every file that is a usable image, or the reason why it is not.
    fn examine_all(&self, files: &[LabelledFile]) -> Vec<Result<String, String>> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
        let next = AtomicUsize::new(0);
        let examined = Mutex::new(Vec::with_capacity(files.len()));
        crowd(workers, || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(file) = files.get(n) else { break };
                let found = self.examine(&file.name);
                examined.lock().expect("nobody panics with the lock").push((n, found));
            }
        });
        let mut examined: Vec<(usize, Result<String, String>)> =
            examined.into_inner().expect("nobody panics with the lock");
        examined.sort_by_key(|(n, _)| *n);
        examined.into_iter().map(|(_, result)| result).collect()
    }

    fn examine(&self, name: &str) -> Result<String, String> {
        let bytes = fs::read(self.path.join(name)).map_err(|e| format!("cannot be read: {e}"))?;
        if !self.cmyk && is_cmyk(&bytes) {
            return Err("CMYK: `cmyk = true` in [data] takes such images".into());
        }
        if !decode(&bytes)?.colour && self.greyscale == Greyscale::Drop {
            return Err(GREYSCALE.into());
        }
        Ok(blake3::hash(&bytes).to_string())
    }
}

impl From<Labelled> for Labels {
    fn from(Labelled { files, first_label, note }: Labelled) -> Self {
        Self { files, first_label, imagenet: false, notes: note.into_iter().collect() }
    }
}
