//! `runner export`: writes the adversarials of a results folder.

use crate::cli::text::counted;
use crate::report::png;
use crate::results::record::{Record, RecordedCampaign};
use crate::store::rows::CraftRow;
use crate::store::{Store, safetensors, write_atomically};
use anyhow::{Context, Result, bail};
use clap::Args;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, iter};
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
which some adversarials do not survive: see `success_8bit` in outcomes.parquet. In names of files \
                        other characters
than letters, digits, `-`, `.` and spaces are `_`; of names that would be one file, all but one \
                        get a number.
The results folder is enough: the study's images, weights and plugins are not read.")]
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

/// Writes the adversarials that are asked for. The results folder alone is read.
pub(super) fn export(args: &ExportArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let record = Record::open(&args.folder)?;
    let store = Store::open(&args.folder)?;
    check_labels("model", &args.model, record.models())?;
    check_labels("attack", &args.attack, record.attacks())?;
    // Names do not depend on what is asked for.
    let models = by_label(record.models());
    let attacks = by_label(record.attacks());
    let names: Vec<&str> = record.images().collect();
    let images = file_names(&names, without_ending);
    let chosen =
        |wanted: &[String], label: &str| wanted.is_empty() || wanted.iter().any(|w| w == label);
    let (mut written, mut files, mut missing) = (0, 0, Vec::new());
    let mut put = |path: PathBuf, bytes: &[u8]| -> Result<()> {
        let folder = path.parent().context("a file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("writing {}", folder.display()))?;
        files += 1;
        write_atomically(&path, bytes)
    };
    for campaign in &record.campaigns {
        let RecordedCampaign { model, attack, goal, .. } = campaign;
        if !chosen(&args.model, model) || !chosen(&args.attack, attack) {
            continue;
        }
        let folder = |names: &BTreeMap<&str, String>, label: &str| {
            names.get(label).cloned().with_context(|| format!("the study has no `{label}`"))
        };
        let place = args.to.join(folder(&models, model)?).join(folder(&attacks, attack)?);
        let mut found: Vec<(usize, Tensor)> = Vec::new();
        for (address, range) in record.cells(campaign) {
            let read = store.load::<CraftRow>(&address).and_then(|stored| {
                let hash = stored.pixels.as_ref();
                let pixels = hash.map(|hash| store.read_pixels(&address, hash)).transpose()?;
                Ok((stored, pixels))
            });
            let (stored, pixels) = match read {
                Ok((stored, Some(pixels))) => (stored, pixels),
                Ok((_, None)) => continue,
                Err(error) => {
                    let (first, last) = (range.start + 1, range.end);
                    missing.push(format!(
                        "{attack} ({goal}) on {model}, images {first}–{last}: {error:#}"
                    ));
                    continue;
                }
            };
            let pixels = match pixels.rounded {
                Some(rounded) if args.png => rounded,
                _ => pixels.float,
            };
            let wanted = range.zip(&stored.rows).filter(|(_, row)| row.success || !args.successes);
            found.extend(wanted.filter_map(|(n, row)| Some((n, pixels.get(row.slot?)))));
        }
        written += found.len();
        if args.png {
            for (n, pixels) in &found {
                let file = format!("{}.png", images[*n]);
                put(place.join(file_name(goal)).join(file), &png(pixels)?)?;
            }
        } else if !found.is_empty() {
            let found: Vec<_> =
                found.into_iter().map(|(n, pixels)| (names[n].to_owned(), pixels)).collect();
            put(place.join(format!("{}.safetensors", file_name(goal))), &safetensors(&found)?)?;
        }
    }
    writeln!(out, "{written} images in {files} files under {}", args.to.display())?;
    let numbered = names
        .iter()
        .zip(&images)
        .filter(|(name, file)| args.png && file_name(without_ending(name)) != **file);
    let numbered: Vec<String> =
        numbered.map(|(name, file)| format!("`{name}` is {file}.png")).collect();
    if !numbered.is_empty() {
        let shown = numbered[..numbered.len().min(NAMES)].join(", ");
        let more = if numbered.len() > NAMES { ", …" } else { "" };
        writeln!(out, "names of files that were taken got a number: {shown}{more}")?;
    }
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
    known: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let known: Vec<&str> = known.collect();
    match wanted.iter().find(|label| !known.contains(&label.as_str())) {
        Some(unknown) => {
            bail!("the study has no {kind} `{unknown}`; it has {}", known.join(", "))
        }
        None => Ok(()),
    }
}

fn without_ending(name: &str) -> &str {
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// A name for the file or folder of each label.
fn by_label<'a>(labels: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, String> {
    let labels: Vec<&str> = labels.collect();
    labels.iter().copied().zip(file_names(&labels, |label| label)).collect()
}

/// A name for the file of each label, which `short` may shorten first. Of labels that would be one
/// file, in any case of letters, all but the first in alphabetical order get a number.
fn file_names(labels: &[&str], short: fn(&str) -> &str) -> Vec<String> {
    let mut sorted: Vec<usize> = (0..labels.len()).collect();
    sorted.sort_by_key(|&n| labels[n]);
    let mut taken = BTreeSet::new();
    let mut names = vec![String::new(); labels.len()];
    for n in sorted {
        let plain = file_name(short(labels[n]));
        let numbered = (2..).map(|number| format!("{plain}-{number}"));
        let mut all = iter::once(plain.clone()).chain(numbered);
        let free = |name: &String| taken.insert(name.to_lowercase());
        names[n] = all.find(free).expect("numbers do not end");
    }
    names
}

/// A label as the name of a file, with `_` for characters that file systems may refuse.
fn file_name(label: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_. ".contains(c) { c } else { '_' };
    let name: String = label.chars().map(plain).collect();
    if name.starts_with('.') { format!("_{name}") } else { name }
}

#[cfg(test)]
mod tests {
    use super::{file_name, file_names, without_ending};

    #[test]
    fn labels_that_would_be_one_file_get_a_number_each() {
        let labels = ["c.png", "a_b", "a/b", "A_B", "c.jpg"];
        assert_eq!(file_names(&labels, without_ending), ["c-2", "a_b-3", "a_b-2", "A_B", "c"]);
    }

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
