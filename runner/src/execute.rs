//! Computing the cells that are missing.
//!
//! A cell is computed by one thread, with one thread of libtorch's: its bits do not depend on how
//! many workers there are. A cell that fails costs itself and what needs it; the rest goes on.

mod compute;
mod queue;

use crate::plan::{Cell, CellId, PHASES, Plan, Work};
use crate::rows::{CleanRow, CraftRow, MeasureRow, Row, ScoreRow, TransferRow};
use crate::store::{Found, Store, Stored};
use crate::study::Study;
use anyhow::{Context, Result, bail};
use compute::{Bench, first_line};
use gauntlet_core::device::Device;
use gauntlet_core::guard;
use gauntlet_core::model::Model;
use gauntlet_core::registry::Registry;
use queue::Queue;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tch::Tensor;

/// Where and how widely to compute.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Where models live.
    pub device: Device,
    /// Number of threads, each with a model of its own; at least 1.
    pub workers: usize,
}

impl Options {
    /// All cores of the machine on the CPU; one worker on a GPU.
    pub fn on(device: Device) -> Self {
        let workers = if device == Device::Cpu { std::thread::available_parallelism().map_or(1, usize::from) } else { 1 };
        Self { device, workers }
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
pub struct Survey {
    missing: Vec<bool>,
    /// Cells that only look whole: the content of their pixels is damaged.
    spoilt: Vec<bool>,
}

impl Survey {
    /// Looks for every cell of a plan; whatever is damaged counts as missing, with a warning.
    pub fn take(plan: &Plan, store: &Store, options: Options, progress: &dyn Progress) -> Self {
        let missing: Vec<AtomicBool> = plan.cells.iter().map(|_| AtomicBool::new(false)).collect();
        let warn = |cell: &Cell, reason: &str| {
            progress.warn(&format!("{} cell {} is damaged and will be computed again: {reason}", cell.address.kind, cell.address.key));
        };
        in_parallel(options.workers, plan.cells.len(), |id| {
            let cell = &plan.cells[id];
            let damage = look_for(store, plan, id);
            if let Some(reason) = damage {
                missing[id].store(true, Ordering::Relaxed);
                if let Some(reason) = reason {
                    warn(cell, &reason);
                }
            }
        });
        // Pixels are large: their content is verified where something is still to be done with them.
        let wanted: Vec<bool> = {
            let mut wanted = vec![false; plan.cells.len()];
            for (id, _) in plan.cells.iter().enumerate().filter(|(id, _)| missing[*id].load(Ordering::Relaxed)) {
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
                && let Err(error) = read::<CraftRow>(store, cell).and_then(|stored| pixels(store, cell, &stored))
            {
                missing[id].store(true, Ordering::Relaxed);
                spoilt[id].store(true, Ordering::Relaxed);
                warn(cell, &first_line(&error));
            }
        });
        let plain = |flags: Vec<AtomicBool>| flags.into_iter().map(AtomicBool::into_inner).collect();
        Self { missing: plain(missing), spoilt: plain(spoilt) }
    }

    /// Number of cells that are to be computed.
    pub fn to_compute(&self) -> usize {
        self.missing.iter().filter(|missing| **missing).count()
    }
}

/// Loads every model that a cell to be computed needs, each once and on the CPU, so that weights
/// that do not fit are known before any work.
///
/// # Errors
/// When a model cannot be loaded.
pub fn check_models(study: &Study, plan: &Plan, survey: &Survey, registry: &Registry) -> Result<()> {
    let needed: BTreeSet<usize> = (0..plan.cells.len()).filter(|&id| survey.missing[id]).filter_map(|id| plan.model(id)).collect();
    let mut loaded = BTreeSet::new();
    for model in needed.into_iter().map(|index| &study.models[index]) {
        if loaded.insert((&model.part.name, model.part.parameters.to_string(), &model.weights_hash)) {
            guard::catch("loading", || model.load(registry, Device::Cpu))?;
        }
    }
    Ok(())
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

/// Computes what is missing. libtorch is told to use one thread per worker for the time being.
///
/// # Errors
/// When cells cannot be stored. A cell that cannot be computed is no error, see [`Outcome`].
pub fn run(
    study: &Study,
    plan: &Plan,
    survey: &Survey,
    registry: &Registry,
    store: &Store,
    options: Options,
    progress: &dyn Progress,
) -> Result<Outcome> {
    let threads = tch::get_num_threads();
    tch::set_num_threads(1);
    let bench = Bench { study, device: options.device, lanes: crate::plan::SLICE };
    let site = Site { bench, plan, survey, registry, store, progress, found: AtomicUsize::new(0) };
    let mut outcome = Outcome::default();
    let mut failed = vec![false; plan.cells.len()];
    let mut result = Ok(());
    for (phase, name) in PHASES.iter().enumerate() {
        let mut todo = Vec::new();
        for id in (0..plan.cells.len()).filter(|&id| plan.phase(id) == phase && survey.missing[id]) {
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
        let done = site.phase(&todo, options.workers);
        let found = site.found.swap(0, Ordering::Relaxed);
        progress.end();
        match done {
            Ok(failures) => {
                outcome.found += found;
                outcome.computed += todo.len() - found - failures.len();
                for failure in failures {
                    failed[failure.cell] = true;
                    outcome.failures.push(failure);
                }
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    tch::set_num_threads(threads);
    result.map(|()| outcome)
}

/// Runs `work` for 0..count on some threads.
fn in_parallel(workers: usize, count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, count.max(1)) {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        break;
                    }
                    work(n);
                }
            });
        }
    });
}

/// `None` when the cell is there; otherwise what is wrong, if anything is there at all.
#[expect(clippy::option_option, reason = "absent, missing without and with a reason are three answers")]
fn look_for(store: &Store, plan: &Plan, id: CellId) -> Option<Option<String>> {
    let cell = &plan.cells[id];
    let cases = plan.cases(id);
    match cell.work {
        Work::Clean { .. } => look::<CleanRow>(store, cell, cases, |_| Ok(())),
        Work::Craft { .. } => look::<CraftRow>(store, cell, cases, |stored| {
            let count = stored.rows.iter().filter(|row| row.slot.is_some()).count();
            stored.pixels.as_ref().map_or(Ok(()), |hash| store.check_pixels(&cell.address, hash, count))
        }),
        Work::Score { .. } => look::<ScoreRow>(store, cell, cases, |_| Ok(())),
        Work::Measure { .. } => look::<MeasureRow>(store, cell, cases, |_| Ok(())),
        Work::Transfer { .. } => look::<TransferRow>(store, cell, cases, |_| Ok(())),
    }
}

#[expect(clippy::option_option, reason = "absent, missing without and with a reason are three answers")]
fn look<R: Row>(store: &Store, cell: &Cell, cases: usize, check: impl Fn(&Stored<R>) -> Result<()>) -> Option<Option<String>> {
    match store.read::<R>(&cell.address) {
        Found::Whole(stored) if stored.rows.len() == cases => check(&stored).err().map(|error| Some(first_line(&error))),
        Found::Whole(stored) => Some(Some(format!("{} rows, expected {cases}", stored.rows.len()))),
        Found::Missing => Some(None),
        Found::Damaged(reason) => Some(Some(reason)),
    }
}

/// A cell that must be there.
pub(crate) fn read<R: Row>(store: &Store, cell: &Cell) -> Result<Stored<R>> {
    match store.read(&cell.address) {
        Found::Whole(stored) => Ok(stored),
        Found::Missing => bail!("{} cell {} has gone", cell.address.kind, cell.address.key),
        Found::Damaged(reason) => bail!("{} cell {} is damaged: {reason}", cell.address.kind, cell.address.key),
    }
}

fn pixels(store: &Store, cell: &Cell, stored: &Stored<CraftRow>) -> Result<Option<Tensor>> {
    stored.pixels.as_ref().map(|hash| store.read_pixels(&cell.address, hash)).transpose()
}

/// What the workers of a phase share.
struct Site<'a> {
    bench: Bench<'a>,
    plan: &'a Plan,
    survey: &'a Survey,
    registry: &'a Registry,
    store: &'a Store,
    progress: &'a dyn Progress,
    /// Number of cells of the phase that had appeared before their turn came.
    found: AtomicUsize,
}

/// A worker's model: index and model, or why it cannot be loaded.
type Loaded = Option<(usize, Result<Box<dyn Model>, String>)>;

/// A cell's rows, ready to be stored.
enum Content {
    Clean(Vec<CleanRow>),
    Craft(Vec<CraftRow>, Option<Tensor>),
    Score(Vec<ScoreRow>),
    Measure(Vec<MeasureRow>),
    Transfer(Vec<TransferRow>),
}

impl Site<'_> {
    fn phase(&self, todo: &[CellId], workers: usize) -> Result<Vec<Failure>> {
        let queue = Queue::new(todo, |id| self.plan.model(id), |id| self.plan.cases(id));
        let failures: Mutex<Vec<Failure>> = Mutex::new(Vec::new());
        let fatal = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..workers.clamp(1, todo.len()) {
                scope.spawn(|| {
                    tch::set_num_threads(1);
                    let mut loaded: Loaded = None;
                    let mut group = None;
                    while let Some(id) = queue.next(&mut group) {
                        match self.cell(id, &mut loaded) {
                            Ok(None) => {}
                            Ok(Some(failure)) => {
                                let mut failures = failures.lock().expect("no worker panics");
                                if failures.iter().all(|known| known.reason != failure.reason) {
                                    self.progress.warn(&format!("{}: {}", failure.what, failure.reason));
                                }
                                failures.push(failure);
                            }
                            Err(error) => {
                                queue.close();
                                fatal.lock().expect("no worker panics").get_or_insert(error);
                            }
                        }
                        self.progress.advance(self.plan.cases(id), &self.plan.describe(self.bench.study, id));
                    }
                });
            }
        });
        if let Some(error) = fatal.into_inner().expect("no worker panics") {
            return Err(error);
        }
        let mut failures = failures.into_inner().expect("no worker panics");
        failures.sort_by_key(|failure| failure.cell);
        Ok(failures)
    }

    /// Computes and stores a cell. The error is one of storing; a failure of the cell is a value.
    fn cell(&self, id: CellId, loaded: &mut Loaded) -> Result<Option<Failure>> {
        if !self.survey.spoilt[id] && look_for(self.store, self.plan, id).is_none() {
            self.found.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        }
        let content = guard::catch("the engine", || {
            // A panic may have left this thread in either gradient mode.
            tch::with_grad(|| self.compute(id, loaded))
        });
        match content {
            Ok(content) => self.keep(id, &content).map(|()| None),
            Err(error) => {
                let what = self.plan.describe(self.bench.study, id);
                Ok(Some(Failure { cell: id, what, reason: first_line(&error) }))
            }
        }
    }

    fn compute(&self, id: CellId, loaded: &mut Loaded) -> Result<Content> {
        let Self { bench, plan, store, .. } = *self;
        let study = bench.study;
        let cell = &plan.cells[id];
        let pictures = &study.data.pictures[plan.range(cell.slice)];
        let rows = |id: CellId| read::<CleanRow>(store, &plan.cells[id]).map(|stored| stored.rows);
        let crafted = |id: CellId| -> Result<(Stored<CraftRow>, Option<Tensor>)> {
            let stored = read::<CraftRow>(store, &plan.cells[id])?;
            let pixels = pixels(store, &plan.cells[id], &stored)?;
            Ok((stored, pixels))
        };
        Ok(match cell.work {
            Work::Clean { model } => Content::Clean(compute::clean(bench, self.load(model, loaded)?, pictures)?),
            Work::Craft { model, attack, goal, clean } => {
                let model = self.load(model, loaded)?;
                let (rows, pixels) = compute::craft(bench, model, &study.attacks[attack], goal, pictures, &rows(clean)?)?;
                Content::Craft(rows, pixels)
            }
            Work::Score { model, metric, goal, clean } => {
                let model = self.load(model, loaded)?;
                Content::Score(compute::score(bench, model, &study.metrics[metric], goal, pictures, &rows(clean)?)?)
            }
            Work::Measure { craft, metric } => {
                let side = study.models[self.source(craft)].card.side;
                let (craft, pixels) = crafted(craft)?;
                Content::Measure(compute::measure(&study.metrics[metric], side, pictures, &craft, pixels.as_ref())?)
            }
            Work::Transfer { craft, target, clean } => {
                let policy = study.transfer.context("a study without transfer has no transfer cells")?;
                let target = self.load(target, loaded)?;
                let (craft, pixels) = crafted(craft)?;
                Content::Transfer(compute::transfer(bench, target, policy, &craft, pixels.as_ref(), &rows(clean)?)?)
            }
        })
    }

    /// The model of a craft cell.
    fn source(&self, craft: CellId) -> usize {
        self.plan.model(craft).expect("a craft cell has a model")
    }

    fn load<'l>(&self, model: usize, loaded: &'l mut Loaded) -> Result<&'l dyn Model> {
        if loaded.as_ref().is_none_or(|(index, _)| *index != model) {
            *loaded = None; // one model at a time: the old one goes before the new one comes
            let found = guard::catch("loading", || self.bench.study.models[model].load(self.registry, self.bench.device));
            *loaded = Some((model, found.map_err(|error| first_line(&error))));
        }
        match loaded {
            Some((_, Ok(model))) => Ok(&**model),
            Some((_, Err(reason))) => bail!("{reason}"),
            None => unreachable!("just set"),
        }
    }

    fn keep(&self, id: CellId, content: &Content) -> Result<()> {
        let cell = &self.plan.cells[id];
        let model = match cell.work {
            Work::Measure { craft, .. } | Work::Transfer { craft, .. } => self.source(craft),
            Work::Clean { model } | Work::Craft { model, .. } | Work::Score { model, .. } => model,
        };
        let origin = match cell.work {
            Work::Measure { craft, .. } | Work::Transfer { craft, .. } => self.plan.cells[craft].work,
            work => work,
        };
        let provenance = compute::provenance(self.bench.study, self.bench.device, model, cell.work, origin);
        let (store, at) = (self.store, &cell.address);
        match content {
            Content::Clean(rows) => store.write(at, &Stored { rows: rows.clone(), provenance, pixels: None }),
            Content::Score(rows) => store.write(at, &Stored { rows: rows.clone(), provenance, pixels: None }),
            Content::Measure(rows) => store.write(at, &Stored { rows: rows.clone(), provenance, pixels: None }),
            Content::Transfer(rows) => store.write(at, &Stored { rows: rows.clone(), provenance, pixels: None }),
            Content::Craft(rows, pixels) => {
                let pixels = pixels.as_ref().map(|pixels| store.write_pixels(at, pixels)).transpose()?;
                store.write(at, &Stored { rows: rows.clone(), provenance, pixels })
            }
        }
        .context("a result cannot be stored")
    }
}
