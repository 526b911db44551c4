//! `runner diff`: compares the outcomes in two results folders.

use crate::report::Grid;
use crate::results::diff::{self, Comparison, Pairing};
use anyhow::{Result, ensure};
use clap::Args;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Greatest number of pairs of models in the table of transfer.
const PAIRS: usize = 20;
/// Greatest number of names that only one folder has.
const NAMES: usize = 10;
/// A corrected p below this level is marked.
const SIGNIFICANT: f64 = 0.05;

/// Compare the outcomes in two results folders, image by image, with paired tests
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
    /// A results folder
    #[arg(value_name = "A")]
    first: PathBuf,
    /// Another
    #[arg(value_name = "B")]
    second: PathBuf,
}

/// Compares two results folders.
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
    for pairing in pairs.into_iter().take(PAIRS) {
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
