//! What lies in a folder of images: its files and folders, each real folder once.

use crate::data::images::SkippedImage;
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// What systems and programs put beside images, in lower case. Names that begin with a dot are left
/// out too.
const NOT_OURS: [&str; 7] =
    ["@eadir", "__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "#recycle", "lost+found"];

/// Why a link is not followed.
pub(super) const READ_ALREADY: &str = "a link to a folder that is read already";

/// What a folder holds, each list sorted.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) files: Vec<String>,
    pub(super) folders: Vec<String>,
    /// Links to folders.
    pub(super) links: Vec<String>,
    /// What is neither a file nor a folder, such as a link that leads nowhere.
    pub(super) others: Vec<SkippedImage>,
}

/// Lists the folder `below` under `root`. The names are paths below `root`, with `/`.
pub(super) fn list(root: &Path, below: &str) -> Result<Listing> {
    let folder = root.join(below);
    let context = || format!("folder of images {}", folder.display());
    let mut listing = Listing::default();
    for entry in fs::read_dir(&folder).with_context(context)? {
        let entry = entry.with_context(context)?;
        let name = entry.file_name();
        let plain = name.to_string_lossy();
        if plain.starts_with('.') || NOT_OURS.contains(&&*plain.to_lowercase()) {
            continue;
        }
        let path = if below.is_empty() { plain.to_string() } else { format!("{below}/{plain}") };
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let other = |reason: String| SkippedImage { name: path.clone(), reason };
        if name.to_str().is_none() {
            listing.others.push(other("the name is not UTF-8".into()));
            continue;
        }
        match fs::metadata(entry.path()) {
            Ok(about) if about.is_file() => listing.files.push(path),
            Ok(about) if about.is_dir() && link => listing.links.push(path),
            Ok(about) if about.is_dir() => listing.folders.push(path),
            Ok(_) => listing.others.push(other("neither a file nor a folder".into())),
            Err(error) if link => {
                listing.others.push(other(format!("a link that leads nowhere: {error}")));
            }
            Err(error) => listing.others.push(other(format!("cannot be read: {error}"))),
        }
    }
    listing.files.sort();
    listing.folders.sort();
    listing.links.sort();
    listing.others.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(listing)
}

/// The files below some folders of a root.
#[derive(Default)]
pub(super) struct Found {
    /// The files, each with the place in `starts` of the folder that it is below, in any order.
    pub(super) files: Vec<(usize, String)>,
    /// Links that are not followed, and what else is no file.
    pub(super) skipped: Vec<SkippedImage>,
    /// Those of `starts` that are links to folders that are read already, by place. Each with the
    /// place of the folder that it is or lies in; none for a folder that the root lies in.
    pub(super) repeated: BTreeMap<usize, Option<usize>>,
}

/// All files below the folders `starts` of `root`, however deep. Each real folder is read once:
/// under its own name, otherwise by the first link to it.
pub(super) fn files_below(root: &Path, starts: &[String]) -> Result<Found> {
    let mut walk = Walk {
        root,
        whole: fs::canonicalize(root)
            .with_context(|| format!("folder of images {}", root.display()))?,
        read: HashMap::new(),
        links: BTreeSet::new(),
        found: Found::default(),
    };
    for (start, name) in starts.iter().enumerate() {
        if root.join(name).is_symlink() {
            walk.links.insert((false, name.clone(), start));
        } else {
            walk.folder(start, name)?;
        }
    }
    // Those of `starts` come first: a class's own link is more than one within another class.
    while let Some((nested, link, start)) = walk.links.pop_first() {
        let reached = fs::canonicalize(root.join(&link))?;
        let earlier = walk.read.get(&reached).copied();
        if earlier.is_none() && !walk.whole.starts_with(&reached) {
            walk.folder(start, &link)?;
        } else if nested {
            let reason = format!("{READ_ALREADY}: {}", reached.display());
            walk.found.skipped.push(SkippedImage { name: link, reason });
        } else {
            walk.found.repeated.insert(start, earlier);
        }
    }
    Ok(walk.found)
}

struct Walk<'a> {
    root: &'a Path,
    /// The root without links.
    whole: PathBuf,
    /// The folders that are read, without links, and the start of each.
    read: HashMap<PathBuf, usize>,
    /// Links to folders that are still to be followed: whether the link is below a start, its name,
    /// and the start.
    links: BTreeSet<(bool, String, usize)>,
    found: Found,
}

impl Walk<'_> {
    /// Takes the files of a folder and of all folders below it; links to folders wait.
    fn folder(&mut self, start: usize, name: &str) -> Result<()> {
        let mut waiting = vec![name.to_owned()];
        while let Some(name) = waiting.pop() {
            let real = fs::canonicalize(self.root.join(&name))
                .with_context(|| format!("folder of images {}", self.root.join(&name).display()))?;
            if self.read.contains_key(&real) {
                continue;
            }
            self.read.insert(real, start);
            let Listing { files, folders, links, others } = list(self.root, &name)?;
            self.found.files.extend(files.into_iter().map(|file| (start, file)));
            self.found.skipped.extend(others);
            self.links.extend(links.into_iter().map(|link| (true, link, start)));
            waiting.extend(folders);
        }
        Ok(())
    }
}
