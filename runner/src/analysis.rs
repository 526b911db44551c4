//! From rows to tables: rates with their denominators, distortions, transfer.
//!
//! Everything is counted from the stored rows, in the study's order, so the tables are the same
//! byte for byte however the cells came to be.

use crate::plan::{CellId, Plan, Scoring};
use crate::rows::{CleanRow, CraftRow, MeasureRow, Row, ScoreRow, Status, TransferRow};
use crate::store::{Found, Store};
use crate::study::{GoalKind, Study};
use anyhow::Result;

/// All tables of a study.
#[derive(Debug, Default)]
pub struct Tables {
    /// One per model.
    pub accuracy: Vec<Accuracy>,
    /// One per model, attack and goal.
    pub success: Vec<Success>,
    /// One per ordered pair of models, attack, goal, depth and rank.
    pub transfer: Vec<Transfer>,
    /// One per metric of scope model and model.
    pub scores: Vec<Score>,
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
    /// Per metric of scope outcome, over the images whose goal is met.
    pub distortions: Vec<Distortion>,
    /// Median of the forward passes per attacked image.
    pub forward: Option<f64>,
    /// Median of the backward passes per attacked image.
    pub backward: Option<f64>,
    /// Seconds that the attack took.
    pub seconds: f64,
    /// Seconds that the other models took to look at its pixels.
    pub transfer_seconds: f64,
}

/// How large perturbations are.
#[derive(Debug)]
pub struct Distortion {
    /// Index of the metric.
    pub metric: usize,
    /// Over the images whose goal is met in float.
    pub float: Summary,
    /// Over the images whose goal is met after rounding to 8 bits, of the rounded pixels.
    pub rounded: Summary,
}

/// Mean and median; none when there is nothing to summarise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
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

/// Which images a transfer rate is over.
pub const DENOMINATORS: [&str; 5] = ["all", "source_correct", "source_success", "target_correct", "both"];

/// The published denominator, as an index into [`DENOMINATORS`].
pub const PUBLISHED: usize = 3;

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
    /// For each of [`DENOMINATORS`] the number of images. `all`: every image; `source_correct`:
    /// those that were attacked; `source_success`: those that deceive the source;
    /// `target_correct`: those attacked that the target classifies correctly; `both`: those that
    /// deceive the source and that the target classifies correctly.
    pub images: [usize; 5],
    /// For each of [`DENOMINATORS`] how many of these meet the goal on the target.
    pub transferred: [usize; 5],
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
    pub summary: Summary,
}

/// Is handed all rows of a study in order, for files that hold them all.
pub trait RowSink {
    /// The craft rows of a slice, with the values of each metric of scope outcome where there are any.
    fn craft(&mut self, campaign: usize, slice: usize, rows: &[CraftRow], measures: &[Option<Vec<MeasureRow>>]) -> Result<()>;
    /// The transfer rows of a slice.
    fn transfer(&mut self, campaign: usize, target: usize, slice: usize, rows: &[TransferRow]) -> Result<()>;
}

/// Reads all cells and counts.
pub fn analyse(study: &Study, plan: &Plan, store: &Store, sink: &mut dyn RowSink) -> Result<Tables> {
    let reader = Reader { plan, store };
    let accuracy = (0..study.models.len()).map(|model| reader.accuracy(model)).collect();
    let mut success = Vec::new();
    let mut transfer = Vec::new();
    for index in 0..plan.campaigns.len() {
        success.push(reader.campaign(index, sink)?);
        let seconds = reader.transfers(index, sink, &mut transfer)?;
        success[index].transfer_seconds = seconds;
    }
    let scores = plan.scores.iter().map(|scoring| reader.score(scoring)).collect();
    Ok(Tables { accuracy, success, transfer, scores })
}

struct Reader<'a> {
    plan: &'a Plan,
    store: &'a Store,
}

impl Reader<'_> {
    /// A cell's rows; none when it failed.
    fn rows<R: Row>(&self, id: CellId) -> Option<Vec<R>> {
        match self.store.read::<R>(&self.plan.cells[id].address) {
            Found::Whole(stored) => Some(stored.rows),
            Found::Missing | Found::Damaged(_) => None,
        }
    }

    fn accuracy(&self, model: usize) -> Accuracy {
        let mut accuracy = Accuracy { model, ..Accuracy::default() };
        for &id in &self.plan.clean[model] {
            let Some(rows) = self.rows::<CleanRow>(id) else {
                accuracy.missing += self.plan.cases(id);
                continue;
            };
            accuracy.images += rows.len();
            accuracy.correct += rows.iter().filter(|row| row.correct).count();
            accuracy.top5 += rows.iter().filter(|row| row.top5).count();
        }
        accuracy
    }

    fn campaign(&self, index: usize, sink: &mut dyn RowSink) -> Result<Success> {
        let campaign = &self.plan.campaigns[index];
        let mut all: Vec<CraftRow> = Vec::new();
        let mut missing = 0;
        let mut values: Vec<[Vec<f64>; 2]> = campaign.measures.iter().map(|_| Default::default()).collect();
        for (slice, &id) in campaign.craft.iter().enumerate() {
            let Some(rows) = self.rows::<CraftRow>(id) else {
                missing += self.plan.cases(id);
                continue;
            };
            let measures: Vec<Option<Vec<MeasureRow>>> = campaign.measures.iter().map(|(_, cells)| self.rows(cells[slice])).collect();
            sink.craft(index, slice, &rows, &measures)?;
            for (measured, values) in measures.iter().zip(&mut values) {
                for (row, measure) in rows.iter().zip(measured.iter().flatten()) {
                    values[0].extend(measure.value.filter(|_| row.success));
                    values[1].extend(measure.value_8bit.filter(|_| row.success_8bit));
                }
            }
            all.extend(rows);
        }
        let attempted: Vec<&CraftRow> = all.iter().filter(|row| row.status.attempted()).collect();
        let count = |wanted: &dyn Fn(&CraftRow) -> bool| attempted.iter().filter(|row| wanted(row)).count();
        let passes = |of: fn(&CraftRow) -> i64| summary(attempted.iter().map(|row| of(row) as f64).collect()).median;
        Ok(Success {
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
                .zip(values)
                .map(|((metric, _), [float, rounded])| Distortion { metric: *metric, float: summary(float), rounded: summary(rounded) })
                .collect(),
            forward: passes(|row| row.forward),
            backward: passes(|row| row.backward),
            seconds: all.iter().map(|row| row.milliseconds / 1e3).sum(),
            transfer_seconds: 0.0,
        })
    }

    fn transfers(&self, index: usize, sink: &mut dyn RowSink, tables: &mut Vec<Transfer>) -> Result<f64> {
        let campaign = &self.plan.campaigns[index];
        let ranks: &[Rank] = if campaign.goal == GoalKind::Untargeted { &[Rank::Top1] } else { &[Rank::Top1, Rank::Top5] };
        let mut seconds = 0.0;
        for (target, cells) in &campaign.transfers {
            let empty = |depth, rank| Transfer {
                source: campaign.model,
                target: *target,
                attack: campaign.attack,
                goal: campaign.goal,
                depth,
                rank,
                missing: 0,
                images: [0; 5],
                transferred: [0; 5],
            };
            let mut counts: Vec<Transfer> =
                ranks.iter().flat_map(|&rank| [Depth::Float, Depth::EightBit].map(|depth| empty(depth, rank))).collect();
            for (slice, &id) in cells.iter().enumerate() {
                let Some(rows) = self.rows::<TransferRow>(id) else {
                    for count in &mut counts {
                        count.missing += self.plan.cases(id);
                    }
                    continue;
                };
                sink.transfer(index, *target, slice, &rows)?;
                seconds += rows.iter().map(|row| row.milliseconds / 1e3).sum::<f64>();
                for count in &mut counts {
                    for row in &rows {
                        count.add(row);
                    }
                }
            }
            tables.extend(counts);
        }
        Ok(seconds)
    }

    fn score(&self, scoring: &Scoring) -> Score {
        let &Scoring { metric, model, goal, ref cells } = scoring;
        let mut values = Vec::new();
        let mut missing = 0;
        for &id in cells {
            match self.rows::<ScoreRow>(id) {
                Some(rows) => values.extend(rows.iter().filter_map(|row| row.value)),
                None => missing += self.plan.cases(id),
            }
        }
        Score { metric, model, goal, missing, scored: values.len(), summary: summary(values) }
    }
}

impl Transfer {
    fn add(&mut self, row: &TransferRow) {
        let (source_success, hit) = match (self.depth, self.rank) {
            (Depth::Float, Rank::Top1) => (row.source_success, row.success),
            (Depth::Float, Rank::Top5) => (row.source_success, row.top5),
            (Depth::EightBit, Rank::Top1) => (row.source_success_8bit, row.success_8bit),
            (Depth::EightBit, Rank::Top5) => (row.source_success_8bit, row.top5_8bit),
        };
        let attempted = row.status.attempted();
        let member = [true, attempted, source_success, attempted && row.target_correct, source_success && row.target_correct];
        for (n, member) in member.into_iter().enumerate() {
            self.images[n] += usize::from(member);
            self.transferred[n] += usize::from(member && hit);
        }
    }
}

/// `part` of `whole` as a fraction; none of nothing.
pub fn rate(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn summary(mut values: Vec<f64>) -> Summary {
    if values.is_empty() {
        return Summary::default();
    }
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) };
    Summary { mean: Some(mean), median: Some(median) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_of_few_values() {
        assert_eq!(summary(vec![]), Summary::default());
        assert_eq!(summary(vec![3.0, 1.0, 2.0, 10.0]), Summary { mean: Some(4.0), median: Some(2.5) });
        assert_eq!(summary(vec![3.0, 1.0, 5.0]).median, Some(3.0));
    }

    #[test]
    fn every_denominator_is_counted() {
        let row = |status, source_success, target_correct, success| TransferRow {
            image: String::new(),
            label: 0,
            target_class: None,
            status,
            source_success,
            source_success_8bit: false,
            target_correct,
            prediction: None,
            prediction_8bit: None,
            success,
            success_8bit: success,
            top5: false,
            top5_8bit: false,
            milliseconds: 0.0,
        };
        let rows = [
            row(Status::Adversarial, true, true, true),
            row(Status::Adversarial, true, true, false),
            row(Status::Adversarial, true, false, true),
            row(Status::NotAdversarial, false, true, true),
            row(Status::NotFound, false, true, false),
            row(Status::Misclassified, false, true, false),
        ];
        let count = |depth| {
            let mut count = Transfer {
                source: 0,
                target: 1,
                attack: 0,
                goal: GoalKind::Untargeted,
                depth,
                rank: Rank::Top1,
                missing: 0,
                images: [0; 5],
                transferred: [0; 5],
            };
            for row in &rows {
                count.add(row);
            }
            (count.images, count.transferred)
        };
        assert_eq!(count(Depth::Float), ([6, 5, 3, 4, 2], [3, 3, 2, 2, 1]));
        assert_eq!(count(Depth::EightBit), ([6, 5, 0, 4, 0], [3, 3, 0, 2, 0]));
    }
}
