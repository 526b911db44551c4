//! `runner plugins list`: the named plugins, and what each brings.

use crate::cli::plugins::load::{rehearsal, tell};
use crate::cli::text::SHORT_HASH;
use crate::libraries::Sources;
use crate::report::Grid;
use anyhow::Result;
use clap::Args;
use gauntlet_core::plugin::Library;
use gauntlet_core::registry::{Entry, Registry};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Show the plugin libraries that `--plugins` and GAUNTLET_PLUGINS name, and what each brings
#[derive(Args)]
#[command(after_help = "Example:
  runner plugins list --plugins target/debug")]
pub(super) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the plugins that `sources` name. The exit code is 1 when any is refused.
pub(super) fn list(
    args: &ListArgs,
    sources: &Sources,
    verbose: bool,
    mut registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let mut found = sources.load_rehearsed(&mut registry, &rehearsal())?;
    found.refused.append(&mut found.lost);
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
        let plugins: Vec<Value> = plugins.collect::<Result<_>>()?;
        let all = json!({ "plugins": plugins, "refused": refused, "ignored": ignored });
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

/// Kind and name of everything that a library brings.
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
