//! What Slurm is asked, through its programs `sbatch`, `squeue`, `scancel` and `scontrol`.

use crate::cluster::time::clock;
use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A task that Slurm knows of and that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    pub state: State,
    /// Why it waits, in Slurm's words.
    pub reason: String,
    /// How long it has been running since it last began.
    pub elapsed: Duration,
}

/// Whether a task runs yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Running,
    Waiting,
}

/// How Slurm names a task.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TaskId {
    /// The number of its job.
    pub job: String,
    /// Its index in the array; none for a job that is no array.
    pub index: Option<usize>,
}

impl TaskId {
    pub fn in_array(job: &str, index: usize) -> Self {
        Self { job: job.to_owned(), index: Some(index) }
    }

    /// A job that is no array.
    pub fn alone(job: &str) -> Self {
        Self { job: job.to_owned(), index: None }
    }
}

/// The tasks that have not ended.
pub(super) type Tasks = HashMap<TaskId, Queued>;

/// Checks that jobs can be submitted from this machine.
///
/// # Errors
/// When they cannot.
pub fn check() -> Result<()> {
    call("sbatch", ["--version"]).map(drop)
}

/// The arguments of sbatch for a script that is to run after all `others` have ended.
pub(super) fn arguments(script: &Path, others: &[String]) -> Vec<OsString> {
    let dependency =
        (!others.is_empty()).then(|| format!("--dependency=afterany:{}", others.join(":")).into());
    ["--parsable".into()].into_iter().chain(dependency).chain([script.into()]).collect()
}

/// Submits a script to run after all `others` have ended, whether they succeed or not. Returns the
/// job's number.
///
/// # Errors
/// When sbatch refuses the script, or does not say the number.
pub(super) fn submit(script: &Path, others: &[String]) -> Result<String> {
    let answer = call("sbatch", arguments(script, others))?;
    // sbatch prints `number` or `number;cluster`. Messages of the site may come before.
    let number = answer
        .lines()
        .rev()
        .map(|line| line.split(';').next().unwrap_or_default().trim())
        .find(|line| !line.is_empty());
    match number {
        Some(number) if number.bytes().all(|c| c.is_ascii_digit()) => Ok(number.to_owned()),
        _ => bail!("`sbatch` does not say the job's number, but `{}`", answer.trim()),
    }
}

/// Those tasks of some jobs that have not ended.
///
/// # Errors
/// When squeue cannot be asked, or prints something else than was asked for.
pub(super) fn tasks<'a>(jobs: impl IntoIterator<Item = &'a str>) -> Result<Tasks> {
    let jobs: Vec<&str> = jobs.into_iter().collect();
    if jobs.is_empty() {
        return Ok(Tasks::new());
    }
    let list = format!("--jobs={}", jobs.join(","));
    match call("squeue", ["--noheader", "--array", "--format=%F|%K|%T|%M|%r", &list]) {
        Ok(text) => text.lines().filter(|line| !line.trim().is_empty()).map(read).collect(),
        // Slurm has forgotten all of them: they have ended.
        Err(error) if error.to_string().contains("Invalid job id") => Ok(Tasks::new()),
        Err(error) => Err(error),
    }
}

/// Ends jobs, whether they wait or run.
///
/// # Errors
/// When `scancel` cannot, or is not there.
pub fn cancel<'a>(jobs: impl IntoIterator<Item = &'a str>) -> Result<()> {
    call("scancel", jobs).map(drop)
}

/// Slurm's default of `MaxArraySize`. Indices of an array are below it.
const MAX_ARRAY_SIZE: usize = 1001;

/// Greatest number of tasks that an array may have on this cluster.
///
/// # Errors
/// When Slurm's configuration cannot be understood, or has no arrays.
pub(super) fn max_array_size() -> Result<usize> {
    let Ok(text) = call("scontrol", ["show", "config"]) else { return Ok(MAX_ARRAY_SIZE) };
    let line = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| key.trim() == "MaxArraySize");
    let size = line
        .map_or(Ok(MAX_ARRAY_SIZE), |(_, size)| size.trim().parse())
        .context("`scontrol show config`: MaxArraySize")?;
    ensure!(size > 1, "this cluster has no job arrays: MaxArraySize is {size}");
    Ok(size)
}

/// Reads a line of squeue.
fn read(line: &str) -> Result<(TaskId, Queued)> {
    let fields: Vec<&str> = line.split('|').map(str::trim).collect();
    let &[job, index, state, elapsed, reason] = fields.as_slice() else {
        bail!("`squeue` prints `{line}`, which is not what was asked for")
    };
    let state = match state {
        "RUNNING" | "COMPLETING" | "SUSPENDED" | "STOPPED" | "SIGNALING" | "STAGE_OUT" => {
            State::Running
        }
        _ => State::Waiting,
    };
    // It is `INVALID` while a task begins.
    let elapsed = clock(elapsed).unwrap_or_default();
    let id = TaskId { job: job.to_owned(), index: index.parse().ok() };
    Ok((id, Queued { state, reason: reason.to_owned(), elapsed }))
}

/// Calls one of Slurm's programs and returns what it prints.
///
/// # Errors
/// When it is not there, cannot be started, or fails.
fn call<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    // Variables that users set for their own lists change what is printed, and one is of the job in
    // which this may be called.
    let foreign = |name: &str| {
        name.starts_with("SQUEUE_") || name.starts_with("SCANCEL_") || name == "SLURM_RESTART_COUNT"
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(foreign)) {
        command.env_remove(name);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!(
                "there is no `{program}` on PATH: this is for machines on which Slurm's commands \
                 are installed, such as a cluster's login node"
            )
        }
        Err(error) => return Err(error).with_context(|| format!("`{program}` cannot be started")),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = if said.trim().is_empty() { output.status.to_string().into() } else { said };
        bail!("`{program}` says: {}", said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_squeue_are_read() {
        let (key, task) = read("12|3|RUNNING|1-02:03:04|None").unwrap();
        assert_eq!(key, TaskId::in_array("12", 3));
        assert_eq!((task.state, task.elapsed.as_secs()), (State::Running, 93784));
        let (key, task) = read("13|N/A|PENDING|0:00|Dependency").unwrap();
        assert_eq!(key, TaskId::alone("13"));
        assert_eq!((task.state, task.reason.as_str()), (State::Waiting, "Dependency"));
        assert!(read("what?").is_err());
    }
}
