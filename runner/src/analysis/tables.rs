//! The tables: counts of what the stored rows say, by model, attack, goal and metric.

use crate::analysis::flags::sign::Findings;
use crate::analysis::stats;
use crate::engine::plan::{Campaign, CellId};
use crate::store::rows::{CraftRow, MeasureRow, ProbeRow, Status, TransferRow};
use crate::study::{GoalKind, Study};
use anyhow::Result;

/// All tables of a study.
#[derive(Debug, Default)]
pub struct Tables {
    /// One per model.
    pub accuracy: Vec<Accuracy>,
    /// One per model, attack and goal, in the order of the plan's first campaigns.
    pub success: Vec<Success>,
    /// One per ordered pair of models, attack, goal, depth and rank.
    pub transfer: Vec<Transfer>,
    /// One per metric of scope model, goal and model.
    pub scores: Vec<Score>,
    /// Per model and image, whether the model classifies it correctly; none where its cell failed.
    pub correct: Vec<Vec<Option<bool>>>,
    /// What probing each model has shown; empty lists without a probe.
    pub probes: Vec<Probe>,
    /// Signs that a model or an attack is not measured right.
    pub findings: Findings,
    /// Transfer per image within and across families, one per attack, goal and family of sources.
    pub spread: Vec<Spread>,
    /// Cells that are not there, though those that they need are.
    pub missing: Vec<CellId>,
}

/// How adversarials of a family's models carry over, counted per image under the published
/// denominator, as float, top-1.
#[derive(Debug)]
pub struct Spread {
    /// Index of the attack.
    pub attack: usize,
    /// What it was asked for.
    pub goal: GoalKind,
    /// The family of the sources.
    pub family: String,
    /// To other models of the family.
    pub within: Vec<Tally>,
    /// To models of other families.
    pub across: Vec<Tally>,
}

/// `hits` of `of` outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many meet the goal.
    pub hits: u32,
    /// Of how many.
    pub of: u32,
}

/// What probing a model has shown.
#[derive(Debug)]
pub struct Probe {
    /// Index of the model.
    pub model: usize,
    /// Per image, from the first on; none where it was not probed.
    pub cases: Vec<Option<ProbeRow>>,
}

/// How a model does without an attack.
#[derive(Debug, Default)]
pub struct Accuracy {
    /// Index of the model.
    pub model: usize,
    /// Number of images looked at.
    pub images: usize,
    /// Number of images without rows, because their cell failed.
    pub missing: usize,
    /// How many are classified correctly.
    pub correct: usize,
    /// For how many the true class is among the first five.
    pub top5: usize,
}

/// How an attack does against a model.
#[derive(Debug)]
pub struct Success {
    /// Index of the model.
    pub model: usize,
    /// Index of the attack.
    pub attack: usize,
    /// What it was asked for.
    pub goal: GoalKind,
    /// Number of images looked at.
    pub images: usize,
    /// Number of images without rows, because their cell failed.
    pub missing: usize,
    /// How many the model classifies correctly: those that were attacked.
    pub source_correct: usize,
    /// For how many the attack gave pixels.
    pub found: usize,
    /// For how many its answer was no image.
    pub invalid: usize,
    /// For how many the goal is met.
    pub success: usize,
    /// The same, rounded to 8 bits.
    pub success_8bit: usize,
    /// Per image, whether it was attacked.
    pub attacked: Vec<bool>,
    /// Per image, whether the goal is met.
    pub met: Vec<bool>,
    /// The same, rounded to 8 bits.
    pub met_8bit: Vec<bool>,
    /// Per metric of scope outcome, over the images whose goal is met.
    pub distortions: Vec<Distortion>,
    /// Passes per attacked image.
    pub passes: Passes,
    /// Seconds that the attack took.
    pub seconds: f64,
    /// Seconds that the other models took to look at its pixels, and the attack to make pixels of
    /// their side for them (policy `native`).
    pub transfer_seconds: f64,
}

/// Passes through the network per attacked image.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passes {
    /// Forward passes.
    pub forward: MeanMedian,
    /// Backward passes.
    pub backward: MeanMedian,
}

/// How large perturbations are.
#[derive(Debug)]
pub struct Distortion {
    /// Index of the metric.
    pub metric: usize,
    /// Over the images whose goal is met in float.
    pub float: MeanMedian,
    /// Over the images whose goal is met after rounding to 8 bits, of the rounded pixels.
    pub rounded: MeanMedian,
    /// Per image, where the goal is met in float.
    pub cases: Vec<Option<f64>>,
}

/// Mean and median; none when there is nothing to summarise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeanMedian {
    /// Mean.
    pub mean: Option<f64>,
    /// Median; of an even number the mean of the middle two.
    pub median: Option<f64>,
}

/// Whether pixels are taken as they are or rounded to 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// As they are.
    Float,
    /// Rounded.
    EightBit,
}

/// What counts as a targeted success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The class aimed at is the answer.
    Top1,
    /// The class aimed at is among the first five.
    Top5,
}

/// How adversarials of one model do against another.
#[derive(Debug)]
pub struct Transfer {
    /// Index of the model that was attacked.
    pub source: usize,
    /// Index of the model that is given the pixels.
    pub target: usize,
    /// Index of the attack.
    pub attack: usize,
    /// What it was asked for.
    pub goal: GoalKind,
    /// Float or 8-bit pixels.
    pub depth: Depth,
    /// What counts as a success.
    pub rank: Rank,
    /// Number of images without rows, because a cell failed.
    pub missing: usize,
    /// For each of [`DENOMINATORS`](crate::analysis::DENOMINATORS) the number of images. `all`:
    /// every image; `source_correct`: those that were attacked; `source_success`: those that
    /// deceive the source; `target_correct`: those attacked that the target classifies correctly;
    /// `both`: those that deceive the source and that the target classifies correctly;
    /// `all_correct`: those that every model of the study classifies correctly.
    pub images: [usize; 6],
    /// For each of [`DENOMINATORS`](crate::analysis::DENOMINATORS) how many of these meet the goal
    /// on the target.
    pub transferred: [usize; 6],
    /// As float and top-1, per image whether the goal is met on the target, where the image was
    /// attacked and the target knows it; otherwise empty.
    pub met: Vec<Option<bool>>,
    /// What the target makes of the images of `both`: it still sees the true class, it sees another
    /// class than the source, it sees the source's class.
    pub split: [usize; 3],
}

/// A metric of a model.
#[derive(Debug)]
pub struct Score {
    /// Index of the metric.
    pub metric: usize,
    /// Index of the model.
    pub model: usize,
    /// What it was asked about.
    pub goal: GoalKind,
    /// Number of images without rows, because a cell failed.
    pub missing: usize,
    /// How many were scored: those classified correctly.
    pub scored: usize,
    /// Over those.
    pub summary: MeanMedian,
    /// Per image.
    pub cases: Vec<Option<f64>>,
    /// Mean of each number that comes with the values.
    pub extras: Vec<Option<f64>>,
    /// Per image the numbers that come with its value; none where there is no value.
    pub extra_cases: Vec<Vec<f64>>,
}

/// Is handed all outcomes of a study in order, for files that hold them all.
pub trait OutcomeSink {
    /// Those of a slice of images.
    fn slice(&mut self, outcomes: &Outcomes) -> Result<()>;
}

/// What an attack made of a slice of images, and what all models say of that. Rows stand in the
/// order of the images.
pub struct Outcomes<'a> {
    /// Index of the campaign.
    pub campaign: usize,
    /// Index of the slice.
    pub slice: usize,
    /// What the attack gave.
    pub craft: &'a [CraftRow],
    /// Per metric of scope outcome its values; none where its cell failed.
    pub measures: &'a [Option<Vec<MeasureRow>>],
    /// The other models' answers, with their indices; a model whose cell failed is not among them.
    pub transfers: &'a [(usize, Vec<TransferRow>)],
    /// Whether all models classify the image correctly.
    pub everyone: &'a [bool],
    /// Whether the attack was at the model's own side: what it did there is an outcome by itself.
    pub own: bool,
}

impl Tables {
    /// Whether every model classifies an image correctly.
    pub fn everyone(&self, image: usize) -> bool {
        self.correct.iter().all(|correct| correct[image] == Some(true))
    }

    /// The place to count a campaign's transfer at.
    pub(super) fn spread(&mut self, study: &Study, campaign: &Campaign) -> &mut Spread {
        let family = &study.models[campaign.model].card.family;
        let found = self.spread.iter().position(|s| {
            (s.attack, s.goal, s.family.as_str())
                == (campaign.attack, campaign.goal, family.as_str())
        });
        let index = found.unwrap_or_else(|| {
            let none = vec![Tally::default(); study.data.pictures.len()];
            let (attack, goal, family) = (campaign.attack, campaign.goal, family.clone());
            self.spread.push(Spread { attack, goal, family, within: none.clone(), across: none });
            self.spread.len() - 1
        });
        &mut self.spread[index]
    }
}

impl Spread {
    pub(super) fn of(&mut self, study: &Study, target: usize) -> &mut [Tally] {
        if study.models[target].card.family == self.family {
            &mut self.within
        } else {
            &mut self.across
        }
    }
}

impl Success {
    /// `values`: per metric and image, as float and rounded, where the goal is met.
    pub(super) fn count(
        campaign: &Campaign,
        all: &[CraftRow],
        missing: usize,
        values: Vec<[Vec<Option<f64>>; 2]>,
    ) -> Self {
        let attempted: Vec<&CraftRow> = all.iter().filter(|row| row.status.attempted()).collect();
        let count =
            |wanted: &dyn Fn(&CraftRow) -> bool| attempted.iter().filter(|row| wanted(row)).count();
        let passes = |of: fn(&CraftRow) -> i64| {
            summary(attempted.iter().map(|row| of(row) as f64).collect())
        };
        let distortion = |(metric, [float, rounded]): (usize, [Vec<Option<f64>>; 2])| Distortion {
            metric,
            float: summary(float.iter().copied().flatten().collect()),
            rounded: summary(rounded.into_iter().flatten().collect()),
            cases: float,
        };
        Self {
            model: campaign.model,
            attack: campaign.attack,
            goal: campaign.goal,
            images: all.len(),
            missing,
            source_correct: attempted.len(),
            found: count(&|row| row.slot.is_some()),
            invalid: count(&|row| matches!(row.status, Status::Invalid(_))),
            success: count(&|row| row.success),
            success_8bit: count(&|row| row.success_8bit),
            distortions: campaign
                .measures
                .iter()
                .map(|(metric, _)| *metric)
                .zip(values)
                .map(distortion)
                .collect(),
            passes: Passes {
                forward: passes(|row| row.forward),
                backward: passes(|row| row.backward),
            },
            seconds: all.iter().map(|row| row.milliseconds / 1e3).sum(),
            transfer_seconds: 0.0,
            attacked: Vec::new(),
            met: Vec::new(),
            met_8bit: Vec::new(),
        }
    }
}

impl Transfer {
    /// Nothing counted yet: per target of a campaign one for each depth and rank.
    pub(super) fn counts(campaign: &Campaign) -> Vec<Vec<Self>> {
        let ranks: &[Rank] = if campaign.goal == GoalKind::Untargeted {
            &[Rank::Top1]
        } else {
            &[Rank::Top1, Rank::Top5]
        };
        let empty = |target, depth, rank| Self {
            source: campaign.model,
            target,
            attack: campaign.attack,
            goal: campaign.goal,
            depth,
            rank,
            missing: 0,
            images: [0; 6],
            transferred: [0; 6],
            met: Vec::new(),
            split: [0; 3],
        };
        let of = |target| {
            ranks
                .iter()
                .flat_map(|&rank| {
                    [Depth::Float, Depth::EightBit].map(|depth| empty(target, depth, rank))
                })
                .collect()
        };
        campaign.transfers.iter().map(|(target, _)| of(*target)).collect()
    }

    /// Notes images without rows.
    pub(super) fn miss(&mut self, images: usize) {
        self.missing += images;
        if self.is_plain() {
            self.met.extend(std::iter::repeat_n(None, images));
        }
    }

    fn is_plain(&self) -> bool {
        (self.depth, self.rank) == (Depth::Float, Rank::Top1)
    }

    /// `everyone`: whether all models of the study classify the image correctly.
    pub(super) fn add(&mut self, craft: &CraftRow, row: &TransferRow, everyone: bool) {
        let (source_success, hit) = match (self.depth, self.rank) {
            (Depth::Float, Rank::Top1) => (row.source_success, row.success),
            (Depth::Float, Rank::Top5) => (row.source_success, row.top5),
            (Depth::EightBit, Rank::Top1) => (row.source_success_8bit, row.success_8bit),
            (Depth::EightBit, Rank::Top5) => (row.source_success_8bit, row.top5_8bit),
        };
        let attempted = row.status.attempted();
        let both = source_success && row.target_correct;
        let member =
            [true, attempted, source_success, attempted && row.target_correct, both, everyone];
        for (n, member) in member.into_iter().enumerate() {
            self.images[n] += usize::from(member);
            self.transferred[n] += usize::from(member && hit);
        }
        if self.is_plain() {
            self.met.push((attempted && row.target_correct).then_some(hit));
        }
        if both {
            let (seen, by_source) = match self.depth {
                Depth::Float => (row.prediction, craft.prediction),
                Depth::EightBit => (row.prediction_8bit, craft.prediction_8bit),
            };
            let what = if seen == Some(row.label) { 0 } else { 1 + usize::from(seen == by_source) };
            self.split[what] += 1;
        }
    }
}

/// `part` of `whole` as a fraction; none of nothing.
pub fn rate(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

pub(super) fn summary(values: Vec<f64>) -> MeanMedian {
    let mean = stats::mean(&values);
    MeanMedian { mean, median: stats::quantile(&stats::sorted(values), 0.5) }
}
