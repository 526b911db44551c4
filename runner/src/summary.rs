//! A study in one document, `study.json`: everything that a report shows, and nothing that depends
//! on a clock, so it is the same byte for byte whenever the same study is run. Times stand in
//! `timing.csv`, single outcomes in `outcomes.parquet`.
//!
//! Models, attacks and metrics go by their labels, in the study's order. Rates and means come with
//! intervals of 95 % ([`CONFIDENCE`](crate::stats::CONFIDENCE)): Wilson's for rates, a bootstrap
//! over images for everything else. What is not known is null: the mean of no values, an interval
//! that no two resamples give.

mod build;
mod claims;
mod examples;

pub(crate) use build::build;
pub(crate) use examples::examples;

use crate::flags::Findings;
use crate::stats::{self, Interval};
use crate::study::{GoalKind, Policy};
use anyhow::{Context, Result, ensure};
use gauntlet_core::weights::read_safetensors;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tch::Tensor;

/// The file that the document is in.
pub const FILE: &str = "study.json";
/// The file that its schema is in.
pub const SCHEMA: &str = "study.schema.json";
/// The file that the pixels of its examples are in.
pub const EXAMPLES: &str = "examples.safetensors";
/// The file that times are in.
const TIMING: &str = "timing.csv";

/// Counts up when a reader of the last format would misread this one.
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
    /// What was studied, and how.
    pub study: Facts,
    /// The models, and how they do without an attack.
    pub models: Vec<Model>,
    /// The attacks.
    pub attacks: Vec<Attack>,
    /// The metrics.
    pub metrics: Vec<Metric>,
    /// One for every model, attack and goal.
    pub campaigns: Vec<Campaign>,
    /// One for every attack, goal, depth of pixels, and what counts as a match; empty without
    /// transfer.
    pub transfer: Vec<Matrix>,
    /// One for every metric of a model, goal and model.
    pub scores: Vec<Score>,
    /// Distortion against the logarithm of the error, one for every attack, goal and metric of
    /// outcomes.
    pub laws: Vec<Law>,
    /// Deeper against less deep models of one family, for every attack, goal and metric of
    /// outcomes.
    pub depth: Vec<DepthEffect>,
    /// Transfer within and across families, for every attack and goal.
    pub families: Vec<FamilyTransfer>,
    /// The four claims of the 2018 study, held against these results.
    pub verdicts: Vec<Verdict>,
    /// Signs that a model is broken, that its gradients are masked, or that an attack is too weak.
    #[serde(default)]
    pub findings: Findings,
    /// Original and adversarial images for a look, see [`Example`].
    pub examples: Vec<Example>,
    /// Cells without a result: what depends on them is counted over fewer images.
    pub missing: Vec<Missing>,
}

/// Norms by which attacks are shown.
pub(crate) const NORMS: [&str; 3] = ["linf", "l2", "l1"];

impl Summary {
    /// Reads the document of a results' folder.
    ///
    /// # Errors
    /// When there is none, or it is of another version of the program.
    pub fn open(folder: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let path = folder.join(FILE);
        let place = || format!("{}", path.display());
        let text = fs::read(&path).with_context(|| {
            format!(
                "{} cannot be read: a results' folder is expected, as `runner run` leaves it",
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

    /// The metric by which an attack is shown: that in which it most often comes nearest to the
    /// smallest distortion found by any attack; of [`NORMS`], if the study has one of them.
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

/// The pixels of [`Example`]s in a results' folder, 3×S×S in [0, 1], by name of tensor.
///
/// # Errors
/// When the file is missing or damaged.
pub fn example_pixels(folder: &Path) -> Result<BTreeMap<String, Tensor>> {
    let path = folder.join(EXAMPLES);
    let read = || read_safetensors(fs::read(&path)?);
    read().with_context(|| format!("{}", path.display()))
}

/// A line of `timing.csv`: the seconds that a campaign took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The model.
    pub model: String,
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// How many images were attacked.
    pub source_correct: usize,
    /// The attack, all images together.
    pub attack_seconds: f64,
    /// The attack, per image.
    pub seconds_per_image: Option<f64>,
    /// The other models' look at its pixels.
    pub transfer_seconds: f64,
}

impl Timing {
    /// Reads the times of a results' folder, in the order of [`Summary::campaigns`].
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn read(folder: &Path) -> Result<Vec<Self>> {
        let path = folder.join(TIMING);
        let read =
            || csv::Reader::from_path(&path)?.deserialize().collect::<Result<_, csv::Error>>();
        read().with_context(|| format!("{}", path.display()))
    }
}

/// What was studied, and how.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The study's name.
    pub name: String,
    /// The version of the program.
    pub program: String,
    /// Seed of all that is random.
    pub seed: u64,
    /// Number of images.
    pub images: usize,
    /// Number of classes.
    pub classes: i64,
    /// How far below the greatest logit that of a target may be for success on the source.
    pub tie_tolerance: f64,
    /// How adversarials are fitted to models of another size; null when there is no transfer.
    pub transfer: Option<Policy>,
    /// Confidence of every interval: 0.95.
    pub confidence: f64,
    /// Number of resamples behind every bootstrap.
    pub resamples: usize,
    /// Files of the dataset that were passed over.
    pub skipped: Vec<Left>,
    /// Models, attacks and metrics that could take part and do not.
    pub left_out: Vec<Left>,
}

/// Something that does not take part.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// Its name; of what is no file, after its kind: `model vgg_16`.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// A cell without a result.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// The cell in words.
    pub cell: String,
    /// Why it failed; null when a cell that it needs has failed, or when it was not tried in the
    /// last run.
    pub reason: Option<String>,
}

/// `k` of `n` with Wilson's interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many are counted.
    pub k: usize,
    /// Of how many.
    pub n: usize,
    /// `k / n`.
    pub rate: Option<f64>,
    /// Ends of the interval.
    pub interval: Option<Interval>,
}

impl Rate {
    /// `k` of `n`.
    pub fn new(k: usize, n: usize) -> Self {
        let rate = (n > 0).then(|| k as f64 / n as f64);
        Self { k, n, rate: rate.and_then(number), interval: stats::wilson(k, n).and_then(interval) }
    }
}

/// A number that was estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The number.
    pub value: Option<f64>,
    /// Ends of its interval, from a bootstrap over images.
    pub interval: Option<Interval>,
}

/// Six digits are enough, and infinities and NaN no JSON.
pub(crate) fn number(value: f64) -> Option<f64> {
    value.is_finite().then(|| format!("{value:.5e}").parse().unwrap_or(value))
}

/// The same of both ends.
pub(crate) fn interval(ends: Interval) -> Option<Interval> {
    Some((number(ends.0)?, number(ends.1)?))
}

/// A model, and how it does without an attack.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name in this study, unique.
    pub label: String,
    /// Its registered name.
    pub name: String,
    /// Its family.
    pub family: String,
    /// Height and width of its images, in pixels.
    pub side: i64,
    /// Number of values in its weights, moving averages of batch norm among them.
    pub parameters: Option<u64>,
    /// Number of layers with weights from input to output, as the network's paper counts them.
    pub depth: Option<u32>,
    /// Number of images without an answer, because their cell failed.
    pub missing: usize,
    /// How often its answer is the true class.
    pub top1: Rate,
    /// How often the true class is among its first five.
    pub top5: Rate,
    /// Published top-1 accuracy of the reference weights, per cent.
    pub published_top1: Option<f64>,
    /// Published top-5 accuracy, per cent.
    pub published_top5: Option<f64>,
    /// ln((wrong + ½) / (n + 1)) of top-1: the abscissa of all laws. The halves keep it finite.
    pub ln_error: Option<f64>,
    /// What the model is and where it comes from, in a line.
    pub source: String,
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
    /// What it is asked for.
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
    /// Unit of its values.
    pub unit: String,
    /// Whether it is about outcomes of attacks (distortions), or about models (scores).
    pub of_outcomes: bool,
    /// Whether greater values mean a more robust model.
    pub higher_is_more_robust: bool,
    /// Names of the numbers that come with every value.
    pub extras: Vec<String>,
}

/// An attack on a model with a goal, over all images.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// The model.
    pub model: String,
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// Number of images without an outcome, because their cell failed.
    pub missing: usize,
    /// How many images were attacked: those that the model classifies correctly.
    pub attacked: usize,
    /// For how many the attack gave an image.
    pub found: usize,
    /// For how many its answer was no image of the model's domain.
    pub invalid: usize,
    /// How often the goal is met, of the images attacked.
    pub success: Rate,
    /// The same, rounded to 8 bits.
    pub success_8bit: Rate,
    /// One for every metric of outcomes.
    pub distortions: Vec<Distortion>,
    /// Passes through the network per image attacked.
    pub cost: Cost,
}

/// How large the perturbations of a campaign are, by a metric.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Distortion {
    /// The metric.
    pub metric: String,
    /// Over the images whose goal is met.
    pub mean: Estimate,
    /// Their quantiles.
    pub quantiles: Quantiles,
    /// The mean over the images whose goal is met after rounding to 8 bits, of the rounded images.
    pub mean_8bit: Option<f64>,
    /// The median of the same.
    pub median_8bit: Option<f64>,
    /// Success against distortion: which share of the images attacked is deceived within a
    /// distortion. Null for a metric whose values fall as perturbations grow, such as SSIM.
    pub curve: Option<Curve>,
    /// How far from the smallest that any attack of the study found; null likewise.
    pub gap: Option<Gap>,
}

/// Quantiles, linear between neighbours; null of nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantiles {
    /// Least value.
    pub min: Option<f64>,
    /// 0.1-quantile.
    pub q10: Option<f64>,
    /// 0.25-quantile.
    pub q25: Option<f64>,
    /// Median.
    pub median: Option<f64>,
    /// 0.75-quantile.
    pub q75: Option<f64>,
    /// 0.9-quantile.
    pub q90: Option<f64>,
    /// Greatest value.
    pub max: Option<f64>,
}

impl Quantiles {
    /// Of sorted values.
    pub fn of(sorted: &[f64]) -> Self {
        let at = |q| stats::quantile(sorted, q).and_then(number);
        Self {
            min: at(0.0),
            q10: at(0.1),
            q25: at(0.25),
            median: at(0.5),
            q75: at(0.75),
            q90: at(0.9),
            max: at(1.0),
        }
    }
}

/// A curve of success against distortion. At `distortion[i]` it has come to `rank[i]` of `attacked`
/// images. Up to 200 successes are all there; of more, 200 that are evenly spaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// How many images were attacked.
    pub attacked: usize,
    /// Distortions of successes, ascending.
    pub distortion: Vec<f64>,
    /// How many successes have at most that distortion.
    pub rank: Vec<usize>,
}

impl Curve {
    /// So many points are kept.
    const POINTS: usize = 200;

    /// Of the sorted distortions of successes among `attacked` images.
    pub fn of(sorted: &[f64], attacked: usize) -> Self {
        let (count, points) = (sorted.len(), sorted.len().min(Self::POINTS));
        let ranks =
            (0..points).map(|n| if points < 2 { 1 } else { 1 + n * (count - 1) / (points - 1) });
        let (rank, distortion) =
            ranks.filter_map(|rank| Some((rank, number(sorted[rank - 1])?))).unzip();
        Self { attacked, distortion, rank }
    }

    /// Distortion and the share of images deceived within it, ascending.
    pub fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.distortion
            .iter()
            .zip(&self.rank)
            .map(|(&distortion, &rank)| (distortion, rank as f64 / self.attacked as f64))
    }
}

/// How far an attack is from the lower envelope: per image the smallest distortion that any attack
/// of the study, with the same model and goal, succeeded with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// How many images any attack succeeded on.
    pub images: usize,
    /// On how many of these this attack is within 1 % of the smallest.
    pub best: usize,
    /// Median of distortion / smallest over those images; a failure is infinitely far, and null
    /// stands for infinity.
    pub median_ratio: Option<f64>,
    /// Mean of the same over this attack's successes.
    pub mean_ratio: Option<f64>,
}

/// Passes through the network per image attacked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Mean of the forward passes.
    pub forward_mean: Option<f64>,
    /// Median of the forward passes.
    pub forward_median: Option<f64>,
    /// Mean of the backward passes.
    pub backward_mean: Option<f64>,
    /// Median of the backward passes.
    pub backward_median: Option<f64>,
}

/// Whether images are taken as they are or rounded to 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Pixels {
    /// As they are.
    #[serde(rename = "float")]
    Float,
    /// Rounded.
    #[serde(rename = "8bit")]
    EightBit,
}

/// What counts as meeting the goal on another model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Match {
    /// The answer: not the true class or, targeted, the class aimed at.
    Top1,
    /// Targeted: the class aimed at is among the first five.
    Top5,
}

/// How adversarials of every model do against every other. Rows are sources and columns targets, in
/// the order of the models; on the diagonal stands what the attack does to its own model (of top-5
/// matches that is not known: 0 of 0).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// Whether images are taken as they are or rounded to 8 bits.
    pub pixels: Pixels,
    /// What counts as meeting the goal.
    pub matching: Match,
    /// Counts under each denominator: `all` images; `source_correct`, those attacked;
    /// `source_success`, those that deceive the source; `target_correct`, those attacked that the
    /// target classifies correctly; `both`, those that deceive the source and that the target
    /// classifies correctly; `all_correct`, those that every model of the study classifies
    /// correctly.
    pub denominators: BTreeMap<String, Counts>,
    /// Which of them the 2018 study used: `target_correct`.
    pub published: String,
    /// What targets make of the images of `both`.
    pub split: Split,
}

/// A matrix of counts, `k[source][target]` of `n[source][target]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// How many meet the goal.
    pub k: Vec<Vec<usize>>,
    /// Of how many.
    pub n: Vec<Vec<usize>>,
}

impl Counts {
    /// An entry with its interval.
    pub fn rate(&self, source: usize, target: usize) -> Rate {
        Rate::new(self.k[source][target], self.n[source][target])
    }
}

/// What targets make of images that deceive the source and that they classify correctly as they
/// are: three matrices that add up to `both`. On the diagonal everything is the same mistake.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// They still see the true class.
    pub unfooled: Vec<Vec<usize>>,
    /// They see another class than the true one and the source's.
    pub different_mistake: Vec<Vec<usize>>,
    /// They see what the source sees.
    pub same_mistake: Vec<Vec<usize>>,
}

/// A metric of a model, over the images that it classifies correctly.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// The metric.
    pub metric: String,
    /// The model.
    pub model: String,
    /// What it was asked about.
    pub goal: GoalKind,
    /// Number of images without a score, because their cell failed.
    pub missing: usize,
    /// How many images were scored.
    pub scored: usize,
    /// Mean over the images.
    pub mean: Estimate,
    /// Quantiles over the images.
    pub quantiles: Quantiles,
    /// Mean of each number that comes with the values, by its name: CLEVER's `low` and `high` (ends
    /// of an image's own interval), `lipschitz`, `ks_p`, and `good_fit`, the share of images whose
    /// fit is good.
    pub extras: BTreeMap<String, Option<f64>>,
}

/// How distortion goes with ln(error): mean distortion of the successes against
/// [`Model::ln_error`].
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Law {
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// The metric.
    pub metric: String,
    /// The models that have a point.
    pub points: Vec<Point>,
    /// Lines through all of them, through those on the frontier, and through those that remain
    /// without the families AlexNet and VGG.
    pub fits: Vec<Fit>,
}

/// A model in the plane of accuracy and distortion.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// The model.
    pub model: String,
    /// Abscissa.
    pub ln_error: f64,
    /// Ends of its interval.
    pub ln_error_interval: Option<Interval>,
    /// Mean distortion.
    pub distortion: f64,
    /// Ends of its interval.
    pub distortion_interval: Option<Interval>,
    /// Whether no other model is at least as accurate and at least as robust.
    pub on_frontier: bool,
    /// In which share of resamples it is so.
    pub membership: Option<f64>,
}

/// Which models a line goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subset {
    /// All.
    All,
    /// Those on the frontier.
    Frontier,
    /// All but those of the families AlexNet and VGG.
    WithoutAlexnetAndVgg,
}

/// distortion = slope · ln(error) + intercept, by ordinary least squares. Whatever a fit does not
/// have enough different points for is null.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// The models that it goes through.
    pub subset: Subset,
    /// How many they are.
    pub models: usize,
    /// Rise per e-fold of the error. Its interval resamples images; on the frontier, the frontier
    /// too.
    pub slope: Estimate,
    /// Student's interval of the slope, from the scatter of the points around the line.
    pub slope_interval_t: Option<Interval>,
    /// Height where the error is 1.
    pub intercept: Estimate,
    /// Share of the variance that the line explains.
    pub r2: Estimate,
    /// The line's height along the abscissa.
    pub band: Vec<Band>,
}

/// A line's height at a place.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// ln(error).
    pub ln_error: f64,
    /// The line.
    pub line: f64,
    /// Ends of its interval.
    pub interval: Option<Interval>,
}

/// A deeper model against the next less deep one of its family, by the images on which the attack
/// succeeds against both.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DepthEffect {
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// The metric.
    pub metric: String,
    /// The family.
    pub family: String,
    /// The less deep model.
    pub shallow: String,
    /// Number of its layers.
    pub shallow_depth: u32,
    /// The deeper model.
    pub deep: String,
    /// Number of its layers.
    pub deep_depth: u32,
    /// Number of images.
    pub images: usize,
    /// Mean distortion of the deeper model over that of the other: above 1, depth helps.
    pub ratio: Estimate,
}

/// Transfer within and across families, under the published denominator, float images, top-1.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FamilyTransfer {
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// Pairs of different models of one family, pooled.
    pub within: Pooled,
    /// Pairs of models of different families, pooled.
    pub across: Pooled,
    /// Rate within less rate across.
    pub difference: Estimate,
    /// By the source's family.
    pub sources: Vec<SourceFamily>,
}

/// Outcomes of several pairs of models, pooled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pooled {
    /// How many meet the goal.
    pub k: usize,
    /// Of how many.
    pub n: usize,
    /// The rate; its interval is from a bootstrap over images, since an image's outcomes hang
    /// together.
    pub rate: Estimate,
}

/// How adversarials of a family's models carry over.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceFamily {
    /// The family.
    pub family: String,
    /// To other models of the family.
    pub within: Pooled,
    /// To models of other families.
    pub across: Pooled,
}

/// What the data say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// They speak for it.
    Supported,
    /// They speak against it.
    NotSupported,
    /// They do not tell.
    Undecided,
}

/// A claim of the 2018 study, held against the data at hand.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// Number of the claim, from 1.
    pub claim: u32,
    /// The claim in a sentence.
    pub statement: String,
    /// What the data say.
    pub finding: Finding,
    /// When the finding is which.
    pub rule: String,
    /// The finding in a sentence, with the numbers that decide it.
    pub reading: String,
    /// The numbers.
    pub evidence: Vec<Evidence>,
}

/// A number that a verdict rests on.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What it is.
    pub what: String,
    /// The number.
    pub value: Estimate,
    /// What it says of the claim by itself.
    pub finding: Finding,
}

/// An adversarial beside its original. For every attack and goal those at the 0.1-, 0.5- and
/// 0.9-quantile of the successes on all models, by the study's first metric of outcomes. The pixels
/// stand in `examples.safetensors`, 3×S×S in [0, 1], as `<tensor>.original` and
/// `<tensor>.adversarial`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Beginning of the names of its two tensors.
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
    /// The class aimed at.
    pub target_class: Option<i64>,
    /// The model's answer to the adversarial.
    pub prediction: i64,
    /// Whether it still is one when it is rounded to 8 bits.
    pub success_8bit: bool,
    /// Its distortion by each metric of outcomes, by label.
    pub distortions: BTreeMap<String, Option<f64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_keeps_its_ends_and_at_most_200_points() {
        let few = Curve::of(&[0.5, 1.0, 4.0], 10);
        assert_eq!(few.points().collect::<Vec<_>>(), [(0.5, 0.1), (1.0, 0.2), (4.0, 0.3)]);
        let many: Vec<f64> = (1..=999).map(f64::from).collect();
        let curve = Curve::of(&many, 1000);
        assert_eq!((curve.rank.len(), curve.rank[0], curve.rank[199]), (200, 1, 999));
        assert!(
            curve
                .rank
                .iter()
                .zip(&curve.distortion)
                .all(|(rank, distortion)| *rank as f64 == *distortion)
        );
        assert_eq!(Curve::of(&[], 3).points().count(), 0);
        assert_eq!(Curve::of(&[2.0], 4).points().collect::<Vec<_>>(), [(2.0, 0.25)]);
    }

    #[test]
    fn numbers_have_six_digits_and_are_json() {
        assert_eq!(number(1.0 / 3.0), Some(0.333333));
        assert_eq!((number(f64::NAN), number(f64::INFINITY)), (None, None));
        assert_eq!(Rate::new(0, 0), Rate { k: 0, n: 0, rate: None, interval: None });
    }

    #[test]
    fn what_is_no_study_is_refused_with_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        let error = || format!("{:#}", Summary::open(folder.path()).unwrap_err());
        assert!(error().contains("cannot be read: a results' folder is expected"), "{}", error());
        fs::write(folder.path().join(FILE), "{\"format\": 99}").unwrap();
        assert!(
            error().ends_with("is of format 99, this program reads 1: run the study again"),
            "{}",
            error()
        );
    }
}
