//! Studies of a few seconds, and their undisturbed results.

use crate::run::{Ended, Run, command};
use anyhow::{Context, Result, bail, ensure};
use gauntlet_tests::libraries::library;
use gauntlet_tests::results::{is_temporary, without_costs};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const STUDY: &str = r#"name = "soak"
seed = 11
metrics = ["linf"]
[data]
source = "fashion-mnist"
images = 34
[[models]]
name = "mini_mobilenet_v1_025"
[[models]]
name = "mini_mobilenet_v1_050"
[[attacks]]
name = "fgsm"
[transfer]
policy = "resize"
"#;

const WITH_PLUGIN: &str = "[[models]]\nname = \"bands\"\n[[attacks]]\nname \
                           = \"noisy\"\n[plugins]\nfrom = [\"plugins\"]\n";

/// Digits in a cell's key.
const KEY: usize = 64;

/// What computes the cells of a study.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The run's own threads.
    Threads,
    /// Processes that the run starts, for all cells.
    Processes,
    /// Threads, and processes for the cells of a plugin library.
    Plugin,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::Processes => "isolated processes",
            Self::Plugin => "plugin workers",
        }
    }
}

/// A study in a folder of its own, and its undisturbed results.
pub struct Bed {
    place: TempDir,
    kind: Kind,
    /// Duration of the undisturbed run.
    pub length: Duration,
    tables: BTreeMap<PathBuf, Vec<u8>>,
    files: Vec<PathBuf>,
}

/// A results folder under test.
pub struct Out {
    pub path: PathBuf,
    /// Complete files, which must stay as they are: inode and time of writing.
    kept: BTreeMap<PathBuf, (u64, i64, i64)>,
    folder: Option<TempDir>,
}

impl Bed {
    pub fn make(kind: Kind) -> Result<Self> {
        let place = tempfile::Builder::new().prefix("soak-").tempdir()?;
        let text = if kind == Kind::Plugin {
            fs::create_dir(place.path().join("plugins"))?;
            fs::copy(library("sample"), place.path().join("plugins/libgauntlet_sample.so"))?;
            STUDY.replace("\"linf\"]", "\"linf\", \"mean_change\"]") + WITH_PLUGIN
        } else {
            STUDY.to_owned()
        };
        fs::write(place.path().join("study.toml"), text)?;
        let mut bed = Self {
            place,
            kind,
            length: Duration::ZERO,
            tables: BTreeMap::new(),
            files: Vec::new(),
        };
        let reference = bed.place.path().join("reference");
        let start = Instant::now();
        bed.run(&reference)?.expect(&[0])?;
        bed.length = start.elapsed();
        (bed.tables, bed.files) = (tables(&reference)?, files(&reference)?);
        println!(
            "\n{}: {} files in {:.1} s, undisturbed",
            kind.name(),
            bed.files.len(),
            bed.length.as_secs_f64()
        );
        Ok(bed)
    }

    /// The folder of the study.
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// The undisturbed results.
    pub fn reference(&self) -> PathBuf {
        self.place.path().join("reference")
    }

    /// A results folder that does not exist yet.
    pub fn out(&self) -> Result<Out> {
        let folder = tempfile::Builder::new().prefix("out-").tempdir_in(self.place.path())?;
        Ok(Out { path: folder.path().join("out"), kept: BTreeMap::new(), folder: Some(folder) })
    }

    pub fn arguments(&self, out: &Path) -> Vec<OsString> {
        let isolate = if self.kind == Kind::Processes { "always" } else { "auto" };
        let fixed = ["run", "study.toml", "--workers", "2", "--isolate", isolate, "--out"];
        fixed.iter().map(OsString::from).chain([out.as_os_str().to_owned()]).collect()
    }

    /// Starts the study with results in `out`.
    pub fn start(&self, out: &Path) -> Result<Run> {
        self.start_under(&[], out)
    }

    /// Starts the study with the words `before` before the program.
    pub fn start_under(&self, before: &[&str], out: &Path) -> Result<Run> {
        Run::start(command(before, &self.arguments(out), self.place())?, self.place())
    }

    /// Runs the study to its end.
    pub fn run(&self, out: &Path) -> Result<Ended> {
        self.start(out)?.end()
    }

    /// Runs the rest of a disturbed study, and compares all files with the undisturbed results.
    pub fn finish(&self, out: &mut Out) -> Result<()> {
        out.look()?;
        self.run(&out.path)?.expect(&[0]).context("the same command, undisturbed")?;
        out.look()?;
        let found = files(&out.path)?;
        let more: Vec<_> = found.iter().filter(|file| !self.files.contains(file)).collect();
        let less: Vec<_> = self.files.iter().filter(|file| !found.contains(file)).collect();
        ensure!(more.is_empty() && less.is_empty(), "stray: {more:?}; missing: {less:?}");
        let tables = tables(&out.path)?;
        for (file, bytes) in &self.tables {
            ensure!(tables.get(file) == Some(bytes), "{} differs", file.display());
        }
        Ok(())
    }
}

impl Out {
    /// Checks that files that were complete are there and were not written again, and notes all that
    /// are complete now.
    pub fn look(&mut self) -> Result<()> {
        let found = cells(&self.path)?;
        for (file, about) in &self.kept {
            match found.get(file) {
                None => bail!("{} was complete and is lost", file.display()),
                Some(now) if now != about => {
                    bail!("{} was complete and was computed again", file.display())
                }
                Some(_) => {}
            }
        }
        self.kept = found;
        Ok(())
    }

    /// Notes the complete files, but only those that `keep` chooses.
    pub fn only(&mut self, keep: impl Fn(&Path) -> bool) -> Result<()> {
        self.kept = cells(&self.path)?;
        self.kept.retain(|file, _| keep(file));
        Ok(())
    }

    /// Expects no file to stay.
    pub fn forget(&mut self) {
        self.kept.clear();
    }

    /// Number of temporary files.
    pub fn temporary(&self) -> Result<usize> {
        Ok(files(&self.path)?.iter().filter(|file| is_temporary(file)).count())
    }

    /// Keeps the folder, so that a failure can be looked into.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.take().map_or_else(|| self.path.clone(), TempDir::keep)
    }
}

/// The files of all complete cells, rows and pixels, each with inode and time of writing.
///
/// Pixels are written first, so pixels without rows belong to an incomplete cell.
fn cells(out: &Path) -> Result<BTreeMap<PathBuf, (u64, i64, i64)>> {
    let all = files(out)?;
    let rows = |file: &Path| {
        let key: String = file.file_name()?.to_str()?.chars().take(KEY).collect();
        Some(file.with_file_name(format!("{key}.parquet")))
    };
    let mut found = BTreeMap::new();
    for file in &all {
        if file.starts_with("cells") && rows(file).is_some_and(|rows| all.contains(&rows)) {
            let about = fs::symlink_metadata(out.join(file))?;
            found.insert(file.clone(), (about.ino(), about.mtime(), about.mtime_nsec()));
        }
    }
    Ok(found)
}

/// All files below a folder, sorted. A missing folder has none, and files that vanish meanwhile are
/// left out.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut waiting) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            } else {
                found.push(entry.path().strip_prefix(root)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The content of every file that holds no times.
fn tables(out: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut tables = BTreeMap::new();
    for file in files(out)?
        .into_iter()
        .filter(|file| !file.starts_with("cells") && !file.to_string_lossy().starts_with("timing."))
    {
        let mut bytes = fs::read(out.join(&file))?;
        if file == Path::new("report.html") {
            let page = without_costs(&String::from_utf8(bytes)?);
            bytes = page.context("the page has no section of costs")?.into_bytes();
        }
        tables.insert(file, bytes);
    }
    Ok(tables)
}
