//! Which outcomes are shown as images, and their pixels.

use crate::analysis::Tables;
use crate::analysis::number;
use crate::engine::plan::{CellId, Plan};
use crate::errors::OutOfReach;
use crate::store::Store;
use crate::store::rows::CraftRow;
use crate::study::{GoalKind, Study};
use crate::summary::document::{Example, Summary};
use anyhow::{Context, Result};
use tch::Tensor;

/// Small, typical and large perturbations are shown.
const QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];

/// Examples, their pixels by name, and the cells of those that are left out.
type Chosen = (Vec<Example>, Vec<(String, Tensor)>, Vec<CellId>);

/// Chooses and reads examples, see [`Example`], by the metric in which each attack is shown. One
/// whose pixels are damaged is left out; the last of the answer are the cells that such pixels are
/// of.
///
/// # Errors
/// When the object store behind the folder cannot be asked.
pub(crate) fn examples(
    study: &Study,
    plan: &Plan,
    store: &Store,
    tables: &Tables,
    summary: &Summary,
) -> Result<Chosen> {
    let (mut examples, mut pixels, mut damaged) = (Vec::new(), Vec::new(), Vec::new());
    for (attack, chosen) in study.attacks.iter().enumerate() {
        for &goal in &chosen.goals {
            let metric = summary.own_metric(&chosen.part.label, goal);
            let metric =
                study.metrics.iter().position(|other| Some(other.part.label.as_str()) == metric);
            for (campaign, image) in choose(tables, attack, goal, metric) {
                let tensor = format!("{:03}", examples.len());
                let (example, original, adversarial) =
                    match read(study, plan, store, tables, campaign, image, tensor.clone()) {
                        Ok(found) => found,
                        Err(error) if error.is::<OutOfReach>() => return Err(error),
                        Err(_) => {
                            damaged.push(plan.campaigns[campaign].craft[plan.place(image).0]);
                            continue;
                        }
                    };
                examples.push(example);
                pixels.extend([
                    (format!("{tensor}.original"), original),
                    (format!("{tensor}.adversarial"), adversarial),
                ]);
            }
        }
    }
    damaged.sort_unstable();
    damaged.dedup();
    Ok((examples, pixels, damaged))
}

/// Campaign and image of each.
fn choose(
    tables: &Tables,
    attack: usize,
    goal: GoalKind,
    metric: Option<usize>,
) -> Vec<(usize, usize)> {
    let mut successes: Vec<(f64, usize, usize)> = Vec::new();
    for (campaign, row) in tables
        .success
        .iter()
        .enumerate()
        .filter(|(_, row)| (row.attack, row.goal) == (attack, goal))
    {
        let distortion =
            row.distortions.iter().find(|distortion| Some(distortion.metric) == metric);
        let cases =
            distortion.into_iter().flat_map(|distortion| distortion.cases.iter().enumerate());
        successes.extend(cases.filter_map(|(image, value)| Some(((*value)?, campaign, image))));
    }
    successes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    let mut places: Vec<usize> = match successes.len() {
        0 => Vec::new(),
        count => QUANTILES.map(|q| (q * (count - 1) as f64).round() as usize).to_vec(),
    };
    places.dedup();
    places.into_iter().map(|place| (successes[place].1, successes[place].2)).collect()
}

fn read(
    study: &Study,
    plan: &Plan,
    store: &Store,
    tables: &Tables,
    campaign: usize,
    image: usize,
    tensor: String,
) -> Result<(Example, Tensor, Tensor)> {
    let (planned, counted) = (&plan.campaigns[campaign], &tables.success[campaign]);
    let (slice, n) = plan.place(image);
    let cell = &plan.cells[planned.craft[slice]];
    let stored = store.load::<CraftRow>(&cell.address)?;
    let row = &stored.rows[n];
    let (hash, slot) = stored.pixels.as_ref().zip(row.slot).context("a success has pixels")?;
    let adversarial = store.read_pixels(&cell.address, hash)?.get(slot);
    let (model, picture) = (&study.models[planned.model], &study.data.pictures[image]);
    let distortion = |d: &crate::analysis::Distortion| {
        (study.metrics[d.metric].part.label.clone(), d.cases[image].and_then(number))
    };
    let example = Example {
        tensor,
        attack: study.attacks[planned.attack].part.label.clone(),
        goal: planned.goal,
        model: model.part.label.clone(),
        image: picture.name.clone(),
        label: row.label,
        target_class: row.target_class,
        prediction: row.prediction.context("a success has an answer")?,
        success_8bit: row.success_8bit,
        distortions: counted.distortions.iter().map(distortion).collect(),
    };
    Ok((example, picture.pixels(model.card.side)?, adversarial))
}
