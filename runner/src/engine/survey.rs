//! Which cells are stored already, and which are to be computed.

use crate::engine::options::{Progress, RunOptions};
use crate::engine::plan::{Cell, CellId, Plan, Work};
use crate::errors::first_line;
use crate::store::rows::{
    CleanRow, ControlRow, CraftRow, MeasureRow, ProbeRow, ScoreRow, TransferRow,
};
use crate::store::{Lookup, Row, Store, StoreError, Stored};
use crate::threads::in_parallel;
use anyhow::Result;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which cells of a plan are to be computed.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(super) missing: Vec<bool>,
    /// Those of the missing cells that look whole: the content of their pixels is damaged.
    pub(super) damaged: Vec<bool>,
}

/// A survey of some cells, of which others than those that can be computed are left out.
pub(crate) struct PartialSurvey {
    pub survey: Survey,
    /// The cells that are missing and cannot be computed.
    pub held_up: Vec<HeldUp>,
}

/// A cell that cannot be computed.
pub(crate) struct HeldUp {
    pub cell: CellId,
    /// A cell that it needs, and that is neither stored nor to be computed.
    pub need: CellId,
}

/// What a store has of a cell.
pub(crate) enum Presence {
    Whole,
    Missing,
    /// Something is there that cannot be used; says why.
    Damaged(String),
}

impl Presence {
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }
}

impl Survey {
    /// Looks for every cell of a plan. What is damaged counts as missing, with a warning.
    ///
    /// # Errors
    /// When the object store behind the folder cannot be asked.
    pub fn take(
        plan: &Plan,
        store: &Store,
        options: &RunOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let flags = || plan.cells.iter().map(|_| AtomicBool::new(false)).collect::<Vec<_>>();
        let (missing, damaged) = (flags(), flags());
        let warn = |cell: &Cell, reason: &str| {
            progress.warn(&format!(
                "{} cell {} is damaged and will be computed again: {reason}",
                cell.address.kind, cell.address.key
            ));
        };
        in_parallel(options.workers, plan.cells.len(), |id| {
            let presence = presence_of(store, plan, id)?;
            missing[id].store(!presence.is_whole(), Ordering::Relaxed);
            if let Presence::Damaged(reason) = presence {
                warn(&plan.cells[id], &reason);
            }
            Ok(())
        })?;
        // Pixels are large: their content is verified only where a missing cell needs them.
        let mut needed = vec![false; plan.cells.len()];
        for id in (0..plan.cells.len()).filter(|&id| missing[id].load(Ordering::Relaxed)) {
            for need in plan.needs(id) {
                needed[need] = true;
            }
        }
        in_parallel(options.workers, plan.cells.len(), |id| {
            let cell = &plan.cells[id];
            let craft = matches!(cell.work, Work::Craft { .. });
            if !craft || !needed[id] || missing[id].load(Ordering::Relaxed) {
                return Ok(());
            }
            match verify_pixels(store, cell) {
                Ok(()) => {}
                Err(error @ StoreError::OutOfReach(_)) => return Err(error.into()),
                Err(StoreError::Unusable(error)) => {
                    missing[id].store(true, Ordering::Relaxed);
                    damaged[id].store(true, Ordering::Relaxed);
                    warn(cell, &first_line(&error));
                }
            }
            Ok(())
        })?;
        let plain =
            |flags: Vec<AtomicBool>| flags.into_iter().map(AtomicBool::into_inner).collect();
        Ok(Self { missing: plain(missing), damaged: plain(damaged) })
    }

    /// Looks for some cells alone, and for those that they need.
    ///
    /// # Errors
    /// When the object store behind the folder cannot be asked.
    pub fn part(plan: &Plan, store: &Store, cells: &[CellId]) -> Result<PartialSurvey> {
        let mut survey = Self::nothing_missing(plan);
        let mut cells = cells.to_vec();
        cells.sort_by_key(|&id| plan.phase(id));
        let mut absent: HashMap<CellId, bool> = HashMap::new();
        let mut held_up = Vec::new();
        for id in cells {
            if presence_of(store, plan, id)?.is_whole() {
                let cell = &plan.cells[id];
                let craft = matches!(cell.work, Work::Craft { .. });
                survey.damaged[id] = craft && verify_pixels(store, cell).is_err();
                survey.missing[id] = survey.damaged[id];
                continue;
            }
            let mut lacking = None;
            for need in plan.needs(id).into_iter().filter(|&need| !survey.missing[need]) {
                if let Entry::Vacant(entry) = absent.entry(need) {
                    entry.insert(!presence_of(store, plan, need)?.is_whole());
                }
                lacking = lacking.or(absent[&need].then_some(need));
            }
            match lacking {
                Some(need) => held_up.push(HeldUp { cell: id, need }),
                None => survey.missing[id] = true,
            }
        }
        Ok(PartialSurvey { survey, held_up })
    }

    /// A survey by which only some cells are missing, and all that they need.
    pub fn only(plan: &Plan, cells: &[CellId]) -> Self {
        let mut survey = Self::nothing_missing(plan);
        let mut waiting = cells.to_vec();
        while let Some(cell) = waiting.pop() {
            survey.missing[cell] = true;
            waiting.extend(plan.needs(cell));
        }
        survey
    }

    /// A survey by which nothing is to be computed but some cells whose pixels are damaged.
    pub fn damaged(plan: &Plan, cells: &[CellId]) -> Self {
        let damaged: Vec<bool> = (0..plan.cells.len()).map(|cell| cells.contains(&cell)).collect();
        Self { missing: damaged.clone(), damaged }
    }

    fn nothing_missing(plan: &Plan) -> Self {
        Self { missing: vec![false; plan.cells.len()], damaged: vec![false; plan.cells.len()] }
    }

    /// The cells that are to be computed.
    pub fn cells(&self) -> impl Iterator<Item = CellId> {
        self.missing.iter().enumerate().filter(|(_, missing)| **missing).map(|(cell, _)| cell)
    }

    /// Whether a cell is to be computed.
    pub fn is_missing(&self, cell: CellId) -> bool {
        self.missing[cell]
    }

    /// Number of cells that are to be computed.
    pub fn to_compute(&self) -> usize {
        self.missing.iter().filter(|missing| **missing).count()
    }
}

/// What a store has of a cell. The content of its pixels is not verified.
///
/// # Errors
/// When the object store behind the folder cannot be asked.
pub(crate) fn presence_of(store: &Store, plan: &Plan, id: CellId) -> Result<Presence> {
    let cell = &plan.cells[id];
    let cases = plan.cases(id);
    match cell.work {
        Work::Clean { .. } => presence_of_rows::<CleanRow>(store, cell, cases, |_| Ok(())),
        Work::Control { .. } => presence_of_rows::<ControlRow>(store, cell, cases, |_| Ok(())),
        Work::Craft { .. } => presence_of_rows::<CraftRow>(store, cell, cases, |stored| {
            let count = stored.rows.iter().filter(|row| row.slot.is_some()).count();
            stored
                .pixels
                .as_ref()
                .map_or(Ok(()), |hash| store.check_pixels(&cell.address, hash, count))
        }),
        Work::Score { .. } => presence_of_rows::<ScoreRow>(store, cell, cases, |_| Ok(())),
        Work::Probe { .. } => presence_of_rows::<ProbeRow>(store, cell, cases, |_| Ok(())),
        Work::Measure { .. } => presence_of_rows::<MeasureRow>(store, cell, cases, |_| Ok(())),
        Work::Transfer { .. } => presence_of_rows::<TransferRow>(store, cell, cases, |_| Ok(())),
    }
}

/// `cases` rows are expected; `check` says what else must be there with them.
fn presence_of_rows<R: Row>(
    store: &Store,
    cell: &Cell,
    cases: usize,
    check: impl Fn(&Stored<R>) -> Result<(), StoreError>,
) -> Result<Presence> {
    Ok(match store.read::<R>(&cell.address)? {
        Lookup::Whole(stored) if stored.rows.len() == cases => match check(&stored) {
            Ok(()) => Presence::Whole,
            Err(error @ StoreError::OutOfReach(_)) => return Err(error.into()),
            Err(StoreError::Unusable(error)) => Presence::Damaged(first_line(&error)),
        },
        Lookup::Whole(stored) => {
            Presence::Damaged(format!("{} rows, expected {cases}", stored.rows.len()))
        }
        Lookup::Missing => Presence::Missing,
        Lookup::Damaged(reason) => Presence::Damaged(reason),
    })
}

/// Verifies the pixels of a craft cell that is there, as far as the folder has them.
fn verify_pixels(store: &Store, cell: &Cell) -> Result<(), StoreError> {
    let pixels = store.load::<CraftRow>(&cell.address)?.pixels;
    pixels.map_or(Ok(()), |hash| store.verify_pixels(&cell.address, &hash))
}
