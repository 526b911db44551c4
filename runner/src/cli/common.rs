//! What several commands share: common options, signals, the lines that introduce a study.

use crate::libraries::Sources;
use crate::study::{MemberKind, Study};
use anyhow::Result;
use clap::{ArgMatches, Args};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

// Options that may stand before and after every command's name, and in both places.
#[derive(Args, Default)]
pub(super) struct Common {
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

impl Common {
    /// Adds the options to a command and all below it. (clap's own `global` forgets what stands
    /// before a command's name when something stands after it too.)
    pub(super) fn everywhere(command: clap::Command) -> clap::Command {
        Self::augment_args(command).mut_subcommands(Self::everywhere)
    }

    /// Takes what stands before and after every command's name.
    pub(super) fn collect(&mut self, matches: &ArgMatches) {
        let paths = |name| matches.get_many::<PathBuf>(name).into_iter().flatten().cloned();
        self.plugins.extend(paths("plugins"));
        self.plugins_lock.extend(paths("plugins_lock"));
        self.verbose |= matches.get_flag("verbose");
        if let Some((_, below)) = matches.subcommand() {
            self.collect(below);
        }
    }

    pub(super) fn sources(&self) -> Sources {
        let listed = std::env::var_os("GAUNTLET_PLUGINS").unwrap_or_default();
        let listed = std::env::split_paths(&listed).filter(|path| !path.as_os_str().is_empty());
        Sources {
            places: self.plugins.iter().cloned().chain(listed).collect(),
            locks: self.plugins_lock.clone(),
        }
    }
}

/// Lets the first SIGINT or SIGTERM set `cancel`; the second ends the program at once. Which it
/// was can be read from the answer.
pub(super) fn stop_on_signal(cancel: &Arc<AtomicBool>) -> Result<Arc<AtomicUsize>> {
    let which = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, cancel.clone())?;
        flag::register_usize(signal, which.clone(), signal as usize)?;
        flag::register(signal, cancel.clone())?;
    }
    Ok(which)
}

/// `1 cell`, `2 cells`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

pub(super) fn introduce(study: &Study, out: &mut dyn Write) -> Result<()> {
    let transfer = study
        .transfer
        .map_or_else(|| "no transfer".to_owned(), |policy| format!("transfer {}", policy.name()));
    let parts = [
        counted(study.data.pictures.len(), "image"),
        counted(study.models.len(), "model"),
        counted(study.attacks.len(), "attack"),
        transfer,
    ];
    writeln!(out, "{}: {}", study.name, parts.join(", "))?;
    if !study.plugins.is_empty() {
        let plugins: Vec<String> =
            study.plugins.iter().map(|library| library.stamp.to_string()).collect();
        writeln!(out, "plugins {}", plugins.join(", "))?;
    }
    if !study.joined.is_empty() {
        let joined: Vec<String> =
            study.joined.iter().map(|(kind, label)| format!("{kind} {label}")).collect();
        writeln!(out, "joined by {}", joined.join(", "))?;
    }
    let mut left_out: BTreeMap<(MemberKind, &str), Vec<&str>> = BTreeMap::new();
    for out in &study.left_out {
        left_out.entry((out.kind, &out.reason)).or_default().push(&out.name);
    }
    for ((kind, reason), names) in left_out {
        writeln!(out, "left out: {kind} {}: {reason}", names.join(", "))?;
    }
    if let Some(asked) = study.data.asked.filter(|&asked| asked > study.data.pictures.len()) {
        writeln!(out, "{asked} images were asked for, but there are no more")?;
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for skipped in &study.data.skipped {
        let reason = skipped.reason.split(':').next().unwrap_or_default();
        *reasons.entry(reason).or_default() += 1;
    }
    if !reasons.is_empty() {
        let reasons: Vec<String> =
            reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        writeln!(
            out,
            "{} skipped ({}), see skipped.csv",
            counted(study.data.skipped.len(), "file"),
            reasons.join("; ")
        )?;
    }
    Ok(())
}
