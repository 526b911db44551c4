//! `runner plugins`, and loading plugins for the other commands.

mod check;
mod inspect;
mod list;
mod load;
mod lock;
mod new;

use crate::cli::plugin_options::PluginOptions;
use crate::libraries::serve_rehearsal;
use anyhow::Result;
use clap::{Args, Subcommand};
use gauntlet_core::registry::Registry;
pub(super) use load::{load, rehearsal};
use std::io::Write;
use std::process::ExitCode;

/// Write plugin libraries, see which there are, what is in them, and what is wrong with them
#[derive(Args)]
pub(super) struct PluginsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(list::ListArgs),
    Inspect(inspect::InspectArgs),
    Check(check::CheckArgs),
    New(new::NewArgs),
    /// Print a lock that admits the plugins named now, and no others: `--plugins-lock FILE` reads
    /// it
    Lock,
    /// Load libraries and do what another process of this program asks of them, through a pipe
    #[command(hide = true)]
    Rehearse,
}

/// Performs a subcommand.
pub(super) fn plugins(
    args: &PluginsArgs,
    options: &PluginOptions,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let sources = &options.sources();
    match &args.command {
        Command::List(args) => list::list(args, sources, options.verbose, registry, out),
        Command::Inspect(args) => inspect::inspect(args, out),
        Command::Check(args) => check::check(args, sources, registry, out),
        Command::New(args) => new::new(args, &registry, out),
        Command::Lock => lock::lock(sources, options.verbose, out),
        Command::Rehearse => serve_rehearsal().map(|()| ExitCode::SUCCESS),
    }
}
