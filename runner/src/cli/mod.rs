//! The command line: parser, dispatch and exit codes. Each command has a file of its own.
//!
//! Exit codes: 0 all is well; 1 it is done, but cells have failed, answers of attacks are invalid,
//! or images were skipped by `predict`; 2 it could not be done: bad input, a folder that cannot be written to, no such
//! device; 130 and 143 a run was stopped by SIGINT (Ctrl-C) or SIGTERM.

mod cancel;
mod diff;
mod dry_run;
mod export;
mod introduce;
mod list;
mod plugin_options;
mod plugins;
mod predict;
mod progress;
mod report;
mod rerun;
mod results_folder;
mod run;
mod signal;
mod status;
mod study_args;
mod submit;
mod tables;
mod text;
mod weights;
mod work;

use crate::cli::plugin_options::PluginOptions;
use crate::process::own_output;
use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use gauntlet_core::registry::Registry;
use std::ffi::OsString;
use std::io::{self, LineWriter, Write};
use std::process::ExitCode;

/// Runs image classifiers through adversarial attacks and says how robust they are.
#[derive(Parser)]
#[command(
    name = "runner",
    version,
    max_term_width = 100,
    after_help = EXIT_CODES,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

impl Cli {
    /// The command and the options about plugins. Plugins without a command run the default study.
    fn parse(args: Vec<OsString>) -> Result<(Command, PluginOptions), clap::Error> {
        let matches = PluginOptions::everywhere(Self::command()).try_get_matches_from(&args)?;
        let mut plugins = PluginOptions::default();
        plugins.collect(&matches);
        match Self::from_arg_matches(&matches)?.command {
            Some(command) => Ok((command, plugins)),
            None if plugins.plugins.is_empty() => Err(Self::command().error(
                ErrorKind::MissingSubcommand,
                "a command is missing; `runner --help` lists them",
            )),
            None => Self::parse(args.into_iter().chain(["run".into(), "mini".into()]).collect()),
        }
    }
}

const EXIT_CODES: &str = "Exit codes: 0 all is well; 1 it is done, but cells have failed, answers of \
                          attacks are invalid, or images were skipped by `predict`; \
     2 it could not be done (bad input, a folder that cannot be written to, no such device); \
     130 and 143 a run was stopped by SIGINT (Ctrl-C) or SIGTERM.";

#[derive(Subcommand)]
enum Command {
    Run(run::RunArgs),
    List(list::ListArgs),
    Predict(predict::PredictArgs),
    Report(report::ReportArgs),
    Plugins(plugins::PluginsArgs),
    Rerun(rerun::RerunArgs),
    Diff(diff::DiffArgs),
    Tables(tables::TablesArgs),
    Export(export::ExportArgs),
    Submit(Box<submit::SubmitArgs>),
    Status(status::StatusArgs),
    Cancel(cancel::CancelArgs),
    Work(work::WorkArgs),
    Weights(weights::WeightsArgs),
}

/// Runs the program on the arguments of the command line, with everything that is linked in.
pub fn main() -> ExitCode {
    main_with(Registry::linked())
}

/// Runs the program on the arguments of the command line. What it writes itself goes to standard
/// output; what libtorch or a plugin prints goes to standard error.
pub fn main_with(registry: Result<Registry>) -> ExitCode {
    let (command, plugins) = match parse(std::env::args_os()) {
        Ok(found) => found,
        Err(code) => return code,
    };
    match own_output() {
        Ok(out) => conclude(command, &plugins, registry, &mut LineWriter::new(out)),
        Err(error) => failed(&error.into()),
    }
}

/// Runs the program on `args`, of which the first is its name. Tables go to `out`, all else to
/// standard error.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    registry: Result<Registry>,
    out: &mut dyn Write,
) -> ExitCode {
    match parse(args) {
        Ok((command, plugins)) => conclude(command, &plugins, registry, out),
        Err(code) => code,
    }
}

/// The command that arguments ask for. Otherwise says what is wrong with them, or shows the help
/// that they ask for, and gives the exit code.
fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Command, PluginOptions), ExitCode> {
    Cli::parse(args.into_iter().collect()).map_err(|error| {
        // clap returns help and version as errors too, with exit code 0.
        let code = error.exit_code();
        let _ = error.print();
        ExitCode::from(code as u8)
    })
}

fn conclude(
    command: Command,
    plugins: &PluginOptions,
    registry: Result<Registry>,
    out: &mut dyn Write,
) -> ExitCode {
    let done = registry.and_then(|registry| perform(command, plugins, registry, out));
    match done.and_then(|code| out.flush().map(|()| code).map_err(Into::into)) {
        Ok(code) => code,
        // The reader of the output has closed it, as `head` does.
        Err(error) if broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {error:#}");
    ExitCode::from(2)
}

fn perform(
    command: Command,
    options: &PluginOptions,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let rehearsal = plugins::rehearsal();
    let load = |registry| plugins::load(&options.sources(), options.verbose, registry, &rehearsal);
    match command {
        Command::Run(args) => run::run(&args, options, registry, out),
        Command::List(args) => list::list(&args, &load(registry)?, out).map(|()| ExitCode::SUCCESS),
        Command::Predict(args) => predict::predict(&args, &load(registry)?, out),
        Command::Report(args) => report::report(&args, out),
        Command::Plugins(args) => plugins::plugins(&args, options, registry, out),
        Command::Rerun(args) => rerun::rerun(&args, options, registry, out),
        Command::Diff(args) => diff::diff(&args, out),
        Command::Tables(args) => tables::tables(&args, options, registry, out),
        Command::Export(args) => export::export(&args, out),
        Command::Weights(args) => {
            weights::weights(&args, &load(registry)?, out).map(|()| ExitCode::SUCCESS)
        }
        Command::Submit(args) => submit::submit(&args, options, registry, out),
        Command::Status(args) => status::status(&args, out),
        Command::Cancel(args) => cancel::cancel(&args, out),
        Command::Work(args) => work::work(&args, registry, out),
    }
}

/// Whether the cause of an error is that nobody reads the output any more.
fn broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::{Cli, Command, PluginOptions};
    use std::path::PathBuf;

    fn parse(line: &str) -> Result<(Command, PluginOptions), String> {
        Cli::parse(line.split(' ').map(Into::into).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn plugins_alone_ask_for_the_default_study() {
        let (command, options) = parse("runner --plugins here -v").unwrap();
        let Command::Run(args) = command else { panic!("another command") };
        assert!(args.study.study == "mini" && args.study.images.is_none());
        assert!(options.plugins == [PathBuf::from("here")] && options.verbose);
        let error = parse("runner -v").err().unwrap();
        assert!(error.starts_with("error: a command is missing"), "{error}");
        assert!(parse("runner").err().unwrap().contains("Usage: runner"));
    }

    #[test]
    fn plugins_before_and_after_a_command_s_name_add_up() {
        let (command, options) =
            parse("runner --plugins a plugins --plugins=b list --plugins c --plugins-lock l")
                .unwrap();
        assert!(matches!(command, Command::Plugins(_)) && !options.verbose);
        assert_eq!(
            (options.plugins, options.plugins_lock),
            (["a", "b", "c"].map(PathBuf::from).to_vec(), vec![PathBuf::from("l")])
        );
    }
}
