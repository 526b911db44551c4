//! A study in its results folder: looking for what is done, computing the rest, writing tables.

use crate::analysis::Tables;
use crate::engine::plan::{CellId, Plan};
use crate::engine::{
    self, Engine, Failure, HeldUp, PartialSurvey, Progress, RunOptions, RunOutcome, Survey,
};
use crate::report;
use crate::store::Store;
use crate::study::Study;
use anyhow::Result;
use gauntlet_core::registry::Registry;
use std::cell::RefCell;
use std::path::Path;

/// A study and its results folder. Several sessions, also of other processes, may share a folder:
/// a cell that another has stored is not computed again.
pub struct Session<'a> {
    study: &'a Study,
    registry: &'a Registry,
    options: RunOptions,
    progress: &'a dyn Progress,
    plan: Plan,
    store: Store,
    survey: Survey,
    /// The failures of the last run: the report gives the reasons.
    failures: RefCell<Vec<Failure>>,
}

/// A session for some of a study's cells.
pub(crate) struct PartialSession<'a> {
    pub session: Session<'a>,
    /// The cells that are missing and cannot be computed.
    pub held_up: Vec<HeldUp>,
}

impl<'a> Session<'a> {
    /// Opens the folder `out`, which is made if need be, and looks for what is done already.
    /// `registry` is the one that the study was opened with; `progress` is told what is done.
    ///
    /// # Errors
    /// When nothing can be written to the folder, or the object store behind it cannot be reached.
    /// A damaged cell is no error but a warning: it will be computed again.
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
        let failures = RefCell::default();
        Ok(Self { study, registry, options, progress, plan, store, survey, failures })
    }

    /// Opens a session as [`Session::open`] does, for those of `cells` that are missing and can be
    /// computed.
    ///
    /// # Errors
    /// When nothing can be written to the folder, or the object store behind it cannot be reached.
    pub(crate) fn part(
        study: &'a Study,
        plan: Plan,
        registry: &'a Registry,
        store: Store,
        options: RunOptions,
        cells: &[CellId],
        progress: &'a dyn Progress,
    ) -> Result<PartialSession<'a>> {
        let now = store.now()?;
        let PartialSurvey { survey, held_up } = Survey::part(&plan, &now, cells)?;
        let present = cells
            .iter()
            .copied()
            .filter(|&id| !survey.is_missing(id) && held_up.iter().all(|held| held.cell != id));
        engine::share(&plan, &now, &present.collect::<Vec<_>>(), &options, progress)?;
        let failures = RefCell::default();
        let session = Self { study, registry, options, progress, plan, store, survey, failures };
        Ok(PartialSession { session, held_up })
    }

    /// All cells of the study.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where cells are stored.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Number of cells that were not there when the session was opened.
    pub fn to_compute(&self) -> usize {
        self.survey.to_compute()
    }

    /// Computes the cells that are missing. Every model is loaded once before, so that weights that
    /// do not fit are known before any work.
    ///
    /// # Errors
    /// When a model cannot be loaded, a cell cannot be stored, or no process can be started for an
    /// isolated cell. A cell that cannot be computed is no error, nor is a run that is cancelled:
    /// see [`RunOutcome`].
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
                &Survey::damaged(plan, &written.damaged_examples),
                *progress,
            )?;
            written = write()?;
        }
        store.tidy(); // a process that computed isolated cells may have been killed
        Ok(written.tables)
    }
}
