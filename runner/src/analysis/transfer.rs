//! Counts of transfer: how adversarials made on one model do against another.

use crate::analysis::control::Control;
use crate::analysis::denominator::{Denominator, PerDenominator};
use crate::engine::plan::Campaign;
use crate::store::rows::{CraftRow, TransferRow};
use crate::study::GoalKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How adversarials of one model do against another.
#[derive(Debug)]
pub struct Transfer {
    /// Index of the model that was attacked.
    pub source: usize,
    /// Index of the model that is given the pixels.
    pub target: usize,
    /// Index of the attack.
    pub attack: usize,
    /// The attack's goal.
    pub goal: GoalKind,
    /// Whether pixels are taken as they are or rounded to 8 bits.
    pub pixels: Pixels,
    /// What counts as meeting the goal.
    pub matching: Match,
    /// Number of images without rows, because a cell failed.
    pub missing: usize,
    /// Number of images.
    pub images: PerDenominator,
    /// Number of these images that meet the goal on the target.
    pub transferred: PerDenominator,
    /// The published denominator's images, beside the same images without the attack.
    pub control: Control,
    /// Per image, whether the goal is met on the target; none where the image was not attacked or
    /// the target misclassifies the original. Empty unless pixels are float and the match is top-1.
    pub met: Vec<Option<bool>>,
    /// What the target makes of the images of [`Denominator::Both`].
    pub split: SplitCounts,
}

/// Whether images are taken as they are or rounded to 8 bits.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
pub enum Pixels {
    /// As they are.
    #[serde(rename = "float")]
    #[strum(serialize = "float")]
    Float,
    /// Rounded to 8 bits.
    #[serde(rename = "8bit")]
    #[strum(serialize = "8bit")]
    EightBit,
}

impl Pixels {
    /// The name in tables.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What counts as meeting the goal on another model.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Match {
    /// The model's answer is another than the true class or, targeted, it is the target class.
    Top1,
    /// Targeted: the target class is among the model's first five.
    Top5,
}

impl Match {
    /// The matches that a goal is counted by.
    pub(crate) fn of(goal: GoalKind) -> &'static [Self] {
        match goal {
            GoalKind::Untargeted => &[Self::Top1],
            _ => &[Self::Top1, Self::Top5],
        }
    }

    /// The name in tables.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How many images a target sees in which way, of those that deceive the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SplitCounts {
    /// The target still sees the true class.
    pub unfooled: usize,
    /// The target sees another class than the true one and the source's answer.
    pub different_mistake: usize,
    /// The target sees what the source sees.
    pub same_mistake: usize,
}

impl Transfer {
    /// Empty counts for each target of a campaign: one for each match and kind of pixels.
    pub(super) fn counts(campaign: &Campaign) -> Vec<Vec<Self>> {
        let empty = |target, pixels, matching| Self {
            source: campaign.model,
            target,
            attack: campaign.attack,
            goal: campaign.goal,
            pixels,
            matching,
            missing: 0,
            images: PerDenominator::default(),
            transferred: PerDenominator::default(),
            control: Control::default(),
            met: Vec::new(),
            split: SplitCounts::default(),
        };
        let of = |target| {
            Match::of(campaign.goal)
                .iter()
                .flat_map(|&matching| {
                    [Pixels::Float, Pixels::EightBit].map(|pixels| empty(target, pixels, matching))
                })
                .collect()
        };
        campaign.transfers.iter().map(|(target, _)| of(*target)).collect()
    }

    /// Notes images without rows.
    pub(super) fn miss(&mut self, images: usize) {
        self.missing += images;
        if self.has_cases() {
            self.met.extend(std::iter::repeat_n(None, images));
        }
    }

    /// Counts an image. `everyone`: whether all models of the study classify it correctly.
    pub(super) fn add(&mut self, craft: &CraftRow, row: &TransferRow, everyone: bool) {
        let (source_success, control_prediction) = match self.pixels {
            Pixels::Float => (row.source_success, row.control_prediction),
            Pixels::EightBit => (row.source_success_8bit, row.control_prediction_8bit),
        };
        let (hit, control_hit) = match (self.pixels, self.matching) {
            (Pixels::Float, Match::Top1) => (row.success, row.control_success),
            (Pixels::Float, Match::Top5) => (row.top5, row.control_top5),
            (Pixels::EightBit, Match::Top1) => (row.success_8bit, row.control_success_8bit),
            (Pixels::EightBit, Match::Top5) => (row.top5_8bit, row.control_top5_8bit),
        };
        let attacked = row.status.attempted();
        let both = source_success && row.target_correct;
        for &denominator in Denominator::ALL {
            let counted = match denominator {
                Denominator::All => true,
                Denominator::SourceCorrect => attacked,
                Denominator::SourceSuccess => source_success,
                Denominator::TargetCorrect => attacked && row.target_correct,
                Denominator::Both => both,
                Denominator::AllCorrect => everyone,
                Denominator::Control => attacked && control_prediction == Some(row.label),
            };
            if denominator == Denominator::PUBLISHED && counted {
                self.control.add(hit, control_hit);
            }
            self.images[denominator] += usize::from(counted);
            self.transferred[denominator] += usize::from(counted && hit);
        }
        if self.has_cases() {
            self.met.push((attacked && row.target_correct).then_some(hit));
        }
        if both {
            let (seen, by_source) = match self.pixels {
                Pixels::Float => (row.prediction, craft.prediction),
                Pixels::EightBit => (row.prediction_8bit, craft.prediction_8bit),
            };
            let count = if seen == Some(row.label) {
                &mut self.split.unfooled
            } else if seen == by_source {
                &mut self.split.same_mistake
            } else {
                &mut self.split.different_mistake
            };
            *count += 1;
        }
    }

    /// Whether [`Transfer::met`] is kept.
    fn has_cases(&self) -> bool {
        (self.pixels, self.matching) == (Pixels::Float, Match::Top1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::Status;
    use crate::store::rows::tests::craft_rows;
    use gauntlet_core::model::ImageShape;

    #[test]
    fn every_denominator_is_counted_and_mistakes_are_told_apart() {
        // What the source sees, what the target sees (3 is the true class), and whether the target
        // classifies the original correctly.
        let case = |status: Status, source: i64, seen: i64, target_correct: bool| {
            let source_success = status == Status::Adversarial;
            let craft = CraftRow {
                label: 3,
                status: status.clone(),
                prediction: Some(source),
                prediction_8bit: Some(3),
                ..craft_rows().remove(0)
            };
            let transfer = TransferRow {
                image: String::new(),
                label: 3,
                target_class: None,
                status,
                source_success,
                source_success_8bit: false,
                target_correct,
                control_prediction: Some(if seen == 6 { 4 } else { 3 }),
                control_prediction_8bit: Some(if seen == 6 { 4 } else { 3 }),
                control_success: seen == 6,
                control_success_8bit: seen == 6,
                control_top5: false,
                control_top5_8bit: false,
                prediction: Some(seen),
                prediction_8bit: Some(seen),
                success: seen != 3,
                success_8bit: seen != 3,
                success_rate: None,
                success_rate_8bit: None,
                top5: false,
                top5_8bit: false,
                milliseconds: 0.0,
            };
            (craft, transfer)
        };
        let cases = [
            case(Status::Adversarial, 5, 5, true),
            case(Status::Adversarial, 5, 6, true),
            case(Status::Adversarial, 5, 3, true),
            case(Status::Adversarial, 5, 5, false),
            case(Status::NotAdversarial, 3, 5, true),
            case(Status::NotFound, 3, 3, true),
            case(Status::Misclassified, 3, 3, true),
        ];
        let campaign = Campaign {
            model: 0,
            shape: ImageShape::rgb(8),
            attack: 0,
            goal: GoalKind::Untargeted,
            craft: vec![],
            measures: vec![],
            transfers: vec![(1, vec![])],
        };
        let [float, rounded]: [Transfer; 2] =
            Transfer::counts(&campaign).remove(0).try_into().unwrap();
        let count = |mut count: Transfer| {
            for (n, (craft, row)) in cases.iter().enumerate() {
                count.add(craft, row, n < 2);
            }
            let all = |counts: PerDenominator| counts.iter().collect::<Vec<_>>();
            let control = Control { both: 1, attack_alone: 2, control_alone: 0, neither: 2 };
            assert_eq!(count.control, control, "the published denominator beside its control");
            (all(count.images), all(count.transferred), count.split)
        };
        let one_of_each = SplitCounts { unfooled: 1, different_mistake: 1, same_mistake: 1 };
        let none = SplitCounts::default();
        assert_eq!(
            count(float),
            (vec![7, 6, 4, 5, 3, 2, 5], vec![4, 4, 3, 3, 2, 2, 3], one_of_each)
        );
        assert_eq!(count(rounded), (vec![7, 6, 0, 5, 0, 2, 5], vec![4, 4, 0, 3, 0, 2, 3], none));
    }

    #[test]
    fn names_in_tables_are_those_of_the_document() {
        for pixels in [Pixels::Float, Pixels::EightBit] {
            assert_eq!(serde_json::to_value(pixels).unwrap(), pixels.name());
        }
        for matching in [Match::Top1, Match::Top5] {
            assert_eq!(serde_json::to_value(matching).unwrap(), matching.name());
        }
    }
}
