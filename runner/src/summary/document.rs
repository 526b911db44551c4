//! The document `study.json` itself.

use crate::analysis::flags::Findings;
use crate::analysis::{NORMS, Rate};
use crate::study::{GoalKind, Policy};
use crate::summary::campaigns::{CampaignSummary, ScoreSummary};
use crate::summary::laws::{DepthEffect, Law};
use crate::summary::robustness::NormRobustness;
use crate::summary::transfer::{FamilyTransfer, Matrix};
use crate::summary::verdicts::Verdict;
use anyhow::{Context, Result, ensure};
use gauntlet_core::model::ImageShape;
use gauntlet_core::weights::read_safetensors;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tch::Tensor;

/// The file that the document is in.
pub const FILE: &str = "study.json";
/// The file that the document's schema is in.
pub const SCHEMA: &str = "study.schema.json";
/// The file that the pixels of the document's examples are in.
pub const EXAMPLES: &str = "examples.safetensors";

/// Version of the document's format. It counts up when a reader of the last format would misread
/// the new one.
pub const FORMAT: u32 = 1;

/// The document.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The file with this document's JSON schema, in the same folder.
    #[serde(rename = "$schema")]
    pub schema: String,
    /// Version of the format: 1.
    pub format: u32,
    /// The settings of the study.
    pub study: Facts,
    /// The models, with their accuracy without an attack.
    pub models: Vec<Model>,
    /// The attacks.
    pub attacks: Vec<Attack>,
    /// The metrics.
    pub metrics: Vec<Metric>,
    /// One for every model, attack and goal.
    pub campaigns: Vec<CampaignSummary>,
    /// Robust accuracy whatever the attack, one for every norm that the study measures, in the order
    /// ℓ∞, ℓ2, ℓ1.
    pub robustness: Vec<NormRobustness>,
    /// One for every attack, goal, kind of pixels and match; empty without transfer.
    pub transfer: Vec<Matrix>,
    /// One for every metric of a model, goal and model.
    pub scores: Vec<ScoreSummary>,
    /// Distortion against the logarithm of the error, one for every attack, goal and metric of
    /// outcomes.
    pub laws: Vec<Law>,
    /// Deeper against less deep models of one family, for every attack, goal and metric of
    /// outcomes.
    pub depth: Vec<DepthEffect>,
    /// Transfer within and across families, for every attack and goal.
    pub families: Vec<FamilyTransfer>,
    /// Verdicts on the four claims of the 2018 study.
    pub verdicts: Vec<Verdict>,
    /// Signs that a model is broken, that its gradients are masked, or that an attack is too weak.
    #[serde(default)]
    pub findings: Findings,
    /// Original and adversarial images to look at, see [`Example`].
    pub examples: Vec<Example>,
    /// Cells without a result. Numbers that need them are counted over fewer images.
    pub missing: Vec<MissingCell>,
}

impl Summary {
    /// Reads the document of a results folder.
    ///
    /// # Errors
    /// When the folder has no such document, or one of another format.
    pub fn open(folder: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let path = folder.join(FILE);
        let place = || format!("{}", path.display());
        let text = fs::read(&path).with_context(|| {
            format!(
                "{} cannot be read: a results folder is expected, as `runner run` leaves it",
                place()
            )
        })?;
        let Format { format } = serde_json::from_slice(&text).with_context(place)?;
        ensure!(
            format == FORMAT,
            "{} is of format {format}, this program reads {FORMAT}: run the study again",
            place()
        );
        serde_json::from_slice(&text).with_context(place)
    }

    /// The metric by which an attack is shown: the one by which it most often comes within 1 % of
    /// the smallest distortion of any attack. It is one of [`NORMS`] if the study has one of them.
    pub(crate) fn own_metric(&self, attack: &str, goal: GoalKind) -> Option<&str> {
        let of_outcomes = || {
            self.metrics
                .iter()
                .filter(|metric| metric.of_outcomes)
                .map(|metric| metric.label.as_str())
        };
        let normal = of_outcomes().any(|label| NORMS.contains(&label));
        let best = |label: &str| {
            let campaigns = self
                .campaigns
                .iter()
                .filter(|campaign| campaign.attack == attack && campaign.goal == goal);
            let own = campaigns.filter_map(|campaign| {
                campaign.distortions.iter().find(|distortion| distortion.metric == label)?.gap
            });
            own.map(|gap| gap.best).sum::<usize>()
        };
        let mut chosen: Option<(&str, usize)> = None;
        for label in of_outcomes().filter(|label| !normal || NORMS.contains(label)) {
            if chosen.is_none_or(|(_, most)| best(label) > most) {
                chosen = Some((label, best(label)));
            }
        }
        chosen.map(|(label, _)| label)
    }

    /// The document as JSON, with a newline at its end.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec(self)?;
        text.push(b'\n');
        Ok(text)
    }
}

/// The document's schema, as JSON.
pub(crate) fn schema() -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(&schemars::schema_for!(Summary))?;
    text.push(b'\n');
    Ok(text)
}

/// The pixels of [`Example`]s in a results folder, C×H×W in [0, 1], by name of tensor.
///
/// # Errors
/// When the file is missing or damaged.
pub fn example_pixels(folder: &Path) -> Result<BTreeMap<String, Tensor>> {
    let path = folder.join(EXAMPLES);
    let read = || read_safetensors(fs::read(&path)?);
    read().with_context(|| format!("{}", path.display()))
}

/// The settings of a study.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The study's name.
    pub name: String,
    /// The version of the program.
    pub program: String,
    /// Seed of all random numbers.
    pub seed: u64,
    /// Number of images.
    pub images: usize,
    /// Number of classes.
    pub classes: i64,
    /// How far below the greatest logit the target class's may be for success on the source.
    pub tie_tolerance: f64,
    /// How adversarials are given to models of another size; null without transfer.
    pub transfer: Option<Policy>,
    /// Confidence of every interval: 0.95.
    pub confidence: f64,
    /// Number of resamples behind every bootstrap.
    pub resamples: usize,
    /// Files of the dataset that were skipped.
    pub skipped: Vec<Left>,
    /// Models, attacks and metrics that could take part but were left out.
    pub left_out: Vec<Left>,
}

/// A file or part that was left out.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// The file's name, or the part's kind and name, as `model vgg_16`.
    pub name: String,
    /// Why it was left out.
    pub reason: String,
}

/// A cell without a result.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Missing")]
pub struct MissingCell {
    /// The cell in words.
    pub cell: String,
    /// Why the cell failed; null when a cell that it needs failed, or when the last run did not try
    /// it.
    pub reason: Option<String>,
}

/// A model, with its accuracy without an attack.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name in this study, unique.
    pub label: String,
    /// Its registered name.
    pub name: String,
    /// Its family.
    pub family: String,
    /// The shorter of height and width of its images, in pixels.
    pub side: i64,
    /// Number of channels of its images: 3 for RGB, 1 for grey.
    pub channels: i64,
    /// Height of its images, in pixels.
    pub height: i64,
    /// Width of its images, in pixels.
    pub width: i64,
    /// Number of values in its weights, including the moving averages of batch norm.
    pub parameters: Option<u64>,
    /// Number of layers with weights from input to output, as the network's paper counts them.
    pub depth: Option<u32>,
    /// Number of images without an answer, because their cell failed.
    pub missing: usize,
    /// Share of the images whose true class is the model's answer.
    pub top1: Rate,
    /// Share of the images whose true class is among the model's first five.
    pub top5: Rate,
    /// Published top-1 accuracy of the reference weights, per cent.
    pub published_top1: Option<f64>,
    /// Published top-5 accuracy of the reference weights, per cent.
    pub published_top5: Option<f64>,
    /// ln((wrong + ½) / (n + 1)) of top-1, the abscissa of all laws. The added halves keep it
    /// finite.
    pub ln_error: Option<f64>,
    /// What the model is and where it comes from, in one line.
    pub source: String,
}

impl Model {
    /// The shape of its images.
    pub fn shape(&self) -> ImageShape {
        ImageShape { channels: self.channels, height: self.height, width: self.width }
    }
}

/// An attack.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Attack {
    /// Its name in this study, unique.
    pub label: String,
    /// Its registered name.
    pub name: String,
    /// The crate and version that brought it.
    pub origin: String,
    /// All parameters, as TOML.
    pub parameters: String,
    /// The attack's goals.
    pub goals: Vec<GoalKind>,
}

/// A metric.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name in this study, unique.
    pub label: String,
    /// Its registered name.
    pub name: String,
    /// The crate and version that brought it.
    pub origin: String,
    /// Unit of the values.
    pub unit: String,
    /// True for a metric of outcomes of attacks (distortions), false for one of models (scores).
    pub of_outcomes: bool,
    /// Whether greater values mean a more robust model.
    pub higher_is_more_robust: bool,
    /// Names of the extra numbers of every value.
    pub extras: Vec<String>,
}

/// An adversarial beside its original. For every attack and goal there are those at the 0.1-, 0.5-
/// and 0.9-quantile of the distortions of all successes, on all models, by the metric that the
/// attack is shown by. The pixels are in `examples.safetensors`, C×H×W in [0, 1], as
/// `<tensor>.original` and `<tensor>.adversarial`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Prefix of the names of its two tensors.
    pub tensor: String,
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// The model.
    pub model: String,
    /// The image's name.
    pub image: String,
    /// The true class.
    pub label: i64,
    /// The target class; null when untargeted.
    pub target_class: Option<i64>,
    /// The model's answer to the adversarial.
    pub prediction: i64,
    /// Whether the goal is still met after rounding to 8 bits.
    pub success_8bit: bool,
    /// Its distortions, by label of the metric of outcomes.
    pub distortions: BTreeMap<String, Option<f64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_study_is_refused_with_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        let error = || format!("{:#}", Summary::open(folder.path()).unwrap_err());
        assert!(error().contains("cannot be read: a results folder is expected"), "{}", error());
        fs::write(folder.path().join(FILE), "{\"format\": 99}").unwrap();
        assert!(
            error().ends_with("is of format 99, this program reads 1: run the study again"),
            "{}",
            error()
        );
    }
}
