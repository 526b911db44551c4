//! `robust_accuracy.csv` and `robustness.parquet`: robustness whatever the attack.

use crate::analysis::{Known, Tables, number};
use crate::report::outcomes::Sheet;
use crate::report::tables::{Number, table};
use crate::store::Row;
use crate::store::table_rows::RobustnessRow;
use crate::study::Study;
use crate::summary::Summary;
use anyhow::Result;
use serde::Serialize;
use std::path::Path;

/// Robust accuracy at the quoted budgets: a line for each norm, model and budget.
pub(super) fn robust_accuracy(summary: &Summary) -> Result<Vec<u8>> {
    #[derive(Default, Serialize)]
    struct Line<'a> {
        norm: &'a str,
        model: &'a str,
        epsilon: Number,
        budget: &'a str,
        images: usize,
        robust: usize,
        robust_accuracy: Number,
        low: Number,
        high: Number,
        robust_8bit: usize,
        robust_accuracy_8bit: Number,
        low_8bit: Number,
        high_8bit: Number,
    }
    let mut lines = Vec::new();
    for norm in &summary.robustness {
        for model in &norm.ranking {
            for budget in &model.budgets {
                let (float, rounded) = (&budget.robust, &budget.robust_8bit);
                lines.push(Line {
                    norm: &norm.norm,
                    model: &model.model,
                    epsilon: Number(Some(budget.epsilon)),
                    budget: &budget.text,
                    images: float.n,
                    robust: float.k,
                    robust_accuracy: Number(float.rate),
                    low: Number(float.interval.map(|ends| ends.0)),
                    high: Number(float.interval.map(|ends| ends.1)),
                    robust_8bit: rounded.k,
                    robust_accuracy_8bit: Number(rounded.rate),
                    low_8bit: Number(rounded.interval.map(|ends| ends.0)),
                    high_8bit: Number(rounded.interval.map(|ends| ends.1)),
                });
            }
        }
    }
    table(lines)
}

/// Writes `robustness.parquet`: a row for each model, norm and image.
pub(super) fn write_distances(study: &Study, tables: &Tables, out: &Path) -> Result<()> {
    let mut sheet = Sheet::new(study, &out.join("robustness.parquet"), RobustnessRow::fields())?;
    for one in &tables.robustness {
        let found = |known: Known| {
            let by = match known {
                Known::Attack { attack, goal, .. } => {
                    Some((study.attacks[attack].part.label.clone(), goal.name().to_owned()))
                }
                Known::None | Known::Clean => None,
            };
            (number(known.distance()), by.unzip())
        };
        let row = |(n, nearest): (usize, &Option<_>)| {
            let nearest: &crate::analysis::Nearest = nearest.as_ref()?;
            let picture = &study.data.pictures[n];
            let (distance, (attack, goal)) = found(nearest.float);
            let (distance_8bit, (attack_8bit, goal_8bit)) = found(nearest.rounded);
            Some(RobustnessRow {
                model: study.models[one.model].part.label.clone(),
                norm: study.metrics[one.metric].part.label.clone(),
                image: picture.name.clone(),
                image_hash: picture.hash.clone(),
                label: picture.label,
                distance,
                attack,
                goal,
                distance_8bit,
                attack_8bit,
                goal_8bit,
            })
        };
        let rows: Vec<RobustnessRow> = one.cases.iter().enumerate().filter_map(row).collect();
        sheet.write(RobustnessRow::columns(&rows))?;
    }
    sheet.finish()
}
