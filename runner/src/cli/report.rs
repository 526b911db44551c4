//! `runner report`: the report of a results folder, written anew.

use crate::report::write_report;
use anyhow::Result;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Write the report of a results folder anew: report.html, and figures/ as SVG and PNG
#[derive(Args)]
pub(super) struct ReportArgs {
    /// The results folder, as `runner run` leaves it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the report.
pub(super) fn report(args: &ReportArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let page = write_report(&args.folder)?;
    writeln!(out, "Report: {}", page.display())?;
    Ok(ExitCode::SUCCESS)
}
