//! `runner list`: everything that is registered, with all parameters.

use crate::cli::text::SHORT_HASH;
use crate::report::Grid;
use crate::study::{BUILT_IN, BuiltIn};
use anyhow::Result;
use clap::{Args, ValueEnum};
use gauntlet_core::params::PresetTable;
use gauntlet_core::registry::{Entry, MetricEntry, ModelEntry, Registry};
use serde_json::{Value, json};
use std::io::Write;
use toml::Table;

/// Show the models, attacks or metrics that a study can name, with their parameters, or the
/// built-in studies
#[derive(Args)]
#[command(after_help = "Examples:
  runner list attacks
  runner list models --json
  runner list studies")]
pub(super) struct ListArgs {
    /// What to show
    kind: Kind,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Models,
    Attacks,
    Metrics,
    Studies,
}

pub(super) fn list(args: &ListArgs, registry: &Registry, out: &mut dyn Write) -> Result<()> {
    if args.json {
        let all: Result<Vec<Value>> = match args.kind {
            Kind::Models => registry.models().map(model_json).collect(),
            Kind::Attacks => {
                Ok(registry.attacks().map(|attack| entry_json(&attack.entry)).collect())
            }
            Kind::Metrics => Ok(registry.metrics().map(metric_json).collect()),
            Kind::Studies => Ok(BUILT_IN.iter().map(study_json).collect()),
        };
        writeln!(out, "{}", serde_json::to_string_pretty(&all?)?)?;
        return Ok(());
    }
    match args.kind {
        Kind::Models => models(registry, out),
        Kind::Attacks => registry.attacks().try_for_each(|attack| entry(&attack.entry, "", out)),
        Kind::Metrics => registry.metrics().try_for_each(|metric| {
            let about = format!(
                " ({}, one value per {})",
                metric.unit,
                format!("{:?}", metric.scope).to_lowercase()
            );
            entry(&metric.entry, &about, out)
        }),
        Kind::Studies => {
            let mut grid = Grid::new(["name", "what"]);
            for study in &BUILT_IN {
                grid.row([study.name, study.summary()]);
            }
            Ok(grid.print(out, 2)?)
        }
    }
}

fn models(registry: &Registry, out: &mut dyn Write) -> Result<()> {
    let mut grid =
        Grid::new(["name", "family", "weights", "origin", "images", "classes", "published top-1"]);
    for model in registry.models() {
        let card = model.card(&model.entry.defaults)?;
        grid.row([
            model.entry.name.clone(),
            card.family.clone(),
            if model.embedded_weights.is_some() { "built in" } else { "a file" }.to_owned(),
            origin(&model.entry),
            card.shape().to_string(),
            card.classes.to_string(),
            card.top1.map_or_else(String::new, |top1| format!("{top1:.1}%")),
        ]);
    }
    grid.print(out, 4)?;
    for model in registry.models().filter(|model| !model.entry.defaults.is_empty()) {
        writeln!(out)?;
        entry(&model.entry, "", out)?;
    }
    Ok(())
}

fn entry(entry: &Entry, about: &str, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{}  {}{about}  [{}]", entry.name, entry.summary, origin(entry))?;
    parameters(entry, out)?;
    for PresetTable { name, summary, parameters } in &entry.presets {
        writeln!(out, "    preset {name}: {summary}")?;
        let other: Table = parameters
            .iter()
            .filter(|(key, value)| entry.defaults.get(*key) != Some(value))
            .map(own)
            .collect();
        table(&other, "        ", out)?;
    }
    Ok(())
}

/// Crate and version; for what a plugin library brings, also the library's file and hash.
fn origin(entry: &Entry) -> String {
    let Some(library) = &entry.library else { return entry.origin.clone() };
    let file = library.path.file_name().unwrap_or_default().to_string_lossy();
    format!("{}, {file} {}", entry.origin, &library.hash[..SHORT_HASH])
}

/// Prints the defaults, each below its description. A parameter without a default is an option that
/// is off.
fn parameters(entry: &Entry, out: &mut dyn Write) -> Result<()> {
    for described in &entry.descriptions {
        let choices = if described.choices.is_empty() {
            String::new()
        } else {
            format!(" One of: {}.", described.choices.join(", "))
        };
        for line in wrapped(&format!("{}{choices}", described.text), WIDTH) {
            writeln!(out, "    # {line}")?;
        }
        match entry.defaults.get_key_value(&described.name) {
            Some(default) => table(&Table::from_iter([own(default)]), "    ", out)?,
            None => writeln!(out, "    # {} = …", described.name)?,
        }
    }
    let described = |name: &str| entry.descriptions.iter().any(|described| described.name == name);
    table(
        &entry.defaults.iter().filter(|(name, _)| !described(name)).map(own).collect(),
        "    ",
        out,
    )
}

/// Greatest number of characters in a line of text.
const WIDTH: usize = 94;

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn own((key, value): (&String, &toml::Value)) -> (String, toml::Value) {
    (key.clone(), value.clone())
}

fn table(table: &Table, indent: &str, out: &mut dyn Write) -> Result<()> {
    for line in toml::to_string(table)?.lines() {
        writeln!(out, "{indent}{line}")?;
    }
    Ok(())
}

fn entry_json(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "summary": entry.summary,
        "origin": entry.origin,
        "plugin": entry.library.as_deref(),
        "parameters": entry.defaults,
        "descriptions": entry.descriptions,
        "presets": entry.presets,
    })
}

fn model_json(model: &ModelEntry) -> Result<Value> {
    let mut value = entry_json(&model.entry);
    value["card"] = serde_json::to_value(model.card(&model.entry.defaults)?)?;
    value["embedded_weights"] = model.embedded_weights.is_some().into();
    Ok(value)
}

fn study_json(study: &BuiltIn) -> Value {
    json!({ "name": study.name, "summary": study.summary(), "toml": study.text })
}

fn metric_json(metric: &MetricEntry) -> Value {
    let mut value = entry_json(&metric.entry);
    value["unit"] = metric.unit.as_str().into();
    value["scope"] = serde_json::to_value(metric.scope).unwrap_or_default();
    value["direction"] = serde_json::to_value(metric.direction).unwrap_or_default();
    value
}
