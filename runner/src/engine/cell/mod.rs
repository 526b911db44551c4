//! One cell, from its inputs to its file: the same in every thread and process.

mod clean;
mod context;
mod craft;
mod measure;
pub(super) mod probe;
mod provenance;
mod resized;
mod score;
mod transfer;
mod verify;

use crate::engine::cell::context::CellContext;
use crate::engine::cell::resized::Resized;
use crate::engine::options::RunOptions;
use crate::engine::plan::{CellId, Plan, SLICE, Work};
use crate::errors::{OutOfReach, first_line};
use crate::store::rows::{CleanRow, CraftRow, MeasureRow, ProbeRow, ScoreRow, TransferRow};
use crate::store::{Packet, Store, Stored};
use crate::study::Study;
use anyhow::{Context, Result, bail};
use gauntlet_core::guard;
use gauntlet_core::model::Model;
use gauntlet_core::oracle::Stop;
use gauntlet_core::registry::Registry;
use provenance::provenance;
use std::time::{Duration, Instant};
use tch::Tensor;

/// How long a cell may take in which code of a plugin library runs, unless the study says
/// otherwise.
const PLUGIN_TIMEOUT: Duration = Duration::from_hours(1);

/// What computing cells takes.
#[derive(Clone, Copy)]
pub(crate) struct Engine<'a> {
    pub study: &'a Study,
    pub plan: &'a Plan,
    pub registry: &'a Registry,
    pub store: &'a Store,
    pub options: &'a RunOptions,
}

/// How it went with a cell.
pub(super) enum CellOutcome {
    /// It is computed and stored.
    Stored,
    /// It was there already.
    Found,
    /// It cannot be computed; says why.
    Failed(String),
    /// It was given up, because all are.
    Cancelled,
}

/// What has come of computing a cell.
pub(super) enum CellResult {
    /// It is to be stored.
    Cell(Packet),
    /// There is nothing to store any more.
    Not(CellOutcome),
}

/// The model at hand: its index and itself, or why it cannot be loaded.
pub(super) type Loaded = Option<(usize, Result<Resized, String>)>;

/// A cell's rows, ready to be stored.
enum Content {
    Clean(Vec<CleanRow>),
    Craft(Vec<CraftRow>, Option<Tensor>),
    Score(Vec<ScoreRow>),
    Probe(Vec<ProbeRow>),
    Measure(Vec<MeasureRow>),
    Transfer(Vec<TransferRow>),
}

impl Engine<'_> {
    /// Computes a cell.
    pub(super) fn perform(&self, id: CellId, loaded: &mut Loaded) -> Result<CellResult> {
        let deadline = self.time_limit(id).and_then(|limit| Instant::now().checked_add(limit));
        let bench = CellContext {
            study: self.study,
            device: self.options.device,
            lanes: SLICE,
            deadline,
            cancel: &self.options.cancel,
        };
        let content = guard::catch("the engine", || {
            // A panic may have left this thread in either gradient mode.
            tch::with_grad(|| self.compute(bench, id, loaded))
        });
        match content {
            Ok(content) => {
                self.pack(id, content).map(CellResult::Cell).context("a result cannot be stored")
            }
            Err(error) if error.is::<OutOfReach>() => Err(error),
            Err(error) => Ok(match error.downcast_ref() {
                Some(Stop::Cancelled) => CellResult::Not(CellOutcome::Cancelled),
                Some(Stop::OutOfTime) => CellResult::Not(CellOutcome::Failed(self.out_of_time(id))),
                None => CellResult::Not(CellOutcome::Failed(first_line(&error))),
            }),
        }
    }

    /// Whether code of a plugin library runs in a cell.
    pub(super) fn involves_plugin(&self, id: CellId) -> bool {
        self.plan.parts(self.study, id).iter().any(|part| part.plugin.is_some())
    }

    /// How long a cell may take.
    pub(super) fn time_limit(&self, id: CellId) -> Option<Duration> {
        self.limit(self.involves_plugin(id))
    }

    /// How long something may take in which code of a plugin library runs, or not.
    pub(super) fn limit(&self, plugin: bool) -> Option<Duration> {
        self.study
            .cell_timeout
            .or(plugin.then_some(PLUGIN_TIMEOUT))
            .filter(|limit| !limit.is_zero())
    }

    /// Why a cell failed that took longer.
    pub(super) fn out_of_time(&self, id: CellId) -> String {
        let limit = self.time_limit(id).unwrap_or_default().as_secs_f64();
        format!(
            "out of time: it may take {limit} s; `cell_timeout` in the study or `--cell-timeout` \
             gives it more"
        )
    }

    fn compute(&self, bench: CellContext, id: CellId, loaded: &mut Loaded) -> Result<Content> {
        let Self { study, plan, store, .. } = *self;
        let cell = &plan.cells[id];
        let pictures = &study.data.pictures[plan.range(cell.slice)];
        let rows =
            |id: CellId| store.load::<CleanRow>(&plan.cells[id].address).map(|stored| stored.rows);
        let crafted = |id: CellId| -> Result<(Stored<CraftRow>, Option<Tensor>)> {
            let stored = store.load::<CraftRow>(&plan.cells[id].address)?;
            let pixels = stored
                .pixels
                .as_ref()
                .map(|hash| store.read_pixels(&plan.cells[id].address, hash))
                .transpose()?;
            Ok((stored, pixels))
        };
        Ok(match cell.work {
            Work::Clean { model, side } => {
                Content::Clean(clean::compute(bench, self.load(model, side, loaded)?, pictures)?)
            }
            Work::Craft { model, attack, goal, clean } => {
                let model = self.load(model, plan.side(id), loaded)?;
                let (rows, pixels) = craft::compute(
                    bench,
                    model,
                    &study.attacks[attack],
                    goal,
                    pictures,
                    &rows(clean)?,
                )?;
                Content::Craft(rows, pixels)
            }
            Work::Score { model, metric, goal, clean } => {
                let model = self.load(model, plan.side(id), loaded)?;
                Content::Score(score::compute(
                    bench,
                    model,
                    &study.metrics[metric],
                    goal,
                    pictures,
                    &rows(clean)?,
                )?)
            }
            Work::Probe { model, clean } => {
                let model = self.load(model, plan.side(id), loaded)?;
                Content::Probe(probe::compute(bench, model, pictures, &rows(clean)?)?)
            }
            Work::Measure { craft, metric } => {
                let (craft, pixels) = crafted(craft)?;
                Content::Measure(measure::compute(
                    &study.metrics[metric],
                    plan.side(id),
                    pictures,
                    &craft,
                    pixels.as_ref(),
                )?)
            }
            Work::Transfer { craft, target, clean } => {
                let policy =
                    study.transfer.context("a study without transfer has no transfer cells")?;
                let target = self.load(target, study.models[target].card.side, loaded)?;
                let (craft, pixels) = crafted(craft)?;
                Content::Transfer(transfer::compute(
                    bench,
                    target,
                    policy,
                    &craft,
                    pixels.as_ref(),
                    &rows(clean)?,
                )?)
            }
        })
    }

    /// The model of a craft cell.
    fn source(&self, craft: CellId) -> usize {
        self.plan.model(craft).expect("a craft cell has a model")
    }

    /// `side`: of the images that the model is given.
    fn load<'l>(&self, model: usize, side: i64, loaded: &'l mut Loaded) -> Result<&'l dyn Model> {
        let of_use = |(index, found): &(usize, Result<Resized, String>)| {
            *index == model && !found.as_ref().is_ok_and(Model::needs_reload)
        };
        if !loaded.as_ref().is_some_and(of_use) {
            *loaded = None; // one model at a time: the old one goes before the new one comes
            let found = guard::catch("loading", || {
                self.study.models[model].load(self.registry, self.options.device)
            });
            *loaded = Some((model, found.map(Resized::new).map_err(|error| first_line(&error))));
        }
        match loaded {
            Some((_, Ok(model))) => Ok(model.at(side)),
            Some((_, Err(reason))) => bail!("{reason}"),
            None => unreachable!("just set"),
        }
    }

    fn pack(&self, id: CellId, content: Content) -> Result<Packet> {
        let cell = &self.plan.cells[id];
        let model = match cell.work {
            Work::Measure { craft, .. } | Work::Transfer { craft, .. } => self.source(craft),
            Work::Clean { model, .. }
            | Work::Craft { model, .. }
            | Work::Score { model, .. }
            | Work::Probe { model, .. } => model,
        };
        let origin = match cell.work {
            Work::Measure { craft, .. } | Work::Transfer { craft, .. } => {
                self.plan.cells[craft].work
            }
            work => work,
        };
        let provenance = provenance(self.study, self.options.device, model, cell.work, origin);
        let at = &cell.address;
        match content {
            Content::Clean(rows) => Packet::new(at, rows, provenance, None),
            Content::Score(rows) => Packet::new(at, rows, provenance, None),
            Content::Probe(rows) => Packet::new(at, rows, provenance, None),
            Content::Measure(rows) => Packet::new(at, rows, provenance, None),
            Content::Transfer(rows) => Packet::new(at, rows, provenance, None),
            Content::Craft(rows, pixels) => Packet::new(at, rows, provenance, pixels.as_ref()),
        }
    }

    /// Stores a cell, if there is anything to store; in the object store too, if it is to be
    /// `shared`.
    pub(super) fn settle(&self, made: CellResult, shared: bool) -> Result<CellOutcome> {
        match made {
            CellResult::Cell(packet) => self
                .store
                .keep(packet, shared)
                .map(|()| CellOutcome::Stored)
                .context("a result cannot be stored"),
            CellResult::Not(verdict) => Ok(verdict),
        }
    }
}
