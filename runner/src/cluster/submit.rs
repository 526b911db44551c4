//! From a study to its job arrays.

use super::record::{Array, Phase, Record, Submission, Task};
use super::script::{Script, quoted};
use super::time::TimeLimit;
use crate::cluster::slurm::{self, Tasks};
use crate::cluster::split::{Piece, cut};
use crate::cluster::task::write_cells;
use crate::engine::plan::{CellId, PHASES, Plan};
use crate::engine::{self, Job, Progress, Survey};
use crate::estimate;
use crate::store::{Store, begun, write_atomically};
use crate::study::Study;
use anyhow::{Context, Result, bail};
use gauntlet_core::registry::Registry;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How much longer than foretold a task may take: nodes differ, and are shared.
const MARGIN: f64 = 3.0;
/// No cell is foretold to take longer.
const LONGEST: Duration = Duration::from_hours(24 * 365);
/// What a task may take besides: to begin, and to load models.
const BESIDES: Duration = Duration::from_mins(15);

/// How large tasks are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    /// As long as this, by what `estimate` foretells from measurements on this machine.
    Time(Duration),
    /// So many cells, by phase; nothing is measured.
    Cells([usize; PHASES.len()]),
}

/// How a study is to be submitted.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// How large tasks are.
    pub size: Size,
    /// Cells that a task computes at a time, each on a core of its own; at least 1.
    pub workers: usize,
    /// How many tasks of an array run at a time.
    pub array_limit: Option<usize>,
    /// A task's time limit; otherwise it follows from what was foretold.
    pub time: Option<TimeLimit>,
    /// How often a task is requeued that died or came to its time limit.
    pub restarts: u32,
    /// Which cells are isolated, as `--isolate` of `runner work` takes it. A task that died begins
    /// anew with `always`, unless this is `never`.
    pub isolate: String,
    /// How long a task waits for cells that it needs, which other nodes have stored.
    pub patience: Duration,
    /// Further options of sbatch, for the tasks that compute.
    pub compute: Vec<String>,
    /// Further options of sbatch, for all jobs.
    pub directives: Vec<String>,
    /// Lines of shell with which each task begins.
    pub setup: Vec<String>,
    /// The device, by a name that the nodes open: `cpu` or `cuda`.
    pub device: String,
    /// The program, which every node must see.
    pub program: PathBuf,
}

/// A submission that is ready to be made.
pub struct Draft {
    /// What is to be submitted. None of its jobs has a number yet.
    pub record: Record,
    /// The cells of each task of each array, by name.
    pub cells: Vec<Vec<Vec<String>>>,
    /// How many cells there are, and how many are to be submitted.
    pub counts: (usize, usize),
    /// How many cells wait or run already.
    pub under_way: usize,
    /// How many tasks wait or run for another form of the study.
    pub strangers: usize,
    /// Attacks and scores that do not say what they cost: each of their cells counts as much as the
    /// dearest other one.
    pub unknown: Vec<String>,
    /// The numbers of the jobs that wait or run, by phase, that new ones must wait for.
    before: Vec<(usize, String)>,
    job: Job,
}

impl Draft {
    /// Looks for what is missing in `out` and neither waits nor runs, and cuts it into tasks.
    /// Nothing is written but what opening a store writes, and that only where there is one.
    ///
    /// # Errors
    /// When Slurm has to be asked what waits or runs and cannot be; when nobody can say how long a
    /// cell takes.
    pub fn new(
        study: &Study,
        registry: &Registry,
        out: &Path,
        options: &engine::RunOptions,
        wishes: &Wishes,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let kind = engine::device_kind(gauntlet_core::device::parse(&wishes.device)?);
        let plan = Plan::new(study, kind);
        let under_way = UnderWay::find(out, &plan)?;
        let missing: Vec<CellId> = if begun(out) {
            Survey::take(&plan, &Store::open(out)?.now()?, options, progress)?.cells().collect()
        } else {
            (0..plan.cells.len()).collect()
        };
        let open: Vec<CellId> = missing
            .iter()
            .copied()
            .filter(|&id| !under_way.cells.contains(&plan.cells[id].address.name()))
            .collect();
        let (sizes, unknown) = sizes(study, registry, &plan, options, wishes, &open)?;
        let (arrays, cells) = arrays(&plan, &open, &sizes, wishes, slurm::max_array_size()?);
        let count =
            |phase: usize| (0..plan.cells.len()).filter(|&id| plan.phase(id) == phase).count();
        let phases = PHASES
            .iter()
            .enumerate()
            .map(|(phase, name)| Phase { name: (*name).to_owned(), cells: count(phase) })
            .collect();
        Ok(Self {
            record: Record::new(&study.name, plan.fingerprint(), phases, arrays),
            cells,
            counts: (plan.cells.len(), open.len()),
            under_way: missing.len() - open.len(),
            strangers: under_way.strangers,
            unknown,
            before: under_way.jobs,
            job: Job::new(study, registry, &plan, out, &wishes.device)?,
        })
    }

    /// The scripts, by name: one for each array, and that of the report. `folder` is the
    /// submission's.
    fn scripts(&self, folder: &Path, wishes: &Wishes) -> Result<Vec<(String, String)>> {
        let folder = std::path::absolute(folder)?;
        let job = folder.join("job.json");
        let program = quoted(wishes.program.as_os_str())?;
        let patience = wishes.patience.as_secs().to_string();
        let work = |more: &[String]| -> Result<Vec<String>> {
            let fixed = [program.clone(), "work".into(), "--job".into(), quoted(job.as_os_str())?];
            let end = ["--patience".into(), patience.clone()];
            Ok(fixed.into_iter().chain(more.iter().cloned()).chain(end).collect())
        };
        let study = &self.record.study;
        let workers = if wishes.device == "cpu" { "\"${SLURM_CPUS_PER_TASK:-1}\"" } else { "1" };
        let compute: Vec<String> =
            wishes.compute.iter().chain(&wishes.directives).cloned().collect();
        let mut scripts = Vec::new();
        for array in &self.record.arrays {
            let cells: usize = array.tasks.iter().map(|task| task.cells).sum();
            let list = quoted(folder.join("cells").join(&array.name).as_os_str())? + "/\"$task\"";
            let again =
                (wishes.isolate != "never").then(|| ("--isolate always", format!("{list}.died")));
            let more = [
                "--cells".into(),
                format!("{list}.txt"),
                "--workers".into(),
                workers.into(),
                "--isolate".into(),
                wishes.isolate.clone(),
            ];
            let script = Script {
                about: format!("{study}: {}, {cells} cells", PHASES[array.phase]),
                name: format!("{study}: {}", PHASES[array.phase]),
                array: Some((array.tasks.len(), wishes.array_limit)),
                cpus: wishes.workers,
                time: array.time.as_ref().map(|time| time.parse()).transpose()?,
                log: &folder.join("logs").join(format!("{}-%a.log", array.name)),
                directives: &compute,
                setup: &wishes.setup,
                restarts: wishes.restarts,
                command: work(&more)?,
                again,
            };
            scripts.push((array.name.clone(), script.text()?));
        }
        let script = Script {
            about: format!("{study}: tables and report"),
            name: format!("{study}: report"),
            array: None,
            cpus: 1,
            time: wishes.time,
            log: &folder.join("logs/report.log"),
            directives: &wishes.directives,
            setup: &wishes.setup,
            restarts: wishes.restarts,
            command: work(&["--report".into()])?,
            again: None,
        };
        scripts.push(("report".into(), script.text()?));
        Ok(scripts)
    }

    /// What would be submitted to a results' folder: each call of sbatch, and the script that it
    /// takes. A job that has no number yet is called `<name of its array>`. Nothing is written.
    ///
    /// # Errors
    /// When a path or option cannot stand in a script.
    pub fn show(&self, out: &Path, wishes: &Wishes) -> Result<Vec<(String, String)>> {
        let folder = Submission::somewhere(out);
        let arrays = self.record.arrays.iter().map(Some).chain([None]);
        let shown = self.scripts(&folder, wishes)?.into_iter().zip(arrays).map(
            |((name, script), array)| {
                let new = earlier_than(array, &self.record.arrays)
                    .map(|array| format!("<{}>", array.name));
                let arguments = slurm::arguments(
                    &folder.join(format!("{name}.sh")),
                    &self.waits_for(array).into_iter().chain(new).collect::<Vec<_>>(),
                );
                let arguments: Vec<_> =
                    arguments.iter().map(|argument| argument.to_string_lossy()).collect();
                (format!("sbatch {}", arguments.join(" ")), script)
            },
        );
        Ok(shown.collect())
    }

    /// The jobs of earlier submissions that an array, or the report, must wait for.
    fn waits_for(&self, array: Option<&Array>) -> Vec<String> {
        let earlier = |phase: usize| array.is_none_or(|array| phase < array.phase);
        self.before
            .iter()
            .filter(|(phase, _)| earlier(*phase))
            .map(|(_, job)| job.clone())
            .collect()
    }
}

/// Those of a submission's arrays that come before one of them, or before the report.
fn earlier_than<'a>(array: Option<&Array>, arrays: &'a [Array]) -> impl Iterator<Item = &'a Array> {
    let phase = array.map(|array| array.phase);
    arrays.iter().filter(move |other| phase.is_none_or(|phase| other.phase < phase))
}

/// Cuts cells into arrays of at most `largest` tasks; with them come the names of each task's
/// cells.
fn arrays(
    plan: &Plan,
    cells: &[CellId],
    sizes: &[f64],
    wishes: &Wishes,
    largest: usize,
) -> (Vec<Array>, Vec<Vec<Vec<String>>>) {
    let mut arrays = Vec::new();
    let mut names = Vec::new();
    for (phase, title) in PHASES.iter().enumerate() {
        let of_phase = cells.iter().zip(sizes).filter(|(cell, _)| plan.phase(**cell) == phase);
        let pieces =
            of_phase.map(|(&cell, &size)| Piece { cell, model: plan.model(cell), size }).collect();
        let limit = match wishes.size {
            Size::Time(length) => length.as_secs_f64() * wishes.workers as f64,
            Size::Cells(counts) => counts[phase] as f64,
        };
        let tasks = cut(pieces, limit);
        let parts = tasks.chunks(largest);
        let several = parts.len() > 1;
        for (number, tasks) in parts.enumerate() {
            let number = if several { format!("-{}", number + 1) } else { String::new() };
            arrays.push(array(title.replace(' ', "-") + &number, phase, tasks, wishes));
            let name = |piece: &Piece| plan.cells[piece.cell].address.name();
            names.push(tasks.iter().map(|task| task.iter().map(name).collect()).collect());
        }
    }
    (arrays, names)
}

fn array(name: String, phase: usize, tasks: &[Vec<Piece>], wishes: &Wishes) -> Array {
    let length = |task: &[Piece]| {
        let longest = task.iter().map(|piece| piece.size).fold(0.0, f64::max);
        (task.iter().map(|piece| piece.size).sum::<f64>() / wishes.workers as f64).max(longest)
    };
    let foretold = matches!(wishes.size, Size::Time(_));
    let tasks: Vec<Task> = tasks
        .iter()
        .map(|task| Task { cells: task.len(), seconds: foretold.then(|| length(task)) })
        .collect();
    let longest = tasks.iter().filter_map(|task| task.seconds).reduce(f64::max);
    let limit = |seconds: f64| {
        TimeLimit::new(
            Duration::try_from_secs_f64(seconds * MARGIN).unwrap_or(LONGEST).min(LONGEST) + BESIDES,
        )
    };
    let time = longest.map(limit);
    let time = wishes.time.or(time).map(|time| time.to_string());
    Array { name, phase, job: None, time, tasks }
}

/// The size of each cell, and who does not say what it costs.
fn sizes(
    study: &Study,
    registry: &Registry,
    plan: &Plan,
    options: &engine::RunOptions,
    wishes: &Wishes,
    cells: &[CellId],
) -> Result<(Vec<f64>, Vec<String>)> {
    const INSTEAD: &str = "say how many cells a task shall have: `--cells-per-task N`";
    if cells.is_empty() || matches!(wishes.size, Size::Cells(_)) {
        return Ok((vec![1.0; cells.len()], Vec::new()));
    }
    let foretold = estimate::seconds(study, registry, plan, options, cells)
        .with_context(|| format!("how long cells take cannot be measured; {INSTEAD}"))?;
    let known = cells
        .iter()
        .zip(&foretold.seconds)
        .filter(|(cell, _)| plan.phase(**cell) == 1)
        .filter_map(|(_, seconds)| *seconds);
    let dearest = known.reduce(f64::max);
    if let (None, false) = (dearest, foretold.unknown.is_empty()) {
        bail!("{} do not say what they cost; {INSTEAD}", foretold.unknown.join(", "));
    }
    let seconds =
        foretold.seconds.iter().map(|seconds| seconds.or(dearest).unwrap_or_default()).collect();
    Ok((seconds, foretold.unknown))
}

/// What waits or runs already.
#[derive(Default)]
struct UnderWay {
    /// The names of the cells.
    cells: BTreeSet<String>,
    /// The jobs, each with its phase.
    jobs: Vec<(usize, String)>,
    /// How many tasks are of another plan.
    strangers: usize,
}

impl UnderWay {
    fn find(out: &Path, plan: &Plan) -> Result<Self> {
        let submissions = Submission::all(out)?;
        let why = "what waits or runs already cannot be known";
        let tasks: Tasks =
            slurm::tasks(submissions.iter().flat_map(Submission::jobs)).context(why)?;
        let fingerprint = if submissions.is_empty() { String::new() } else { plan.fingerprint() };
        let mut found = Self::default();
        for submission in &submissions {
            for array in &submission.record.arrays {
                let Some(job) = &array.job else { continue };
                let there: Vec<usize> = (0..array.tasks.len())
                    .filter(|&task| tasks.contains_key(&(job.clone(), Some(task))))
                    .collect();
                if submission.record.plan != fingerprint {
                    found.strangers += there.len();
                    continue;
                }
                for &task in &there {
                    found.cells.extend(submission.cells(array, task)?);
                }
                if !there.is_empty() {
                    found.jobs.push((array.phase, job.clone()));
                }
            }
        }
        Ok(found)
    }
}

/// Submits a draft to the results' folder `out`: everything is written first, then each job is
/// submitted and its number noted. When Slurm refuses one, those before it are cancelled.
///
/// # Errors
/// What cannot be written, and what sbatch says.
pub fn submit(draft: Draft, out: &Path, wishes: &Wishes) -> Result<Submission> {
    draft.scripts(&Submission::somewhere(out), wishes)?; // what cannot be written shows before anything is
    Store::open(out)?; // that it can be written to shows here, not on the nodes
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

/// Writes what the tasks need: the study, the lists of cells, the scripts, whose paths are
/// returned.
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

fn undo(submission: &Submission, error: anyhow::Error) -> anyhow::Error {
    let jobs: Vec<&str> = submission.jobs().collect();
    if jobs.is_empty() {
        let _ = fs::remove_dir_all(&submission.folder); // what is left of it has no record that says anything
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
