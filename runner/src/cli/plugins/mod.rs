//! `runner plugins`, and loading plugins for the other commands.

mod check;
mod new;

use crate::libraries::{FoundLibraries, Sources, lock_line};
use crate::report::Grid;
use anyhow::{Result, ensure};
use clap::{Args, Subcommand};
use gauntlet_core::plugin::{Library, abi};
use gauntlet_core::registry::{Entry, Registry};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// How much of a hash is shown where room is short.
pub(super) const SHORT_HASH: usize = 12;

/// Write plugin libraries, see which there are, what is in them, and what is wrong with them
#[derive(Args)]
pub(super) struct PluginsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(ListArgs),
    Inspect(InspectArgs),
    Check(check::CheckArgs),
    New(new::NewArgs),
    /// Print a lock that admits the plugins named now, and no others: `--plugins-lock FILE` reads
    /// it
    Lock,
}

/// Show the plugin libraries that `--plugins` and GAUNTLET_PLUGINS name, and what each brings
#[derive(Args)]
#[command(after_help = "Example:
  runner plugins list --plugins target/release")]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show what a library says of itself, and whether this program can load it. None of its code runs
#[derive(Args)]
struct InspectArgs {
    /// The library
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn plugins(
    args: &PluginsArgs,
    sources: &Sources,
    verbose: bool,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    match &args.command {
        Command::List(args) => list(args, sources, verbose, registry, out),
        Command::Inspect(args) => inspect(args, out),
        Command::Check(args) => check::check(args, sources, registry, out),
        Command::New(args) => new::new(args, &registry, out),
        Command::Lock => {
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
    }
}

/// Loads what `sources` name.
pub(super) fn load(sources: &Sources, verbose: bool, mut registry: Registry) -> Result<Registry> {
    let found = sources.load(&mut registry)?;
    tell(&found, verbose);
    found.check()?;
    Ok(registry)
}

/// Warnings, and at `-v` notes on what is no plugin.
fn tell(found: &FoundLibraries, verbose: bool) {
    let warnings = found.warnings.iter().map(|warning| format!("warning: {warning}\n"));
    let notes = found
        .ignored
        .iter()
        .filter(|_| verbose)
        .map(|(path, what)| format!("note: {}: {what}\n", path.display()));
    let _ = write!(io::stderr(), "{}", warnings.chain(notes).collect::<String>());
}

/// Kind and name of all that a library has brought.
fn brought(registry: &Registry, library: &Library) -> Vec<(&'static str, String)> {
    let of = |kind: &'static str, entry: &Entry| {
        entry
            .library
            .as_ref()
            .filter(|own| own.hash == library.hash)
            .map(|_| (kind, entry.name.clone()))
    };
    let models = registry.models().filter_map(|model| of("model", &model.entry));
    let attacks = registry.attacks().filter_map(|attack| of("attack", &attack.entry));
    let metrics = registry.metrics().filter_map(|metric| of("metric", &metric.entry));
    models.chain(attacks).chain(metrics).collect()
}

fn list(
    args: &ListArgs,
    sources: &Sources,
    verbose: bool,
    mut registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let found = sources.load(&mut registry)?;
    tell(&found, verbose);
    let code = if found.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) };
    if args.json {
        let plugins = found.libraries.iter().map(|library| {
            let mut value = serde_json::to_value(library)?;
            value["brings"] = brought(&registry, library)
                .into_iter()
                .map(|(kind, name)| json!({ "kind": kind, "name": name }))
                .collect();
            Ok(value)
        });
        let of = |path: &Path, reason: String| json!({ "path": path, "reason": reason });
        let refused: Vec<Value> =
            found.refused.iter().map(|(path, error)| of(path, format!("{error:#}"))).collect();
        let ignored: Vec<Value> =
            found.ignored.iter().map(|(path, what)| of(path, what.clone())).collect();
        let all = json!({ "plugins": plugins.collect::<Result<Vec<Value>>>()?, "refused": refused, "ignored": ignored });
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(code);
    }
    if sources.places.is_empty() {
        writeln!(
            out,
            "no plugins are named: `--plugins DIR` and the variable GAUNTLET_PLUGINS name folders \
             of them"
        )?;
    } else if found.libraries.is_empty() && found.refused.is_empty() {
        writeln!(out, "there are no plugins; `-v` says what else is there")?;
    }
    if !found.libraries.is_empty() {
        let mut grid = Grid::new(["plugin", "brings", "BLAKE3", "file"]);
        for library in &found.libraries {
            let brings: Vec<String> = brought(&registry, library)
                .into_iter()
                .map(|(kind, name)| format!("{kind} {name}"))
                .collect();
            grid.row([
                library.stamp.to_string(),
                brings.join(", "),
                library.hash[..SHORT_HASH].to_owned(),
                library.path.display().to_string(),
            ]);
        }
        grid.print(out, 4)?;
    }
    for (_, error) in &found.refused {
        writeln!(out, "refused: {error:#}")?;
    }
    Ok(code)
}

fn inspect(args: &InspectArgs, out: &mut dyn Write) -> Result<ExitCode> {
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
