//! `runner weights list`: every model's weights.

use crate::cli::text::SHORT_HASH;
use crate::home;
use crate::report::Grid;
use crate::weights::{self, ECCV2018};
use anyhow::{Context, Result};
use clap::Args;
use gauntlet_core::registry::{ModelEntry, Registry};
use indicatif::DecimalBytes;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Show every model's weights: whether they are there, size, sha256, licence, and where they come
/// from
#[derive(Args)]
pub(super) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the weights of all registered models.
pub(super) fn list(args: &ListArgs, registry: &Registry, out: &mut dyn Write) -> Result<()> {
    let folder = home::folder();
    let rows: Vec<Row> =
        registry.models().map(|entry| Row::new(entry, folder.as_deref())).collect::<Result<_>>()?;
    let archive = &ECCV2018;
    let url = format!("{}{}", archive.base, archive.file);
    if args.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        let archives = json!([{
            "name": archive.name,
            "url": url,
            "size": archive.size,
            "sha256": archive.sha256,
            "models": archive.members.iter().map(|member| member.model).collect::<Vec<_>>(),
        }]);
        writeln!(
            out,
            "{}",
            serde_json::to_string_pretty(
                &json!({ "folder": folder, "weights": rows, "archives": archives })
            )?
        )?;
        return Ok(());
    }
    let mut grid = Grid::new(["model", "there", "source", "licence", "sha256", "size", "file"]);
    for row in &rows {
        grid.row([
            row.model.to_owned(),
            row.presence().to_owned(),
            row.source.to_owned(),
            row.licence.to_owned(),
            row.sha256.as_ref().map_or_else(String::new, |sum| sum[..SHORT_HASH].to_owned()),
            row.size.map_or_else(String::new, |size| DecimalBytes(size).to_string()),
            row.file
                .as_ref()
                .and_then(|file| Some(file.file_name()?.to_string_lossy().into_owned()))
                .unwrap_or_default(),
        ]);
    }
    grid.print(out, 5)?;
    if let Some(folder) = folder {
        writeln!(out, "\nFolder: {}", folder.display())?;
    }
    writeln!(
        out,
        "{}: {} frozen graphs in one archive of {}, {url}\n  sha256 {}; `runner weights pull {}` \
         gets all, `pull MODEL` one. The archive \
         states no licence;\n  those shown are of the weights' first publishers.",
        archive.name,
        archive.members.len(),
        DecimalBytes(archive.size),
        archive.sha256,
        archive.name
    )?;
    Ok(())
}

/// What is known of a model's weights.
struct Row<'a> {
    model: &'a str,
    /// The file in Gauntlet's folder.
    file: Option<PathBuf>,
    embedded: bool,
    size: Option<u64>,
    sha256: Option<String>,
    licence: &'a str,
    source: &'a str,
}

impl<'a> Row<'a> {
    fn new(entry: &'a ModelEntry, folder: Option<&Path>) -> Result<Self> {
        let model = entry.entry.name.as_str();
        let member = ECCV2018.member(model);
        // Without `--weights`, weights in the program come before those in the folder.
        let embedded = entry.embedded_weights;
        let file =
            folder.filter(|_| embedded.is_none()).and_then(|folder| weights::find(model, folder));
        let (size, sha256) = match (&file, embedded) {
            (Some(file), _) => {
                let place = || format!("weights {}", file.display());
                (
                    Some(file.metadata().with_context(place)?.len()),
                    Some(weights::sum(file).with_context(place)?),
                )
            }
            (None, Some(bytes)) => (Some(bytes.len() as u64), Some(weights::sum_of(bytes))),
            (None, None) => (None, None),
        };
        // The study's files are graphs. A safetensors file was imported and may come from anywhere.
        let imported = file
            .as_ref()
            .is_some_and(|file| file.extension().is_some_and(|end| end == "safetensors"));
        let (source, licence) = match (member, embedded) {
            (_, Some(_)) => ("part of the program", env!("CARGO_PKG_LICENSE")),
            (Some(member), None) if !imported => (ECCV2018.name, member.licence),
            _ => ("import", ""),
        };
        Ok(Self { model, file, embedded: embedded.is_some(), size, sha256, licence, source })
    }

    fn presence(&self) -> &'static str {
        match (&self.file, self.embedded) {
            (Some(_), _) => "yes",
            (None, true) => "built in",
            (None, false) => "no",
        }
    }

    fn json(&self) -> Value {
        json!({
            "model": self.model,
            "present": self.file.is_some() || self.embedded,
            "built_in": self.embedded,
            "file": self.file,
            "size": self.size,
            "sha256": self.sha256,
            "licence": self.licence,
            "source": self.source,
        })
    }
}
