//! `runner work`: computes cells for another process. The orders come through a pipe from a run, or
//! from files that `runner submit` left.

use crate::cli::progress::Terminal;
use crate::cli::signal::stop_on_signal;
use crate::cli::study_args::Isolate;
use crate::cli::text::{SHOWN, counted, width};
use crate::cluster::task::{self, Done, Job, Note, OpenedJob};
use crate::cluster::{Submission, failures};
use crate::engine;
use crate::report;
use crate::summary::Summary;
use anyhow::{Context, Result, ensure};
use clap::Args;
use gauntlet_core::device::Device;
use gauntlet_core::registry::Registry;
use signal_hook::low_level;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Compute some cells of a submitted study, as told by files: what each task of `runner submit`
/// runs
#[derive(Args)]
#[command(after_help = "Example:
  runner work --job results/mini/slurm/1/job.json --cells results/mini/slurm/1/cells/attacks/0.txt

Cells that are stored already are left out, so a list can be worked on again at any time, and by \
                        several
at once. Exit codes: 0 all of its cells are stored; 1 some have failed, or need cells that are not \
                        there
(FILE's .failed.json says which and why); 2 nothing could be done; 130, 143 stopped by SIGINT or \
                        SIGTERM.

Without --job it computes isolated cells for another process of this program, through a pipe.")]
pub(super) struct WorkArgs {
    /// The study, as `runner submit` wrote it down (job.json); it names results folder, device,
    /// weights and plugins, the latter two by their hashes
    #[arg(long, value_name = "FILE", requires = "what")]
    job: Option<PathBuf>,
    /// The cells: names as in the store, one a line
    #[arg(long, value_name = "FILE", requires = "job", group = "what")]
    cells: Option<PathBuf>,
    /// Write the tables and the page of all cells that are there
    #[arg(long, requires = "job", group = "what")]
    report: bool,
    /// Cells computed at a time; never changes a result [default: the cores that this process may
    /// use on cpu, 1 on cuda]
    #[arg(long, value_name = "N", requires = "cells")]
    workers: Option<usize>,
    /// Which cells are computed in processes of their own, as for `runner run`; the last one given
    /// counts
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "WHICH",
        hide_possible_values = true,
        overrides_with = "isolate"
    )]
    isolate: Isolate,
    /// How long to wait for cells that others have stored: a shared file system may show them late
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    patience: u64,
}

/// Computes the cells of a task, or writes the tables.
pub(super) fn work(
    args: &WorkArgs,
    mut registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let Some(path) = &args.job else {
        ensure!(
            !io::stdin().is_terminal(),
            "`--job FILE` is missing; `runner work --help` says more"
        );
        return engine::serve(registry).map(|()| ExitCode::SUCCESS);
    };
    ensure!(args.workers != Some(0), "`--workers 0`: at least one is needed");
    let place = || {
        format!(
            "{} cannot be read: a job.json is expected, as `runner submit` leaves it",
            path.display()
        )
    };
    let job: Job =
        serde_json::from_slice(&fs::read(path).with_context(place)?).with_context(place)?;
    let mut submissions = Submission::all(&job.out)?;
    if args.cells.is_some() {
        // Cells that failed in another submission may be tried again: their failures do not count.
        submissions
            .retain(|submission| submission.job().canonicalize().ok() == path.canonicalize().ok());
    }
    let [failed, held_up] = failures(&submissions, &job.plan)?;
    let mut known = held_up;
    known.extend(failed);
    let opened = job.open(&mut registry)?;
    let patience = Duration::from_secs(args.patience);
    let Some(cells) = &args.cells else { return tables(&opened, patience, &known, out) };
    let mut options = engine::RunOptions::on(opened.device()?);
    options.workers = args.workers.unwrap_or(options.workers);
    options.isolation = args.isolate.isolation();
    let signal = stop_on_signal(&options.cancel)?;
    let hopeless = known.into_keys().collect();
    let done =
        task::compute(opened, &registry, options, cells, patience, &hopeless, &Terminal::new())?;
    conclude(&done, cells, signal.load(Ordering::Relaxed), out)
}

fn conclude(done: &Done, cells: &Path, signal: usize, out: &mut dyn Write) -> Result<ExitCode> {
    let Done { outcome, found, held_up } = done;
    let (stored, there) = (outcome.computed, found + outcome.found);
    writeln!(
        out,
        "{}: {} computed, {there} there already",
        cells.display(),
        counted(stored, "cell")
    )?;
    out.flush()?;
    if outcome.left > 0 {
        let name = low_level::signal_name(signal as i32).unwrap_or("a signal");
        let _ = writeln!(
            io::stderr(),
            "stopped by {name}: {} left. The same command goes on from there.",
            counted(outcome.left, "cell")
        );
        return Ok(ExitCode::from(128 + signal as u8));
    }
    let failed = outcome.failures.iter().map(|failure| (&failure.what, &failure.reason));
    let held = held_up.iter().map(|note| (&note.what, &note.reason));
    let (failures, count) =
        (outcome.failures.len(), outcome.failures.len() + held_up.len() + outcome.held_up);
    if count == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![format!(
        "{} failed, {} could not be tried",
        counted(failures, "cell"),
        count - failures
    )];
    lines
        .extend(failed.chain(held).take(SHOWN).map(|(what, reason)| format!("  {what}: {reason}")));
    let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
    Ok(ExitCode::from(1))
}

/// Writes the tables of all cells that are there.
fn tables(
    opened: &OpenedJob,
    patience: Duration,
    known: &BTreeMap<String, Note>,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let options = engine::RunOptions::on(Device::Cpu);
    let signal = stop_on_signal(&options.cancel)?;
    let (tables, failures, absent) = task::report(opened, &options, patience, known)?;
    let signal = signal.load(Ordering::Relaxed);
    if signal > 0 {
        return Ok(ExitCode::from(128 + signal as u8));
    }
    report::print_screen(&opened.study, &tables, &Summary::open(&opened.out)?, width(), out)?;
    let page = report::write_report(&opened.out)?;
    writeln!(out, "\nResults: {}\nReport: {}", opened.out.display(), page.display())?;
    out.flush()?;
    if absent == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![format!(
        "{} not there; the tables say what is missing, and `runner submit` tries again",
        counted(absent, "cell")
    )];
    lines.extend(
        failures
            .iter()
            .take(SHOWN)
            .map(|failure| format!("  {}: {}", failure.what, failure.reason)),
    );
    let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
    Ok(ExitCode::from(1))
}
