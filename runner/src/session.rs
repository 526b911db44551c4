//! A study in its results' folder, from what is there already to the tables.

use crate::analysis::Tables;
use crate::engine::plan::{CellId, Plan};
use crate::engine::{self, Engine, Failure, Progress, RunOptions, RunOutcome, Survey};
use crate::report;
use crate::store::Store;
use crate::study::Study;
use anyhow::Result;
use gauntlet_core::registry::Registry;
use std::cell::RefCell;
use std::path::Path;

/// A study that is at work in a results' folder. Several may be in one folder, also of other
/// processes: each leaves out what it finds done when its turn comes.
pub struct Session<'a> {
    study: &'a Study,
    registry: &'a Registry,
    options: RunOptions,
    progress: &'a dyn Progress,
    plan: Plan,
    store: Store,
    survey: Survey,
    /// Those of the last run: the report gives the reasons.
    failures: RefCell<Vec<Failure>>,
}

impl<'a> Session<'a> {
    /// Opens the folder `out`, which is made if need be, and looks for what is done already.
    /// `registry` is the one that the study was opened with; `progress` is told what goes on.
    ///
    /// # Errors
    /// When nothing can be written to the folder, or the object store behind it cannot be reached.
    /// What is damaged in it is a warning: it will be computed again.
    pub fn open(
        study: &'a Study,
        registry: &'a Registry,
        out: &Path,
        options: RunOptions,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let (plan, store) =
            (Plan::new(study, engine::device_kind(options.device)), Store::open(out)?);
        let now = store.now()?;
        let survey = Survey::take(&plan, &now, &options, progress)?;
        let present: Vec<CellId> =
            (0..plan.cells.len()).filter(|&id| !survey.is_missing(id)).collect();
        engine::share(&plan, &now, &present, &options, progress)?;
        Ok(Self {
            study,
            registry,
            options,
            progress,
            plan,
            store,
            survey,
            failures: RefCell::default(),
        })
    }

    /// As [`Session::open`], but only `cells` are to be computed, of those that are missing. The
    /// answer's second part is those that cannot be, each with a cell that it needs and that is not
    /// there.
    pub(crate) fn part(
        study: &'a Study,
        plan: Plan,
        registry: &'a Registry,
        store: Store,
        options: RunOptions,
        cells: &[CellId],
        progress: &'a dyn Progress,
    ) -> Result<(Self, Vec<(CellId, CellId)>)> {
        let now = store.now()?;
        let (survey, held_up) = Survey::part(&plan, &now, cells)?;
        let present = cells
            .iter()
            .copied()
            .filter(|&id| !survey.is_missing(id) && held_up.iter().all(|(held, _)| *held != id));
        engine::share(&plan, &now, &present.collect::<Vec<_>>(), &options, progress)?;
        Ok((
            Self {
                study,
                registry,
                options,
                progress,
                plan,
                store,
                survey,
                failures: RefCell::default(),
            },
            held_up,
        ))
    }

    /// All cells.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where they are stored.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Number of cells that were not there when the session was opened.
    pub fn to_compute(&self) -> usize {
        self.survey.to_compute()
    }

    /// Computes the cells that are missing. Models are loaded first, so that weights that do not
    /// fit are known before any work.
    ///
    /// # Errors
    /// When a model cannot be loaded, a cell not be stored, or no process be started to compute it
    /// in. A cell that cannot be computed is no error, and neither is a run that is cancelled: the
    /// answer tells.
    pub fn run(&self) -> Result<RunOutcome> {
        let Self { study, plan, registry, store, options, .. } = self;
        let outcome = engine::run(
            Engine { study, plan, registry, store, options },
            &self.survey,
            self.progress,
        )?;
        self.failures.replace(outcome.failures.clone());
        Ok(outcome)
    }

    /// Makes tables of all cells that are there, and writes the files of the results folder.
    /// Examples whose pixels turn out to be damaged are crafted again.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn report(&self) -> Result<Tables> {
        let Self { study, plan, registry, store, options, progress, .. } = self;
        let write = || report::write(study, plan, store, &self.failures.borrow(), store.out());
        let mut written = write()?;
        if !written.damaged_examples.is_empty() {
            for &cell in &written.damaged_examples {
                let key = &plan.cells[cell].address.key;
                progress.warn(&format!(
                    "the pixels of craft cell {key} are damaged and will be computed again"
                ));
            }
            engine::run(
                Engine { study, plan, registry, store, options },
                &Survey::spoilt(plan, &written.damaged_examples),
                *progress,
            )?;
            written = write()?;
        }
        store.tidy(); // a process that computed isolated cells may have been killed
        Ok(written.tables)
    }
}
