//! `runner weights import` and `check`: what a weights file is, and whether it fits.

use crate::cli::weights::folder::weights_folder;
use crate::weights::{self, WeightsReport};
use anyhow::{Context, Result};
use clap::Args;
use gauntlet_core::params;
use gauntlet_core::registry::Registry;
use indicatif::DecimalBytes;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use toml::Table;

#[derive(Args)]
pub(super) struct FileArgs {
    /// safetensors in the names of the reference checkpoint or of timm or torchvision, or a frozen
    /// graph (.pb)
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whose weights they are, see `runner list models`
    #[arg(long, value_name = "NAME")]
    model: String,
    /// The model's parameters, as TOML: 'classes = 10'
    #[arg(long, value_name = "TOML", default_value = "", hide_default_value = true)]
    params: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Puts a weights file into Gauntlet's folder.
pub(super) fn import(args: &FileArgs, registry: &Registry, out: &mut dyn Write) -> Result<()> {
    let imported =
        weights::import(registry, &args.file, &args.model, &parameters(args)?, &weights_folder()?)?;
    if args.json {
        let mut value = serde_json::to_value(&imported.report)?;
        value["stored"] = json!({ "file": imported.path, "sha256": imported.sha256 });
        writeln!(out, "{}", serde_json::to_string_pretty(&value)?)?;
        return Ok(());
    }
    describe_report(&imported.report, out)?;
    writeln!(out, "\nstored: {}\n  sha256 {}", imported.path.display(), imported.sha256)?;
    if imported.as_it_is {
        writeln!(out, "  as it is, since the network reads more from the graph than its weights")?;
    }
    Ok(())
}

/// Prints what a weights file is.
pub(super) fn check(args: &FileArgs, registry: &Registry, out: &mut dyn Write) -> Result<()> {
    let report = weights::check(registry, &args.file, &args.model, &parameters(args)?)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    describe_report(&report, out)
}

fn parameters(args: &FileArgs) -> Result<Table> {
    params::parse(&args.params).with_context(|| format!("`--params '{}'`", args.params))
}

fn describe_report(report: &WeightsReport, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{}: fits {}", report.file.display(), report.model)?;
    let mut line = |name: &str, text: String| writeln!(out, "  {name:<12}{text}");
    line("form", report.form.clone())?;
    line("size", format!("{} ({} bytes)", DecimalBytes(report.size), report.size))?;
    line("tensors", format!("{}, {} numbers", report.tensors, report.values))?;
    line("sha256", report.sha256.clone())?;
    line("blake3", report.blake3.clone())?;
    let card = &report.card;
    let background = if card.label_offset == 1 { ", the first is background" } else { "" };
    line("network", format!("{} pixels, {} classes{background}", card.shape(), card.classes))?;
    let parameters = toml::to_string(&report.parameters)?;
    line("parameters", parameters.lines().collect::<Vec<_>>().join(", "))?;
    if let Some(note) = report.note.as_ref().filter(|note| !note.source.is_empty()) {
        line("made from", format!("{}, sha256 {}", note.source, note.source_sha256))?;
    }
    for fact in &report.facts {
        line("graph", fact.clone())?;
    }
    let answer = &report.answer;
    line(
        "logits",
        format!(
            "mean {:.4}, standard deviation {:.4} over two plain images; classes {:?}",
            answer.mean, answer.deviation, answer.classes
        ),
    )?;
    Ok(())
}
