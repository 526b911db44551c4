//! The command line. Exit codes: 0 all is well; 1 it is done, but cells have failed or images were
//! skipped by `predict`; 2 it could not be done: bad input, a folder that cannot be written to, no
//! such device; 130 and 143 a run was stopped by SIGINT (Ctrl-C) or SIGTERM.

mod cluster;
mod common;
mod dry_run;
mod list;
mod plugins;
mod predict;
mod progress;
mod results;
mod run;
mod study_args;
mod weights;
mod work;

use crate::cli::common::Common;
use crate::cli::run::{RunArgs, study};
use crate::report;
use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use gauntlet_core::registry::Registry;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs image classifiers through adversarial attacks and says how robust they are.
#[derive(Parser)]
#[command(name = "runner", version, max_term_width = 100, after_help = EXIT_CODES, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// What is asked for, and the options that stand anywhere. Plugins alone ask for the default
    /// study.
    fn parse(args: Vec<OsString>) -> Result<(Command, Common), clap::Error> {
        let matches = Common::everywhere(Self::command()).try_get_matches_from(&args)?;
        let mut common = Common::default();
        common.collect(&matches);
        match Self::from_arg_matches(&matches)?.command {
            Some(command) => Ok((command, common)),
            None if common.plugins.is_empty() => Err(Self::command().error(
                ErrorKind::MissingSubcommand,
                "a command is missing; `runner --help` lists them",
            )),
            None => Self::parse(args.into_iter().chain(["run".into(), "mini".into()]).collect()),
        }
    }
}

const EXIT_CODES: &str = "Exit codes: 0 all is well; 1 it is done, but cells have failed or images \
                          were skipped by `predict`; \
     2 it could not be done (bad input, a folder that cannot be written to, no such device); \
     130 and 143 a run was stopped by SIGINT (Ctrl-C) or SIGTERM.";

#[derive(Subcommand)]
enum Command {
    Run(RunArgs),
    List(list::ListArgs),
    Predict(predict::PredictArgs),
    Report(ReportArgs),
    Plugins(plugins::PluginsArgs),
    Rerun(results::RerunArgs),
    Diff(results::DiffArgs),
    Export(results::ExportArgs),
    Submit(Box<cluster::SubmitArgs>),
    Status(cluster::StatusArgs),
    Cancel(cluster::CancelArgs),
    Work(work::WorkArgs),
    Weights(weights::WeightsArgs),
}

/// Write the report of a results' folder anew: report.html, and figures/ as SVG and PNG
#[derive(Args)]
struct ReportArgs {
    /// The results' folder, as `runner run` leaves it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// How many failed cells are named.
const SHOWN: usize = 20;

/// Runs the program on the command line's arguments with everything that is linked in.
pub fn main() -> ExitCode {
    run(std::env::args_os(), Registry::linked(), &mut io::stdout())
}

/// Runs the program on `args` (the first is its name). Tables go to `out`, all else to stderr.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    registry: Result<Registry>,
    out: &mut dyn Write,
) -> ExitCode {
    let (command, common) = match Cli::parse(args.into_iter().collect()) {
        Ok(found) => found,
        Err(error) => {
            // Help and version come this way too.
            let code = error.exit_code();
            let _ = error.print();
            return ExitCode::from(code as u8);
        }
    };
    let done = registry.and_then(|registry| perform(command, &common, registry, out));
    match done.and_then(|code| out.flush().map(|()| code).map_err(Into::into)) {
        Ok(code) => code,
        // Whoever reads the output has seen enough.
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn perform(
    command: Command,
    common: &Common,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let sources = common.sources();
    let load = |registry| plugins::load(&sources, common.verbose, registry);
    match command {
        Command::Run(args) => study(&args, common, registry, out),
        Command::List(args) => list::list(&args, &load(registry)?, out).map(|()| ExitCode::SUCCESS),
        Command::Predict(args) => predict::predict(&args, &load(registry)?, out),
        Command::Report(args) => {
            let page = report::write_report(&args.folder)?;
            writeln!(out, "Report: {}", page.display())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Plugins(args) => plugins::plugins(&args, &sources, common.verbose, registry, out),
        Command::Rerun(args) => results::rerun(&args, common, registry, out),
        Command::Diff(args) => results::diff(&args, out),
        Command::Export(args) => results::export(&args, common, registry, out),
        Command::Weights(args) => {
            weights::weights(&args, &load(registry)?, out).map(|()| ExitCode::SUCCESS)
        }
        Command::Submit(args) => cluster::submit(&args, common, registry, out),
        Command::Status(args) => cluster::status(&args, out),
        Command::Cancel(args) => cluster::cancel(&args, out),
        Command::Work(args) => work::work(&args, registry, out),
    }
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::{Cli, Command, Common, PathBuf};

    fn parse(line: &str) -> Result<(Command, Common), String> {
        Cli::parse(line.split(' ').map(Into::into).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn plugins_alone_ask_for_the_default_study() {
        let (command, common) = parse("runner --plugins here -v").unwrap();
        assert!(
            matches!(command, Command::Run(args) if args.study.study == "mini" && args.study.images.is_none())
        );
        assert!(common.plugins == [PathBuf::from("here")] && common.verbose);
        let error = parse("runner -v").err().unwrap();
        assert!(error.starts_with("error: a command is missing"), "{error}");
        assert!(parse("runner").err().unwrap().contains("Usage: runner"));
    }

    #[test]
    fn plugins_before_and_after_a_command_s_name_add_up() {
        let (command, common) =
            parse("runner --plugins a plugins --plugins=b list --plugins c --plugins-lock l")
                .unwrap();
        assert!(matches!(command, Command::Plugins(_)) && !common.verbose);
        assert_eq!(
            (common.plugins, common.plugins_lock),
            (["a", "b", "c"].map(PathBuf::from).to_vec(), vec![PathBuf::from("l")])
        );
    }
}
