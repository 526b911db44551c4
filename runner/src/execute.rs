//! Computing the cells that are missing.
//!
//! A cell is computed by one thread, with one thread of libtorch's: its bits do not depend on how
//! many workers there are. A cell that fails costs itself and what needs it; the rest goes on.

mod cell;
mod compute;
mod crew;
mod job;
mod probe;
mod queue;
mod view;
mod worker;

use crate::errors::{OutOfReach, first_line};
use crate::execute::crew::Crew;
use crate::plan::{Cell, CellId, PHASES, Plan, Work};
use crate::store::Store;
use crate::store::rows::CraftRow;
use crate::threads::in_parallel;
use anyhow::{Result, bail};
pub(crate) use cell::{Site, look_for};
use gauntlet_core::device::Device;
use gauntlet_core::guard;
use gauntlet_core::plugin::Library;
pub use job::{Job, Shop};
pub(crate) use probe::cost as probe_cost;
pub(crate) use queue::Queue;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(feature = "cli")]
pub(crate) use worker::ending;
pub use worker::{Isolation, serve};

/// Where, how widely and how carefully to compute.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where models live.
    pub device: Device,
    /// How many cells are computed at a time, each with a model of its own; at least 1.
    pub workers: usize,
    /// Which cells are computed in processes of their own; none of them unless set.
    pub isolation: Option<Isolation>,
    /// Set from elsewhere to end a run early: cells in flight are dropped, those stored stay.
    pub cancel: Arc<AtomicBool>,
}

impl Options {
    /// All cores of the machine on the CPU; one worker on a GPU.
    pub fn on(device: Device) -> Self {
        let workers = if device == Device::Cpu {
            std::thread::available_parallelism().map_or(1, usize::from)
        } else {
            1
        };
        Self { device, workers, isolation: None, cancel: Arc::default() }
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// The kind of a device, as a plan wants it: `cpu` or `cuda`.
pub fn device_kind(device: Device) -> &'static str {
    match device {
        Device::Cuda(_) => "cuda",
        _ => "cpu",
    }
}

/// Told what goes on. Calls come from several threads.
pub trait Progress: Sync {
    /// A phase begins: its name, and the cells and images (once per cell) that it has to do.
    fn begin(&self, _phase: &str, _cells: usize, _cases: usize) {}
    /// A cell of the phase is done, or has failed.
    fn advance(&self, _cases: usize, _cell: &str) {}
    /// Something that a user should know now.
    fn warn(&self, _message: &str) {}
    /// The phase is over.
    fn end(&self) {}
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {}

/// Which cells there are already.
#[derive(Debug)]
pub(crate) struct Survey {
    missing: Vec<bool>,
    /// Cells that only look whole: the content of their pixels is damaged.
    spoilt: Vec<bool>,
}

impl Survey {
    /// Looks for every cell of a plan; whatever is damaged counts as missing, with a warning.
    ///
    /// # Errors
    /// When the object store behind the folder cannot be asked.
    pub fn take(
        plan: &Plan,
        store: &Store,
        options: &Options,
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

/// What a run did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Number of cells that were computed and stored.
    pub computed: usize,
    /// Number of cells that another process had stored before their turn came.
    pub found: usize,
    /// The cells that failed, in the plan's order.
    pub failures: Vec<Failure>,
    /// Number of cells that could not be computed because one that they need has failed.
    pub held_up: usize,
    /// Number of cells that are still to be computed because the run was cancelled.
    pub left: usize,
}

/// A cell that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The cell.
    pub cell: CellId,
    /// The cell in words.
    pub what: String,
    /// The first line of the error.
    pub reason: String,
}

/// Computes what is missing, once every model that takes is known to load. libtorch is told to use
/// one thread per worker for the time being.
pub(crate) fn run(site: Site, survey: &Survey, progress: &dyn Progress) -> Result<Outcome> {
    let Site { study, plan, options, .. } = site;
    if options.isolation.is_none() {
        permit(&study.plugins, "isolate it (leave out `--isolate never`), or ")?;
    }
    let crew = Crew::new(site, survey, progress);
    let mut outcome = Outcome::default();
    let threads = tch::get_num_threads();
    tch::set_num_threads(1);
    if let Err(error) = check_models(&crew) {
        tch::set_num_threads(threads);
        return Err(error);
    }
    let mut failed = vec![false; plan.cells.len()];
    let mut result = Ok(());
    for (phase, name) in PHASES.iter().enumerate() {
        if options.cancelled() {
            break;
        }
        let mut todo = Vec::new();
        for id in (0..plan.cells.len()).filter(|&id| plan.phase(id) == phase && survey.missing[id])
        {
            if plan.needs(id).iter().any(|&need| failed[need]) {
                failed[id] = true;
                outcome.held_up += 1;
            } else {
                todo.push(id);
            }
        }
        if todo.is_empty() {
            continue;
        }
        // Processes that share a folder begin in different places, so that they seldom meet.
        let start = RandomState::new().hash_one(phase) as usize % todo.len();
        todo.rotate_left(start);
        progress.begin(name, todo.len(), todo.iter().map(|&id| plan.cases(id)).sum());
        result = crew.phase(&todo, &mut outcome);
        progress.end();
        if result.is_err() {
            break;
        }
        for failure in &outcome.failures {
            failed[failure.cell] = true;
        }
    }
    tch::set_num_threads(threads);
    let settled = outcome.computed + outcome.found + outcome.failures.len() + outcome.held_up;
    outcome.left = survey.to_compute() - settled;
    result.map(|()| outcome)
}

/// Puts those of some whole cells into the object store behind the folder that it
/// [lacked](Store::now): it may have been out of reach when they were stored, or have come later.
///
/// # Errors
/// When it cannot be written to.
pub(crate) fn share(
    plan: &Plan,
    store: &Store,
    cells: &[CellId],
    options: &Options,
    progress: &dyn Progress,
) -> Result<()> {
    let cells: Vec<CellId> =
        cells.iter().copied().filter(|&id| store.to_share(&plan.cells[id].address)).collect();
    if cells.is_empty() {
        return Ok(());
    }
    progress.begin("upload", cells.len(), cells.iter().map(|&id| plan.cases(id)).sum());
    let done = in_parallel(options.workers, cells.len(), |n| {
        let cell = &plan.cells[cells[n]];
        if options.cancelled() {
            return Ok(());
        }
        let pixels = match cell.work {
            Work::Craft { .. } => store.load::<CraftRow>(&cell.address)?.pixels,
            _ => None,
        };
        let shared = store.share(&cell.address, pixels.as_deref());
        progress.advance(plan.cases(cells[n]), &cell.address.name());
        // Damaged pixels stay here: who needs them finds out.
        shared.or_else(|error| if error.is::<OutOfReach>() { Err(error) } else { Ok(()) })
    });
    progress.end();
    done
}

/// Verifies the pixels of a craft cell that is there, as far as the folder has them.
fn verify_pixels(store: &Store, cell: &Cell) -> Result<()> {
    let pixels = store.load::<CraftRow>(&cell.address)?.pixels;
    pixels.map_or(Ok(()), |hash| store.verify_pixels(&cell.address, &hash))
}

/// Loads every model that a cell to be computed needs, each once, so that weights that do not fit
/// are an error before any work. A plugin's model that cannot be loaded, and one that ends the
/// process in which it is loaded, are warnings: their cells will fail.
fn check_models(crew: &Crew) -> Result<()> {
    let Site { study, plan, registry, options, .. } = crew.site;
    let mut checked = BTreeSet::new();
    for index in
        (0..plan.cells.len()).filter(|&id| crew.survey.missing[id]).filter_map(|id| plan.model(id))
    {
        let model = &study.models[index];
        if options.cancelled()
            || !checked.insert((
                &model.part.name,
                model.part.parameters.to_string(),
                &model.weights_hash,
            ))
        {
            continue;
        }
        if crew.isolates(model.part.plugin.is_some()) {
            crew.check_model(index)?;
        } else {
            guard::catch("loading", || model.load(registry, Device::Cpu))?;
        }
    }
    Ok(())
}

/// Plugins that cannot catch a panic must be isolated: errors of libtorch's are panics too.
/// `remedy` says how, where they are not.
pub(crate) fn permit<'l>(
    libraries: impl IntoIterator<Item = &'l Arc<Library>>,
    remedy: &str,
) -> Result<()> {
    let fatal = libraries.into_iter().find(|library| library.aborts());
    fatal.map_or(Ok(()), |library| {
        bail!(
            "plugin {} was built with panic = \"abort\", so that any error of libtorch's in it \
             ends the process: {remedy}build it with \
             panic = \"unwind\"",
            library.describe()
        )
    })
}
