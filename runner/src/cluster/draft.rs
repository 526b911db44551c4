//! From a study to job arrays that are ready to be submitted.

use crate::cluster::record::{Array, Phase, Record, Submission, Task};
use crate::cluster::script::{Script, quoted};
use crate::cluster::slurm::{self, TaskId, Tasks};
use crate::cluster::split::{Piece, cut};
use crate::cluster::time::TimeLimit;
use crate::cluster::wishes::{Size, Wishes};
use crate::engine::plan::{CellId, PHASES, Plan};
use crate::engine::{self, Job, Progress, Survey};
use crate::estimate;
use crate::store::{Store, begun};
use crate::study::Study;
use anyhow::{Context, Result, bail};
use gauntlet_core::registry::Registry;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// A submission before it is made.
pub struct Draft {
    /// What is to be submitted. None of its jobs has a number yet.
    pub record: Record,
    /// The cells of each task of each array, by name.
    pub cells: Vec<Vec<Vec<String>>>,
    /// Number of the study's cells, and number of cells to submit.
    pub counts: (usize, usize),
    /// Number of cells in tasks that wait or run already.
    pub under_way: usize,
    /// Number of tasks that wait or run for another plan: for the study before it was changed.
    pub strangers: usize,
    /// Attacks and scores that do not say what they cost. Each of their cells counts as much as the
    /// dearest other one of its phase.
    pub unknown: Vec<String>,
    /// The jobs that wait or run already: new ones must wait for those of earlier phases.
    before: Vec<EarlierJob>,
    /// The study, for the tasks.
    pub(super) job: Job,
}

impl Draft {
    /// Looks for cells that are missing in `out` and neither wait nor run, and cuts them into
    /// tasks. Nothing is written but what opening a store writes, and that only if there is one.
    ///
    /// # Errors
    /// When Slurm cannot be asked what waits or runs, or how long cells take cannot be estimated.
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
        let Sizes { sizes, unknown } =
            Sizes::estimate(study, registry, &plan, options, wishes, &open)?;
        let Arrays { arrays, cells } =
            Arrays::cut(&plan, &open, &sizes, wishes, slurm::max_array_size()?);
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

    /// The scripts by name: one for each array, then that of the report. `folder` is the
    /// submission's.
    ///
    /// # Errors
    /// When a path or an option cannot stand in a script.
    pub(super) fn scripts(&self, folder: &Path, wishes: &Wishes) -> Result<Vec<(String, String)>> {
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

    /// What would be submitted to a results folder: each call of sbatch, with the script that it
    /// takes. A job that has no number yet is named `<name of its array>`. Nothing is written.
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
    pub(super) fn waits_for(&self, array: Option<&Array>) -> Vec<String> {
        let earlier = |phase: usize| array.is_none_or(|array| phase < array.phase);
        self.before.iter().filter(|job| earlier(job.phase)).map(|job| job.number.clone()).collect()
    }
}

/// Those of a submission's arrays that one of them, or the report, must wait for.
pub(super) fn earlier_than<'a>(
    array: Option<&Array>,
    arrays: &'a [Array],
) -> impl Iterator<Item = &'a Array> {
    let phase = array.map(|array| array.phase);
    arrays.iter().filter(move |other| phase.is_none_or(|phase| other.phase < phase))
}

/// A job that waits or runs already.
struct EarlierJob {
    phase: usize,
    number: String,
}

/// What waits or runs already.
#[derive(Default)]
struct UnderWay {
    /// The names of the cells.
    cells: BTreeSet<String>,
    jobs: Vec<EarlierJob>,
    /// Number of tasks of another plan.
    strangers: usize,
}

impl UnderWay {
    /// # Errors
    /// When Slurm cannot be asked, or a record is damaged.
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
                    .filter(|&task| tasks.contains_key(&TaskId::in_array(job, task)))
                    .collect();
                if submission.record.plan != fingerprint {
                    found.strangers += there.len();
                    continue;
                }
                for &task in &there {
                    found.cells.extend(submission.cells(array, task)?);
                }
                if !there.is_empty() {
                    found.jobs.push(EarlierJob { phase: array.phase, number: job.clone() });
                }
            }
        }
        Ok(found)
    }
}

/// Cells, cut into arrays.
struct Arrays {
    arrays: Vec<Array>,
    /// The names of the cells, by array and task.
    cells: Vec<Vec<Vec<String>>>,
}

impl Arrays {
    /// Cuts cells into arrays of at most `largest` tasks.
    fn cut(plan: &Plan, cells: &[CellId], sizes: &[f64], wishes: &Wishes, largest: usize) -> Self {
        let mut arrays = Vec::new();
        let mut names = Vec::new();
        for (phase, title) in PHASES.iter().enumerate() {
            let of_phase = cells.iter().zip(sizes).filter(|(cell, _)| plan.phase(**cell) == phase);
            let pieces = of_phase
                .map(|(&cell, &size)| Piece { cell, model: plan.model(cell), size })
                .collect();
            let limit = match wishes.size {
                Size::Time(length) => length.as_secs_f64() * wishes.workers as f64,
                Size::Cells(counts) => counts[phase] as f64,
            };
            let tasks = cut(pieces, limit);
            let chunks = tasks.chunks(largest);
            let several = chunks.len() > 1;
            for (number, tasks) in chunks.enumerate() {
                let number = if several { format!("-{}", number + 1) } else { String::new() };
                arrays.push(array(title.replace(' ', "-") + &number, phase, tasks, wishes));
                let name = |piece: &Piece| plan.cells[piece.cell].address.name();
                names.push(tasks.iter().map(|task| task.iter().map(name).collect()).collect());
            }
        }
        Self { arrays, cells: names }
    }
}

/// A task's time limit, as a multiple of what was estimated: nodes differ, and are shared.
const MARGIN: f64 = 3.0;
/// Greatest time limit of a task that follows from what was estimated, before [`BESIDES`].
const LONGEST: Duration = Duration::from_hours(24 * 365);
/// Time that is added to a task's limit, to begin and to load models.
const BESIDES: Duration = Duration::from_mins(15);

/// An array of tasks, with the time limit that they need.
fn array(name: String, phase: usize, tasks: &[Vec<Piece>], wishes: &Wishes) -> Array {
    let length = |task: &[Piece]| {
        let longest = task.iter().map(|piece| piece.size).fold(0.0, f64::max);
        (task.iter().map(|piece| piece.size).sum::<f64>() / wishes.workers as f64).max(longest)
    };
    let estimated = matches!(wishes.size, Size::Time(_));
    let tasks: Vec<Task> = tasks
        .iter()
        .map(|task| Task { cells: task.len(), seconds: estimated.then(|| length(task)) })
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

/// How much cells are.
struct Sizes {
    /// Of each cell, in the unit of a task's size: seconds, or cells.
    sizes: Vec<f64>,
    /// Attacks and scores that do not say what they cost.
    unknown: Vec<String>,
}

impl Sizes {
    /// # Errors
    /// When nothing can be measured, or no attack and no score says what it costs.
    fn estimate(
        study: &Study,
        registry: &Registry,
        plan: &Plan,
        options: &engine::RunOptions,
        wishes: &Wishes,
        cells: &[CellId],
    ) -> Result<Self> {
        const INSTEAD: &str = "say how many cells a task shall have: `--cells-per-task N`";
        if cells.is_empty() || matches!(wishes.size, Size::Cells(_)) {
            return Ok(Self { sizes: vec![1.0; cells.len()], unknown: Vec::new() });
        }
        let estimated = estimate::seconds(study, registry, plan, options, cells)
            .with_context(|| format!("how long cells take cannot be measured; {INSTEAD}"))?;
        let known = cells
            .iter()
            .zip(&estimated.seconds)
            .filter(|(cell, _)| plan.phase(**cell) == 1)
            .filter_map(|(_, seconds)| *seconds);
        let dearest = known.reduce(f64::max);
        if let (None, false) = (dearest, estimated.unknown.is_empty()) {
            bail!("{} do not say what they cost; {INSTEAD}", estimated.unknown.join(", "));
        }
        let sizes = estimated
            .seconds
            .iter()
            .map(|seconds| seconds.or(dearest).unwrap_or_default())
            .collect();
        Ok(Self { sizes, unknown: estimated.unknown })
    }
}
