//! The tables: counts of what the stored rows say, by model, attack, goal and metric.

use crate::analysis::flags::Findings;
use crate::analysis::robustness::Robustness;
use crate::analysis::stats;
use crate::analysis::transfer::Transfer;
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
    /// One per ordered pair of models, attack, goal, kind of pixels and match.
    pub transfer: Vec<Transfer>,
    /// One per metric of scope model, goal and model.
    pub scores: Vec<Score>,
    /// Per model and image, whether the model classifies it correctly; none where the cell failed.
    pub correct: Vec<Vec<Option<bool>>>,
    /// Per model, the adversarials that it was given, its own and those of other models; hits are
    /// those with a logit that is not finite.
    pub adversarials: Vec<Tally>,
    /// Per model, the images attacked, over all attacks; hits are those whose clean answer changed
    /// during the attack.
    pub repeated: Vec<Tally>,
    /// Per image, the hash of its pixels as a model is given them; none where all cells failed.
    pub pixels: Vec<Option<String>>,
    /// Per model and image, the model's answer; none where the cell failed.
    pub answers: Vec<Vec<Option<i64>>>,
    /// One per model; without cases when the study has no probe.
    pub probes: Vec<Probe>,
    /// Signs that a model or an attack is not measured right.
    pub findings: Findings,
    /// The smallest known distortions, one per model and norm that the study measures.
    pub robustness: Vec<Robustness>,
    /// Transfer per image within and across families, one per attack, goal and family of sources.
    pub spread: Vec<Spread>,
    /// Missing cells that could have been computed: all cells that they need are there.
    pub missing: Vec<CellId>,
}

/// Transfer of a family's adversarials, counted per image under the published denominator, for
/// float pixels and top-1 matches.
#[derive(Debug)]
pub struct Spread {
    /// Index of the attack.
    pub attack: usize,
    /// The attack's goal.
    pub goal: GoalKind,
    /// The family of the sources.
    pub family: String,
    /// Per image, outcomes on other models of the family.
    pub within: Vec<Tally>,
    /// Per image, outcomes on models of other families.
    pub across: Vec<Tally>,
}

/// How many of some outcomes are hits: meet the goal, unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Number of hits.
    pub hits: u32,
    /// Number of outcomes.
    pub of: u32,
}

/// What the probe of a model found.
#[derive(Debug)]
pub struct Probe {
    /// Index of the model.
    pub model: usize,
    /// Per image, up to the last that the study probes; none where the image was not probed.
    pub cases: Vec<Option<ProbeRow>>,
}

/// A model's accuracy on the images as they are.
#[derive(Debug, Default)]
pub struct Accuracy {
    /// Index of the model.
    pub model: usize,
    /// Number of images with a row.
    pub images: usize,
    /// Number of images without rows, because their cell failed.
    pub missing: usize,
    /// Number of images with a logit that is not finite.
    pub invalid: usize,
    /// Number of images that are classified correctly.
    pub correct: usize,
    /// Number of images whose true class is among the model's first five.
    pub top5: usize,
}

/// Outcomes of an attack on a model.
#[derive(Debug)]
pub struct Success {
    /// Index of the model.
    pub model: usize,
    /// Index of the attack.
    pub attack: usize,
    /// The attack's goal.
    pub goal: GoalKind,
    /// Number of images with a row.
    pub images: usize,
    /// Number of images without rows, because their cell failed.
    pub missing: usize,
    /// Number of images that were attacked: those that the model classifies correctly.
    pub source_correct: usize,
    /// Number of images for which the attack gave pixels.
    pub found: usize,
    /// Number of images for which the attack's answer was invalid.
    pub invalid: usize,
    /// The first image whose answer was invalid, by its index, and the reason.
    pub first_invalid: Option<(usize, String)>,
    /// Number of images whose goal is met.
    pub success: usize,
    /// Number of images whose goal is met after rounding to 8 bits.
    pub success_8bit: usize,
    /// Per image, whether it was attacked.
    pub attacked: Vec<bool>,
    /// Per image, whether the goal is met.
    pub met: Vec<bool>,
    /// Per image, whether the goal is met after rounding to 8 bits.
    pub met_8bit: Vec<bool>,
    /// One per metric of outcomes, over the images whose goal is met.
    pub distortions: Vec<Distortion>,
    /// Passes through the network per attacked image.
    pub passes: Passes,
    /// Seconds that the attack took.
    pub seconds: f64,
    /// Seconds that the other models took to classify the attack's pixels. With the policy `native`
    /// it includes the seconds of the attacks at the other models' sides.
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

/// Distortions of an attack by a metric.
#[derive(Debug)]
pub struct Distortion {
    /// Index of the metric.
    pub metric: usize,
    /// Distortion of the float pixels, over the images whose goal they meet.
    pub float: MeanMedian,
    /// Distortion of the rounded pixels, over the images whose goal is met after rounding to 8 bits.
    pub rounded: MeanMedian,
    /// Per image, of the float pixels; none where the goal is not met.
    pub cases: Vec<Option<f64>>,
}

/// Mean and median of some values; none when there are no values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MeanMedian {
    /// Number of values.
    pub count: usize,
    /// Mean.
    pub mean: Option<f64>,
    /// Median: of an even number of values, the mean of the middle two.
    pub median: Option<f64>,
}

/// Scores of a model by a metric of models.
#[derive(Debug)]
pub struct Score {
    /// Index of the metric.
    pub metric: usize,
    /// Index of the model.
    pub model: usize,
    /// The goal that the metric was computed for.
    pub goal: GoalKind,
    /// Number of images without rows, because a cell failed.
    pub missing: usize,
    /// Number of images that the model classifies correctly: those for which the metric was asked.
    pub source_correct: usize,
    /// Number of these whose value and extra numbers are all finite. Everything else here is over
    /// these images.
    pub scored: usize,
    /// Number of these that are left out, since the value or an extra number is not finite.
    pub invalid: usize,
    /// Over the scored images.
    pub summary: MeanMedian,
    /// Per image; none where there is no score.
    pub cases: Vec<Option<f64>>,
    /// Mean of each extra number of the metric, over the scored images.
    pub extras: Vec<Option<f64>>,
    /// Per image, the extra numbers of the metric; empty where there is no score.
    pub extra_cases: Vec<Vec<f64>>,
}

/// Receives all outcomes of a study in order, to write files that hold them all.
pub trait OutcomeSink {
    /// Receives the outcomes of a slice of images.
    fn slice(&mut self, outcomes: &Outcomes) -> Result<()>;
}

/// An attack's outcomes on a slice of images, with all models' answers to them. Rows are in the
/// order of the images.
pub struct Outcomes<'a> {
    /// Index of the campaign.
    pub campaign: usize,
    /// Index of the slice.
    pub slice: usize,
    /// The attack's own outcomes.
    pub craft: &'a [CraftRow],
    /// Values per metric of outcomes; none where the cell failed.
    pub measures: &'a [Option<Vec<MeasureRow>>],
    /// The other models' indices and answers, without the models whose cell failed.
    pub transfers: &'a [(usize, Vec<TransferRow>)],
    /// Per image, whether all models classify it correctly.
    pub everyone: &'a [bool],
    /// Whether the attack was made at the model's own side. Only then is the attack itself an
    /// outcome; at another side its pixels serve transfer alone.
    pub own: bool,
}

impl Tables {
    /// Whether every model classifies an image correctly.
    pub fn everyone(&self, image: usize) -> bool {
        self.correct.iter().all(|correct| correct[image] == Some(true))
    }

    /// Counts a model's answers to its own adversarials, and to their originals afterwards.
    pub(super) fn note_answers(&mut self, model: usize, rows: &[CraftRow]) {
        for row in rows {
            let (attempted, broken) = (row.status.attempted(), row.status.logits_not_finite());
            self.repeated[model].add(attempted, row.status.answers_changed());
            let given = row.slot.is_some();
            let broken = broken || given && row.prediction_8bit.is_none();
            self.adversarials[model].add(attempted && (broken || given), broken);
        }
    }

    /// Notes what an attack on the images from number `first` on says of its model's robustness.
    pub(super) fn note_robustness(
        &mut self,
        campaign: &Campaign,
        first: usize,
        rows: &[CraftRow],
        measures: &[Option<Vec<MeasureRow>>],
    ) {
        for robustness in &mut self.robustness {
            robustness.note_attack(campaign, first, rows, measures);
        }
    }

    /// Counts a model's answers to adversarials of another.
    pub(super) fn note_answers_to_others(
        &mut self,
        model: usize,
        craft: &[CraftRow],
        rows: &[TransferRow],
    ) {
        for (craft, row) in craft.iter().zip(rows) {
            let answers = [row.prediction, row.prediction_8bit, row.control_prediction];
            let broken = answers.iter().any(Option::is_none);
            self.adversarials[model].add(craft.slot.is_some(), broken);
        }
    }

    /// The entry that counts a campaign's transfer, made empty when there is none.
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

impl Tally {
    /// Counts an outcome, if it is one.
    pub(super) fn add(&mut self, counts: bool, hit: bool) {
        self.of += u32::from(counts);
        self.hits += u32::from(counts && hit);
    }
}

impl Spread {
    /// The tallies that outcomes on a target count in.
    pub(super) fn of(&mut self, study: &Study, target: usize) -> &mut [Tally] {
        if study.models[target].card.family == self.family {
            &mut self.within
        } else {
            &mut self.across
        }
    }
}

impl Success {
    /// Counts a campaign's rows. `values`: per metric, the values of float and of rounded pixels;
    /// none for an image whose goal is not met.
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
            first_invalid: None,
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

/// Mean and median of some values.
pub(super) fn summary(values: Vec<f64>) -> MeanMedian {
    let (count, mean) = (values.len(), stats::mean(&values));
    MeanMedian { count, mean, median: stats::quantile(&stats::sorted(values), 0.5) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_few_values() {
        assert_eq!(summary(vec![]), MeanMedian::default());
        assert_eq!(
            summary(vec![3.0, 1.0, 2.0, 10.0]),
            MeanMedian { count: 4, mean: Some(4.0), median: Some(2.5) }
        );
        assert_eq!(summary(vec![3.0, 1.0, 5.0]).median, Some(3.0));
    }
}
