//! The labels of image files: from a label file, or from the files' names.

use crate::data::classes::{Classes, Index};
use crate::data::images::SkippedImage;
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::collections::HashMap;
use std::path::Path;

/// Greatest number of missing files that an error names.
const NAMED: usize = 3;

/// A file that may be an image, and its label.
pub(super) struct LabelledFile {
    /// The path below the folder of images.
    pub(super) name: String,
    /// The real class, counted from 0.
    pub(super) label: i64,
    /// The class that attacks with the goal `given` aim at.
    pub(super) target: Option<i64>,
}

/// A CSV file with the columns `file`, `label` and optionally `target`. Labels and targets are
/// numbers or names of classes.
pub(super) struct LabelFile<'a> {
    pub(super) path: &'a Path,
    /// The folder of the images.
    pub(super) folder: &'a Path,
    /// Number of the first class: 0 or 1.
    pub(super) first_label: i64,
}

impl LabelFile<'_> {
    /// The files that the label file names, with their labels and targets. `classes` are ImageNet's
    /// when `None`.
    ///
    /// # Errors
    /// When the file cannot be read, a label or target is no class, or an image is not there.
    pub(super) fn read(&self, classes: Option<&Classes>) -> Result<Vec<LabelledFile>> {
        let place = format!("labels {}", self.path.display());
        let mut reader = csv::Reader::from_path(self.path).with_context(|| place.clone())?;
        let header = reader.headers().with_context(|| place.clone())?.clone();
        let position = |name: &str| header.iter().position(|h| h.trim() == name);
        let column = |name: &str| {
            position(name).with_context(|| {
                format!(
                    "{place}: the columns `file` and `label` are expected, found {}",
                    header.iter().collect::<Vec<_>>().join(", ")
                )
            })
        };
        let (file, label, target) = (column("file")?, column("label")?, position("target"));
        let imagenet = Classes::imagenet();
        let index = classes.unwrap_or(&imagenet).index();
        let mut files = Vec::new();
        let mut lines: HashMap<String, u64> = HashMap::new();
        let mut missing = Vec::new();
        for record in reader.records() {
            let record = record.with_context(|| place.clone())?;
            let line = record.position().map_or(0, csv::Position::line);
            let name = record.get(file).unwrap_or_default().trim().to_owned();
            ensure!(!name.is_empty(), "{place}, line {line}: no file is named");
            let class = |what: &str, column: usize| -> Result<i64> {
                let text = record.get(column).unwrap_or_default().trim();
                self.class(text, &index).map_err(|error| {
                    anyhow!("{place}, line {line}: the {what} of `{name}`: {error}")
                })
            };
            let label = class("label", label)?;
            let target = match target {
                Some(column) if !record.get(column).unwrap_or_default().trim().is_empty() => {
                    Some(class("target", column)?)
                }
                _ => None,
            };
            ensure!(
                target != Some(label),
                "{place}, line {line}: the target of `{name}` is its label: another class is \
                 expected"
            );
            if let Some(first) = lines.insert(name.clone(), line) {
                bail!("{place}, line {line}: `{name}` stands there twice, first in line {first}");
            }
            if !self.folder.join(&name).is_file() {
                missing.push(format!("`{name}` (line {line})"));
            }
            files.push(LabelledFile { name, label, target });
        }
        ensure!(!files.is_empty(), "{place}: no line after the header");
        if !missing.is_empty() {
            let more = if missing.len() > NAMED {
                format!(" and {} more", missing.len() - NAMED)
            } else {
                String::new()
            };
            missing.truncate(NAMED);
            bail!(
                "{place}: not in the folder {}: {}{more}",
                self.folder.display(),
                missing.join(", ")
            );
        }
        Ok(files)
    }

    /// A class by number, counted from `first_label`, or by name.
    fn class(&self, text: &str, index: &Index) -> Result<i64> {
        let first = self.first_label;
        ensure!(
            !text.is_empty(),
            "nothing stands there; a number counted from {first} or a class's name is expected"
        );
        index.class(text, first)
    }
}

/// The files whose names have a label; the others are skipped.
pub(super) fn labelled_by_name(
    names: Vec<String>,
    skipped: &mut Vec<SkippedImage>,
) -> Vec<LabelledFile> {
    let mut files = Vec::new();
    for name in names {
        match label_in_name(&name) {
            Some(label) => files.push(LabelledFile { name, label, target: None }),
            None => skipped.push(SkippedImage {
                name,
                reason: "the name is not `<label, from 1>.<id>.jpg`".into(),
            }),
        }
    }
    files
}

/// The label in a file name: `437.ILSVRC2012_val_00000006.jpg` has the label 436.
pub(super) fn label_in_name(name: &str) -> Option<i64> {
    let mut parts = name.splitn(3, '.');
    let label: i64 = parts.next()?.parse().ok()?;
    (label >= 1 && parts.count() == 2).then_some(label - 1)
}
