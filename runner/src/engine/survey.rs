//! Which cells are stored already, and which are to be computed.

use crate::engine::options::{Progress, RunOptions};
use crate::engine::plan::{Cell, CellId, Plan, Work};
use crate::errors::{OutOfReach, first_line};
use crate::store::rows::{CleanRow, CraftRow, MeasureRow, ProbeRow, ScoreRow, TransferRow};
use crate::store::{Lookup, Row, Store, Stored};
use crate::threads::in_parallel;
use anyhow::Result;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which cells there are already.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(super) missing: Vec<bool>,
    /// Cells that only look whole: the content of their pixels is damaged.
    pub(super) spoilt: Vec<bool>,
}

impl Survey {
    /// Looks for every cell of a plan; whatever is damaged counts as missing, with a warning.
    ///
    /// # Errors
    /// When the object store behind the folder cannot be asked.
    pub fn take(
        plan: &Plan,
        store: &Store,
        options: &RunOptions,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let missing: Vec<AtomicBool> = plan.cells.iter().map(|_| AtomicBool::new(false)).collect();
        let warn = |cell: &Cell, reason: &str| {
            progress.warn(&format!(
                "{} cell {} is damaged and will be computed again: {reason}",
                cell.address.kind, cell.address.key
            ));
        };
        in_parallel(options.workers, plan.cells.len(), |id| {
            let cell = &plan.cells[id];
            if let Some(reason) = look_for(store, plan, id)? {
                missing[id].store(true, Ordering::Relaxed);
                if let Some(reason) = reason {
                    warn(cell, &reason);
                }
            }
            Ok(())
        })?;
        // Pixels are large: their content is verified where something is still to be done with
        // them.
        let wanted: Vec<bool> = {
            let mut wanted = vec![false; plan.cells.len()];
            for (id, _) in
                plan.cells.iter().enumerate().filter(|(id, _)| missing[*id].load(Ordering::Relaxed))
            {
                for need in plan.needs(id) {
                    wanted[need] = true;
                }
            }
            wanted
        };
        let spoilt: Vec<AtomicBool> = plan.cells.iter().map(|_| AtomicBool::new(false)).collect();
        in_parallel(options.workers, plan.cells.len(), |id| {
            let cell = &plan.cells[id];
            let craft = matches!(cell.work, Work::Craft { .. });
            if craft
                && wanted[id]
                && !missing[id].load(Ordering::Relaxed)
                && let Err(error) = verify_pixels(store, cell)
            {
                if error.is::<OutOfReach>() {
                    return Err(error);
                }
                missing[id].store(true, Ordering::Relaxed);
                spoilt[id].store(true, Ordering::Relaxed);
                warn(cell, &first_line(&error));
            }
            Ok(())
        })?;
        let plain =
            |flags: Vec<AtomicBool>| flags.into_iter().map(AtomicBool::into_inner).collect();
        Ok(Self { missing: plain(missing), spoilt: plain(spoilt) })
    }

    /// Looks for some cells. Of those that are missing, only what can be computed is to be
    /// computed; the answer's second part is the others, each with a cell that it needs and that is
    /// not there.
    ///
    /// # Errors
    /// When the object store behind the folder cannot be asked.
    pub fn part(
        plan: &Plan,
        store: &Store,
        cells: &[CellId],
    ) -> Result<(Self, Vec<(CellId, CellId)>)> {
        let mut survey =
            Self { missing: vec![false; plan.cells.len()], spoilt: vec![false; plan.cells.len()] };
        let mut cells = cells.to_vec();
        cells.sort_by_key(|&id| plan.phase(id));
        let mut seen: HashMap<CellId, bool> = HashMap::new();
        let mut held_up = Vec::new();
        for id in cells {
            if look_for(store, plan, id)?.is_none() {
                let cell = &plan.cells[id];
                let craft = matches!(cell.work, Work::Craft { .. });
                survey.spoilt[id] = craft && verify_pixels(store, cell).is_err();
                survey.missing[id] = survey.spoilt[id];
                continue;
            }
            let mut absent = None;
            for need in plan.needs(id).into_iter().filter(|&need| !survey.missing[need]) {
                if let Entry::Vacant(entry) = seen.entry(need) {
                    entry.insert(look_for(store, plan, need)?.is_some());
                }
                absent = absent.or(seen[&need].then_some(need));
            }
            match absent {
                Some(need) => held_up.push((id, need)),
                None => survey.missing[id] = true,
            }
        }
        Ok((survey, held_up))
    }

    /// As though only some cells were missing, and those that they need.
    pub fn only(plan: &Plan, cells: &[CellId]) -> Self {
        let mut survey =
            Self { missing: vec![false; plan.cells.len()], spoilt: vec![false; plan.cells.len()] };
        let mut waiting = cells.to_vec();
        while let Some(cell) = waiting.pop() {
            survey.missing[cell] = true;
            waiting.extend(plan.needs(cell));
        }
        survey
    }

    /// Cells whose pixels have turned out to be damaged, and no others.
    pub fn spoilt(plan: &Plan, cells: &[CellId]) -> Self {
        let spoilt: Vec<bool> = (0..plan.cells.len()).map(|cell| cells.contains(&cell)).collect();
        Self { missing: spoilt.clone(), spoilt }
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

/// Verifies the pixels of a craft cell that is there, as far as the folder has them.
fn verify_pixels(store: &Store, cell: &Cell) -> Result<()> {
    let pixels = store.load::<CraftRow>(&cell.address)?.pixels;
    pixels.map_or(Ok(()), |hash| store.verify_pixels(&cell.address, &hash))
}

/// `None` when the cell is there; otherwise what is wrong, if anything is there at all. The error
/// is that the object store cannot be asked.
#[expect(
    clippy::option_option,
    reason = "absent, missing without and with a reason are three answers"
)]
pub(crate) fn look_for(store: &Store, plan: &Plan, id: CellId) -> Result<Option<Option<String>>> {
    let cell = &plan.cells[id];
    let cases = plan.cases(id);
    match cell.work {
        Work::Clean { .. } => look::<CleanRow>(store, cell, cases, |_| Ok(())),
        Work::Craft { .. } => look::<CraftRow>(store, cell, cases, |stored| {
            let count = stored.rows.iter().filter(|row| row.slot.is_some()).count();
            stored
                .pixels
                .as_ref()
                .map_or(Ok(()), |hash| store.check_pixels(&cell.address, hash, count))
        }),
        Work::Score { .. } => look::<ScoreRow>(store, cell, cases, |_| Ok(())),
        Work::Probe { .. } => look::<ProbeRow>(store, cell, cases, |_| Ok(())),
        Work::Measure { .. } => look::<MeasureRow>(store, cell, cases, |_| Ok(())),
        Work::Transfer { .. } => look::<TransferRow>(store, cell, cases, |_| Ok(())),
    }
}

#[expect(
    clippy::option_option,
    reason = "absent, missing without and with a reason are three answers"
)]
fn look<R: Row>(
    store: &Store,
    cell: &Cell,
    cases: usize,
    check: impl Fn(&Stored<R>) -> Result<()>,
) -> Result<Option<Option<String>>> {
    Ok(match store.read::<R>(&cell.address)? {
        Lookup::Whole(stored) if stored.rows.len() == cases => match check(&stored) {
            Err(error) if error.is::<OutOfReach>() => return Err(error),
            checked => checked.err().map(|error| Some(first_line(&error))),
        },
        Lookup::Whole(stored) => {
            Some(Some(format!("{} rows, expected {cases}", stored.rows.len())))
        }
        Lookup::Missing => Some(None),
        Lookup::Damaged(reason) => Some(Some(reason)),
    })
}
