//! Loading plugins, for all commands.

use crate::libraries::{FoundLibraries, Rehearsal, Sources};
use anyhow::Result;
use gauntlet_core::registry::Registry;
use std::ffi::OsString;
use std::io::{self, Write};

/// How a library is loaded in a process of its own first: by the hidden command `rehearse`.
pub(in crate::cli) fn rehearsal() -> Rehearsal {
    Rehearsal::by_this_program(["plugins", "rehearse"].map(OsString::from))
}

/// Loads the libraries that `sources` name, and prints warnings. A library that does not survive
/// its rehearsal is left out.
///
/// # Errors
/// When a library is refused, or a folder or lock cannot be read.
pub(in crate::cli) fn load(
    sources: &Sources,
    verbose: bool,
    mut registry: Registry,
    rehearsal: &Rehearsal,
) -> Result<Registry> {
    let found = sources.load_rehearsed(&mut registry, rehearsal)?;
    tell(&found, verbose);
    for (_, error) in &found.lost {
        let _ = writeln!(io::stderr(), "warning: left out: {error:#}");
    }
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
