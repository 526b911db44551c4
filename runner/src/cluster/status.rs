//! How far a submitted study is: the cells that are stored, and the tasks that Slurm knows of.

use crate::cluster::record::{Array, Record, Submission, failures};
use crate::cluster::slurm::{self, Queued, State, TaskId, Tasks};
use crate::cluster::task::Note;
use crate::store;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

/// Tasks that have run for less than this do not count when it is asked how quick tasks are.
const SOON: Duration = Duration::from_secs(30);

/// How far a study is, by its last submission.
#[derive(Clone, Debug, Serialize)]
pub struct SubmissionStatus {
    /// The study's name.
    pub study: String,
    /// How far each phase is.
    pub phases: Vec<PhaseStatus>,
    /// Tasks of the job that writes the tables: one, or none.
    pub report: TaskCount,
    /// Why tasks wait, in Slurm's words, and how many wait for that reason.
    pub reasons: BTreeMap<String, usize>,
    /// The numbers of the jobs that wait or run.
    pub jobs: BTreeSet<String>,
    /// About how many seconds it takes until all tasks have ended, if as many run at a time as do
    /// now. None if nothing waits or runs, or it cannot be estimated.
    pub seconds_left: Option<f64>,
    /// Why Slurm could not be asked, if so. Then cells that wait or run count as left.
    pub no_queue: Option<String>,
    /// Why the object store behind the folder could not be asked, if so. Then cells that only it
    /// has count as left.
    pub no_store: Option<String>,
    /// The cells that have failed: each in words, and why.
    pub failures: Vec<(String, String)>,
    /// Number of tasks that wait or run for another plan: for the study before it was changed.
    pub strangers: usize,
}

/// How far a phase is. Each cell counts once, as done, running, waiting, failed or left.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PhaseStatus {
    /// The phase.
    pub name: String,
    /// All cells.
    pub cells: usize,
    /// Cells that are stored.
    pub done: usize,
    /// Cells of tasks that run, as far as they are not stored.
    pub running: usize,
    /// Cells of tasks that wait, as far as they are not stored.
    pub waiting: usize,
    /// Cells that have failed, and that no task is to try again.
    pub failed: usize,
    /// Cells that no task computes: they have to be submitted again.
    pub left: usize,
    /// Tasks of the phase.
    pub tasks: TaskCount,
}

/// Tasks that Slurm knows of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TaskCount {
    /// Number of tasks that run.
    pub running: usize,
    /// Number of tasks that wait.
    pub waiting: usize,
}

impl TaskCount {
    fn add(&mut self, state: State) {
        match state {
            State::Running => self.running += 1,
            State::Waiting => self.waiting += 1,
        }
    }
}

/// A cell that is not stored.
struct OpenCell {
    phase: usize,
    /// State of the task that has the cell; none once the task has ended. If two tasks have it, the
    /// one that runs counts.
    state: Option<State>,
}

/// What is left to do in the tasks of a phase. Amounts are estimated seconds, or cells where nothing
/// was estimated.
#[derive(Default)]
struct PhaseLeft {
    /// In all tasks.
    left: f64,
    /// In the task with most left.
    longest: f64,
    tasks: usize,
}

impl SubmissionStatus {
    /// How far the study is that was last submitted to a results folder.
    ///
    /// # Errors
    /// When nothing was submitted to it, or it cannot be read.
    pub fn of(out: &Path) -> Result<Self> {
        let submissions = Submission::all(out)?;
        let last = submissions.last().with_context(|| {
            format!(
                "nothing was submitted to {}: `runner submit STUDY --out DIR` does that",
                out.display()
            )
        })?;
        let Record { study, plan, phases, .. } = &last.record;
        let mut stored = store::names(out)?;
        let no_store = store::names_behind(out)
            .map(|names| stored.extend(names))
            .err()
            .map(|error| format!("{error:#}"));
        let (tasks, no_queue) = match slurm::tasks(submissions.iter().flat_map(Submission::jobs)) {
            Ok(tasks) => (tasks, None),
            Err(error) => (Tasks::new(), Some(format!("{error:#}"))),
        };
        let [failed, _] = failures(&submissions, plan)?;
        let phases = phases.iter().map(|phase| PhaseStatus {
            name: phase.name.clone(),
            cells: phase.cells,
            ..PhaseStatus::default()
        });
        let mut status = Self {
            study: study.clone(),
            phases: phases.collect(),
            report: TaskCount::default(),
            reasons: BTreeMap::new(),
            jobs: BTreeSet::new(),
            seconds_left: None,
            no_queue,
            no_store,
            failures: Vec::new(),
            strangers: 0,
        };
        status.count(&submissions, plan, &stored, &tasks, &failed)?;
        Ok(status)
    }

    /// Counts cells and tasks.
    fn count(
        &mut self,
        submissions: &[Submission],
        plan: &str,
        stored: &BTreeSet<String>,
        tasks: &Tasks,
        failed: &BTreeMap<String, Note>,
    ) -> Result<()> {
        let mut open: BTreeMap<String, OpenCell> = BTreeMap::new();
        let mut work: Vec<PhaseLeft> = self.phases.iter().map(|_| PhaseLeft::default()).collect();
        let mut speed = Speed::default();
        for submission in submissions {
            let known = submission.record.plan == plan;
            for array in &submission.record.arrays {
                for task in 0..array.tasks.len() {
                    let queued =
                        array.job.as_ref().and_then(|job| tasks.get(&TaskId::in_array(job, task)));
                    self.note(array.job.as_ref(), queued);
                    if !known {
                        self.strangers += usize::from(queued.is_some());
                        continue;
                    }
                    if let Some(queued) = queued {
                        self.phases[array.phase].tasks.add(queued.state);
                    }
                    let cells = submission.cells(array, task)?;
                    let count = cells.len();
                    let missing: Vec<String> =
                        cells.into_iter().filter(|cell| !stored.contains(cell)).collect();
                    if let Some(queued) = queued {
                        let size = size(array, task);
                        work[array.phase].add(size * missing.len() as f64 / count.max(1) as f64);
                        speed.add(
                            queued,
                            size * (count - missing.len()) as f64 / count.max(1) as f64,
                        );
                    }
                    let state = queued.map(|queued| queued.state);
                    for cell in missing {
                        let phase = array.phase;
                        let open = open.entry(cell).or_insert(OpenCell { phase, state: None });
                        open.state = [open.state, state].into_iter().flatten().min();
                    }
                }
            }
            if let Some(queued) =
                submission.record.report.as_ref().and_then(|job| tasks.get(&TaskId::alone(job)))
            {
                self.note(submission.record.report.as_ref(), Some(queued));
                if known {
                    self.report.add(queued.state);
                }
            }
        }
        for (cell, OpenCell { phase, state }) in &open {
            let counts = &mut self.phases[*phase];
            let note = failed.get(cell);
            match (state, note) {
                (Some(State::Running), _) => counts.running += 1,
                (Some(State::Waiting), _) => counts.waiting += 1,
                (None, Some(Note { what, reason, .. })) => {
                    counts.failed += 1;
                    self.failures.push((what.clone(), reason.clone()));
                }
                (None, None) => counts.left += 1,
            }
        }
        self.failures.sort();
        for counts in &mut self.phases {
            counts.done =
                counts.cells - counts.running - counts.waiting - counts.failed - counts.left;
        }
        let estimated = submissions
            .iter()
            .flat_map(|s| &s.record.arrays)
            .flat_map(|array| &array.tasks)
            .all(|task| task.seconds.is_some());
        self.seconds_left = speed.time_left(&work, estimated);
        Ok(())
    }

    /// Notes why a task waits, and that its job has not ended.
    fn note(&mut self, job: Option<&String>, queued: Option<&Queued>) {
        let Some(queued) = queued else { return };
        self.jobs.extend(job.cloned());
        if queued.state == State::Waiting {
            *self.reasons.entry(queued.reason.clone()).or_default() += 1;
        }
    }

    /// Whether any task waits or runs.
    pub fn under_way(&self) -> bool {
        !self.jobs.is_empty()
    }
}

/// How much a task is: seconds if they were estimated, otherwise cells.
fn size(array: &Array, task: usize) -> f64 {
    let task = &array.tasks[task];
    task.seconds.unwrap_or(task.cells as f64)
}

impl PhaseLeft {
    fn add(&mut self, left: f64) {
        self.left += left;
        self.longest = self.longest.max(left);
        self.tasks += 1;
    }
}

/// How quick the tasks are that run now. Amounts are as in [`PhaseLeft`].
#[derive(Default)]
struct Speed {
    /// Number of tasks that run.
    tasks: usize,
    /// Work done by the tasks that have run for long enough.
    done: f64,
    /// Time that these tasks have run.
    elapsed: Duration,
}

impl Speed {
    fn add(&mut self, queued: &Queued, done: f64) {
        if queued.state == State::Running {
            self.tasks += 1;
            if queued.elapsed >= SOON && done > 0.0 {
                self.done += done;
                self.elapsed += queued.elapsed;
            }
        }
    }

    /// Seconds until all tasks have ended. Phases come one after the other, each on as many nodes
    /// as there are now. Where nothing was estimated, only the time of the last phase can be known:
    /// cells of other phases take another time.
    fn time_left(&self, work: &[PhaseLeft], estimated: bool) -> Option<f64> {
        let open: Vec<&PhaseLeft> = work.iter().filter(|work| work.tasks > 0).collect();
        let speed = if self.elapsed.is_zero() {
            estimated.then_some(1.0)?
        } else {
            self.done / self.elapsed.as_secs_f64()
        };
        if open.is_empty() || !estimated && open.len() > 1 {
            return None;
        }
        let of = |work: &PhaseLeft| {
            (work.left / self.tasks.clamp(1, work.tasks) as f64).max(work.longest) / speed
        };
        Some(open.into_iter().map(of).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(left: &[f64]) -> PhaseLeft {
        let mut work = PhaseLeft::default();
        for &left in left {
            work.add(left);
        }
        work
    }

    fn running(tasks: usize, done: f64, seconds: u64) -> Speed {
        let mut speed = Speed::default();
        let queued = Queued {
            state: State::Running,
            reason: String::new(),
            elapsed: Duration::from_secs(seconds),
        };
        for _ in 0..tasks {
            speed.add(&queued, done);
        }
        speed
    }

    #[test]
    fn time_left_follows_from_what_was_foretold_and_how_it_goes() {
        let todo = [work(&[]), work(&[50.0, 50.0, 100.0]), work(&[30.0; 4])];
        // Two at a time: 200 / 2, then 120 / 2; nothing is known yet of how quick they are.
        assert_eq!(running(2, 0.0, 10).time_left(&todo, true), Some(160.0));
        // They do in 60 s what was estimated to take 30.
        assert_eq!(running(2, 30.0, 60).time_left(&todo, true), Some(320.0));
        // Nothing is quicker than its longest task, nor uses more nodes than it has tasks.
        assert_eq!(running(100, 0.0, 0).time_left(&todo, true), Some(130.0));
        assert_eq!(running(0, 0.0, 0).time_left(&[work(&[])], true), None);
    }

    #[test]
    fn cells_tell_of_their_own_phase_alone() {
        assert_eq!(running(1, 4.0, 40).time_left(&[work(&[6.0])], false), Some(60.0));
        assert_eq!(running(1, 0.0, 40).time_left(&[work(&[6.0])], false), None);
        assert_eq!(running(1, 4.0, 40).time_left(&[work(&[6.0]), work(&[6.0])], false), None);
    }
}
