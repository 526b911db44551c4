//! The labels of image files: from a label file, or from the files' names.

use crate::data::classes::{Classes, Index, is_id};
use crate::data::images::SkippedImage;
use crate::data::lookup::Lookup;
use crate::data::sheet::{Counting, Sheet, SheetRow};
use crate::text;
use anyhow::{Result, anyhow, bail, ensure};
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

/// A label file: which file has which label, and optionally which target. Labels and targets are
/// numbers or names of classes.
pub(super) struct LabelFile<'a> {
    pub(super) path: &'a Path,
    /// The folder of the images.
    pub(super) folder: &'a Path,
    /// Number of the first class, 0 or 1; none where the file's header decides.
    pub(super) first_label: Option<i64>,
}

/// What a label file says.
pub(super) struct Labelled {
    pub(super) files: Vec<LabelledFile>,
    /// Number of the first class.
    pub(super) first_label: i64,
    /// How the file was read, where the study does not say so.
    pub(super) note: Option<String>,
}

impl LabelFile<'_> {
    /// The files that the label file names, with their labels and targets. `classes` are ImageNet's
    /// when `None`.
    ///
    /// # Errors
    /// When the file cannot be read, a label or target is no class, or an image is not there.
    pub(super) fn read(&self, classes: Option<&Classes>) -> Result<Labelled> {
        let place = self.place();
        let lookup = Lookup::new(self.folder);
        let sheet = self.parse(&lookup).map_err(|error| anyhow!("{place}: {error:#}"))?;
        let (first_label, note) = self.first_label(sheet.counting)?;
        let imagenet = Classes::imagenet();
        let index = classes.unwrap_or(&imagenet).index();
        let mut files = Vec::new();
        let mut lines: HashMap<String, usize> = HashMap::new();
        let mut missing = Vec::new();
        for SheetRow { line, file, label, target } in sheet.rows {
            ensure!(!file.is_empty(), "{place}, line {line}: no file is named");
            let class = |what: &str, text: &str| -> Result<i64> {
                class(text, &index, first_label).map_err(|error| {
                    anyhow!("{place}, line {line}: the {what} of `{file}`: {error}")
                })
            };
            let label = class("label", &label)?;
            let target = (!target.is_empty()).then(|| class("target", &target)).transpose()?;
            ensure!(
                target != Some(label),
                "{place}, line {line}: the target of `{file}` is its label: another class is \
                 expected"
            );
            let found = lookup.find(&file);
            let found = found.map_err(|error| anyhow!("{place}, line {line}: {error}"))?;
            if found.is_none() {
                let similar = lookup.similar(&file);
                let hint = similar.map_or(String::new(), |name| format!(", but `{name}` is there"));
                missing.push(format!("`{file}` (line {line}{hint})"));
            }
            let name = found.unwrap_or(file);
            if let Some(first) = lines.insert(name.clone(), line) {
                bail!("{place}, line {line}: `{name}` stands there twice, first in line {first}");
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
                "{place}: not in the folder {}: {}{more}; fetch them, or leave out their lines",
                self.folder.display(),
                missing.join(", ")
            );
        }
        Ok(Labelled { files, first_label, note })
    }

    /// Whether the file has files and labels.
    ///
    /// # Errors
    /// When it cannot be read, or has none.
    pub(super) fn check(&self) -> Result<()> {
        self.parse(&Lookup::new(self.folder)).map(drop)
    }

    fn parse(&self, lookup: &Lookup) -> Result<Sheet> {
        Sheet::parse(&text::read(self.path)?, lookup)
    }

    /// The label file, for messages.
    fn place(&self) -> String {
        format!("labels {}", self.path.display())
    }

    /// Number of the first class, and a note where the header decided it.
    fn first_label(&self, counting: Counting) -> Result<(i64, Option<String>)> {
        match (self.first_label, counting) {
            (Some(first), _) => Ok((first, None)),
            (None, Counting::Usual) => Ok((0, None)),
            (None, Counting::FromOne) => {
                let note = format!(
                    "{}: ImageId, TrueLabel and TargetClass are the columns of the NIPS 2017 \
                     competition, so classes count from 1 (`first_label = 1`); if they count from \
                     0, say `first_label = 0`",
                    self.place()
                );
                Ok((1, Some(note)))
            }
            (None, Counting::Unclear) => bail!(
                "{}: classes in a column `TrueLabel` count from 1 in the NIPS 2017 competition, \
                 elsewhere from 0: say `first_label = 1` or `first_label = 0`",
                self.place()
            ),
        }
    }
}

/// A class by number, counted from `first`, or by name.
fn class(text: &str, index: &Index, first: i64) -> Result<i64> {
    ensure!(
        !text.is_empty(),
        "nothing stands there; a number counted from {first} or a class's name is expected"
    );
    index.class(text, first).map_err(|error| {
        if text.parse::<i64>().is_ok() {
            return error;
        }
        anyhow!("{error}; a number counted from {first} or a class's name is expected")
    })
}

/// The files whose names have a label; the others are skipped. Numbers count from `first`.
pub(super) fn labelled_by_name(
    names: Vec<String>,
    index: &Index,
    first: i64,
    skipped: &mut Vec<SkippedImage>,
) -> Vec<LabelledFile> {
    let mut files = Vec::new();
    for name in names {
        match label_in_name(&name, index, first) {
            Ok(Some(label)) => files.push(LabelledFile { name, label, target: None }),
            Ok(None) => skipped.push(SkippedImage {
                name,
                reason: format!(
                    "no label in the name: `<label, from {first}>.<id>.jpg` or a WordNet id is expected"
                ),
            }),
            Err(reason) => skipped.push(SkippedImage { name, reason }),
        }
    }
    files
}

/// The label in a file name, counted from 0: `437.ILSVRC2012_val_00000006.jpg` has the label 436
/// when numbers count from 1, and `ILSVRC2012_val_00000293_n01440764.JPEG` that of its WordNet id.
///
/// # Errors
/// When the name has an id of no class, or labels that differ; says why in words.
pub(super) fn label_in_name(name: &str, index: &Index, first: i64) -> Result<Option<i64>, String> {
    match (number_in_name(name, first), class_in_name(name, index)?) {
        (Some(number), Some(class)) if number != class => {
            Err(format!("two labels in the name: {number} and {class}, counted from 0"))
        }
        (number, class) => Ok(number.or(class)),
    }
}

/// The class of the WordNet id in a file name.
///
/// # Errors
/// When the id is of no class, or the name has several; says why in words.
pub(super) fn class_in_name(name: &str, index: &Index) -> Result<Option<i64>, String> {
    let parts = name.split(|c: char| !c.is_alphanumeric());
    let mut ids: Vec<String> = parts.filter(|id| is_id(id)).map(str::to_lowercase).collect();
    ids.dedup();
    match ids.as_slice() {
        [] => Ok(None),
        [id] => index.find(id).map(Some).map_err(|error| format!("the name's WordNet id {error}")),
        [one, other, ..] => Err(format!("two WordNet ids in the name: {one} and {other}")),
    }
}

fn number_in_name(name: &str, first: i64) -> Option<i64> {
    let mut parts = name.splitn(3, '.');
    let label = parts.next()?.parse::<i64>().ok()?.checked_sub(first)?;
    (label >= 0 && parts.count() == 2).then_some(label)
}
