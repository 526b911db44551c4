//! `runner submit`: a study on a cluster.

use crate::cli::introduce::introduce;
use crate::cli::plugin_options::PluginOptions;
use crate::cli::progress::Terminal;
use crate::cli::study_args::StudyArgs;
use crate::cli::text::{counted, duration};
use crate::cluster::{self, Draft, Size, TimeLimit, Wishes};
use crate::engine;
use crate::engine::plan::PHASES;
use crate::report::Grid;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use gauntlet_core::device::{self, Device};
use gauntlet_core::registry::Registry;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Options of sbatch that `runner submit` sets itself.
const OWN_OPTIONS: [&str; 13] = [
    "--array",
    "-a",
    "--dependency",
    "-d",
    "--output",
    "-o",
    "--error",
    "-e",
    "--wrap",
    "--test-only",
    "--parsable",
    "--wait",
    "-W",
];

/// Run a study on a cluster: its missing cells as job arrays, then the tables
#[derive(Args)]
#[command(after_help = "Examples:
  runner submit mini --out /shared/mini
  runner submit study.toml --partition gpu --device cuda --cells-per-task 64,4,400 --time 2:00:00
  runner submit study.toml --print

The results folder, the program, libtorch, weights, images and plugins must be in folders that \
                        all nodes see
under the same path. The same command submits what is neither stored nor waits or runs; `runner \
                        status DIR`
says how far it is, `runner cancel DIR` ends it. docs/slurm.md has more.")]
pub(super) struct SubmitArgs {
    #[command(flatten)]
    study: StudyArgs,
    /// Who runs the jobs
    #[arg(long, value_enum, default_value_t, help_heading = "Cluster")]
    engine: Engine,
    /// Same as `sbatch --partition`
    #[arg(long, value_name = "NAMES", help_heading = "Cluster")]
    partition: Option<String>,
    /// Same as `sbatch --account`
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    account: Option<String>,
    /// Same as `sbatch --gres`, for the tasks that compute [default on cuda: gpu:1]
    #[arg(long, value_name = "LIST", help_heading = "Cluster")]
    gres: Option<String>,
    /// Memory of a task, same as `sbatch --mem`
    #[arg(long, value_name = "SIZE", help_heading = "Cluster")]
    mem: Option<String>,
    /// Time limit of a task, same as `sbatch --time` [default: three times what is estimated, and 15 minutes;
    /// with `--cells-per-task` the partition's]
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Cluster")]
    time: Option<TimeLimit>,
    /// Cells that a task computes at a time on cpu, each on a core of its own
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Cluster")]
    cpus_per_task: usize,
    /// How many tasks run at a time, at most
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    array_limit: Option<usize>,
    /// How long a task is to take, estimated from measurements on this machine
    #[arg(
        long,
        value_name = "MINUTES",
        default_value_t = 30.0,
        conflicts_with = "cells_per_task",
        help_heading = "Cluster"
    )]
    task_minutes: f64,
    /// How many cells a task has: one number, or three for clean answers, attacks, and transfer and
    /// metrics; nothing is measured
    #[arg(long, value_name = "N", value_delimiter = ',', help_heading = "Cluster")]
    cells_per_task: Vec<usize>,
    /// How often a task is requeued that died or came to its time limit
    #[arg(long, value_name = "N", default_value_t = 3, help_heading = "Cluster")]
    requeue: u32,
    /// How long a task waits for cells that other nodes have stored: a shared file system may show
    /// them late
    #[arg(long, value_name = "SECONDS", default_value_t = 60, help_heading = "Cluster")]
    patience: u64,
    /// A further option for sbatch, as in `--sbatch-arg=--qos=long`; repeatable
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true, help_heading = "Cluster")]
    sbatch_arg: Vec<String>,
    /// A line of shell with which each task begins, such as `module load cuda`; repeatable
    #[arg(long, value_name = "LINE", help_heading = "Cluster")]
    setup: Vec<String>,
    /// Submit and write nothing: print the tasks and the scripts
    #[arg(long, help_heading = "Cluster")]
    print: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Engine {
    #[default]
    Slurm,
}

fn time(text: &str) -> Result<TimeLimit, String> {
    text.parse().map_err(|error| format!("{error:#}"))
}

impl SubmitArgs {
    fn wishes(&self) -> Result<Wishes> {
        let Self { study, sbatch_arg, setup, .. } = self;
        for (option, count) in
            [("cpus-per-task", Some(self.cpus_per_task)), ("array-limit", self.array_limit)]
        {
            ensure!(count != Some(0), "`--{option} 0`: at least one is needed");
        }
        let device = match device::parse(&study.device)? {
            Device::Cuda(_) if study.device != "cuda" => {
                bail!(
                    "`--device {}`: which GPU a task has, Slurm decides; use `cuda`",
                    study.device
                )
            }
            Device::Cuda(_) => "cuda",
            _ => "cpu",
        };
        sbatch_arg.iter().try_for_each(|option| check_sbatch_arg(option))?;
        if let Some(line) = setup.iter().find(|line| line.contains('\n')) {
            bail!(
                "`--setup {line:?}`: one line is expected; give `--setup` once more for the next"
            );
        }
        let asks_for_gpus = |option: &String| {
            ["--gres", "--gpus", "-G"].iter().any(|name| option.starts_with(name))
        };
        let default =
            (device == "cuda" && !sbatch_arg.iter().any(asks_for_gpus)).then(|| "gpu:1".to_owned());
        let option =
            |name: &str, value: Option<&String>| value.map(|value| format!("--{name}={value}"));
        let own = [
            option("partition", self.partition.as_ref()),
            option("account", self.account.as_ref()),
        ];
        let compute = [
            option("gres", self.gres.as_ref().or(default.as_ref())),
            option("mem", self.mem.as_ref()),
        ];
        Ok(Wishes {
            size: self.size()?,
            workers: self.cpus_per_task,
            array_limit: self.array_limit,
            time: self.time,
            restarts: self.requeue,
            isolate: study.isolate.name().to_owned(),
            patience: Duration::from_secs(self.patience),
            compute: compute.into_iter().flatten().collect(),
            directives: own.into_iter().flatten().chain(sbatch_arg.iter().cloned()).collect(),
            setup: setup.clone(),
            device: device.to_owned(),
            program: std::env::current_exe().context("where this program is")?,
        })
    }

    fn size(&self) -> Result<Size> {
        let counts = &self.cells_per_task;
        ensure!(!counts.contains(&0), "`--cells-per-task`: at least one is needed");
        match counts.as_slice() {
            [] => {
                let length = Duration::try_from_secs_f64(self.task_minutes * 60.0)
                    .ok()
                    .filter(|length| !length.is_zero());
                let length = length.with_context(|| {
                    format!("`--task-minutes {}`: a number above 0 is expected", self.task_minutes)
                })?;
                Ok(Size::Time(length))
            }
            &[count] => Ok(Size::Cells([count; PHASES.len()])),
            several => {
                let by_phase = several.try_into().ok();
                let counts = by_phase.with_context(|| {
                    format!(
                        "`--cells-per-task` has {} numbers, expected 1 or {}",
                        several.len(),
                        PHASES.len()
                    )
                })?;
                Ok(Size::Cells(counts))
            }
        }
    }
}

/// Submits what is missing of a study.
pub(super) fn submit(
    args: &SubmitArgs,
    plugins: &PluginOptions,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let Engine::Slurm = args.engine;
    let wishes = args.wishes()?;
    if !args.print {
        cluster::check()?; // before anything is measured
    }
    let (registry, study, folder) = args.study.open(plugins, registry, false)?;
    ensure!(
        !args.print || args.study.store.is_none(),
        "`--print` writes nothing, and so keeps no `--store`: leave it out"
    );
    args.study.attach(&folder)?;
    let mut options = engine::RunOptions::on(Device::Cpu);
    if wishes.device == "cuda" && matches!(wishes.size, Size::Time(_)) {
        let opened = device::open("cuda");
        options.device = opened.context(
            "how long cells take on a GPU cannot be measured on this machine: give \
             `--cells-per-task N`, and `--time`",
        )?;
    }
    let draft = Draft::new(&study, &registry, &folder, &options, &wishes, &Terminal::new())?;
    introduce(&study, out)?;
    let (cells, open) = draft.counts;
    let under_way = if draft.under_way > 0 {
        format!(", {} wait or run already", draft.under_way)
    } else {
        String::new()
    };
    writeln!(out, "{open} of {cells} cells to submit{under_way}")?;
    if !draft.unknown.is_empty() {
        writeln!(
            out,
            "counted as the dearest others, since they do not say what they cost: {}",
            draft.unknown.join(", ")
        )?;
    }
    if draft.strangers > 0 {
        let tasks = counted(draft.strangers, "task");
        writeln!(
            out,
            "{tasks} of another form of the study wait or run for this folder: `runner cancel {}` \
             ends them",
            word(&folder)
        )?;
    }
    if open == 0 && draft.under_way > 0 {
        writeln!(out, "Nothing to submit")?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.print {
        table(&draft.record, out)?;
        for (call, script) in draft.show(&folder, &wishes)? {
            write!(out, "\n# {call}\n{script}")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let submission = cluster::submit(draft, &folder, &wishes)?;
    table(&submission.record, out)?;
    writeln!(out, "\nSubmission: {}", submission.folder.display())?;
    writeln!(
        out,
        "`runner status {0}` says how far it is, `runner cancel {0}` ends it",
        word(&folder)
    )?;
    Ok(ExitCode::SUCCESS)
}

/// An option for sbatch must be one, and none of [`OWN_OPTIONS`].
fn check_sbatch_arg(option: &str) -> Result<()> {
    ensure!(
        option.starts_with('-'),
        "`--sbatch-arg {option}`: an option of sbatch is expected, as in \
                 `--sbatch-arg=--qos=long`"
    );
    let name = option.split('=').next().unwrap_or_default();
    ensure!(
        !OWN_OPTIONS.contains(&name),
        "`--sbatch-arg {option}`: `{name}` is for `runner submit` to set"
    );
    Ok(())
}

/// A folder as a word of a shell.
fn word(folder: &Path) -> String {
    cluster::quoted(folder.as_os_str()).unwrap_or_else(|_| folder.display().to_string())
}

fn table(record: &cluster::Record, out: &mut dyn Write) -> Result<()> {
    let mut grid = Grid::new(["array", "tasks", "cells", "longest task", "time limit", "job"]);
    for array in &record.arrays {
        let longest = array.tasks.iter().filter_map(|task| task.seconds).reduce(f64::max);
        grid.row([
            array.name.clone(),
            array.tasks.len().to_string(),
            array.tasks.iter().map(|task| task.cells).sum::<usize>().to_string(),
            longest.map(duration).unwrap_or_default(),
            array.time.clone().unwrap_or_default(),
            array.job.clone().unwrap_or_default(),
        ]);
    }
    grid.row(["report", "1", "", "", "", record.report.as_deref().unwrap_or_default()]);
    writeln!(out)?;
    Ok(grid.print(out, 1)?)
}
