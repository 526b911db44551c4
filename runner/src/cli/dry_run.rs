//! `runner run --dry-run`: what a study would compute, what it lacks, and what it would cost.

use crate::cli::text::{counted, duration, number, size};
use crate::data::eccv2018;
use crate::engine::{RunOptions, device_kind};
use crate::estimate::{StudyEstimate, estimate};
use crate::report::Grid;
use crate::study::{MissingInputs, Study};
use crate::weights::{ECCV2018, WeightsPlace};
use anyhow::Result;
use gauntlet_core::attack::Cost;
use gauntlet_core::registry::Registry;
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// Plans the study and prints the estimate. `folder` is where the results would be; it is not
/// created.
pub(super) fn dry_run(
    study: &Study,
    registry: &Registry,
    folder: &Path,
    options: &RunOptions,
    json: bool,
    out: &mut dyn Write,
) -> Result<()> {
    let estimate = estimate(study, registry, folder, options)?;
    if json {
        let all = json!({
            "study": study.name,
            "images": study.data.pictures.len(),
            "missing": {
                "weights": lacking(&study.missing),
                "images": study.missing.images.as_ref().map(|images| &images.folder),
                "commands": commands(&study.missing),
            },
            "estimate": estimate,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&all)?)?;
        return Ok(());
    }
    cells(&estimate, out)?;
    work(&estimate, out)?;
    models(study, &estimate, out)?;
    missing(&study.missing, out)?;
    conclude(&estimate, options, out)
}

fn cells(estimate: &StudyEstimate, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "\nCells; passes, time of one worker and disk of those to compute")?;
    let mut grid = Grid::new(["kind", "cells", "done", "forward", "backward", "time", "disk"]);
    for sum in &estimate.cells {
        grid.row([
            sum.kind.to_string(),
            number(sum.cells as f64),
            number(sum.done as f64),
            number(sum.forward),
            number(sum.backward),
            duration(sum.seconds),
            size(sum.bytes),
        ]);
    }
    Ok(grid.print(out, 1)?)
}

fn work(estimate: &StudyEstimate, out: &mut dyn Write) -> Result<()> {
    if estimate.work.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nAttacks and scores; passes of one image, time of one worker over all models")?;
    let mut grid = Grid::new(["label", "goal", "forward", "backward", "time"]);
    for work in &estimate.work {
        let passes = |of: fn(&Cost) -> f64| {
            work.each.as_ref().map_or_else(|| "not known".into(), |cost| number(of(cost)))
        };
        grid.row([
            work.label.clone(),
            work.goal.to_owned(),
            passes(|cost| cost.forward),
            passes(|cost| cost.backward),
            duration(work.seconds),
        ]);
    }
    Ok(grid.print(out, 2)?)
}

fn models(study: &Study, estimate: &StudyEstimate, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "\nModels; time of an image in a batch")?;
    let mut grid = Grid::new(["model", "weights", "forward", "gradient"]);
    for (model, pace) in study.models.iter().zip(&estimate.models) {
        let weights = match &model.weights {
            WeightsPlace::Embedded(_) => "built in".to_owned(),
            WeightsPlace::File(path) | WeightsPlace::TorchScript(path) => {
                path.display().to_string()
            }
            WeightsPlace::Absent(_) => "missing, measured with made-up ones".to_owned(),
        };
        let each = |seconds: f64| format!("{:.2} ms", seconds * 1e3);
        grid.row([pace.model.clone(), weights, each(pace.forward.each), each(pace.gradient.each)]);
    }
    Ok(grid.print(out, 2)?)
}

fn lacking(missing: &MissingInputs) -> Vec<&str> {
    missing.weights.iter().map(|weights| weights.model.as_str()).collect()
}

/// The commands that get the missing weights, then those that get the images.
fn commands(missing: &MissingInputs) -> Vec<String> {
    let published: Vec<_> = missing
        .weights
        .iter()
        .filter(|weights| ECCV2018.member(&weights.model).is_some())
        .collect();
    let pull = match published.as_slice() {
        [] => None,
        [one] => Some(format!("runner weights pull {}", one.model)),
        _ => Some(format!("runner weights pull {}", ECCV2018.name)),
    };
    let others = missing
        .weights
        .iter()
        .filter(|weights| ECCV2018.member(&weights.model).is_none())
        .filter_map(|weights| weights.commands.first().cloned());
    let images = missing.images.iter().flat_map(|images| images.commands.iter().cloned());
    pull.into_iter().chain(others).chain(images).collect()
}

fn missing(missing: &MissingInputs, out: &mut dyn Write) -> Result<()> {
    let (weights, images) = (lacking(missing), &missing.images);
    if weights.is_empty() && images.is_none() {
        return Ok(());
    }
    writeln!(out, "\nMissing")?;
    if !weights.is_empty() {
        let all = weights.iter().all(|model| ECCV2018.member(model).is_some()) && weights.len() > 1;
        let archive = if all {
            format!(" ({} in one archive)", size(ECCV2018.size as f64))
        } else {
            String::new()
        };
        writeln!(
            out,
            "  weights of {}{archive}: {}",
            counted(weights.len(), "model"),
            weights.join(", ")
        )?;
    }
    if let Some(images) = images {
        let archive = if images.commands.is_empty() {
            String::new()
        } else {
            format!(" ({})", size(eccv2018::SIZE as f64))
        };
        writeln!(out, "  images{archive}: there is no folder {}", images.folder.display())?;
    }
    let commands = commands(missing);
    if !commands.is_empty() {
        writeln!(out, "These commands get them:\n  {}", commands.join("\n  "))?;
    }
    if images.is_some() {
        writeln!(out, "Images of one's own: --set data.folder=DIR")?;
    }
    Ok(())
}

fn conclude(estimate: &StudyEstimate, options: &RunOptions, out: &mut dyn Write) -> Result<()> {
    let workers = counted(estimate.workers, "worker");
    let device = device_kind(options.device);
    writeln!(
        out,
        "\nAbout {} with {workers} on {device}, and {} on disk",
        duration(estimate.seconds),
        size(estimate.bytes)
    )?;
    if !estimate.unknown.is_empty() {
        writeln!(
            out,
            "not counted, since they do not say what they cost: {}",
            estimate.unknown.join(", ")
        )?;
    }
    Ok(())
}
