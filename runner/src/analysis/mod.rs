//! From rows to tables: rates with their denominators, distortions, transfer.
//!
//! Everything is counted from the stored rows, in the study's order, so the tables are the same
//! byte for byte however the cells came to be.

mod count;
pub mod flags;
mod rate;
pub mod stats;
mod tables;

use crate::analysis::count::Reader;
use crate::engine::plan::Plan;
use crate::store::Store;
use crate::study::Study;
use anyhow::Result;
pub use rate::{Estimate, Rate};
pub(crate) use rate::{interval, number};
use std::cell::RefCell;
pub use tables::{
    Accuracy, Depth, Distortion, MeanMedian, OutcomeSink, Outcomes, Passes, Probe, Rank, Score,
    Spread, Success, Tables, Tally, Transfer, rate,
};

/// Which images a transfer rate is over.
pub const DENOMINATORS: [&str; 6] =
    ["all", "source_correct", "source_success", "target_correct", "both", "all_correct"];

/// The published denominator, as an index into [`DENOMINATORS`].
pub const PUBLISHED: usize = 3;

/// Reads all cells and counts.
pub fn analyse(
    study: &Study,
    plan: &Plan,
    store: &Store,
    sink: &mut dyn OutcomeSink,
) -> Result<Tables> {
    let reader =
        Reader { study, plan, store, missing: RefCell::default(), trouble: RefCell::default() };
    let (accuracy, correct): (Vec<_>, Vec<_>) =
        (0..study.models.len()).map(|model| reader.accuracy(model)).unzip();
    let mut tables = Tables { accuracy, correct, ..Tables::default() };
    for index in 0..plan.campaigns.len() {
        reader.campaign(index, &mut tables, sink)?;
    }
    // Pixels for models of another side come from later campaigns.
    let goal =
        |row: &Transfer| study.attacks[row.attack].goals.iter().position(|goal| *goal == row.goal);
    tables.transfer.sort_by_key(|row| (row.source, row.attack, goal(row), row.target));
    tables.scores = plan.scores.iter().map(|scoring| reader.score(scoring)).collect();
    tables.probes =
        plan.probes.iter().enumerate().map(|(model, cells)| reader.probe(model, cells)).collect();
    if let Some(error) = reader.trouble.into_inner() {
        return Err(error);
    }
    let missing = reader.missing.into_inner();
    tables.missing = missing
        .iter()
        .copied()
        .filter(|&id| plan.needs(id).iter().all(|need| !missing.contains(need)))
        .collect();
    tables.findings = flags::find(study, &tables);
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::tables::summary;
    use super::*;
    use crate::engine::plan::Campaign;
    use crate::store::rows::tests::craft_rows;
    use crate::store::rows::{CraftRow, Status, TransferRow};
    use crate::study::GoalKind;

    #[test]
    fn a_summary_of_few_values() {
        assert_eq!(summary(vec![]), MeanMedian::default());
        assert_eq!(
            summary(vec![3.0, 1.0, 2.0, 10.0]),
            MeanMedian { mean: Some(4.0), median: Some(2.5) }
        );
        assert_eq!(summary(vec![3.0, 1.0, 5.0]).median, Some(3.0));
    }

    #[test]
    fn every_denominator_is_counted_and_mistakes_are_told_apart() {
        // What the source sees, what the target sees of it (3 is true), and whether it knows the
        // image.
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
                prediction: Some(seen),
                prediction_8bit: Some(seen),
                success: seen != 3,
                success_8bit: seen != 3,
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
            side: 8,
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
            (count.images, count.transferred, count.split)
        };
        assert_eq!(count(float), ([7, 6, 4, 5, 3, 2], [4, 4, 3, 3, 2, 2], [1, 1, 1]));
        assert_eq!(count(rounded), ([7, 6, 0, 5, 0, 2], [4, 4, 0, 3, 0, 2], [0, 0, 0]));
    }
}
