//! Counting: the rows of every stored cell, read once, in the order of the plan.

use crate::analysis::robustness::Robustness;
use crate::analysis::tables::{
    Accuracy, OutcomeSink, Outcomes, Probe, Score, Success, Tables, Tally, summary,
};
use crate::analysis::transfer::Transfer;
use crate::analysis::{flags, stats};
use crate::engine::plan::{CellId, Plan, Scoring};
use crate::store::rows::{CleanRow, CraftRow, MeasureRow, ProbeRow, ScoreRow, Status, TransferRow};
use crate::store::{Lookup, Row, Store};
use crate::study::Study;
use anyhow::Result;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// Reads all cells of a plan and counts. `sink` receives every outcome on the way.
///
/// # Errors
/// When the object store behind the folder cannot be reached, or `sink` fails. A missing or damaged
/// cell is no error: it is listed in [`Tables::missing`].
pub fn analyse(
    study: &Study,
    plan: &Plan,
    store: &Store,
    sink: &mut dyn OutcomeSink,
) -> Result<Tables> {
    let reader =
        Reader { study, plan, store, missing: RefCell::default(), trouble: RefCell::default() };
    let none = || vec![Tally::default(); study.models.len()];
    let mut tables = Tables {
        adversarials: none(),
        repeated: none(),
        robustness: Robustness::all(study),
        ..Tables::default()
    };
    for model in 0..study.models.len() {
        reader.accuracy(model, &mut tables);
    }
    for index in 0..plan.campaigns.len() {
        reader.campaign(index, &mut tables, sink)?;
    }
    // The plan has campaigns at other models' sides after all others, so their transfer comes last.
    let goal =
        |row: &Transfer| study.attacks[row.attack].goals.iter().position(|goal| *goal == row.goal);
    tables.transfer.sort_by_key(|row| (row.source, row.attack, goal(row), row.target));
    let score = |scoring: &Scoring| reader.score(scoring, &tables.correct[scoring.model]);
    tables.scores = plan.scores.iter().map(score).collect();
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

struct Reader<'a> {
    study: &'a Study,
    plan: &'a Plan,
    store: &'a Store,
    /// The cells that are missing or damaged.
    missing: RefCell<BTreeSet<CellId>>,
    /// The first error that kept a cell from being looked for.
    trouble: RefCell<Option<anyhow::Error>>,
}

impl Reader<'_> {
    /// A cell's rows; none when the cell is missing or damaged, which is noted.
    fn rows<R: Row>(&self, id: CellId) -> Option<Vec<R>> {
        match self.store.read::<R>(&self.plan.cells[id].address) {
            Ok(Lookup::Whole(stored)) => return Some(stored.rows),
            Ok(Lookup::Missing | Lookup::Damaged(_)) => {}
            Err(error) => drop(self.trouble.borrow_mut().get_or_insert(error.into())),
        }
        self.missing.borrow_mut().insert(id);
        None
    }

    /// Counts a model's answers to the images as they are.
    fn accuracy(&self, model: usize, tables: &mut Tables) {
        let mut accuracy = Accuracy { model, ..Accuracy::default() };
        let (mut correct, mut answers) = (Vec::new(), Vec::new());
        tables.pixels.resize(self.study.data.pictures.len(), None);
        for &id in &self.plan.clean[model] {
            let rows = self.rows::<CleanRow>(id);
            for robustness in tables.robustness.iter_mut().filter(|of| of.model == model) {
                robustness.note_clean(rows.as_deref(), self.plan.cases(id));
            }
            let Some(rows) = rows else {
                accuracy.missing += self.plan.cases(id);
                correct.extend(std::iter::repeat_n(None, self.plan.cases(id)));
                answers.extend(std::iter::repeat_n(None, self.plan.cases(id)));
                continue;
            };
            accuracy.images += rows.len();
            let images = self.plan.range(self.plan.cells[id].slice);
            for (pixels, row) in tables.pixels[images].iter_mut().zip(&rows) {
                pixels.get_or_insert_with(|| row.pixels.clone());
            }
            accuracy.invalid += rows.iter().filter(|row| row.prediction.is_none()).count();
            accuracy.correct += rows.iter().filter(|row| row.correct).count();
            accuracy.top5 += rows.iter().filter(|row| row.top5).count();
            correct.extend(rows.iter().map(|row| Some(row.correct)));
            answers.extend(rows.iter().map(|row| row.prediction));
        }
        tables.accuracy.push(accuracy);
        tables.correct.push(correct);
        tables.answers.push(answers);
    }

    fn campaign(
        &self,
        index: usize,
        tables: &mut Tables,
        sink: &mut dyn OutcomeSink,
    ) -> Result<()> {
        let campaign = &self.plan.campaigns[index];
        let own = campaign.shape == self.study.models[campaign.model].card.shape();
        let everyone: Vec<bool> =
            (0..self.study.data.pictures.len()).map(|image| tables.everyone(image)).collect();
        let mut counts = Transfer::counts(campaign);
        let mut all: Vec<CraftRow> = Vec::new();
        let (mut attacked, mut met, mut met_8bit) = (Vec::new(), Vec::new(), Vec::new());
        let (mut missing, mut transfer_seconds) = (0, 0.0);
        let mut first_invalid = None;
        let mut values: Vec<[Vec<Option<f64>>; 2]> =
            campaign.measures.iter().map(|_| Default::default()).collect();
        for (slice, &id) in campaign.craft.iter().enumerate() {
            let Some(craft) = self.rows::<CraftRow>(id) else {
                missing += self.plan.cases(id);
                for met in [&mut attacked, &mut met, &mut met_8bit] {
                    met.extend(std::iter::repeat_n(false, self.plan.cases(id)));
                }
                values.iter_mut().flatten().for_each(|values| {
                    values.extend(std::iter::repeat_n(None, self.plan.cases(id)));
                });
                counts.iter_mut().flatten().for_each(|count| count.miss(self.plan.cases(id)));
                continue;
            };
            tables.note_answers(campaign.model, &craft);
            let measures: Vec<Option<Vec<MeasureRow>>> =
                campaign.measures.iter().map(|(_, cells)| self.rows(cells[slice])).collect();
            let images = self.plan.range(slice);
            if own {
                tables.note_robustness(campaign, images.start, &craft, &measures);
            }
            let everyone = &everyone[images.clone()];
            let mut transfers: Vec<(usize, Vec<TransferRow>)> = Vec::new();
            for ((target, cells), counts) in campaign.transfers.iter().zip(&mut counts) {
                let Some(rows) = self.rows::<TransferRow>(cells[slice]) else {
                    for count in counts {
                        count.miss(craft.len());
                    }
                    continue;
                };
                transfer_seconds += rows.iter().map(|row| row.milliseconds / 1e3).sum::<f64>();
                tables.note_answers_to_others(*target, &craft, &rows);
                let spread = tables.spread(self.study, campaign).of(self.study, *target);
                for (n, (row, craft)) in rows.iter().zip(&craft).enumerate() {
                    for count in &mut *counts {
                        count.add(craft, row, everyone[n]);
                    }
                    if row.status.attempted() && row.target_correct {
                        spread[images.start + n].add(true, row.success);
                    }
                }
                transfers.push((*target, rows));
            }
            sink.slice(&Outcomes {
                campaign: index,
                slice,
                craft: &craft,
                measures: &measures,
                transfers: &transfers,
                everyone,
                own,
            })?;
            for (measured, values) in measures.iter().zip(&mut values) {
                for (n, row) in craft.iter().enumerate() {
                    let measure = measured.as_ref().map(|rows| &rows[n]);
                    values[0]
                        .push(measure.and_then(|measure| measure.value).filter(|_| row.success));
                    values[1].push(
                        measure.and_then(|measure| measure.value_8bit).filter(|_| row.success_8bit),
                    );
                }
            }
            first_invalid = first_invalid.or_else(|| invalid(&craft, images.start));
            attacked.extend(craft.iter().map(|row| row.status.attempted()));
            met.extend(craft.iter().map(|row| row.success));
            met_8bit.extend(craft.iter().map(|row| row.success_8bit));
            all.extend(craft);
        }
        tables.transfer.extend(counts.into_iter().flatten());
        if !own {
            let same = |row: &&mut Success| {
                (row.model, row.attack, row.goal)
                    == (campaign.model, campaign.attack, campaign.goal)
            };
            if let Some(row) = tables.success.iter_mut().find(same) {
                row.transfer_seconds +=
                    transfer_seconds + all.iter().map(|row| row.milliseconds / 1e3).sum::<f64>();
            }
            return Ok(());
        }
        tables.success.push(Success {
            first_invalid,
            attacked,
            met,
            met_8bit,
            transfer_seconds,
            ..Success::count(campaign, &all, missing, values)
        });
        Ok(())
    }

    /// Counts a metric of a model. `correct`: per image, whether the model classifies it correctly.
    fn score(&self, scoring: &Scoring, correct: &[Option<bool>]) -> Score {
        let &Scoring { metric, model, goal, ref cells } = scoring;
        let (mut cases, mut extra_cases) = (Vec::new(), Vec::new());
        let (mut missing, mut source_correct) = (0, 0);
        for &id in cells {
            let Some(rows) = self.rows::<ScoreRow>(id) else {
                missing += self.plan.cases(id);
                cases.extend(std::iter::repeat_n(None, self.plan.cases(id)));
                extra_cases.extend(std::iter::repeat_n(Vec::new(), self.plan.cases(id)));
                continue;
            };
            for row in rows {
                let known = correct[cases.len()] == Some(true);
                source_correct += usize::from(known || row.value.is_some());
                let is_whole = row.extras.iter().all(|extra| extra.is_finite());
                let value = row.value.filter(|value| value.is_finite() && is_whole);
                extra_cases.push(if value.is_some() { row.extras } else { Vec::new() });
                cases.push(value);
            }
        }
        let values: Vec<f64> = cases.iter().copied().flatten().collect();
        let extra = |n: usize| {
            let values: Vec<f64> =
                extra_cases.iter().filter_map(|extras| extras.get(n).copied()).collect();
            stats::mean(&values)
        };
        Score {
            metric,
            model,
            goal,
            missing,
            source_correct,
            scored: values.len(),
            invalid: source_correct - values.len(),
            summary: summary(values),
            extras: (0..self.study.metrics[metric].extras.len()).map(extra).collect(),
            cases,
            extra_cases,
        }
    }

    fn probe(&self, model: usize, cells: &[CellId]) -> Probe {
        let of = |&id: &CellId| {
            let rows = self.rows::<ProbeRow>(id);
            rows.map_or_else(
                || vec![None; self.plan.cases(id)],
                |rows| rows.into_iter().map(|row| Some(row).filter(|row| row.probed)).collect(),
            )
        };
        Probe { model, cases: cells.iter().flat_map(of).collect() }
    }
}

/// The first of some images whose answer is invalid, and the reason. They are numbered from `start`.
fn invalid(rows: &[CraftRow], start: usize) -> Option<(usize, String)> {
    rows.iter().enumerate().find_map(|(n, row)| match &row.status {
        Status::Invalid(reason) => Some((start + n, reason.clone())),
        _ => None,
    })
}
