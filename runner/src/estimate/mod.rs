//! What a study takes, before it runs.
//!
//! `measure` measures on this machine, `rates` says what one cell takes, and `sum` adds up.
//!
//! A short measurement gives the seconds. It runs on the device, with as many models at once as
//! there are workers:
//!
//! - a forward and a gradient pass of each model, for one image and for a batch;
//! - the number of passes that each attack makes, on a few images. One of the slower models is
//!   tried first, since those take most of the time. Where a trial would take long, the number is
//!   what the attack itself expects; a score's always is;
//! - what each attack adds to a pass, with the quickest model;
//! - storing a cell, reading it back, and loading an image.
//!
//! A model without weights is measured with made-up ones: passes take as long.

mod disk;
mod made_up;
mod measure;
mod pace;
mod rates;
mod seconds;
mod sum;
mod timing;
mod trial;

use crate::engine::plan::Plan;
use crate::engine::{RunOptions, Silent, Survey, device_kind};
use crate::store::{Store, begun};
use crate::study::Study;
use anyhow::Result;
use gauntlet_core::guard;
use gauntlet_core::registry::Registry;
pub use pace::{Batch, Pace};
pub(crate) use seconds::seconds;
use std::path::Path;
pub use sum::{Campaigns, Kinds, StudyEstimate};

/// Estimates a study: those of its cells that the results folder `out` does not have. The folder
/// is not made.
///
/// # Errors
/// When a model cannot be loaded or run, an attack or a metric fails to say what it costs, a plugin
/// ends the process where it panics, or nothing can be stored in the system's temporary folder.
pub fn estimate(
    study: &Study,
    registry: &Registry,
    out: &Path,
    options: &RunOptions,
) -> Result<StudyEstimate> {
    let plan = Plan::new(study, device_kind(options.device));
    let begun = begun(out).then(|| Store::open(out)?.now()).transpose()?;
    let survey = begun.map(|store| Survey::take(&plan, &store, options, &Silent)).transpose()?;
    // `Attack::cost` and `Metric::cost` return no errors.
    guard::catch("the estimate", || {
        let measured = measure::measure(study, registry, options)?;
        let rates = rates::Rates::new(study, &plan, &measured);
        Ok(sum::add_up(&rates, survey.as_ref(), options.workers))
    })
}
