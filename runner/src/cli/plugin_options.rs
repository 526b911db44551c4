//! The options about plugins, which all commands have.

use crate::libraries::Sources;
use clap::{ArgMatches, Args};
use std::path::PathBuf;

// No docstring: clap would take it for the help of every command. These options may stand before
// and after every command's name.
#[derive(Args, Default)]
pub(super) struct PluginOptions {
    /// Load the plugin libraries in this folder, or this one library; may be given more than once.
    /// The path list GAUNTLET_PLUGINS names more. Their code runs with all your rights
    #[arg(long, value_name = "DIR", help_heading = "Plugins")]
    pub(super) plugins: Vec<PathBuf>,
    /// Load only libraries whose hashes stand in this file; `runner plugins lock` writes one
    #[arg(long, value_name = "FILE", help_heading = "Plugins")]
    pub(super) plugins_lock: Vec<PathBuf>,
    /// Say more, such as what in a folder is no plugin
    #[arg(short, long, help_heading = "Plugins")]
    pub(super) verbose: bool,
}

impl PluginOptions {
    /// Adds the options to a command and all its subcommands. clap's own `global` is no choice: it
    /// forgets the values before a command's name when there are values after it.
    pub(super) fn everywhere(command: clap::Command) -> clap::Command {
        Self::augment_args(command).mut_subcommands(Self::everywhere)
    }

    /// Collects the values before and after every command's name.
    pub(super) fn collect(&mut self, matches: &ArgMatches) {
        let paths = |name| matches.get_many::<PathBuf>(name).into_iter().flatten().cloned();
        self.plugins.extend(paths("plugins"));
        self.plugins_lock.extend(paths("plugins_lock"));
        self.verbose |= matches.get_flag("verbose");
        if let Some((_, below)) = matches.subcommand() {
            self.collect(below);
        }
    }

    /// The plugins that these options and the variable `GAUNTLET_PLUGINS` name.
    pub(super) fn sources(&self) -> Sources {
        let listed = std::env::var_os("GAUNTLET_PLUGINS").unwrap_or_default();
        let listed = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty());
        Sources {
            places: self.plugins.iter().cloned().chain(listed).collect(),
            locks: self.plugins_lock.clone(),
        }
    }
}
