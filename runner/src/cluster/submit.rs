//! Submitting a draft: writing what its tasks need, and handing the scripts to Slurm.

use crate::cluster::draft::{Draft, earlier_than};
use crate::cluster::record::Submission;
use crate::cluster::slurm;
use crate::cluster::task::write_cells;
use crate::cluster::wishes::Wishes;
use crate::store::{Store, write_atomically};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Submits a draft to the results folder `out`. Everything is written first; then each job is
/// submitted, and its number recorded. If Slurm refuses a job, those before it are cancelled.
///
/// # Errors
/// When something cannot be written, or sbatch refuses a job.
pub fn submit(draft: Draft, out: &Path, wishes: &Wishes) -> Result<Submission> {
    // These fail before anything is written or submitted.
    draft.scripts(&Submission::somewhere(out), wishes)?;
    Store::open(out)?;
    let mut submission = Submission::create(out, draft.record.clone())?;
    let scripts = write(&draft, &submission, wishes)?;
    submission.save()?;
    for (index, script) in scripts.iter().enumerate() {
        let array = submission.record.arrays.get(index);
        let new =
            earlier_than(array, &submission.record.arrays).filter_map(|array| array.job.clone());
        let before: Vec<String> = draft.waits_for(array).into_iter().chain(new).collect();
        match slurm::submit(script, &before) {
            Ok(number) => match submission.record.arrays.get_mut(index) {
                Some(array) => array.job = Some(number),
                None => submission.record.report = Some(number),
            },
            Err(error) => return Err(undo(&submission, error)),
        }
        submission.save().map_err(|error| undo(&submission, error))?;
    }
    Ok(submission)
}

/// Writes what the tasks need: the study, the lists of cells, and the scripts. Returns the paths of
/// the scripts, in the order in which they are submitted.
fn write(draft: &Draft, submission: &Submission, wishes: &Wishes) -> Result<Vec<PathBuf>> {
    let folder = &submission.folder;
    let make = |path: PathBuf| {
        fs::create_dir_all(&path)
            .with_context(|| format!("the folder {} cannot be made", path.display()))
    };
    make(folder.join("logs"))?;
    write_atomically(&submission.job(), &serde_json::to_vec(&draft.job)?)?;
    for (array, tasks) in submission.record.arrays.iter().zip(&draft.cells) {
        make(folder.join("cells").join(&array.name))?;
        for (task, cells) in tasks.iter().enumerate() {
            write_cells(&submission.list(array, task), cells.iter().map(String::as_str))?;
        }
    }
    let scripts = draft.scripts(folder, wishes)?.into_iter().map(|(name, text)| {
        let path = folder.join(format!("{name}.sh"));
        write_atomically(&path, text.as_bytes()).map(|()| path)
    });
    scripts.collect()
}

/// Cancels what was submitted, and says so in the error.
fn undo(submission: &Submission, error: anyhow::Error) -> anyhow::Error {
    let jobs: Vec<&str> = submission.jobs().collect();
    if jobs.is_empty() {
        // If that fails, what is left is a submission of which nothing is known.
        let _ = fs::remove_dir_all(&submission.folder);
        return error.context("nothing was submitted");
    }
    match slurm::cancel(jobs.iter().copied()) {
        Ok(()) => error.context("not everything could be submitted, so what was is cancelled"),
        Err(failed) => error.context(format!(
            "not everything could be submitted, and jobs {} could not be cancelled ({failed:#})",
            jobs.join(", ")
        )),
    }
}
