//! `runner status`: how far a submitted study is.

use crate::cli::text::{SHOWN, counted, duration};
use crate::cluster::SubmissionStatus;
use crate::report::Grid;
use anyhow::Result;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Say how far a submitted study is
#[derive(Args)]
pub(super) struct StatusArgs {
    /// The results folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints how far a submitted study is. The exit code is 1 when cells have failed.
pub(super) fn status(args: &StatusArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let status = SubmissionStatus::of(&args.folder)?;
    let code = if status.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) };
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&status)?)?;
        return Ok(code);
    }
    let mut grid = Grid::new([
        status.study.as_str(),
        "cells",
        "done",
        "running",
        "waiting",
        "failed",
        "left",
        "tasks running",
        "waiting",
    ]);
    for phase in &status.phases {
        let counts = [
            phase.cells,
            phase.done,
            phase.running,
            phase.waiting,
            phase.failed,
            phase.left,
            phase.tasks.running,
            phase.tasks.waiting,
        ];
        grid.row(std::iter::once(phase.name.clone()).chain(counts.map(|count| count.to_string())));
    }
    let report = [status.report.running, status.report.waiting].map(|count| count.to_string());
    grid.row(["report", "", "", "", "", "", ""].into_iter().map(str::to_owned).chain(report));
    grid.print(out, 1)?;
    for (reason, tasks) in &status.reasons {
        writeln!(out, "{} waiting: {reason}", counted(*tasks, "task"))?;
    }
    if let Some(seconds) = status.seconds_left {
        writeln!(out, "about {} left, on as many nodes as now", duration(seconds))?;
    }
    if let Some(reason) = &status.no_store {
        writeln!(
            out,
            "what the object store has and the folder lacks is not known, and counted as left: \
             {reason}"
        )?;
    }
    if let Some(reason) = &status.no_queue {
        writeln!(out, "what waits and runs is not known, and counted as left: {reason}")?;
    }
    if status.strangers > 0 {
        writeln!(
            out,
            "{} of another form of the study in the queue",
            counted(status.strangers, "task")
        )?;
    }
    for (what, reason) in status.failures.iter().take(SHOWN) {
        writeln!(out, "failed: {what}: {reason}")?;
    }
    if status.failures.len() > SHOWN {
        writeln!(out, "… and {} more", status.failures.len() - SHOWN)?;
    }
    if status.no_queue.is_none()
        && !status.under_way()
        && status.phases.iter().any(|phase| phase.failed + phase.left > 0)
    {
        writeln!(
            out,
            "Nothing waits or runs any more: `runner submit` again submits what is missing"
        )?;
    }
    Ok(code)
}
