//! What users ask of a submission.

use crate::cluster::time::TimeLimit;
use crate::engine::plan::PHASES;
use std::path::PathBuf;
use std::time::Duration;

/// How large tasks are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// Tasks take this long, as estimated by measurements on this machine.
    Time(Duration),
    /// Tasks have this many cells, by phase. Nothing is measured.
    Cells([usize; PHASES.len()]),
}

/// How a study is to be submitted.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// How large tasks are.
    pub size: Size,
    /// Number of cells that a task computes at a time, each on a core of its own; at least 1.
    pub workers: usize,
    /// Greatest number of tasks of an array that run at a time.
    pub array_limit: Option<usize>,
    /// A task's time limit. None: it follows from what was estimated.
    pub time: Option<TimeLimit>,
    /// Greatest number of times that a task is requeued after it died or came to its time limit.
    pub restarts: u32,
    /// Which cells are isolated, as `--isolate` of `runner work` takes it. A task that died is
    /// requeued with `always`, unless this is `never`.
    pub isolate: String,
    /// How long a task waits for cells that it needs, until what other nodes have stored shows.
    pub patience: Duration,
    /// Further options of sbatch, for the tasks that compute.
    pub compute: Vec<String>,
    /// Further options of sbatch, for all jobs.
    pub directives: Vec<String>,
    /// Lines of shell that each script runs first.
    pub setup: Vec<String>,
    /// The name of the device that the nodes open: `cpu` or `cuda`.
    pub device: String,
    /// The program, at a path that every node sees.
    pub program: PathBuf,
}
