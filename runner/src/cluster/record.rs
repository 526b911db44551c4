//! Submissions, and their records in `OUT/slurm/<n>`.

use crate::cluster::task::{Note, Notes, read_cells};
use crate::store::write_atomically;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of all submissions, in the results folder.
const FOLDER: &str = "slurm";
const RECORD: &str = "submission.json";
/// The format's version. It counts up whenever an older record could be misread.
const VERSION: u32 = 1;

/// A submission to a results folder.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Its folder: `OUT/slurm/<n>`.
    pub folder: PathBuf,
    /// The record of what was submitted.
    pub record: Record,
}

/// What was submitted. The record is written before the first job is submitted, and again with each
/// job's number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The version of this format.
    pub version: u32,
    /// The study's name.
    pub study: String,
    /// The fingerprint of its plan.
    pub plan: String,
    /// The phases of the whole study.
    pub phases: Vec<Phase>,
    /// The arrays: cells that were missing, and neither waited nor ran.
    pub arrays: Vec<Array>,
    /// The number of the job that writes the tables.
    pub report: Option<String>,
}

/// A phase of a study.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Phase {
    /// As in [`crate::engine::plan::PHASES`].
    pub name: String,
    /// Number of its cells.
    pub cells: usize,
}

/// A job array: tasks of one phase.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Array {
    /// The name, which its files have too.
    pub name: String,
    /// The phase's index in [`crate::engine::plan::PHASES`].
    pub phase: usize,
    /// The job's number, once the job is submitted.
    pub job: Option<String>,
    /// A task's time limit, if there is one.
    pub time: Option<String>,
    /// The tasks, by index in the array.
    pub tasks: Vec<Task>,
}

/// A task of an array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Number of its cells.
    pub cells: usize,
    /// Seconds that it should take, if they were estimated.
    pub seconds: Option<f64>,
}

impl Submission {
    /// Makes a new folder for a submission to `out`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn create(out: &Path, record: Record) -> Result<Self> {
        let all = out.join(FOLDER);
        let place = || format!("the folder {} cannot be written to", all.display());
        fs::create_dir_all(&all).with_context(place)?;
        let mut number = numbers(&all)?.last().map_or(1, |last| last + 1);
        loop {
            let folder = all.join(number.to_string());
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(Self { folder, record }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error).with_context(place),
            }
        }
    }

    /// The folder of a submission to `out` that is not made yet, to be shown.
    pub(super) fn somewhere(out: &Path) -> PathBuf {
        out.join(FOLDER).join("<n>")
    }

    /// Writes the record.
    pub(super) fn save(&self) -> Result<()> {
        write_atomically(&self.folder.join(RECORD), &serde_json::to_vec_pretty(&self.record)?)
    }

    /// All submissions to a results folder, in the order in which they were made.
    ///
    /// # Errors
    /// When a record is damaged or of another version.
    pub fn all(out: &Path) -> Result<Vec<Self>> {
        let all = out.join(FOLDER);
        let mut found = Vec::new();
        for number in numbers(&all)? {
            let folder = all.join(number.to_string());
            let path = folder.join(RECORD);
            let place = || format!("the record {} cannot be read", path.display());
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                // Submitting was given up before a record was written.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(place),
            };
            let record: Record = serde_json::from_slice(&bytes).with_context(place)?;
            ensure!(
                record.version == VERSION,
                "{}: found version {}, expected {VERSION}",
                place(),
                record.version
            );
            found.push(Self { folder, record });
        }
        Ok(found)
    }

    /// The file with the study, for `runner work`.
    pub fn job(&self) -> PathBuf {
        self.folder.join("job.json")
    }

    /// The file with the list of a task's cells.
    pub(super) fn list(&self, array: &Array, task: usize) -> PathBuf {
        self.folder.join("cells").join(&array.name).join(format!("{task}.txt"))
    }

    /// The names of a task's cells.
    pub(super) fn cells(&self, array: &Array, task: usize) -> Result<Vec<String>> {
        read_cells(&self.list(array, task))
    }

    /// The numbers of the jobs that were submitted.
    pub fn jobs(&self) -> impl Iterator<Item = &str> {
        self.record
            .arrays
            .iter()
            .filter_map(|array| array.job.as_deref())
            .chain(self.record.report.as_deref())
    }
}

impl Record {
    pub(super) fn new(study: &str, plan: String, phases: Vec<Phase>, arrays: Vec<Array>) -> Self {
        Self { version: VERSION, study: study.to_owned(), plan, phases, arrays, report: None }
    }
}

/// The numbers of the submissions in the folder `all`, in order.
fn numbers(all: &Path) -> Result<Vec<u64>> {
    let place = || format!("the folder {} cannot be read", all.display());
    let entries = match fs::read_dir(all) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(place),
    };
    let mut numbers = Vec::new();
    for entry in entries {
        numbers.extend(
            entry
                .with_context(place)?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u64>().ok()),
        );
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// What went wrong with cells of a plan, by the cells' names: first those that failed, then those
/// that were held up. Of several submissions the last counts.
///
/// # Errors
/// When a note is damaged.
pub fn failures(submissions: &[Submission], plan: &str) -> Result<[BTreeMap<String, Note>; 2]> {
    let mut found = [BTreeMap::new(), BTreeMap::new()];
    for submission in submissions.iter().filter(|submission| submission.record.plan == plan) {
        for array in &submission.record.arrays {
            for task in 0..array.tasks.len() {
                let Notes { failed, held_up } = Notes::read(&submission.list(array, task))?;
                for (all, notes) in found.iter_mut().zip([failed, held_up]) {
                    all.extend(notes.into_iter().map(|note| (note.cell.clone(), note)));
                }
            }
        }
    }
    Ok(found)
}
