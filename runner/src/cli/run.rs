//! `runner run`: a study from its file to its report.

use crate::analysis::Tables;
use crate::analysis::flags::{Flag, Sign};
use crate::cli::dry_run::dry_run;
use crate::cli::introduce::introduce;
use crate::cli::plugin_options::PluginOptions;
use crate::cli::progress::Terminal;
use crate::cli::signal::stop_on_signal;
use crate::cli::study_args::StudyArgs;
use crate::cli::text::{SHOWN, counted, width};
use crate::engine::{self, RunOutcome};
use crate::report;
use crate::session::Session;
use crate::summary::Summary;
use anyhow::{Result, ensure};
use clap::Args;
use gauntlet_core::device;
use gauntlet_core::registry::Registry;
use signal_hook::low_level;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::atomic::Ordering;

/// Run a study; what is already in the results folder is not computed again
#[derive(Args)]
#[command(after_help = "Examples:
  runner run mini                          18 small networks, five minutes on two cores
  runner run mini-quick                    the same in a minute, roughly
  runner run eccv2018 --dry-run            what it would take, and what is missing
  runner run mini --set attack.cw.kappa=20 --set seed=7
  runner run study.toml --device cuda      your own study, on the GPU
  runner run study.toml --out elsewhere    results in a folder of your choice
  runner run study.toml --store s3://b/p   on each of several machines: they share the work

A run can be stopped at any time, by Ctrl-C or otherwise; the same command goes on where it stopped.
Several runs may share a results folder, or with --store an object store: each leaves out what it \
                        finds
done when its turn comes; what two of them are computing at the same time is computed twice.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) study: StudyArgs,
    /// Cells computed at a time; never changes a result [default: the cores on cpu, 1 on cuda]
    #[arg(long, value_name = "N")]
    workers: Option<usize>,
    /// Compute nothing: say which cells there are, which weights and images are missing and how to
    /// get them, and how many passes, how much time and disk it would take, by measuring for some
    /// seconds
    #[arg(long)]
    dry_run: bool,
    /// Print the dry run as JSON
    #[arg(long, requires = "dry_run")]
    json: bool,
}

/// Runs a study and reports it.
pub(super) fn run(
    args: &RunArgs,
    plugins: &PluginOptions,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    ensure!(args.workers != Some(0), "`--workers 0`: at least one is needed");
    let mut options = engine::RunOptions::on(device::open(&args.study.device)?);
    options.workers = args.workers.unwrap_or(options.workers);
    options.isolation = args.study.isolate.isolation();
    let (registry, study, folder) = args.study.open(plugins, registry, args.dry_run)?;
    let registry = &registry;
    args.study.attach(&folder)?; // a dry run counts the cells in the object store as done
    if args.dry_run {
        if !args.json {
            introduce(&study, out)?;
        }
        dry_run(&study, registry, &folder, &options, args.json, out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let out = &mut Unheard(out);
    let signal = stop_on_signal(&options.cancel)?;
    let progress = Terminal::new();
    let session = Session::open(&study, registry, &folder, options, &progress)?;
    introduce(&study, out)?;
    let cells = session.plan().cells.len();
    writeln!(out, "{} of {cells} cells to compute", session.to_compute())?;
    out.flush()?;
    let outcome = session.run()?;
    if outcome.left > 0 {
        return Ok(stopped(&outcome, cells, signal.load(Ordering::Relaxed)));
    }
    let tables = session.report()?;
    report::print_screen(&study, &tables, &Summary::open(&folder)?, width(), out)?;
    let page = report::write_report(&folder)?;
    writeln!(out, "\nResults: {}\nReport: {}", folder.display(), page.display())?;
    out.flush()?;
    let (failed, invalid) = (warn_of_failures(&outcome), warn_of_invalid(&tables));
    Ok(ExitCode::from(u8::from(failed || invalid)))
}

/// The output of a run. A broken pipe is no error: the results are files, so the run goes on when
/// nobody reads its output any more.
struct Unheard<'a>(&'a mut dyn Write);

impl Unheard<'_> {
    fn or_unheard<T>(result: io::Result<T>, unheard: T) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(unheard),
            result => result,
        }
    }
}

impl Write for Unheard<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::or_unheard(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::or_unheard(self.0.flush(), ())
    }
}

fn stopped(outcome: &RunOutcome, cells: usize, signal: usize) -> ExitCode {
    let name = low_level::signal_name(signal as i32).unwrap_or("a signal");
    let done = cells - outcome.left - outcome.failures.len() - outcome.held_up;
    let _ = writeln!(
        io::stderr(),
        "stopped by {name}: {done} of {cells} cells are done and kept. The same command goes on \
         from there."
    );
    ExitCode::from(128 + signal as u8)
}

/// Says which cells failed. Returns whether there are any.
fn warn_of_failures(outcome: &RunOutcome) -> bool {
    let count = outcome.failures.len();
    if count == 0 {
        return false;
    }
    let mut lines = vec![String::new()];
    let held_up = if outcome.held_up > 0 {
        format!(", so {} more could not be computed", outcome.held_up)
    } else {
        String::new()
    };
    lines.push(format!(
        "{} failed{held_up}; the tables say what is missing. The same command tries again.",
        counted(count, "cell")
    ));
    lines.extend(
        outcome
            .failures
            .iter()
            .take(SHOWN)
            .map(|failure| format!("  {}: {}", failure.what, failure.reason)),
    );
    if count > SHOWN {
        lines.push(format!("  … and {} more", count - SHOWN));
    }
    let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
    true
}

/// Says which attacks gave answers that are no images, each with the first reason. Returns whether
/// there are any.
fn warn_of_invalid(tables: &Tables) -> bool {
    let invalid: Vec<&Flag> =
        (tables.findings.flags.iter()).filter(|flag| flag.flag == Sign::InvalidAnswers).collect();
    if invalid.is_empty() {
        return false;
    }
    let count: usize = invalid.iter().map(|flag| flag.found.k).sum();
    let mut lines = vec![format!(
        "\n{} invalid: each counts as a failure of the attack",
        if count == 1 {
            "1 answer of attacks is".to_owned()
        } else {
            format!("{count} answers of attacks are")
        }
    )];
    lines.extend(
        invalid.iter().take(SHOWN).map(|flag| format!("  {}: {}", flag.place(), flag.reading)),
    );
    if invalid.len() > SHOWN {
        lines.push(format!("  … and {} more", invalid.len() - SHOWN));
    }
    let _ = writeln!(io::stderr(), "{}", lines.join("\n"));
    true
}
