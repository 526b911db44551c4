//! `runner tables`: the tables of a results folder.

use crate::analysis::{self, OutcomeSink, Outcomes};
use crate::cli::plugin_options::PluginOptions;
use crate::cli::results_folder::ResultsFolder;
use crate::report::{self, Shape};
use anyhow::{Context, Result};
use clap::Args;
use gauntlet_core::registry::Registry;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Print the tables of a results folder: accuracy, success, scores, transfer
#[derive(Args)]
#[command(after_help = "Examples:
  runner tables results/mini | less
  runner tables results/mini --attack cw_l2 --markdown
  runner tables results/mini --csv > tables.csv

The results folder has more: success.csv, transfer.csv, robust_accuracy.csv and so on.")]
pub(super) struct TablesArgs {
    /// A results folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Only these attacks, by label
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    attack: Vec<String>,
    /// As comma-separated values, each table under a line with its title
    #[arg(long, conflicts_with = "markdown")]
    csv: bool,
    /// As tables of Markdown
    #[arg(long)]
    markdown: bool,
}

/// Prints the tables that are asked for.
pub(super) fn tables(
    args: &TablesArgs,
    options: &PluginOptions,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let ResultsFolder { study, plan, store, .. } =
        ResultsFolder::open(&args.folder, options, registry)?;
    let known = || study.attacks.iter().map(|attack| attack.part.label.as_str());
    let place = |wanted: &String| {
        known().position(|label| label == wanted).with_context(|| {
            let all: Vec<&str> = known().collect();
            format!("the study has no attack `{wanted}`; it has {}", all.join(", "))
        })
    };
    let attacks = if args.attack.is_empty() {
        (0..study.attacks.len()).collect()
    } else {
        args.attack.iter().map(place).collect::<Result<Vec<_>>>()?
    };
    let shape = match (args.csv, args.markdown) {
        (true, _) => Shape::Csv,
        (_, true) => Shape::Markdown,
        _ => Shape::Aligned,
    };
    let tables = analysis::analyse(&study, &plan, &store, &mut Unheeded)?;
    report::print_tables(&study, &tables, &attacks, shape, out)?;
    Ok(ExitCode::SUCCESS)
}

/// Takes single outcomes, of which no table is made here.
struct Unheeded;

impl OutcomeSink for Unheeded {
    fn slice(&mut self, _: &Outcomes) -> Result<()> {
        Ok(())
    }
}
