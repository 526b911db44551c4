//! `runner rerun`: computes one outcome again and compares it with what is stored.

use crate::cli::plugin_options::PluginOptions;
use crate::cli::progress::Terminal;
use crate::cli::results_folder::ResultsFolder;
use crate::cli::study_args::Isolate;
use crate::engine;
use crate::report::outcomes::{self, Outcome};
use crate::results::rerun;
use anyhow::{Context, Result};
use clap::Args;
use gauntlet_core::device;
use gauntlet_core::registry::Registry;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Compute one outcome again and say whether it agrees with what is stored
#[derive(Args)]
#[command(after_help = "Example:
  runner rerun results/mini 1234

The cells that the outcome rests on are computed again as wholes, from the images on, and their \
                        rows for
its image compared bit for bit; and the row with those that are stored. Exit code 1 when something \
                        differs, as it may on another processor.")]
pub(super) struct RerunArgs {
    /// A results folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Number of the row in its outcomes.parquet, from 0
    #[arg(value_name = "ROW")]
    row: usize,
}

/// Computes the cells of one outcome again.
pub(super) fn rerun(
    args: &RerunArgs,
    options: &PluginOptions,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let (mut found, mut count) = (None, 0);
    outcomes::read(&args.folder, |number, outcome| {
        count = number + 1;
        if number == args.row {
            found = Some(outcome);
        }
        Ok(())
    })?;
    let outcome: Outcome = found.with_context(|| {
        format!("there is no row {}: the folder has {count}, counted from 0", args.row)
    })?;
    let row = &outcome.row;
    let ResultsFolder { registry, study, plan, store, device } =
        ResultsFolder::open(&args.folder, options, registry)?;
    let mut options = engine::RunOptions::on(device::open(&device)?);
    options.isolation = Isolate::Auto.isolation();
    writeln!(
        out,
        "row {}: {} ({}) on {}, given to {}, image {}",
        args.row, row.attack, row.goal, row.source, row.target, row.image
    )?;
    let parts =
        rerun::rerun(&study, &plan, &store, &registry, &options, &Terminal::new(), &outcome)?;
    for part in &parts {
        writeln!(
            out,
            "  {}: {}",
            part.cell,
            if part.differences.is_empty() { "agrees" } else { "differs" }
        )?;
        for difference in &part.differences {
            writeln!(out, "    {difference}")?;
        }
    }
    let agrees = parts.iter().all(|part| part.differences.is_empty());
    writeln!(
        out,
        "{}",
        if agrees { "The row agrees, bit for bit." } else { "The row differs (stored, again)." }
    )?;
    Ok(ExitCode::from(u8::from(!agrees)))
}
