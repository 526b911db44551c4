//! `runner export`: writes the adversarials of a results folder.

use crate::cli::plugin_options::PluginOptions;
use crate::cli::results_folder::ResultsFolder;
use crate::cli::text::counted;
use crate::data::png;
use crate::store::rows::CraftRow;
use crate::store::{safetensors, write_atomically};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use gauntlet_core::registry::Registry;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tch::Tensor;

/// Greatest number of missing cells that are named.
const NAMES: usize = 10;

/// Write the adversarials of a results folder as safetensors or PNG
#[derive(Args)]
#[command(after_help = "Examples:
  runner export results/mini adversarials                        <model>/<attack>/<goal>.safetensors
  runner export results/mini pictures --png --attack cw_l2       <model>/<attack>/<goal>/<image>.png

A safetensors file holds a tensor C×H×W in [0, 1] for each image, under the image's name. PNG \
                        rounds to 8 bits,
which some adversarials do not survive: see `success_8bit` in outcomes.parquet.")]
pub(super) struct ExportArgs {
    /// A results folder
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

/// Writes the adversarials that are asked for.
pub(super) fn export(
    args: &ExportArgs,
    options: &PluginOptions,
    registry: Registry,
    out: &mut dyn Write,
) -> Result<ExitCode> {
    let ResultsFolder { study, plan, store, .. } =
        ResultsFolder::open(&args.folder, options, registry)?;
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
        if campaign.shape != model.card.shape()
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
            let stored_pixels = store.read_pixels(&plan.cells[cell].address, hash)?;
            let pixels = match stored_pixels.rounded {
                Some(rounded) if args.png => rounded,
                _ => stored_pixels.float,
            };
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

/// A label as the name of a file, with `_` for characters that file systems may refuse.
fn file_name(label: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_. ".contains(c) { c } else { '_' };
    let name: String = label.chars().map(plain).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
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
