//! The engine: it computes a cell with what a run has at hand.

use super::{clean, control, craft, measure, probe, score, transfer};
use crate::engine::cell::context::CellContext;
use crate::engine::cell::crafted::Crafted;
use crate::engine::cell::provenance::provenance;
use crate::engine::cell::resized::Resized;
use crate::engine::error::CellError;
use crate::engine::options::RunOptions;
use crate::engine::plan::{CellId, Plan, SLICE, Work};
use crate::errors::first_line;
use crate::store::rows::{
    CleanRow, ControlRow, CraftRow, MeasureRow, ProbeRow, ScoreRow, TransferRow,
};
use crate::store::{Adversarials, Packet, Store, StoreError};
use crate::study::{Samples, Study};
use anyhow::{Context, Result, bail};
use gauntlet_core::guard;
use gauntlet_core::model::{ImageShape, Model};
use gauntlet_core::oracle::Stop;
use gauntlet_core::registry::Registry;
use std::time::{Duration, Instant};

/// How long a cell with code of a plugin library may take, unless the study says otherwise.
const PLUGIN_TIMEOUT: Duration = Duration::from_hours(1);

/// What cells are computed from, and where they are stored.
#[derive(Clone, Copy)]
pub(crate) struct Engine<'a> {
    pub study: &'a Study,
    pub plan: &'a Plan,
    pub registry: &'a Registry,
    pub store: &'a Store,
    pub options: &'a RunOptions,
}

/// How it went with a cell, in the end.
pub(in crate::engine) enum CellOutcome {
    /// It is computed and stored.
    Stored,
    /// It was there already.
    Found,
    /// It cannot be computed; says why.
    Failed(String),
    /// It was given up with the whole run.
    Cancelled,
}

/// What has come of computing a cell.
pub(in crate::engine) enum CellResult {
    /// It is computed, and to be stored.
    Computed(Packet),
    /// There is nothing to store.
    Settled(CellOutcome),
}

/// The model that a thread has loaded, if any.
pub(in crate::engine) type Loaded = Option<LoadedModel>;

/// A model of the study, loaded.
pub(in crate::engine) struct LoadedModel {
    /// Its index in the study.
    index: usize,
    /// The model, or why it cannot be loaded.
    model: Result<Resized, String>,
}

/// A cell's rows, ready to be stored.
enum Content {
    Clean(Vec<CleanRow>),
    Control(Vec<ControlRow>),
    Craft(Vec<CraftRow>, Option<Adversarials>),
    Score(Vec<ScoreRow>),
    Probe(Vec<ProbeRow>),
    Measure(Vec<MeasureRow>),
    Transfer(Vec<TransferRow>),
}

impl Engine<'_> {
    /// Computes a cell, but does not store it. `loaded` is the thread's model: it is replaced if
    /// the cell needs another.
    ///
    /// # Errors
    /// When the object store cannot be asked, or the result cannot be written as a file. A cell
    /// that fails is no error, see [`CellOutcome::Failed`].
    pub(in crate::engine) fn perform(&self, id: CellId, loaded: &mut Loaded) -> Result<CellResult> {
        let deadline = self.time_limit(id).and_then(|limit| Instant::now().checked_add(limit));
        let context = CellContext {
            study: self.study,
            device: self.options.device,
            lanes: SLICE,
            deadline,
            cancel: &self.options.cancel,
            samples: self.samples(id),
        };
        let content = guard::catch("the engine", || {
            // A panic may have left this thread in either gradient mode.
            Ok(tch::with_grad(|| self.compute(context, id, loaded)))
        });
        let outcome = match content.map_err(CellError::Failed).flatten() {
            Ok(content) => {
                return self
                    .pack(id, content)
                    .map(CellResult::Computed)
                    .context("a result cannot be stored");
            }
            Err(CellError::Store(error @ StoreError::OutOfReach(_))) => return Err(error.into()),
            Err(CellError::Store(StoreError::Unusable(error)) | CellError::Failed(error)) => {
                CellOutcome::Failed(first_line(&error))
            }
            Err(CellError::Stopped(Stop::Cancelled)) => CellOutcome::Cancelled,
            Err(CellError::Stopped(Stop::OutOfTime)) => CellOutcome::Failed(self.out_of_time(id)),
        };
        Ok(CellResult::Settled(outcome))
    }

    /// Whether a cell runs code of a plugin library.
    pub(in crate::engine) fn involves_plugin(&self, id: CellId) -> bool {
        self.plan.parts(self.study, id).iter().any(|part| part.plugin.is_some())
    }

    /// How long this cell may take.
    pub(in crate::engine) fn time_limit(&self, id: CellId) -> Option<Duration> {
        self.limit(self.involves_plugin(id))
    }

    /// How long a cell may take; `plugin` says whether it runs code of a plugin library.
    pub(in crate::engine) fn limit(&self, plugin: bool) -> Option<Duration> {
        self.study
            .cell_timeout
            .or(plugin.then_some(PLUGIN_TIMEOUT))
            .filter(|limit| !limit.is_zero())
    }

    /// Why a cell failed that took longer than its time limit.
    pub(in crate::engine) fn out_of_time(&self, id: CellId) -> String {
        let limit = self.time_limit(id).unwrap_or_default().as_secs_f64();
        format!(
            "out of time: it may take {limit} s; `cell_timeout` in the study or `--cell-timeout` \
             gives it more"
        )
    }

    fn compute(
        &self,
        context: CellContext,
        id: CellId,
        loaded: &mut Loaded,
    ) -> Result<Content, CellError> {
        let Self { study, plan, store, .. } = *self;
        let cell = &plan.cells[id];
        let pictures = &study.data.pictures[plan.range(cell.slice)];
        let rows =
            |id: CellId| store.load::<CleanRow>(&plan.cells[id].address).map(|stored| stored.rows);
        Ok(match cell.work {
            Work::Clean { model, shape } => {
                Content::Clean(clean::compute(context, self.load(model, shape, loaded)?, pictures)?)
            }
            Work::Control { target, clean, shape, policy } => {
                let target = self.load(target, study.models[target].card.shape(), loaded)?;
                let clean = rows(clean)?;
                Content::Control(control::compute(
                    context, target, policy, shape, pictures, &clean,
                )?)
            }
            Work::Craft { model, attack, goal, clean } => {
                let model = self.load(model, plan.shape(id), loaded)?;
                let (rows, pixels) = craft::compute(
                    context,
                    model,
                    &study.attacks[attack],
                    goal,
                    pictures,
                    &rows(clean)?,
                )?;
                Content::Craft(rows, pixels)
            }
            Work::Score { model, metric, goal, clean } => {
                let model = self.load(model, plan.shape(id), loaded)?;
                Content::Score(score::compute(
                    context,
                    model,
                    &study.metrics[metric],
                    goal,
                    pictures,
                    &rows(clean)?,
                )?)
            }
            Work::Probe { model, clean } => {
                let model = self.load(model, plan.shape(id), loaded)?;
                Content::Probe(probe::compute(context, model, pictures, &rows(clean)?)?)
            }
            Work::Measure { craft, metric } => {
                Content::Measure(measure::compute(&study.metrics[metric], &self.crafted(craft)?)?)
            }
            Work::Transfer { craft, target, clean, control } => {
                let policy =
                    study.transfer.context("a study without transfer has no transfer cells")?;
                let target = self.load(target, study.models[target].card.shape(), loaded)?;
                let crafted = self.crafted(craft)?;
                let clean = rows(clean)?;
                let control = match control {
                    Some(id) => store.load::<ControlRow>(&plan.cells[id].address)?.rows,
                    None => clean.iter().map(ControlRow::from).collect(),
                };
                Content::Transfer(transfer::compute(
                    context, target, policy, &crafted, &clean, &control,
                )?)
            }
        })
    }

    /// How a cell's model is asked if it answers at random.
    fn samples(&self, id: CellId) -> Option<Samples> {
        let models = &self.study.models;
        match self.plan.cells[id].work {
            Work::Craft { model, attack, .. } => models[model].samples.map(|samples| Samples {
                attack: self.study.attacks[attack].samples.unwrap_or(samples.attack),
                ..samples
            }),
            Work::Clean { model, .. } | Work::Score { model, .. } | Work::Probe { model, .. } => {
                models[model].samples
            }
            Work::Control { target, .. } | Work::Transfer { target, .. } => models[target].samples,
            Work::Measure { .. } => None,
        }
    }

    /// A craft cell that is stored.
    fn crafted(&self, id: CellId) -> Result<Crafted<'_>, CellError> {
        let Self { study, plan, store, .. } = *self;
        let cell = &plan.cells[id];
        let stored = store.load::<CraftRow>(&cell.address)?;
        let pixels = stored.pixels.as_ref();
        let pixels = pixels.map(|hash| store.read_pixels(&cell.address, hash)).transpose()?;
        let pictures = &study.data.pictures[plan.range(cell.slice)];
        Ok(Crafted::new(stored.rows, pixels, pictures, plan.shape(id))?)
    }

    /// The model that a craft cell attacks.
    fn source(&self, craft: CellId) -> usize {
        self.plan.model(craft).expect("a craft cell has a model")
    }

    /// Loads a model of the study, to be given images of `shape`, unless it is loaded.
    fn load<'l>(
        &self,
        model: usize,
        shape: ImageShape,
        loaded: &'l mut Loaded,
    ) -> Result<&'l dyn Model> {
        let of_use = |loaded: &LoadedModel| {
            loaded.index == model && !loaded.model.as_ref().is_ok_and(Model::needs_reload)
        };
        if !loaded.as_ref().is_some_and(of_use) {
            *loaded = None; // the old one is freed before the new one is loaded
        }
        let loaded = loaded.get_or_insert_with(|| {
            let found = guard::catch("loading", || {
                self.study.models[model].load(self.registry, self.options.device)
            });
            let found = found.map(Resized::new).map_err(|error| first_line(&error));
            LoadedModel { index: model, model: found }
        });
        match &mut loaded.model {
            Ok(model) => Ok(model.at(shape)),
            Err(reason) => bail!("{reason}"),
        }
    }

    fn pack(&self, id: CellId, content: Content) -> Result<Packet> {
        let cell = &self.plan.cells[id];
        let model = match cell.work {
            Work::Measure { craft, .. } | Work::Transfer { craft, .. } => self.source(craft),
            Work::Clean { model, .. }
            | Work::Control { target: model, .. }
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
            Content::Control(rows) => Packet::new(at, rows, provenance, None),
            Content::Score(rows) => Packet::new(at, rows, provenance, None),
            Content::Probe(rows) => Packet::new(at, rows, provenance, None),
            Content::Measure(rows) => Packet::new(at, rows, provenance, None),
            Content::Transfer(rows) => Packet::new(at, rows, provenance, None),
            Content::Craft(rows, pixels) => Packet::new(at, rows, provenance, pixels.as_ref()),
        }
    }

    /// Stores what has come of a cell, if there is anything to store. If it is to be `shared`, the
    /// object store is given it too.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub(in crate::engine) fn settle(
        &self,
        result: CellResult,
        shared: bool,
    ) -> Result<CellOutcome> {
        match result {
            CellResult::Computed(packet) => self
                .store
                .keep(packet, shared)
                .map(|()| CellOutcome::Stored)
                .context("a result cannot be stored"),
            CellResult::Settled(outcome) => Ok(outcome),
        }
    }
}
