//! A results folder, opened for the commands that read its cells.

use crate::cli::plugin_options::PluginOptions;
use crate::cli::plugins;
use crate::engine::plan::Plan;
use crate::report;
use crate::store::Store;
use crate::study::{Study, StudyOptions};
use anyhow::{Context, Result};
use gauntlet_core::registry::Registry;
use std::path::Path;

/// A results folder with its study.
pub(super) struct ResultsFolder {
    pub(super) registry: Registry,
    pub(super) study: Study,
    pub(super) plan: Plan,
    pub(super) store: Store,
    /// The kind of device that computed the results: `cpu` or `cuda`.
    pub(super) device: String,
}

impl ResultsFolder {
    /// Opens the study that the folder keeps, with its plugins, and plans it.
    ///
    /// # Errors
    /// When the folder has no results, or its study or plugins cannot be opened.
    pub(super) fn open(folder: &Path, options: &PluginOptions, registry: Registry) -> Result<Self> {
        let device = report::device(folder)?;
        let file = folder.join("study.toml");
        let name = file.to_str().with_context(|| format!("{} is not UTF-8", file.display()))?;
        let wanted = options.sources().and(Study::sources(name, &[])?);
        // The processes of the rehearsal end when the study is open.
        let rehearsal = plugins::rehearsal();
        let registry = plugins::load(&wanted, options.verbose, registry, &rehearsal)?;
        let study = Study::open(name, &registry, StudyOptions::default())?;
        let plan = Plan::new(&study, &device);
        Ok(Self { device, store: Store::open(folder)?, registry, study, plan })
    }
}
