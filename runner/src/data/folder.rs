//! A folder of images: which of its files are used, and in which order.

use crate::data::classes::Classes;
use crate::data::decode::decode;
use crate::data::images::{Data, SkippedImage};
use crate::data::labels::{LabelFile, LabelledFile, label_in_name, labelled_by_name};
use crate::data::picture::{Content, Picture};
use crate::threads::crowd;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Greatest depth of images below a class folder.
const DEPTH: usize = 4;

/// Why a grey file is left out.
const GREYSCALE: &str = "greyscale: `greyscale = \"keep\"` under [data] takes it";

/// A folder of PNG and JPEG files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder {
    /// The folder. Without `labels` it holds folders named by WordNet ids or names of classes, or
    /// files named as in the published study: `<label, from 1>.<id>.<extension>`.
    pub path: PathBuf,
    /// A CSV file with the columns `file`, `label` and optionally `target`.
    pub labels: Option<PathBuf>,
    /// Number of the first class in `labels`: 0 or 1.
    pub first_label: i64,
    /// A file with the names of the classes, one a line; ImageNet's unless given.
    pub classes: Option<PathBuf>,
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

impl Folder {
    /// The first `count` usable images, in an order that the seed and the file names decide.
    pub(super) fn open(&self, count: Option<usize>, seed: u64) -> Result<Data> {
        let mut skipped = Vec::new();
        let mut classes = self.class_names()?;
        let mut files = self.files(&mut classes, &mut skipped)?;
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
                now.iter().zip(examine_all(&self.path, now, self.greyscale))
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
        Ok(Data { pictures, skipped, classes, ..Data::default() })
    }

    /// The files of the folder that have a label, in any order. Sets `classes` to ImageNet's where
    /// the folder has class folders and no class names of its own.
    fn files(
        &self,
        classes: &mut Option<Classes>,
        skipped: &mut Vec<SkippedImage>,
    ) -> Result<Vec<LabelledFile>> {
        if let Some(path) = &self.labels {
            let file = LabelFile { path, folder: &self.path, first_label: self.first_label };
            return file.read(classes.as_ref());
        }
        let (folders, files) = list(&self.path)?;
        let by_name = files.iter().find(|name| label_in_name(name).is_some());
        match by_name {
            Some(file) if !folders.is_empty() => bail!(
                "folder of images {}: `{file}` has its label in its name, but there are also \
                 folders ({}, …): \
                 move either elsewhere, or name the labels in a CSV file (`labels = \"…\"`)",
                self.path.display(),
                folders[0]
            ),
            None if !folders.is_empty() => {
                let classes = classes.get_or_insert_with(Classes::imagenet);
                self.in_class_folders(&folders, files, classes, skipped)
            }
            _ => Ok(labelled_by_name(files, skipped)),
        }
    }

    /// The names of the classes, if this folder has a file with them.
    fn class_names(&self) -> Result<Option<Classes>> {
        self.classes.as_deref().map(Classes::read).transpose()
    }

    /// The files in class folders. The files `beside` the folders are skipped.
    fn in_class_folders(
        &self,
        folders: &[String],
        beside: Vec<String>,
        classes: &Classes,
        skipped: &mut Vec<SkippedImage>,
    ) -> Result<Vec<LabelledFile>> {
        let index = classes.index();
        let first = index.first_number();
        skipped.extend(
            beside
                .into_iter()
                .map(|name| SkippedImage { name, reason: "not in a folder of a class".into() }),
        );
        let mut files = Vec::new();
        let mut taken: HashMap<i64, &String> = HashMap::new();
        for folder in folders {
            let label = index.find(folder).map_err(|error| self.about_folder(error))?;
            // As in a label file, a name must not be another class's number.
            index.class(folder, first).map_err(|error| self.about_folder(error))?;
            if let Some(other) = taken.insert(label, folder) {
                bail!(
                    "folder of images {}: `{other}` and `{folder}` are the same class: merge them",
                    self.path.display()
                );
            }
            let mut names = Vec::new();
            walk(&self.path, folder, DEPTH, &mut names)?;
            if names.is_empty() {
                skipped.push(SkippedImage {
                    name: folder.clone(),
                    reason: "no file in the folder".into(),
                });
            }
            files.extend(names.into_iter().map(|name| LabelledFile { name, label, target: None }));
        }
        Ok(files)
    }

    /// Adds to an error about a class folder where the class names come from.
    fn about_folder(&self, error: anyhow::Error) -> anyhow::Error {
        let whose = match &self.classes {
            Some(names) => format!("the classes are those of {}", names.display()),
            None => {
                "the classes are ImageNet's; `classes = \"…\"` names a file with others, one a line"
                    .to_owned()
            }
        };
        anyhow!("folder of images {}: the folder {error} ({whose})", self.path.display())
    }
}

/// The names of the folders and of the files in a folder, sorted; hidden ones are left out.
fn list(folder: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let context = || format!("folder of images {}", folder.display());
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path(); // follows links, unlike `entry.file_type()`
        if path.is_dir() {
            folders.push(name);
        } else if path.is_file() {
            files.push(name);
        }
    }
    ensure!(
        !folders.is_empty() || !files.is_empty(),
        "folder of images {} is empty",
        folder.display()
    );
    folders.sort();
    files.sort();
    Ok((folders, files))
}

/// Appends to `found` all files at most `depth` folders below `start`, a path below `root`. Hidden
/// files and folders are left out.
fn walk(root: &Path, start: &str, depth: usize, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root.join(start))
        .with_context(|| format!("folder of images {}", root.join(start).display()))?
    {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        let name = format!("{start}/{name}");
        if entry.path().is_file() {
            found.push(name);
        } else if depth > 1 && entry.path().is_dir() {
            walk(root, &name, depth - 1, found)?;
        }
    }
    Ok(())
}

/// The content hash of every file that is a usable image, or the reason why it is not.
fn examine_all(
    folder: &Path,
    files: &[LabelledFile],
    greyscale: Greyscale,
) -> Vec<Result<String, String>> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(files.len());
    let next = AtomicUsize::new(0);
    let examined = Mutex::new(Vec::with_capacity(files.len()));
    crowd(workers, || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = files.get(n) else { break };
            let found = examine(&folder.join(&file.name), greyscale);
            examined.lock().expect("nobody panics with the lock").push((n, found));
        }
    });
    let mut examined: Vec<(usize, Result<String, String>)> =
        examined.into_inner().expect("nobody panics with the lock");
    examined.sort_by_key(|(n, _)| *n);
    examined.into_iter().map(|(_, result)| result).collect()
}

fn examine(path: &Path, greyscale: Greyscale) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
    if !decode(&bytes)?.colour && greyscale == Greyscale::Drop {
        return Err(GREYSCALE.into());
    }
    Ok(blake3::hash(&bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    fn colourful(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 9) as u8, (y * 7) as u8, 40]))
    }

    fn folder(path: &Path) -> Folder {
        Folder { path: path.into(), ..Folder::default() }
    }

    fn refusal(folder: &Folder) -> String {
        format!("{:#}", folder.open(None, 0).unwrap_err())
    }

    #[test]
    fn unusable_files_are_skipped_with_a_reason() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["3.a.png", "1.b.png", "7.c.png"] {
            colourful(12, 10).save(at(name)).unwrap();
        }
        image::GrayImage::new(8, 8).save(at("2.grey.png")).unwrap();
        let whole = fs::read(at("3.a.png")).unwrap();
        fs::write(at("4.cut.png"), &whole[..whole.len() / 2]).unwrap();
        fs::write(at("5.text.jpg"), "hello").unwrap();
        fs::write(at("notes.txt"), "hello").unwrap();
        let source = folder(place.path());
        let data = source.open(None, 1).unwrap();
        let mut found: Vec<(&str, i64)> =
            data.pictures.iter().map(|p| (p.name.as_str(), p.label)).collect();
        found.sort_unstable();
        assert_eq!(found, [("1.b.png", 0), ("3.a.png", 2), ("7.c.png", 6)]);
        let reasons: Vec<(&str, &str)> =
            data.skipped.iter().map(|s| (s.name.as_str(), s.reason.as_str())).collect();
        assert_eq!(reasons[0], ("2.grey.png", GREYSCALE));
        assert!(reasons[1].1.starts_with("damaged image: "), "{reasons:?}");
        assert_eq!(
            reasons[2..],
            [
                ("5.text.jpg", "neither PNG nor JPEG"),
                ("notes.txt", "the name is not `<label, from 1>.<id>.jpg`")
            ]
        );

        let order = |seed| -> Vec<String> {
            source.open(None, seed).unwrap().pictures.into_iter().map(|p| p.name).collect()
        };
        assert_eq!(order(1), order(1));
        assert!((2..20).any(|seed| order(seed) != order(1)), "the seed shuffles");
        assert_eq!(source.open(Some(2), 1).unwrap().pictures.len(), 2);
    }

    #[test]
    fn class_folders_are_named_by_wordnet_ids_or_names() {
        let place = tempfile::tempdir().unwrap();
        let save = |name: &str| {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            colourful(9, 9).save(path).unwrap();
        };
        for name in ["n01440764/a.png", "Goldfish/b.png", "n02012849/images/deep/c.png"] {
            save(name);
        }
        fs::create_dir(place.path().join("toilet_paper")).unwrap();
        fs::write(place.path().join("read.me"), "hello").unwrap();
        let source = folder(place.path());
        let data = source.open(None, 0).unwrap();
        let mut found: Vec<(&str, i64)> =
            data.pictures.iter().map(|p| (p.name.as_str(), p.label)).collect();
        found.sort_unstable();
        assert_eq!(
            found,
            [("Goldfish/b.png", 1), ("n01440764/a.png", 0), ("n02012849/images/deep/c.png", 134)]
        );
        let skipped: Vec<(&str, &str)> =
            data.skipped.iter().map(|s| (s.name.as_str(), s.reason.as_str())).collect();
        assert_eq!(
            skipped,
            [("read.me", "not in a folder of a class"), ("toilet_paper", "no file in the folder")]
        );
        assert_eq!(data.classes, Some(Classes::imagenet()));

        save("tench/d.png");
        assert!(
            refusal(&source).ends_with(": `n01440764` and `tench` are the same class: merge them"),
            "{}",
            refusal(&source)
        );
        fs::rename(place.path().join("tench"), place.path().join("n0144076")).unwrap();
        let expected = "the folder `n0144076` is no class, did you mean `n01440764`? (the classes \
                        are ImageNet's; `classes = \"…\"`";
        assert!(refusal(&source).contains(expected), "{}", refusal(&source));
        fs::rename(place.path().join("n0144076"), place.path().join("crane")).unwrap();
        assert!(refusal(&source).contains(
            "the folder `crane` is the name of several classes: `n02012849` and `n03126707`"
        ));
        fs::rename(place.path().join("crane/d.png"), place.path().join("8.d.png")).unwrap();
        assert!(refusal(&source).contains(
            "`8.d.png` has its label in its name, but there are also folders (Goldfish, …)"
        ));
    }

    #[test]
    fn class_folders_may_be_of_classes_of_ones_own() {
        let place = tempfile::tempdir().unwrap();
        for name in ["dog", "cat"] {
            fs::create_dir_all(place.path().join("photos").join(name)).unwrap();
            colourful(9, 9).save(place.path().join("photos").join(name).join("a.png")).unwrap();
        }
        fs::write(place.path().join("names.txt"), "cat\ndog\n").unwrap();
        let source = Folder {
            classes: Some(place.path().join("names.txt")),
            ..folder(&place.path().join("photos"))
        };
        let mut found: Vec<(String, i64)> =
            source.open(None, 0).unwrap().pictures.into_iter().map(|p| (p.name, p.label)).collect();
        found.sort_unstable();
        assert_eq!(found, [("cat/a.png".into(), 0), ("dog/a.png".into(), 1)]);
        fs::write(place.path().join("names.txt"), "cats\ndog\n").unwrap();
        assert!(refusal(&source).contains(
            "the folder `cat` is no class, did you mean `cats`? (the classes are those of "
        ));
    }

    #[test]
    fn a_label_file_names_images_labels_and_targets() {
        let place = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.png"] {
            colourful(12, 10).save(place.path().join(name)).unwrap();
        }
        let labels = place.path().join("labels.csv");
        let source = Folder { labels: Some(labels.clone()), ..folder(place.path()) };
        let open = |text: &str, first_label: i64| {
            fs::write(&labels, text).unwrap();
            Folder { first_label, ..source.clone() }.open(None, 0)
        };
        let told = |data: Data| {
            let mut told: Vec<_> =
                data.pictures.into_iter().map(|p| (p.name, p.label, p.target)).collect();
            told.sort();
            told
        };
        let data =
            open("label,file,licence,target\n4,a.png,CC0,7\nn01443537,b.png,CC0,\n", 0).unwrap();
        assert_eq!(told(data), [("a.png".into(), 4, Some(7)), ("b.png".into(), 1, None)]);
        let data = open("file,label\na.png,1\n", 1).unwrap();
        assert_eq!(told(data), [("a.png".into(), 0, None)]);
        for (text, first, expected) in [
            ("file,label\na.png,cat\n", 0, "line 2: the label of `a.png`: `cat` is no class"),
            (
                "file,label\na.png,-1\n",
                0,
                "line 2: the label of `a.png`: found -1, but classes are counted from 0 \
                 (`first_label`)",
            ),
            (
                "file,label\na.png,0\n",
                1,
                "line 2: the label of `a.png`: found 0, but classes are counted from 1 \
                 (`first_label`)",
            ),
            (
                "file,label,target\na.png,3,tnech\n",
                0,
                "line 2: the target of `a.png`: `tnech` is no class, did you mean `tench`?; a \
                 number",
            ),
            (
                "file,label,target\na.png,3,3\n",
                0,
                "line 2: the target of `a.png` is its label: another class is expected",
            ),
            (
                "file,label\na.png,1\na.png,1\n",
                0,
                "line 3: `a.png` stands there twice, first in line 2",
            ),
            ("file,label\n,1\n", 0, "line 2: no file is named"),
            ("file,label\na.png,1\ngone.png,2\n", 0, "`gone.png` (line 3)"),
            (
                "name,label\na.png,1\n",
                0,
                "the columns `file` and `label` are expected, found name, label",
            ),
            ("file,label\n", 0, "no line after the header"),
        ] {
            let error = open(text, first).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_empty_folder_and_one_without_an_image_are_refused() {
        let place = tempfile::tempdir().unwrap();
        assert!(refusal(&folder(place.path())).ends_with(" is empty"));
        fs::create_dir(place.path().join("tench")).unwrap();
        let error = refusal(&folder(place.path()));
        assert!(error.ends_with(": 1 file skipped (tench: no file in the folder, …)"), "{error}");
        assert!(refusal(&folder(&place.path().join("gone"))).contains("No such file or directory"));
    }

    #[test]
    fn a_file_that_changes_under_the_study_is_noticed() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("1.x.png");
        colourful(12, 10).save(&path).unwrap();
        let data = folder(place.path()).open(None, 0).unwrap();
        colourful(11, 10).save(&path).unwrap();
        assert!(
            data.pictures[0]
                .pixels(8)
                .unwrap_err()
                .to_string()
                .contains("changed while the study ran")
        );
    }
}
