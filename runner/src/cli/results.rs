//! Commands on results' folders: `rerun`, `diff`, `export`.

use super::plugins;
use super::progress::Terminal;
use crate::cli::common::{Common, counted};
use crate::cli::study_args::Isolate;
use crate::engine;
use crate::engine::plan::Plan;
use crate::report::outcomes::{self, Outcome};
use crate::report::{self, Grid};
use crate::results::diff::{self, Comparison, Pairing};
use crate::results::rerun;
use crate::store::rows::CraftRow;
use crate::store::{Store, safetensors, write_atomically};
use crate::study::{Study, StudyOptions};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use gauntlet_core::device;
use gauntlet_core::registry::Registry;
use image::{ImageFormat, RgbImage};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tch::{Kind, Tensor};

/// A results' folder with its study.
struct Results {
    registry: Registry,
    study: Study,
    plan: Plan,
    store: Store,
    /// The kind of device that computed it: `cpu` or `cuda`.
    kind: String,
}

impl Results {
    fn open(folder: &Path, common: &Common, registry: Registry) -> Result<Self> {
        let kind = report::device(folder)?;
        let file = folder.join("study.toml");
        let name = file.to_str().with_context(|| format!("{} is not UTF-8", file.display()))?;
        let wanted = common.sources().and(Study::sources(name, &[])?);
        let registry = plugins::load(&wanted, common.verbose, registry)?;
        let study = Study::open(name, &registry, StudyOptions::default())?;
        let plan = Plan::new(&study, &kind);
        Ok(Self { kind, store: Store::open(folder)?, registry, study, plan })
    }
}

/// Compute one outcome again and say whether it agrees with what is stored
#[derive(Args)]
#[command(after_help = "Example:
  runner rerun results/mini 1234

The cells that the outcome rests on are computed again as wholes, from the images on, and their \
                        rows for
its image compared bit for bit; and the row with those that are stored. Exit code 1 when something \
                        differs, as it may on another processor.")]
pub(super) struct RerunArgs {
    /// A results' folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Number of the row in its outcomes.parquet, from 0
    #[arg(value_name = "ROW")]
    row: usize,
}

pub(super) fn rerun(
    args: &RerunArgs,
    common: &Common,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let (mut found, mut count) = (None, 0);
    outcomes::read(&args.folder, |number, outcome| {
        count = number + 1;
        if number == args.row {
            found = Some(outcome);
        }
        Ok(())
    })?;
    let outcome: Outcome = found.with_context(|| {
        format!("there is no row {}: the folder has {count}, counted from 0", args.row)
    })?;
    let row = &outcome.row;
    let Results { registry, study, plan, store, kind } =
        Results::open(&args.folder, common, registry)?;
    let mut options = engine::RunOptions::on(device::open(&kind)?);
    options.isolation = Isolate::Auto.isolation();
    writeln!(
        out,
        "row {}: {} ({}) on {}, given to {}, image {}",
        args.row, row.attack, row.goal, row.source, row.target, row.image
    )?;
    let parts =
        rerun::rerun(&study, &plan, &store, &registry, &options, &Terminal::new(), &outcome)?;
    for part in &parts {
        writeln!(
            out,
            "  {}: {}",
            part.cell,
            if part.differences.is_empty() { "agrees" } else { "differs" }
        )?;
        for difference in &part.differences {
            writeln!(out, "    {difference}")?;
        }
    }
    let agrees = parts.iter().all(|part| part.differences.is_empty());
    writeln!(
        out,
        "{}",
        if agrees { "The row agrees, bit for bit." } else { "The row differs (stored, again)." }
    )?;
    Ok(ExitCode::from(u8::from(!agrees)))
}

/// Compare the outcomes in two results' folders, image by image, with paired tests
#[derive(Args)]
#[command(after_help = "Example:
  runner diff results/old-weights results/new-weights

Outcomes are the same where source, target, attack and goal have the same labels, the class aimed \
                        at is the
same, and the image has the same content. Success is compared by McNemar's exact test, distortion \
                        by Wilcoxon's signed-rank test on the
images on which both succeed; p is corrected for the number of tests (Holm). What has p < 0.05 is \
                        marked with `*`.")]
pub(super) struct DiffArgs {
    /// A results' folder
    #[arg(value_name = "A")]
    first: PathBuf,
    /// Another
    #[arg(value_name = "B")]
    second: PathBuf,
}

/// So many pairs of models are shown.
const SHOWN: usize = 20;
/// So many names of what only one folder has.
const NAMES: usize = 10;
const SIGNIFICANT: f64 = 0.05;

pub(super) fn diff(args: &DiffArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let comparison = diff::compare(&args.first, &args.second)?;
    let Comparison { common, first_only, second_only, .. } = comparison;
    writeln!(out, "{common} outcomes in both, {first_only} in A alone, {second_only} in B alone")?;
    for (folder, names) in
        ["A", "B"].iter().zip(&comparison.names).filter(|(_, names)| !names.is_empty())
    {
        let shown: Vec<&str> = names.iter().take(NAMES).map(String::as_str).collect();
        let more = if names.len() > NAMES {
            format!(" and {} more", names.len() - NAMES)
        } else {
            String::new()
        };
        writeln!(out, "only in {folder}: {}{more}", shown.join(", "))?;
    }
    for difference in &comparison.settings {
        writeln!(out, "{difference}")?;
    }
    ensure!(common > 0, "the two folders have no outcome in common");
    let p = |p: f64| {
        let corrected = comparison.corrected(p);
        format!("{corrected:.3}{}", if corrected < SIGNIFICANT { "*" } else { " " })
    };
    let percent = |part: usize, whole: usize| {
        if whole == 0 {
            "–".to_owned()
        } else {
            format!("{:.1}%", part as f64 / whole as f64 * 100.0)
        }
    };
    writeln!(out, "\nSuccess of n images attacked in both")?;
    let mut grid = Grid::new(["model", "attack", "goal", "n", "A", "B", "A alone", "B alone", "p"]);
    for pairing in &comparison.attacks {
        let Pairing {
            source, attack, goal, images, successes: [a, b], changed: [gone, come], ..
        } = pairing;
        let texts = [
            source.clone(),
            attack.clone(),
            goal.clone(),
            images.to_string(),
            percent(*a, *images),
            percent(*b, *images),
        ];
        grid.row(texts.into_iter().chain([gone.to_string(), come.to_string(), p(pairing.p)]));
    }
    grid.print(out, 3)?;
    writeln!(out, "\nMean distortion of n images on which both succeed")?;
    let mut grid = Grid::new(["model", "attack", "goal", "metric", "n", "A", "B", "p"]);
    for pairing in &comparison.attacks {
        for (metric, shift) in &pairing.distortions {
            let texts = [&pairing.source, &pairing.attack, &pairing.goal, metric].map(Clone::clone);
            let means = shift.means.map(|mean| format!("{mean:.4}"));
            grid.row(
                texts
                    .into_iter()
                    .chain([shift.images.to_string()])
                    .chain(means)
                    .chain([p(shift.p)]),
            );
        }
    }
    grid.print(out, 4)?;
    if !comparison.transfer.is_empty() {
        transfer(&comparison, &p, &percent, out)?;
    }
    Ok(ExitCode::SUCCESS)
}

type Text<'a> = &'a dyn Fn(f64) -> String;

fn transfer(
    comparison: &Comparison,
    p: Text,
    percent: &dyn Fn(usize, usize) -> String,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut pairs: Vec<&Pairing> =
        comparison.transfer.iter().filter(|pairing| pairing.changed != [0, 0]).collect();
    pairs.sort_by(|a, b| a.p.total_cmp(&b.p));
    let significant =
        pairs.iter().filter(|pairing| comparison.corrected(pairing.p) < SIGNIFICANT).count();
    let all = comparison.transfer.len();
    writeln!(
        out,
        "\nTransfer: {} of {all} pairs changed, {significant} significantly",
        pairs.len()
    )?;
    if pairs.is_empty() {
        return Ok(());
    }
    let mut grid =
        Grid::new(["source", "target", "attack", "goal", "n", "A", "B", "A alone", "B alone", "p"]);
    for pairing in pairs.into_iter().take(SHOWN) {
        let Pairing {
            source,
            target,
            attack,
            goal,
            images,
            successes: [a, b],
            changed: [gone, come],
            ..
        } = pairing;
        let texts = [source, target, attack, goal].map(Clone::clone);
        let counts = [
            images.to_string(),
            percent(*a, *images),
            percent(*b, *images),
            gone.to_string(),
            come.to_string(),
        ];
        grid.row(texts.into_iter().chain(counts).chain([p(pairing.p)]));
    }
    grid.print(out, 4)
}

/// Write the adversarials of a results' folder as safetensors or PNG
#[derive(Args)]
#[command(after_help = "Examples:
  runner export results/mini adversarials                        <model>/<attack>/<goal>.safetensors
  runner export results/mini pictures --png --attack cw_l2       <model>/<attack>/<goal>/<image>.png

A safetensors file holds a tensor 3×S×S in [0, 1] for each image, under the image's name. PNG \
                        rounds to 8 bits,
which some adversarials do not survive: see `success_8bit` in outcomes.parquet.")]
pub(super) struct ExportArgs {
    /// A results' folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where to write
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// PNG files instead of safetensors
    #[arg(long)]
    png: bool,
    /// Only what deceives its model
    #[arg(long)]
    successes: bool,
    /// Only these models, by label
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    model: Vec<String>,
    /// Only these attacks, by label
    #[arg(long, value_name = "LABEL", value_delimiter = ',')]
    attack: Vec<String>,
}

pub(super) fn export(
    args: &ExportArgs,
    common: &Common,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let Results { study, plan, store, .. } = Results::open(&args.folder, common, registry)?;
    check_labels("model", &args.model, study.models.iter().map(|model| &model.part.label))?;
    check_labels("attack", &args.attack, study.attacks.iter().map(|attack| &attack.part.label))?;
    let chosen = |wanted: &[String], label: &String| wanted.is_empty() || wanted.contains(label);
    let (mut written, mut files, mut missing) = (0, BTreeSet::new(), Vec::new());
    let mut put = |path: PathBuf, bytes: &[u8]| -> Result<()> {
        ensure!(
            files.insert(path.clone()),
            "two of the names would be one file, {}: give a model or attack another label",
            path.display()
        );
        let folder = path.parent().context("a file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("writing {}", folder.display()))?;
        write_atomically(&path, bytes)
    };
    for campaign in &plan.campaigns {
        let (model, attack) =
            (&study.models[campaign.model], &study.attacks[campaign.attack].part.label);
        if campaign.side != model.card.side
            || !chosen(&args.model, &model.part.label)
            || !chosen(&args.attack, attack)
        {
            continue;
        }
        let mut images: Vec<(String, Tensor)> = Vec::new();
        for (slice, &cell) in campaign.craft.iter().enumerate() {
            let stored = match store.load::<CraftRow>(&plan.cells[cell].address) {
                Ok(stored) => stored,
                Err(error) => {
                    missing.push(format!("{}: {error:#}", plan.describe(&study, cell)));
                    continue;
                }
            };
            let Some(hash) = &stored.pixels else { continue };
            let pixels = store.read_pixels(&plan.cells[cell].address, hash)?;
            let named = study.data.pictures[plan.range(slice)].iter().zip(&stored.rows);
            let wanted = named.filter(|(_, row)| row.success || !args.successes);
            images.extend(
                wanted.filter_map(|(picture, row)| {
                    Some((picture.name.clone(), pixels.get(row.slot?)))
                }),
            );
        }
        written += images.len();
        let place = args.to.join(file_name(&model.part.label)).join(file_name(attack));
        if args.png {
            for (name, pixels) in &images {
                let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
                put(
                    place.join(campaign.goal.name()).join(format!("{}.png", file_name(stem))),
                    &png(pixels)?,
                )?;
            }
        } else if !images.is_empty() {
            put(
                place.join(format!("{}.safetensors", campaign.goal.name())),
                &safetensors(&images)?,
            )?;
        }
    }
    writeln!(out, "{written} images in {} files under {}", files.len(), args.to.display())?;
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    let shown: Vec<&str> = missing.iter().take(NAMES).map(String::as_str).collect();
    let more = if missing.len() > NAMES {
        format!("\n  … and {} more", missing.len() - NAMES)
    } else {
        String::new()
    };
    let what = counted(missing.len(), "cell");
    out.flush()?;
    let _ = writeln!(
        io::stderr(),
        "{what} could not be read; `runner run` computes what is missing\n  {}{more}",
        shown.join("\n  ")
    );
    Ok(ExitCode::from(1))
}

fn check_labels<'a>(
    kind: &str,
    wanted: &[String],
    known: impl Iterator<Item = &'a String>,
) -> Result<()> {
    let known: Vec<&String> = known.collect();
    match wanted.iter().find(|label| !known.contains(label)) {
        Some(unknown) => bail!(
            "the study has no {kind} `{unknown}`; it has {}",
            known.into_iter().cloned().collect::<Vec<_>>().join(", ")
        ),
        None => Ok(()),
    }
}

/// A label as the name of a file: what no file system minds.
fn file_name(label: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_. ".contains(c) { c } else { '_' };
    let name: String = label.chars().map(plain).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}

/// 3×S×S in [0, 1] as the bytes of a PNG file.
fn png(pixels: &Tensor) -> Result<Vec<u8>> {
    let size = pixels.size();
    let samples = Vec::<u8>::try_from(
        (pixels * 255.0).round().to_kind(Kind::Uint8).permute([1, 2, 0]).contiguous().view([-1]),
    )?;
    let image = RgbImage::from_raw(size[2] as u32, size[1] as u32, samples)
        .context("fewer samples than pixels")?;
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn a_label_names_one_file_here() {
        for (label, name) in [
            ("cw_l2", "cw_l2"),
            ("../../x", "_.._.._x"),
            ("/etc/passwd", "_etc_passwd"),
            ("..", "_.."),
            ("a\0b\\c\nd:e", "a_b_c_d_e"),
            ("é 1.5", "é 1.5"),
        ] {
            assert_eq!(file_name(label), name);
        }
    }
}
