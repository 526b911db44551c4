//! `runner weights`: which weights there are, and getting more.

use super::plugins::SHORT_HASH;
use super::progress::Transfer;
use crate::home;
use crate::report::Grid;
use crate::weights::{self, DownloadSettings, ECCV2018, WeightsReport};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use gauntlet_core::params;
use gauntlet_core::registry::{ModelEntry, Registry};
use indicatif::DecimalBytes;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use toml::Table;

/// See which weights there are, fetch the study's, take in your own, look at a file
#[derive(Args)]
#[command(after_help = "Weights lie in the folder `weights` of GAUNTLET_HOME, or else of \
                        $XDG_DATA_HOME/gauntlet or ~/.local/share/gauntlet.")]
pub(super) struct WeightsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    List(ListArgs),
    Pull(PullArgs),
    /// Check a weights file, and put it into Gauntlet's folder as the weights of a model
    #[command(after_help = "Examples:
  runner weights import frozen_vgg_16.pb --model vgg_16
  runner weights import inception_v3.safetensors --model inception_v3 --params 'classes = 1000'

The file takes the place of what was there. It is stored as safetensors under the names of the \
                            reference checkpoint, and remembers parameters that are not the \
                            defaults. Pickles (.pt, .pth, .bin) are never opened.")]
    Import(FileArgs),
    /// Load a weights file strictly, run the network, and say what the file is or all that is wrong
    /// with it
    Check(FileArgs),
}

/// Show every model's weights: whether they are there, size, sha256, licence, and where they come
/// from
#[derive(Args)]
struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Fetch the weights of the ECCV 2018 study: of all its models, or of some
#[derive(Args)]
#[command(after_help = "Examples:
  runner weights pull eccv2018
  runner weights pull vgg_16 vgg_19

The authors publish one archive of 2.8 GB, so a single model takes the whole download; the archive \
                        is kept until nothing \
is left to take from it. A download that was stopped goes on where it was. A proxy is taken from \
                        HTTP_PROXY, HTTPS_PROXY, ALL_PROXY \
and NO_PROXY; `mirror` and `proxy` may also stand in config.toml in Gauntlet's folder.")]
struct PullArgs {
    /// eccv2018, or models
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// An address under which the archive lies too; GAUNTLET_MIRROR does the same
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
}

#[derive(Args)]
struct FileArgs {
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

pub(super) fn weights(args: &WeightsArgs, registry: &Registry, out: &mut dyn Write) -> Result<()> {
    match &args.command {
        Command::List(args) => list(args, registry, out),
        Command::Pull(args) => pull(args, registry, out),
        Command::Import(args) => import(args, registry, out),
        Command::Check(args) => check(args, registry, out),
    }
}

fn folder() -> Result<PathBuf> {
    home::folder().context("there is no place for weights: set GAUNTLET_HOME, or HOME")
}

/// A row of `list`.
struct Row<'a> {
    model: &'a str,
    /// In Gauntlet's folder.
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
        // What is part of the program comes before what lies in the folder.
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
        // An imported file is safetensors, and may come from anywhere; the study's are graphs.
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

fn list(args: &ListArgs, registry: &Registry, out: &mut dyn Write) -> Result<()> {
    let folder = home::folder();
    let rows: Vec<Row> =
        registry.models().map(|entry| Row::new(entry, folder.as_deref())).collect::<Result<_>>()?;
    let archive = &ECCV2018;
    let url = format!("{}{}", archive.base, archive.file);
    if args.json {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        let archives = json!([{ "name": archive.name, "url": url, "size": archive.size, "sha256": archive.sha256,
            "models": archive.members.iter().map(|member| member.model).collect::<Vec<_>>() }]);
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

fn pull(args: &PullArgs, registry: &Registry, out: &mut dyn Write) -> Result<()> {
    let mut models: Vec<&str> = Vec::new();
    for name in &args.names {
        if *name == ECCV2018.name {
            models.extend(ECCV2018.members.iter().map(|member| member.model));
        } else if ECCV2018.member(name).is_some() {
            models.push(name);
        } else {
            let entry = registry.models().find(|entry| entry.entry.name == *name);
            match entry {
                Some(entry) if entry.embedded_weights.is_some() => {
                    bail!(
                        "the weights of `{name}` are part of the program: there is nothing to pull"
                    )
                }
                Some(_) => bail!(
                    "nobody is known who publishes weights of `{name}`: take in a file with \
                     `runner weights import FILE --model {name}`"
                ),
                None => {
                    let known: Vec<&str> = ECCV2018
                        .members
                        .iter()
                        .map(|member| member.model)
                        .chain([ECCV2018.name])
                        .collect();
                    bail!(
                        "there are no weights called `{name}`{} (`runner weights list` shows all)",
                        params::suggestion(name, &known)
                    );
                }
            }
        }
    }
    models.sort_unstable();
    models.dedup();
    let mut settings = DownloadSettings::read()?;
    settings.mirror = args.mirror.clone().or(settings.mirror);
    let folder = folder()?;
    let pulled = weights::pull(&ECCV2018, &models, &folder, &settings, &Transfer::new())?;
    for (model, file) in &pulled.there {
        writeln!(out, "{model}: is there already, {}; remove it to pull it again", file.display())?;
    }
    for (model, file) in &pulled.taken {
        writeln!(out, "{model}: {}", file.display())?;
    }
    if let Some(archive) = &pulled.kept {
        writeln!(
            out,
            "The archive is kept for the models still in it ({}); remove it if you want no more of \
             them: {}",
            DecimalBytes(ECCV2018.size),
            archive.display()
        )?;
    }
    Ok(())
}

fn parameters(args: &FileArgs) -> Result<Table> {
    params::parse(&args.params).with_context(|| format!("`--params '{}'`", args.params))
}

fn import(args: &FileArgs, registry: &Registry, out: &mut dyn Write) -> Result<()> {
    let imported =
        weights::import(registry, &args.file, &args.model, &parameters(args)?, &folder()?)?;
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

fn check(args: &FileArgs, registry: &Registry, out: &mut dyn Write) -> Result<()> {
    let report = weights::check(registry, &args.file, &args.model, &parameters(args)?)?;
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        return Ok(());
    }
    describe_report(&report, out)
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
    line("network", format!("{0}×{0} pixels, {1} classes{background}", card.side, card.classes))?;
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
