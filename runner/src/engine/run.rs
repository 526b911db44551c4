//! A run: the missing cells of a plan, phase by phase.

use crate::engine::cell::Engine;
use crate::engine::options::{Progress, RunOptions};
use crate::engine::outcome::RunOutcome;
use crate::engine::plan::{CellId, PHASES, Plan, Work};
use crate::engine::survey::Survey;
use crate::engine::workers::Workers;
use crate::store::rows::CraftRow;
use crate::store::{Store, StoreError};
use crate::threads::in_parallel;
use anyhow::{Result, bail};
use gauntlet_core::device::Device;
use gauntlet_core::guard;
use gauntlet_core::plugin::Library;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Computes what is missing. Every model that is needed is loaded once before. During a run
/// libtorch uses one thread per worker.
///
/// # Errors
/// When a model cannot be loaded, a cell cannot be stored, the object store cannot be asked, or no
/// process can be started.
pub(crate) fn run(engine: Engine, survey: &Survey, progress: &dyn Progress) -> Result<RunOutcome> {
    let Engine { study, plan, options, .. } = engine;
    if options.isolation.is_none() {
        permit(&study.plugins, "isolate it (leave out `--isolate never`), or ")?;
    }
    let workers = Workers::new(engine, survey, progress);
    let mut outcome = RunOutcome::default();
    let threads = tch::get_num_threads();
    tch::set_num_threads(1);
    if let Err(error) = check_models(&workers) {
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
        // Processes that share a folder begin at different cells, so that they seldom compute the
        // same one.
        let start = RandomState::new().hash_one(phase) as usize % todo.len();
        todo.rotate_left(start);
        progress.begin(name, todo.len(), todo.iter().map(|&id| plan.cases(id)).sum());
        result = workers.phase(&todo, &mut outcome);
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
/// [lacked](Store::now): it may have been out of reach when they were stored, or been attached
/// later.
///
/// # Errors
/// When the object store cannot be written to.
pub(crate) fn share(
    plan: &Plan,
    store: &Store,
    cells: &[CellId],
    options: &RunOptions,
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
        match shared {
            Err(error @ StoreError::OutOfReach(_)) => Err(error.into()),
            // Damaged pixels are not shared: they are computed again once a cell needs them.
            Ok(()) | Err(StoreError::Unusable(_)) => Ok(()),
        }
    });
    progress.end();
    done
}

/// Loads every model that missing cells need, each once: weights that do not fit are an error
/// before any work. A plugin's model that cannot be loaded, and one that ends the process in which
/// it is loaded, are warnings: their cells will fail.
fn check_models(workers: &Workers) -> Result<()> {
    let Engine { study, plan, registry, options, .. } = workers.engine;
    let mut checked = BTreeSet::new();
    for index in (0..plan.cells.len())
        .filter(|&id| workers.survey.missing[id])
        .filter_map(|id| plan.model(id))
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
        if workers.isolates(model.part.plugin.is_some()) {
            workers.check_model(index)?;
        } else {
            guard::catch("loading", || model.try_out(registry, Device::Cpu))?;
        }
    }
    Ok(())
}

/// Refuses plugins that end the process where they panic, for code that is not isolated: libtorch's
/// errors are panics too. `remedy` begins what the message says to do, up to building the plugin
/// otherwise.
///
/// # Errors
/// When there is such a plugin.
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
