//! `runner plugins lock`: the hashes of the named plugins.

use crate::cli::plugins::load::tell;
use crate::libraries::{Sources, lock_line};
use anyhow::{Result, ensure};
use std::io::Write;
use std::process::ExitCode;

/// Prints a lock that admits the plugins that `sources` name.
pub(super) fn lock(sources: &Sources, verbose: bool, out: &mut dyn Write) -> Result<ExitCode> {
    let found = sources.search()?;
    tell(&found, verbose);
    found.check()?;
    ensure!(
        !found.libraries.is_empty(),
        "there is nothing to lock: name the plugins with `--plugins DIR`"
    );
    for library in &found.libraries {
        writeln!(out, "{}", lock_line(library))?;
    }
    Ok(ExitCode::SUCCESS)
}
