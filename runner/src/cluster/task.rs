//! What a task of a submission does: it computes the cells of a list. Files say what to do: a job,
//! and the list. Beside the list the task writes what went wrong, which tells cells that fail from
//! cells that are lost.

use crate::analysis::Tables;
use crate::engine::plan::{CellId, Plan};
use crate::engine::{self, Failure, Progress, RunOptions, RunOutcome, Silent};
pub use crate::engine::{Job, OpenedJob};
use crate::report::{self, Written};
use crate::session::{PartialSession, Session};
use crate::store::{Store, write_atomically};
use anyhow::{Context, Result, bail};
use gauntlet_core::registry::Registry;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How it went with a list of cells.
pub struct Done {
    /// How it went with the cells that could be tried.
    pub outcome: RunOutcome,
    /// Number of cells that were stored already.
    pub found: usize,
    /// The cells that could not be tried.
    pub held_up: Vec<Note>,
}

/// Computes the cells of the list at `path` that are missing, and writes what went wrong beside it.
///
/// On a shared file system it may take a while until a cell shows that another node has stored. For
/// cells that are needed the task waits up to `patience`, except for those whose names are in
/// `hopeless`.
///
/// # Errors
/// When the list names a cell that the study does not have; otherwise as [`Session::run`].
pub fn compute(
    job: OpenedJob,
    registry: &Registry,
    options: RunOptions,
    path: &Path,
    patience: Duration,
    hopeless: &BTreeSet<String>,
    progress: &dyn Progress,
) -> Result<Done> {
    let OpenedJob { study, plan, out, .. } = job;
    let store = Store::open(&out)?;
    let cells = {
        let known: HashMap<String, CellId> =
            plan.cells.iter().enumerate().map(|(id, cell)| (cell.address.name(), id)).collect();
        let find = |name: &String| {
            known
                .get(name)
                .copied()
                .with_context(|| format!("{}: the study has no cell `{name}`", path.display()))
        };
        read_cells(path)?.iter().map(find).collect::<Result<Vec<_>>>()?
    };
    wait_for(&plan, &store, &cells, patience, &options, hopeless)?;
    let PartialSession { session, held_up } =
        Session::part(&study, plan, registry, store, options, &cells, progress)?;
    let plan = session.plan();
    let note = |cell: CellId, reason: String| Note {
        cell: plan.cells[cell].address.name(),
        what: plan.describe(&study, cell),
        reason,
    };
    let needed = |need: CellId| {
        format!(
            "it needs {} ({}), which is not there",
            plan.describe(&study, need),
            plan.cells[need].address.name()
        )
    };
    let found = cells.len() - session.to_compute() - held_up.len();
    let held_up: Vec<Note> =
        held_up.into_iter().map(|held| note(held.cell, needed(held.need))).collect();
    let outcome = session.run()?;
    if outcome.left == 0 {
        let failed = outcome
            .failures
            .iter()
            .map(|failure| note(failure.cell, failure.reason.clone()))
            .collect();
        Notes { failed, held_up: held_up.clone() }.write(path)?;
    }
    Ok(Done { outcome, found, held_up })
}

/// Writes the tables of the cells that are stored, see `report::write`. `notes` say, by the cells'
/// names, why some are not; for all others this waits up to `patience`. Returns the tables, the
/// cells that have failed or were held up, and how many cells are not stored.
///
/// # Errors
/// When the results folder cannot be read or written to, the object store cannot be asked, or the
/// pixels of an example are damaged.
pub fn report(
    job: &OpenedJob,
    options: &RunOptions,
    patience: Duration,
    notes: &BTreeMap<String, Note>,
) -> Result<(Tables, Vec<Failure>, usize)> {
    let OpenedJob { study, plan, out, .. } = job;
    let store = Store::open(out)?;
    let mut absent: Vec<CellId> = (0..plan.cells.len()).collect();
    until(patience, options, || {
        absent = store.absent(&absent, |id| &plan.cells[id].address)?;
        Ok(absent.iter().all(|&id| notes.contains_key(&plan.cells[id].address.name())))
    })?;
    let failure = |&id: &CellId| {
        let Note { what, reason, .. } = notes.get(&plan.cells[id].address.name())?.clone();
        Some(Failure { cell: id, what, reason })
    };
    let failures: Vec<Failure> = absent.iter().filter_map(failure).collect();
    let Written { tables, damaged_examples } = report::write(study, plan, &store, &failures, out)?;
    let absent_ids: BTreeSet<CellId> = absent.iter().copied().collect();
    let present: Vec<CellId> =
        (0..plan.cells.len()).filter(|id| !absent_ids.contains(id)).collect();
    // Tasks that could not reach the object store have left these out.
    engine::share(plan, &store.now()?, &present, options, &Silent)?;
    if let Some(&cell) = damaged_examples.first() {
        bail!(
            "the pixels of craft cell {} are damaged, so that examples are missing; `runner run` \
             on this folder crafts them again",
            plan.cells[cell].address.key
        );
    }
    // Processes of this machine that were killed have left files.
    store.tidy();
    Ok((tables, failures, absent.len()))
}

/// Waits for cells that others compute and that some cells need.
fn wait_for(
    plan: &Plan,
    store: &Store,
    cells: &[CellId],
    patience: Duration,
    options: &RunOptions,
    hopeless: &BTreeSet<String>,
) -> Result<()> {
    let own: BTreeSet<CellId> = cells.iter().copied().collect();
    let needs: BTreeSet<CellId> =
        cells.iter().flat_map(|&id| plan.needs(id)).filter(|need| !own.contains(need)).collect();
    let mut absent: Vec<CellId> = needs
        .into_iter()
        .filter(|&need| !hopeless.contains(&plan.cells[need].address.name()))
        .collect();
    until(patience, options, || {
        absent = store.absent(&absent, |need| &plan.cells[need].address)?;
        Ok(absent.is_empty())
    })
}

/// Time between two looks for cells that others have stored.
const LOOK: Duration = Duration::from_secs(1);

/// Asks again and again, until the answer is yes, `patience` is over, or the run is cancelled.
fn until(
    patience: Duration,
    options: &RunOptions,
    mut ask: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let start = Instant::now();
    while !ask()? && start.elapsed() < patience && !options.cancelled() {
        thread::sleep(LOOK.min(patience));
    }
    Ok(())
}

/// What went wrong with the cells of a list.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// The cells that failed.
    pub failed: Vec<Note>,
    /// The cells that could not be tried, since one that they need was not there.
    pub held_up: Vec<Note>,
}

/// What went wrong with a cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The cell's name.
    pub cell: String,
    /// The cell in words.
    pub what: String,
    /// Why it failed, or could not be tried.
    pub reason: String,
}

impl Notes {
    /// The file beside the list of cells.
    fn path(cells: &Path) -> PathBuf {
        cells.with_extension("failed.json")
    }

    /// The notes on a list of cells. They are empty if nothing has gone wrong.
    ///
    /// # Errors
    /// When the file beside the list is damaged.
    pub fn read(cells: &Path) -> Result<Self> {
        let path = Self::path(cells);
        let place = || format!("the list of failed cells {}", path.display());
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(place),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(place),
        }
    }

    /// Writes the notes in place of those of an earlier try.
    fn write(&self, cells: &Path) -> Result<()> {
        let path = Self::path(cells);
        if *self == Self::default() && !path.exists() {
            return Ok(());
        }
        write_atomically(&path, &serde_json::to_vec_pretty(self)?)
    }
}

/// Writes a list of cells: their [names](crate::store::Address::name), one a line.
///
/// # Errors
/// When it cannot be written.
pub fn write_cells<'a>(path: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let text: String = names.into_iter().flat_map(|name| [name, "\n"]).collect();
    write_atomically(path, text.as_bytes())
}

/// Reads the names in a list of cells.
///
/// # Errors
/// When it cannot be read.
pub fn read_cells(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("the list of cells {} cannot be read", path.display()))?;
    Ok(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}
