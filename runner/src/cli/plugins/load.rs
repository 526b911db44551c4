//! Loading plugins, for all commands.

use crate::libraries::{FoundLibraries, Sources};
use anyhow::Result;
use gauntlet_core::registry::Registry;
use std::io::{self, Write};

/// Loads the libraries that `sources` name, and prints warnings.
///
/// # Errors
/// When a library is refused, or a folder or lock cannot be read.
pub(in crate::cli) fn load(
    sources: &Sources,
    verbose: bool,
    mut registry: Registry,
) -> Result<Registry> {
    let found = sources.load(&mut registry)?;
    tell(&found, verbose);
    found.check()?;
    Ok(registry)
}

/// Prints warnings and, with `-v`, what is no plugin.
pub(super) fn tell(found: &FoundLibraries, verbose: bool) {
    let warnings = found.warnings.iter().map(|warning| format!("warning: {warning}\n"));
    let notes = found
        .ignored
        .iter()
        .filter(|_| verbose)
        .map(|(path, what)| format!("note: {}: {what}\n", path.display()));
    let _ = write!(io::stderr(), "{}", warnings.chain(notes).collect::<String>());
}
