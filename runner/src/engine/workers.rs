//! The workers of a run: threads of this process, each with a process of its own for cells that are
//! isolated.

use crate::engine::cell::{CellOutcome, CellResult, Engine, Loaded};
use crate::engine::job::Job;
use crate::engine::options::Progress;
use crate::engine::outcome::{Failure, RunOutcome};
use crate::engine::plan::CellId;
use crate::engine::process::{Reply, Request, StartError, Worker};
use crate::engine::queue::Queue;
use crate::engine::survey::{Survey, presence_of};
use crate::process::Waited;
use crate::threads::crowd;
use anyhow::{Context, Result, bail};
use gauntlet_core::device;
use std::sync::mpsc::{self, SendError};
use std::sync::{Arc, Mutex};
use std::thread;

/// Greatest number of cells that wait to be written.
const WAITING: usize = 4;

/// The workers of a run.
pub(super) struct Workers<'a> {
    pub engine: Engine<'a>,
    pub survey: &'a Survey,
    progress: &'a dyn Progress,
    /// Processes without work. They are kept from one phase to the next.
    idle: Mutex<Vec<Worker>>,
}

/// What a thread keeps from one cell to the next.
#[derive(Default)]
struct ThreadState {
    loaded: Loaded,
    /// The process that computes isolated cells for this thread.
    worker: Option<Worker>,
}

impl<'a> Workers<'a> {
    pub fn new(engine: Engine<'a>, survey: &'a Survey, progress: &'a dyn Progress) -> Self {
        Self { engine, survey, progress, idle: Mutex::default() }
    }

    /// Whether code runs in a process of its own; `plugin` says whether a plugin library's does.
    pub fn isolates(&self, plugin: bool) -> bool {
        self.engine
            .options
            .isolation
            .as_ref()
            .is_some_and(|isolation| isolation.everything || plugin)
    }

    /// Computes the cells of a phase, and adds to `outcome` how it went.
    ///
    /// # Errors
    /// When a cell cannot be stored, the object store cannot be asked, or no process can be
    /// started.
    pub fn phase(&self, todo: &[CellId], outcome: &mut RunOutcome) -> Result<()> {
        let Engine { study, plan, options, .. } = self.engine;
        let isolated = |id: CellId| self.isolates(self.engine.involves_plugin(id));
        let queue = Queue::new(todo, |id| (isolated(id), plan.model(id)), |id| plan.cases(id));
        let outcome = Mutex::new(outcome);
        let fatal = Mutex::new(None);
        let stop = |error| {
            queue.close();
            fatal.lock().expect("no worker panics").get_or_insert(error);
        };
        let settle = |(id, result)| {
            // A cell that this run does not copy to the object store is copied by the next run.
            let shared = !options.cancelled() && fatal.lock().expect("no worker panics").is_none();
            match self.engine.settle(result, shared) {
                Ok(settled) => {
                    self.note(id, settled, &mut outcome.lock().expect("no worker panics"));
                }
                Err(error) => stop(error),
            }
            self.progress.advance(plan.cases(id), &plan.describe(study, id));
        };
        let count = options.workers.min(todo.len());
        // Syncing files takes one thread, uploading them several: cells are computed meanwhile.
        let (give, take) = mpsc::sync_channel(WAITING);
        thread::scope(|scope| {
            let (take, settle) = (Arc::new(Mutex::new(take)), &settle);
            for _ in 0..self.engine.store.writers(count) {
                let take = take.clone();
                let next = move || take.lock().expect("no writer panics with it").recv();
                let write = move || {
                    while let Ok(result) = next() {
                        settle(result);
                    }
                };
                if thread::Builder::new().spawn_scoped(scope, write).is_err() {
                    break;
                }
            }
            drop(take); // so that sending fails where no writer could be started
            crowd(count, || {
                tch::set_num_threads(1);
                let mut state = ThreadState::default();
                let mut group = None;
                while let Some(id) = queue.next(&mut group) {
                    match self.cell(id, isolated(id), &mut state) {
                        Ok(CellResult::Settled(CellOutcome::Cancelled)) => queue.close(),
                        Ok(result) => {
                            // Without a writer, this thread writes.
                            if let Err(SendError(result)) = give.send((id, result)) {
                                settle(result);
                            }
                        }
                        Err(error) => stop(error),
                    }
                }
                self.idle.lock().expect("no worker panics").extend(state.worker);
            });
            drop(give);
        });
        outcome
            .into_inner()
            .expect("no worker panics")
            .failures
            .sort_by_key(|failure| failure.cell);
        fatal.into_inner().expect("no worker panics").map_or(Ok(()), Err)
    }

    /// Counts a cell in `outcome`. A reason that is new is a warning too.
    fn note(&self, id: CellId, settled: CellOutcome, outcome: &mut RunOutcome) {
        match settled {
            CellOutcome::Stored => outcome.computed += 1,
            CellOutcome::Found => outcome.found += 1,
            CellOutcome::Cancelled => {}
            CellOutcome::Failed(reason) => {
                let what = self.engine.plan.describe(self.engine.study, id);
                if outcome.failures.iter().all(|known| known.reason != reason) {
                    self.progress.warn(&format!("{what}: {reason}"));
                }
                outcome.failures.push(Failure { cell: id, what, reason });
            }
        }
    }

    /// Computes a cell in this thread, or in its process if the cell is isolated.
    fn cell(&self, id: CellId, isolated: bool, state: &mut ThreadState) -> Result<CellResult> {
        if self.engine.options.cancelled() {
            return Ok(CellResult::Settled(CellOutcome::Cancelled));
        }
        if !self.survey.damaged[id] && self.is_stored(id)? {
            return Ok(CellResult::Settled(CellOutcome::Found));
        }
        if !isolated {
            return self.engine.perform(id, &mut state.loaded);
        }
        state.loaded = None; // the process loads its own
        let request = Request::Compute(self.engine.plan.cells[id].address.key.clone());
        let mut worker = match state.worker.take().map_or_else(|| self.hire(), Ok) {
            Ok(worker) => worker,
            Err(error @ StartError::Killed(_)) => {
                return Ok(CellResult::Settled(CellOutcome::Failed(error.to_string())));
            }
            Err(StartError::Other(error)) => return Err(error),
        };
        let answer = worker.ask(&request, self.engine.time_limit(id), &self.engine.options.cancel);
        Ok(CellResult::Settled(match answer {
            Waited::Reply(reply) => {
                state.worker = Some(worker);
                match reply {
                    Reply::Done if self.is_stored(id)? => CellOutcome::Stored,
                    Reply::Done => CellOutcome::Failed(
                        "the process that computed it says that it is stored, but it is not".into(),
                    ),
                    Reply::Failed(reason) => CellOutcome::Failed(reason),
                    Reply::Fatal(reason) => bail!(reason),
                }
            }
            // From here on the worker is dropped, which ends what is left of its process.
            Waited::Died(how) => CellOutcome::Failed(format!("the process that computed it {how}")),
            // The process may have stored the cell just before.
            Waited::OutOfTime if self.is_stored(id)? => CellOutcome::Stored,
            Waited::OutOfTime => CellOutcome::Failed(self.engine.out_of_time(id)),
            Waited::Cancelled => CellOutcome::Cancelled,
        }))
    }

    fn is_stored(&self, id: CellId) -> Result<bool> {
        Ok(presence_of(self.engine.store, self.engine.plan, id)?.is_whole())
    }

    /// Loads a model in a process of its own. A plugin's model that cannot be loaded, and one that
    /// ends its process, are warnings.
    ///
    /// # Errors
    /// When a model of no plugin cannot be loaded, or no process can be started.
    pub fn check_model(&self, index: usize) -> Result<()> {
        let part = &self.engine.study.models[index].part;
        let mut worker = match self.hire() {
            Ok(worker) => worker,
            // Whether its weights fit shows in its cells.
            Err(error @ StartError::Killed(_)) => {
                self.progress.warn(&format!("model `{}` could not be tried: {error}", part.label));
                return Ok(());
            }
            Err(StartError::Other(error)) => return Err(error),
        };
        let fault = match worker.ask(
            &Request::Load(index),
            self.engine.limit(part.plugin.is_some()),
            &self.engine.options.cancel,
        ) {
            Waited::Reply(Reply::Done) => {
                self.idle.lock().expect("no worker panics").push(worker);
                return Ok(());
            }
            Waited::Reply(Reply::Failed(reason)) if part.plugin.is_some() => reason,
            Waited::Reply(Reply::Failed(reason) | Reply::Fatal(reason)) => bail!(reason),
            Waited::Died(how) => format!("the process that loaded it {how}"),
            Waited::OutOfTime => "loading it takes longer than a cell may".to_owned(),
            Waited::Cancelled => return Ok(()),
        };
        self.progress.warn(&format!("model `{}`, whose cells will fail: {fault}", part.label));
        Ok(())
    }

    /// A process without work, or a new one.
    fn hire(&self) -> Result<Worker, StartError> {
        if let Some(worker) = self.idle.lock().expect("no worker panics").pop() {
            return Ok(worker);
        }
        let isolation = self
            .engine
            .options
            .isolation
            .as_ref()
            .context("without isolation nothing is isolated")?;
        let Engine { study, registry, plan, store, options } = self.engine;
        Worker::start(
            isolation,
            &Job::new(study, registry, plan, store.out(), &device::name(options.device))?,
        )
    }
}
