//! Computes the cells of one outcome again, in a folder of their own, and compares bit for bit.

use crate::engine::plan::{CellId, Plan, Work};
use crate::engine::{self, Engine, Progress, RunOptions, Survey, presence_of};
use crate::report::outcomes::{self, Outcome};
use crate::store::Row;
use crate::store::rows::{
    CleanRow, ControlRow, CraftRow, MeasureRow, ProbeRow, ScoreRow, TransferRow,
};
use crate::store::table_rows::OutcomeRow;
use crate::store::{Store, Stored};
use crate::study::Study;
use anyhow::{Context, Result, bail, ensure};
use gauntlet_core::registry::Registry;
use std::collections::{BTreeMap, BTreeSet};
use tch::Tensor;

/// A cell of an outcome, computed again.
#[derive(Debug)]
pub struct RepeatedCell {
    /// The cell in words.
    pub cell: String,
    /// What differs, as `column: stored, again`; empty when the two agree.
    pub differences: Vec<String>,
}

/// Computes an outcome and all cells that it needs again, and compares them with the stored ones.
/// Compares the row itself with the stored cells too. A cell is computed as a whole:
/// only then do its bits repeat.
///
/// # Errors
/// When the study has no such outcome, or a cell is not stored or fails now.
pub fn rerun(
    study: &Study,
    plan: &Plan,
    store: &Store,
    registry: &Registry,
    options: &RunOptions,
    progress: &dyn Progress,
    outcome: &Outcome,
) -> Result<Vec<RepeatedCell>> {
    let row = &outcome.row;
    let image = study
        .data
        .pictures
        .iter()
        .position(|picture| picture.hash == row.image_hash && picture.name == row.image);
    let image =
        image.with_context(|| format!("the study has no image `{}` of that content", row.image))?;
    let (slice, place) = plan.place(image);
    let wanted = cells(study, plan, row, slice).with_context(|| {
        format!(
            "the study has no {} ({}) on {} for {}",
            row.attack, row.goal, row.source, row.target
        )
    })?;
    let survey = Survey::only(plan, &wanted);
    for cell in survey.cells() {
        let what = || {
            format!(
                "the results have no whole {}: study.toml or weights have changed since, or it is \
                 damaged",
                plan.describe(study, cell)
            )
        };
        ensure!(presence_of(store, plan, cell)?.is_whole(), what());
    }
    let written = written(study, plan, store, &wanted, outcome, place)?;
    let scratch = tempfile::tempdir()?;
    let again = Store::open(scratch.path())?;
    let run =
        engine::run(Engine { study, plan, registry, store: &again, options }, &survey, progress)?;
    if let Some(failure) = run.failures.first() {
        bail!("{}: {}", failure.what, failure.reason);
    }
    ensure!(run.left == 0, "stopped before the end");
    let cells = survey.cells().map(|cell| compare(study, plan, [store, &again], cell, place));
    std::iter::once(Ok(written)).chain(cells).collect()
}

/// Compares the row with the stored cells that it was written from. `all_correct` is taken from the
/// row: the cells do not hold it.
fn written(
    study: &Study,
    plan: &Plan,
    store: &Store,
    cells: &[CellId],
    outcome: &Outcome,
    place: usize,
) -> Result<RepeatedCell> {
    let Outcome { row, distortions } = outcome;
    let (mut craft, mut seen, mut measured) = (None, None, BTreeMap::new());
    for &id in cells {
        let cell = &plan.cells[id];
        match cell.work {
            Work::Craft { .. } => {
                craft = store.load::<CraftRow>(&cell.address)?.rows.into_iter().nth(place);
            }
            Work::Transfer { .. } => {
                seen = store.load::<TransferRow>(&cell.address)?.rows.into_iter().nth(place);
            }
            Work::Measure { metric, .. } => {
                let found = store
                    .load::<MeasureRow>(&cell.address)?
                    .rows
                    .into_iter()
                    .nth(place)
                    .context("a cell has fewer rows than images")?;
                let names = outcomes::columns(&study.metrics[metric]).flatten();
                let values = outcomes::values(&found).flatten();
                measured.extend(names.zip(values).filter_map(|(name, value)| Some((name, value?))));
            }
            Work::Clean { .. } | Work::Control { .. } | Work::Score { .. } | Work::Probe { .. } => {
            }
        }
    }
    let names = [&row.source, &row.target, &row.attack, &row.goal, &row.image].map(Clone::clone);
    let craft = craft.context("a cell has fewer rows than images")?;
    let mut differences =
        row.differences(&OutcomeRow::new(names, &craft, seen.as_ref(), row.all_correct));
    let columns: BTreeSet<&String> = distortions.keys().chain(measured.keys()).collect();
    for column in columns {
        let [written, stored] = [distortions.get(column), measured.get(column)];
        if written != stored {
            differences.push(format!("{column}: {written:?}, {stored:?}"));
        }
    }
    Ok(RepeatedCell { cell: "the row itself, against the cells".into(), differences })
}

/// The cells of an outcome in a slice of the images.
fn cells(study: &Study, plan: &Plan, row: &OutcomeRow, slice: usize) -> Option<Vec<CellId>> {
    let label = |model: usize| &study.models[model].part.label;
    let own = row.source == row.target;
    plan.campaigns.iter().find_map(|campaign| {
        let same = *label(campaign.model) == row.source
            && study.attacks[campaign.attack].part.label == row.attack
            && campaign.goal.name() == row.goal
            && (!own || campaign.shape == study.models[campaign.model].card.shape());
        let mut cells = vec![*campaign.craft.get(slice).filter(|_| same)?];
        if !own {
            cells.push(
                campaign.transfers.iter().find(|(target, _)| *label(*target) == row.target)?.1
                    [slice],
            );
        }
        cells.extend(campaign.measures.iter().map(|(_, measures)| measures[slice]));
        Some(cells)
    })
}

fn compare(
    study: &Study,
    plan: &Plan,
    stores: [&Store; 2],
    cell: CellId,
    place: usize,
) -> Result<RepeatedCell> {
    let differences = match plan.cells[cell].work {
        Work::Clean { .. } => rows::<CleanRow>(plan, stores, cell, place)?,
        Work::Control { .. } => rows::<ControlRow>(plan, stores, cell, place)?,
        Work::Score { .. } => rows::<ScoreRow>(plan, stores, cell, place)?,
        Work::Probe { .. } => rows::<ProbeRow>(plan, stores, cell, place)?,
        Work::Measure { .. } => rows::<MeasureRow>(plan, stores, cell, place)?,
        Work::Transfer { .. } => rows::<TransferRow>(plan, stores, cell, place)?,
        Work::Craft { .. } => {
            let mut differences = rows::<CraftRow>(plan, stores, cell, place)?;
            let [stored, again] =
                [pixels(plan, stores[0], cell, place)?, pixels(plan, stores[1], cell, place)?];
            if let (Some(stored), Some(again)) = (stored, again)
                && stored != again
            {
                let largest = (stored - again).abs().max().double_value(&[]);
                differences.push(format!("pixels: by up to {largest:.3e}"));
            }
            differences
        }
    };
    Ok(RepeatedCell { cell: plan.describe(study, cell), differences })
}

fn rows<R: Row>(
    plan: &Plan,
    stores: [&Store; 2],
    cell: CellId,
    place: usize,
) -> Result<Vec<String>> {
    let [stored, again] =
        stores.map(|store| store.load::<R>(&plan.cells[cell].address).map(|stored| stored.rows));
    let (stored, again) = (stored?, again?);
    let row = |rows: &[R]| rows.get(place).cloned().context("a cell has fewer rows than images");
    Ok(row(&stored)?.differences(&row(&again)?))
}

fn pixels(plan: &Plan, store: &Store, cell: CellId, place: usize) -> Result<Option<Tensor>> {
    let stored: Stored<CraftRow> = store.load(&plan.cells[cell].address)?;
    let slot = stored.rows.get(place).and_then(|row| row.slot);
    let found = stored.pixels.as_ref().zip(slot);
    found
        .map(|(hash, slot)| Ok(store.read_pixels(&plan.cells[cell].address, hash)?.float.get(slot)))
        .transpose()
}
