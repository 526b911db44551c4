//! `runner cancel`: ends the jobs of a submitted study.

use crate::cli::text::counted;
use crate::cluster::{self, SubmissionStatus};
use anyhow::{Result, bail};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// End the jobs of a submitted study; what is stored stays
#[derive(Args)]
pub(super) struct CancelArgs {
    /// The results folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Ends the jobs of a submitted study.
pub(super) fn cancel(args: &CancelArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let status = SubmissionStatus::of(&args.folder)?;
    if let Some(reason) = status.no_queue {
        bail!("what waits and runs is not known: {reason}");
    }
    if status.jobs.is_empty() {
        writeln!(out, "Nothing waits or runs")?;
        return Ok(ExitCode::SUCCESS);
    }
    let jobs: Vec<&str> = status.jobs.iter().map(String::as_str).collect();
    cluster::cancel(jobs.iter().copied())?;
    writeln!(
        out,
        "Cancelled: {} ({}); what is stored stays",
        counted(jobs.len(), "job"),
        jobs.join(", ")
    )?;
    Ok(ExitCode::SUCCESS)
}
