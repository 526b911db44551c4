//! Robust accuracy: how many images stay classified rightly whatever the attack, and which models
//! are apart.

use crate::analysis::{
    Known, NORMS, Nearest, QuotedBudget, Rate, Robustness, Tables, number, quoted_budgets, stats,
};
use crate::study::{GoalKind, Study};
use crate::summary::campaigns::Curve;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Models of the study in a norm, by the smallest distortion known for each image, over all attacks
/// of the study.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NormRobustness {
    /// The norm: the label of its metric.
    pub norm: String,
    /// The models, the most robust first: by the mean of the smallest known distortions, each at
    /// most `limit`.
    pub ranking: Vec<ModelRobustness>,
    /// What distortions are limited to in the ranking: the greatest quoted budget of the norm.
    pub limit: f64,
    /// Pairs of models that are really apart: Wilcoxon's signed-rank test on the images that both
    /// have, Holm's correction over all pairs of the norm.
    pub apart: Vec<Apart>,
}

/// A model's robustness in a norm.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRobustness {
    /// The model.
    pub model: String,
    /// Number of images: those with a clean answer.
    pub images: usize,
    /// Mean of the smallest known distortions, each at most the norm's limit; 0 for an image that is
    /// misclassified without an attack.
    pub mean: Option<f64>,
    /// Median of the smallest known distortions; null where more than half of the images have none.
    pub median: Option<f64>,
    /// Robust accuracy at the quoted budgets.
    pub budgets: Vec<RobustAccuracy>,
    /// How many images fall within a distortion, those that are misclassified without an attack
    /// within 0; the others are robust beyond.
    pub fallen: Curve,
    /// The attacks that found the smallest known distortions, the most frequent first.
    pub nearest_by: Vec<NearestBy>,
}

/// Robust accuracy at a budget: the share of all images that are classified rightly, and of which no
/// misclassified image is known within the budget.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RobustAccuracy {
    /// The budget, in pixel values of [0, 1].
    pub epsilon: f64,
    /// The budget as people write it, such as `8/255`.
    pub text: String,
    /// Of all pixels.
    pub robust: Rate,
    /// Of 8-bit images.
    pub robust_8bit: Rate,
}

/// An attack, and of how many images it found the smallest known distortion.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NearestBy {
    /// The attack.
    pub attack: String,
    /// Its goal.
    pub goal: GoalKind,
    /// Number of images.
    pub images: usize,
}

/// Two models whose robustness differs beyond chance.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Apart {
    /// The more robust model.
    pub better: String,
    /// The less robust model.
    pub worse: String,
    /// Number of images that both models have.
    pub images: usize,
    /// p, corrected for the number of pairs.
    pub p: f64,
}

/// Greatest p of two models that are apart.
const LEVEL: f64 = 1.0 - stats::CONFIDENCE;

/// The robustness of all models, by norm in the order of [`NORMS`]; empty for a study without norms
/// or attacks.
pub(super) fn robustness(study: &Study, tables: &Tables) -> Vec<NormRobustness> {
    if study.attacks.is_empty() {
        return Vec::new();
    }
    let of_norm = |norm: &str| {
        let of = |one: &&Robustness| study.metrics[one.metric].part.name == norm;
        let models: Vec<&Robustness> = tables.robustness.iter().filter(of).collect();
        let metric = models.first()?.metric;
        let budgets = quoted_budgets(norm);
        let limit = budgets.last()?.epsilon;
        let mut ranking: Vec<ModelRobustness> =
            models.iter().map(|one| model(study, one, budgets, limit)).collect();
        // Equal models keep the study's order.
        ranking.sort_by(|a, b| b.mean.unwrap_or(0.0).total_cmp(&a.mean.unwrap_or(0.0)));
        let norm = study.metrics[metric].part.label.clone();
        Some(NormRobustness { norm, ranking, limit, apart: apart(study, &models, limit) })
    };
    NORMS.into_iter().filter_map(of_norm).collect()
}

fn model(study: &Study, one: &Robustness, budgets: &[QuotedBudget], limit: f64) -> ModelRobustness {
    let float = |nearest: &Nearest| nearest.float;
    let distances = one.distances(float);
    let limited: Vec<f64> = distances.iter().map(|distance| distance.min(limit)).collect();
    let images = distances.len();
    let mut fallen = stats::sorted(distances);
    let median = stats::quantile(&fallen, 0.5).and_then(number);
    fallen.retain(|distance| distance.is_finite());
    let budget = |quoted: &QuotedBudget| RobustAccuracy {
        epsilon: quoted.epsilon,
        text: quoted.text.to_owned(),
        robust: one.at(quoted.epsilon, float),
        robust_8bit: one.at(quoted.epsilon, |nearest| nearest.rounded),
    };
    ModelRobustness {
        model: study.models[one.model].part.label.clone(),
        images,
        mean: stats::mean(&limited).and_then(number),
        median,
        budgets: budgets.iter().map(budget).collect(),
        fallen: Curve::of(&fallen, images),
        nearest_by: nearest_by(study, one),
    }
}

fn nearest_by(study: &Study, one: &Robustness) -> Vec<NearestBy> {
    let mut found: Vec<NearestBy> = Vec::new();
    for nearest in one.cases.iter().flatten() {
        let Known::Attack { attack, goal, .. } = nearest.float else { continue };
        let label = &study.attacks[attack].part.label;
        match found.iter_mut().find(|by| by.attack == *label && by.goal == goal) {
            Some(by) => by.images += 1,
            None => found.push(NearestBy { attack: label.clone(), goal, images: 1 }),
        }
    }
    let place = |by: &NearestBy| {
        let attacks = study.attacks.iter();
        let attack = attacks.clone().position(|attack| attack.part.label == by.attack);
        let goals = attack.map(|index| &study.attacks[index].goals);
        (attack, goals.and_then(|goals| goals.iter().position(|goal| *goal == by.goal)))
    };
    found.sort_by_key(|by| (std::cmp::Reverse(by.images), place(by)));
    found
}

fn apart(study: &Study, models: &[&Robustness], limit: f64) -> Vec<Apart> {
    let mut tested: Vec<(usize, usize, usize, f64, f64)> = Vec::new();
    for (n, one) in models.iter().enumerate() {
        for (m, other) in models.iter().enumerate().skip(n + 1) {
            let differences: Vec<f64> = one
                .cases
                .iter()
                .zip(&other.cases)
                .filter_map(|(one, other)| {
                    let near = |of: &Nearest| of.float.distance().min(limit);
                    Some(near(one.as_ref()?) - near(other.as_ref()?))
                })
                .collect();
            let mean = stats::mean(&differences).unwrap_or_default();
            tested.push((n, m, differences.len(), mean, stats::wilcoxon(&differences)));
        }
    }
    let all = stats::sorted(tested.iter().map(|test| test.4).collect());
    let label = |n: usize| study.models[models[n].model].part.label.clone();
    let found = tested.into_iter().filter_map(|(n, m, images, mean, p)| {
        let p = stats::holm(&all, p);
        let (better, worse) = if mean >= 0.0 { (n, m) } else { (m, n) };
        (p <= LEVEL).then(|| Apart { better: label(better), worse: label(worse), images, p })
    });
    found.collect()
}
