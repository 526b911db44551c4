//! `runner plugins inspect`: what a library says of itself.

use anyhow::Result;
use clap::Args;
use gauntlet_core::plugin::{Library, abi};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show what a library says of itself, and whether this program can load it. None of its code runs
#[derive(Args)]
pub(super) struct InspectArgs {
    /// The library
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints a library's stamp, and whether this program can load it. None of its code runs.
pub(super) fn inspect(args: &InspectArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let library = Library::read(&args.file)?;
    let fault = library.check();
    if args.json {
        let mut value = serde_json::to_value(&library)?;
        value["fault"] = fault.as_ref().err().map(|error| format!("{error:#}")).into();
        writeln!(out, "{}", serde_json::to_string_pretty(&value)?)?;
    } else {
        let stamp = &library.stamp;
        let panics = if library.aborts() {
            "ends the process: computes in processes of its own alone"
        } else {
            "costs a cell"
        };
        for (what, value) in [
            ("plugin", stamp.to_string()),
            ("file", library.path.display().to_string()),
            ("BLAKE3", library.hash.clone()),
            ("ABI", format!("{} (this program's: {})", stamp.abi, abi::ABI)),
            ("target", stamp.target.clone()),
            ("libtorch", stamp.libtorch.clone()),
            ("built with", [stamp.with.as_str(), stamp.compiler.as_str()].join(", ")),
            ("a panic", panics.to_owned()),
            ("entry", stamp.entry.clone()),
        ] {
            writeln!(out, "{what:<10}  {value}")?;
        }
        if fault.is_ok() {
            writeln!(out, "this program can load it")?;
        }
    }
    fault.map(|()| ExitCode::SUCCESS)
}
