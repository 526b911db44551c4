//! Who computes: threads of this process, each beside a process of its own for the cells that are
//! isolated.

use super::cell::{CellOutcome, CellResult, Engine, Loaded};
use super::job::Job;
use super::queue::Queue;
use crate::engine::options::Progress;
use crate::engine::outcome::{Failure, RunOutcome};
use crate::engine::plan::CellId;
use crate::engine::process::{Killed, Reply, Request, RequestOutcome, Worker};
use crate::engine::survey::Survey;
use crate::engine::survey::look_for;
use crate::threads::crowd;
use anyhow::{Context, Result, bail};
use gauntlet_core::device;
use std::sync::mpsc::{self, SendError};
use std::sync::{Arc, Mutex};
use std::thread;

/// So many cells wait to be written, at most.
const WAITING: usize = 4;

pub(super) struct Workers<'a> {
    pub site: Engine<'a>,
    pub survey: &'a Survey,
    progress: &'a dyn Progress,
    /// Processes without work. They outlive a phase.
    idle: Mutex<Vec<Worker>>,
}

/// What a thread has at hand.
#[derive(Default)]
struct ThreadState {
    loaded: Loaded,
    worker: Option<Worker>,
}

impl<'a> Workers<'a> {
    pub fn new(site: Engine<'a>, survey: &'a Survey, progress: &'a dyn Progress) -> Self {
        Self { site, survey, progress, idle: Mutex::default() }
    }

    /// Whether code runs in a process of its own that comes from a plugin library, or not.
    pub fn isolates(&self, plugin: bool) -> bool {
        self.site.options.isolation.as_ref().is_some_and(|isolation| isolation.everything || plugin)
    }

    /// Computes the cells of a phase, and adds to `outcome` how it went. The error is one of
    /// storing, or of processes that cannot be started.
    pub fn phase(&self, todo: &[CellId], outcome: &mut RunOutcome) -> Result<()> {
        let Engine { study, plan, options, .. } = self.site;
        let isolated = |id: CellId| self.isolates(self.site.involves_plugin(id));
        let queue = Queue::new(todo, |id| (isolated(id), plan.model(id)), |id| plan.cases(id));
        let outcome = Mutex::new(outcome);
        let fatal = Mutex::new(None);
        let stop = |error| {
            queue.close();
            fatal.lock().expect("no worker panics").get_or_insert(error);
        };
        let settle = |(id, made)| {
            // Whoever runs this next shares what is not shared now.
            let shared = !options.cancelled() && fatal.lock().expect("no worker panics").is_none();
            match self.site.settle(made, shared) {
                Ok(verdict) => {
                    self.note(id, verdict, &mut outcome.lock().expect("no worker panics"))
                }
                Err(error) => stop(error),
            }
            self.progress.advance(plan.cases(id), &plan.describe(study, id));
        };
        let count = options.workers.min(todo.len());
        // Files are synced in a thread of its own, and uploaded in several, while the next cells
        // are computed.
        let (give, take) = mpsc::sync_channel(WAITING);
        thread::scope(|scope| {
            let (take, settle) = (Arc::new(Mutex::new(take)), &settle);
            for _ in 0..self.site.store.writers(count) {
                let take = take.clone();
                let next = move || take.lock().expect("no writer panics with it").recv();
                let write = move || {
                    while let Ok(made) = next() {
                        settle(made);
                    }
                };
                if thread::Builder::new().spawn_scoped(scope, write).is_err() {
                    break;
                }
            }
            drop(take); // where no writer is left, nothing can be given
            crowd(count, || {
                tch::set_num_threads(1);
                let mut desk = ThreadState::default();
                let mut group = None;
                while let Some(id) = queue.next(&mut group) {
                    match self.cell(id, isolated(id), &mut desk) {
                        Ok(CellResult::Not(CellOutcome::Cancelled)) => queue.close(),
                        Ok(made) => {
                            // Where the system has no such thread, this one does it.
                            if let Err(SendError(made)) = give.send((id, made)) {
                                settle(made);
                            }
                        }
                        Err(error) => stop(error),
                    }
                }
                self.idle.lock().expect("no worker panics").extend(desk.worker);
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

    fn note(&self, id: CellId, verdict: CellOutcome, outcome: &mut RunOutcome) {
        match verdict {
            CellOutcome::Stored => outcome.computed += 1,
            CellOutcome::Found => outcome.found += 1,
            CellOutcome::Cancelled => {}
            CellOutcome::Failed(reason) => {
                let what = self.site.plan.describe(self.site.study, id);
                if outcome.failures.iter().all(|known| known.reason != reason) {
                    self.progress.warn(&format!("{what}: {reason}"));
                }
                outcome.failures.push(Failure { cell: id, what, reason });
            }
        }
    }

    fn cell(&self, id: CellId, isolated: bool, desk: &mut ThreadState) -> Result<CellResult> {
        if self.site.options.cancelled() {
            return Ok(CellResult::Not(CellOutcome::Cancelled));
        }
        if !self.survey.spoilt[id] && self.is_stored(id)? {
            return Ok(CellResult::Not(CellOutcome::Found));
        }
        if !isolated {
            return self.site.perform(id, &mut desk.loaded);
        }
        desk.loaded = None; // the process loads its own
        let order = Request::Compute(self.site.plan.cells[id].address.key.clone());
        let mut worker = match desk.worker.take().map_or_else(|| self.hire(), Ok) {
            Ok(worker) => worker,
            Err(error) if error.is::<Killed>() => {
                return Ok(CellResult::Not(CellOutcome::Failed(error.to_string())));
            }
            Err(error) => return Err(error),
        };
        let answer = worker.ask(&order, self.site.time_limit(id), &self.site.options.cancel);
        Ok(CellResult::Not(match answer {
            RequestOutcome::Reply(reply) => {
                desk.worker = Some(worker);
                match reply {
                    Reply::Done if self.is_stored(id)? => CellOutcome::Stored,
                    Reply::Done => CellOutcome::Failed(
                        "the process that computed it says that it is stored, but it is not".into(),
                    ),
                    Reply::Failed(reason) => CellOutcome::Failed(reason),
                    Reply::Fatal(reason) => bail!(reason),
                }
            }
            // Here the worker is dropped, and what is left of the process ended.
            RequestOutcome::Died(how) => {
                CellOutcome::Failed(format!("the process that computed it {how}"))
            }
            // It may have been writing.
            RequestOutcome::OutOfTime if self.is_stored(id)? => CellOutcome::Stored,
            RequestOutcome::OutOfTime => CellOutcome::Failed(self.site.out_of_time(id)),
            RequestOutcome::Cancelled => CellOutcome::Cancelled,
        }))
    }

    fn is_stored(&self, id: CellId) -> Result<bool> {
        Ok(look_for(self.site.store, self.site.plan, id)?.is_none())
    }

    /// Loads a model in a process of its own, see [`crate::engine::run::check_models`].
    pub fn check_model(&self, index: usize) -> Result<()> {
        let part = &self.site.study.models[index].part;
        let mut worker = match self.hire() {
            Ok(worker) => worker,
            // Then its weights are not known to fit before work begins; the cells will tell.
            Err(error) if error.is::<Killed>() => {
                self.progress.warn(&format!("model `{}` could not be tried: {error}", part.label));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let fault = match worker.ask(
            &Request::Load(index),
            self.site.limit(part.plugin.is_some()),
            &self.site.options.cancel,
        ) {
            RequestOutcome::Reply(Reply::Done) => {
                self.idle.lock().expect("no worker panics").push(worker);
                return Ok(());
            }
            RequestOutcome::Reply(Reply::Failed(reason)) if part.plugin.is_some() => reason,
            RequestOutcome::Reply(Reply::Failed(reason) | Reply::Fatal(reason)) => bail!(reason),
            RequestOutcome::Died(how) => format!("the process that loaded it {how}"),
            RequestOutcome::OutOfTime => "loading it takes longer than a cell may".to_owned(),
            RequestOutcome::Cancelled => return Ok(()),
        };
        self.progress.warn(&format!("model `{}`, whose cells will fail: {fault}", part.label));
        Ok(())
    }

    fn hire(&self) -> Result<Worker> {
        if let Some(worker) = self.idle.lock().expect("no worker panics").pop() {
            return Ok(worker);
        }
        let isolation = self
            .site
            .options
            .isolation
            .as_ref()
            .context("without isolation nothing is isolated")?;
        let Engine { study, registry, plan, store, options } = self.site;
        Worker::start(
            isolation,
            &Job::new(study, registry, plan, store.out(), &device::name(options.device))?,
        )
    }
}
