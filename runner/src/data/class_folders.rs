//! Folders named by classes, with the images of each.

use crate::data::classes::Index;
use crate::data::images::SkippedImage;
use crate::data::labels::{LabelledFile, class_in_name};
use crate::data::walk::{self, READ_ALREADY};
use anyhow::{Error, Result, anyhow, bail, ensure};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// A folder of class folders.
pub(super) struct ClassFolders<'a> {
    /// The folder that they are in.
    pub(super) path: &'a Path,
    /// The classes.
    pub(super) index: Index<'a>,
    /// The file that names the classes; none where they are ImageNet's.
    pub(super) names: Option<&'a Path>,
    /// Number of the first class, where folders are named by numbers.
    pub(super) first_label: i64,
}

impl ClassFolders<'_> {
    /// The files in these class folders, however deep.
    ///
    /// # Errors
    /// When a folder's name is no class, or two folders are one class or one folder.
    pub(super) fn files(
        &self,
        folders: &[String],
        skipped: &mut Vec<SkippedImage>,
    ) -> Result<Vec<LabelledFile>> {
        let found = walk::files_below(self.path, folders)?;
        let filled: BTreeSet<usize> = found.files.iter().map(|(start, _)| *start).collect();
        let mut skip = |name: &String, reason: &str| {
            skipped.push(SkippedImage { name: name.clone(), reason: reason.into() });
        };
        let mut labels: BTreeMap<usize, i64> = BTreeMap::new();
        let mut taken: HashMap<i64, &String> = HashMap::new();
        for (start, folder) in folders.iter().enumerate() {
            let repeated = found.repeated.get(&start);
            if repeated == Some(&None) {
                skip(folder, READ_ALREADY);
                continue;
            }
            let label = self.label(folder)?;
            if let Some(other) = repeated.copied().flatten().map(|other| &folders[other]) {
                ensure!(
                    self.label(other)? == label,
                    "{}: `{folder}` is a link to the images of `{other}`, which is another class: \
                     remove the link",
                    self.place()
                );
                skip(folder, READ_ALREADY);
                continue;
            }
            if let Some(other) = taken.insert(label, folder) {
                bail!("{}: `{other}` and `{folder}` are the same class: merge them", self.place());
            }
            if !filled.contains(&start) {
                skip(folder, "no file in the folder");
            }
            labels.insert(start, label);
        }
        skipped.extend(found.skipped);
        let labelled = |(start, name): (usize, String)| LabelledFile {
            name,
            label: labels[&start],
            target: None,
        };
        Ok(found.files.into_iter().map(labelled).collect())
    }

    /// The class that a folder is named by: the whole name, or a WordNet id in it.
    fn label(&self, folder: &str) -> Result<i64> {
        self.index.class(folder, self.first_label).or_else(|error| {
            let by_id = class_in_name(folder, &self.index).ok().flatten();
            by_id.ok_or_else(|| self.about_folder(error))
        })
    }

    fn place(&self) -> String {
        format!("folder of images {}", self.path.display())
    }

    /// Adds to an error about a class folder where the class names come from.
    fn about_folder(&self, error: Error) -> Error {
        let whose = match self.names {
            Some(names) => format!("the classes are those of {}", names.display()),
            None => {
                "the classes are ImageNet's; `classes = \"…\"` names a file with others, one a line"
                    .to_owned()
            }
        };
        anyhow!("{}: the folder {error} ({whose})", self.place())
    }
}
