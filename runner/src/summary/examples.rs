//! The choice of outcomes that are shown as images, and their pixels.

use crate::analysis::{Distortion, Tables, number};
use crate::engine::plan::{CellId, Plan};
use crate::store::rows::CraftRow;
use crate::store::{Store, StoreError};
use crate::study::{GoalKind, Study};
use crate::summary::document::{Example, Summary};
use anyhow::{Context, Result};
use tch::Tensor;

/// Quantiles of the successes' distortions that are shown: a small, a typical and a large one.
const QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];

/// Examples with their pixels.
#[derive(Default)]
pub(crate) struct ChosenExamples {
    /// The examples.
    pub examples: Vec<Example>,
    /// Pixels by the names that [`Example::tensor`] begins, C×H×W float32 in [0, 1].
    pub pixels: Vec<(String, Tensor)>,
    /// The cells whose examples are left out, because their pixels are damaged. Sorted, each once.
    pub damaged: Vec<CellId>,
}

/// Chooses and reads examples, see [`Example`]. Each attack's are chosen by its own metric
/// ([`Summary::own_metric`]). An example whose pixels are damaged is left out.
///
/// # Errors
/// When the object store behind the folder cannot be reached.
pub(crate) fn examples(
    study: &Study,
    plan: &Plan,
    store: &Store,
    tables: &Tables,
    summary: &Summary,
) -> Result<ChosenExamples> {
    let reader = ExampleReader { study, plan, store, tables };
    let mut chosen = ChosenExamples::default();
    for (attack, of) in study.attacks.iter().enumerate() {
        for &goal in &of.goals {
            let metric = summary.own_metric(&of.part.label, goal);
            let metric =
                study.metrics.iter().position(|other| Some(other.part.label.as_str()) == metric);
            for place in choose(tables, attack, goal, metric) {
                match reader.read(place, format!("{:03}", chosen.examples.len())) {
                    Ok(ExamplePixels { example, original, adversarial }) => {
                        let tensor = &example.tensor;
                        chosen.pixels.extend([
                            (format!("{tensor}.original"), original),
                            (format!("{tensor}.adversarial"), adversarial),
                        ]);
                        chosen.examples.push(example);
                    }
                    Err(error @ StoreError::OutOfReach(_)) => return Err(error.into()),

                    Err(StoreError::Unusable(_)) => chosen.damaged.push(reader.craft(place)),
                }
            }
        }
    }
    chosen.damaged.sort_unstable();
    chosen.damaged.dedup();
    Ok(chosen)
}

/// An outcome of a campaign.
#[derive(Clone, Copy)]
struct Place {
    campaign: usize,
    image: usize,
}

/// Outcomes of an attack and goal at the [`QUANTILES`] of the successes on all models.
fn choose(tables: &Tables, attack: usize, goal: GoalKind, metric: Option<usize>) -> Vec<Place> {
    let mut successes: Vec<(f64, Place)> = Vec::new();
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
        successes.extend(
            cases.filter_map(|(image, value)| Some(((*value)?, Place { campaign, image }))),
        );
    }
    successes.sort_by(|(a, here), (b, there)| {
        let place = |place: &Place| (place.campaign, place.image);
        a.total_cmp(b).then_with(|| place(here).cmp(&place(there)))
    });
    let mut chosen: Vec<usize> = match successes.len() {
        0 => Vec::new(),
        count => QUANTILES.map(|q| (q * (count - 1) as f64).round() as usize).to_vec(),
    };
    chosen.dedup();
    chosen.into_iter().map(|index| successes[index].1).collect()
}

/// An example with its pixels, C×H×W each.
struct ExamplePixels {
    example: Example,
    original: Tensor,
    adversarial: Tensor,
}

/// The data that examples are read from.
struct ExampleReader<'a> {
    study: &'a Study,
    plan: &'a Plan,
    store: &'a Store,
    tables: &'a Tables,
}

impl ExampleReader<'_> {
    /// The craft cell of an outcome.
    fn craft(&self, place: Place) -> CellId {
        self.plan.campaigns[place.campaign].craft[self.plan.place(place.image).0]
    }

    /// Reads an example. `tensor` is what the names of its tensors will begin with.
    fn read(&self, place: Place, tensor: String) -> Result<ExamplePixels, StoreError> {
        let Self { study, plan, store, tables } = self;
        let Place { campaign, image } = place;
        let (planned, counted) = (&plan.campaigns[campaign], &tables.success[campaign]);
        let (_, n) = plan.place(image);
        let cell = &plan.cells[self.craft(place)];
        let stored = store.load::<CraftRow>(&cell.address)?;
        let row = &stored.rows[n];
        let (hash, slot) =
            stored.pixels.as_ref().zip(row.slot).context("a success has no pixels")?;
        let adversarial = store.read_pixels(&cell.address, hash)?.float.get(slot);
        let (model, picture) = (&study.models[planned.model], &study.data.pictures[image]);
        let distortion = |d: &Distortion| {
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
            prediction: row.prediction.context("a success has no answer")?,
            success_8bit: row.success_8bit,
            distortions: counted.distortions.iter().map(distortion).collect(),
        };
        Ok(ExamplePixels { example, original: picture.pixels(model.card.shape())?, adversarial })
    }
}
