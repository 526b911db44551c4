//! `runner weights`: which weights there are, and getting more.

mod file;
mod folder;
mod list;
mod pull;

use anyhow::Result;
use clap::{Args, Subcommand};
use gauntlet_core::registry::Registry;
use std::io::Write;

/// See which weights there are, fetch the study's, take in your own, look at a file
#[derive(Args)]
#[command(after_help = "Weights lie in the folder `weights` of GAUNTLET_HOME, or else of \
                        $XDG_DATA_HOME/gauntlet or ~/.local/share/gauntlet.")]
pub(super) struct WeightsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(list::ListArgs),
    Pull(pull::PullArgs),
    /// Check a weights file, and put it into Gauntlet's folder as the weights of a model
    #[command(after_help = "Examples:
  runner weights import frozen_vgg_16.pb --model vgg_16
  runner weights import inception_v3.safetensors --model inception_v3 --params 'classes = 1000'

The file takes the place of what was there. It is stored as safetensors under the names of the \
                            reference checkpoint, and remembers parameters that are not the \
                            defaults. Pickles (.pt, .pth, .bin) are never opened.")]
    Import(file::FileArgs),
    /// Load a weights file strictly, run the network, and say what the file is or all that is wrong
    /// with it
    Check(file::FileArgs),
}

/// Performs a subcommand.
pub(super) fn weights(args: &WeightsArgs, registry: &Registry, out: &mut dyn Write) -> Result<()> {
    match &args.command {
        Command::List(args) => list::list(args, registry, out),
        Command::Pull(args) => pull::pull(args, registry, out),
        Command::Import(args) => file::import(args, registry, out),
        Command::Check(args) => file::check(args, registry, out),
    }
}
