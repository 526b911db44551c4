//! Studies of a few seconds, and what they leave when nobody disturbs them.

use crate::run::{Ended, Run, command};
use anyhow::{Context, Result, bail, ensure};
use gauntlet_tests::libraries::library;
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

/// Digits of a cell's key.
const KEY: usize = 64;

/// Who computes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The run's own threads.
    Threads,
    /// Processes of the run's, all cells.
    Processes,
    /// Threads, and processes for a plugin library's model, attack and metric.
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
    /// How long the undisturbed run took.
    pub length: Duration,
    tables: BTreeMap<PathBuf, Vec<u8>>,
    files: Vec<PathBuf>,
}

/// A results' folder under test.
pub struct Out {
    pub path: PathBuf,
    /// What stood there complete, and must stay: inode and time of writing.
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

    /// Where the study is.
    pub fn place(&self) -> &Path {
        self.place.path()
    }

    /// The undisturbed results.
    pub fn reference(&self) -> PathBuf {
        self.place.path().join("reference")
    }

    /// A new results' folder that is not there yet.
    pub fn out(&self) -> Result<Out> {
        let folder = tempfile::Builder::new().prefix("out-").tempdir_in(self.place.path())?;
        Ok(Out { path: folder.path().join("out"), kept: BTreeMap::new(), folder: Some(folder) })
    }

    pub fn arguments(&self, out: &Path) -> Vec<OsString> {
        let isolate = if self.kind == Kind::Processes { "always" } else { "auto" };
        let fixed = ["run", "study.toml", "--workers", "2", "--isolate", isolate, "--out"];
        fixed.iter().map(OsString::from).chain([out.as_os_str().to_owned()]).collect()
    }

    /// Starts the study in `out`.
    pub fn start(&self, out: &Path) -> Result<Run> {
        self.start_under(&[], out)
    }

    /// Starts it with `before` before the program.
    pub fn start_under(&self, before: &[&str], out: &Path) -> Result<Run> {
        Run::start(command(before, &self.arguments(out), self.place())?, self.place())
    }

    /// Runs it to its end.
    pub fn run(&self, out: &Path) -> Result<Ended> {
        self.start(out)?.end()
    }

    /// Runs what is left undisturbed, and compares all files with those of the undisturbed run.
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
    /// Looks whether what was complete is there still and was not written again; notes what is
    /// complete now.
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

    /// Of what is complete, only these files are looked at from now on.
    pub fn only(&mut self, keep: impl Fn(&Path) -> bool) -> Result<()> {
        self.kept = cells(&self.path)?;
        self.kept.retain(|file, _| keep(file));
        Ok(())
    }

    /// Nothing is expected to be there still.
    pub fn forget(&mut self) {
        self.kept.clear();
    }

    /// Temporary files.
    pub fn temporary(&self) -> Result<usize> {
        let hidden = |file: &PathBuf| {
            file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
        };
        Ok(files(&self.path)?.iter().filter(|file| hidden(file)).count())
    }

    /// Keeps the folder for somebody to look at.
    pub fn keep(&mut self) -> PathBuf {
        self.folder.take().map_or_else(|| self.path.clone(), TempDir::keep)
    }
}

/// All complete cells: files of rows that have their names, and the pixels that go with those.
/// Pixels come first, so those without rows are of a cell that is not complete.
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

/// All files below a folder, sorted; none where there is no folder. What vanishes meanwhile is left
/// out.
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
            // What a cell took is on the page, in a section of its own.
            let text = String::from_utf8(bytes)?;
            let (before, costs) =
                text.split_once("<section id=\"cost\"").context("the page has no costs")?;
            bytes = [before, costs.split_once("</section>").context("the costs have no end")?.1]
                .concat()
                .into_bytes();
        }
        tables.insert(file, bytes);
    }
    Ok(tables)
}
