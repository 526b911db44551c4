//! A study for other processes, on this machine or another: they open the same study, images,
//! plugins and store, and mean the same cells, or say that they cannot.

use crate::engine::options::device_kind;
use crate::engine::plan::Plan;
use crate::study::{FoundInputs, Study};
use anyhow::{Result, ensure};
use gauntlet_core::device::{self, Device};
use gauntlet_core::plugin::Library;
use gauntlet_core::registry::Registry;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What a process must know to compute any cell of a study.
#[derive(Serialize, Deserialize)]
pub struct Job {
    /// The study with everything spelled out, as TOML.
    study: String,
    /// The plugin libraries that it was read with.
    plugins: Vec<Plugin>,
    /// Its images, and what else the text does not say.
    found: FoundInputs,
    /// The results' folder.
    pub out: PathBuf,
    /// Where to compute.
    device: String,
    /// The plan's fingerprint: both sides mean the same cells, with the same weights.
    pub plan: String,
}

/// A plugin library: its file, and BLAKE3 of that.
#[derive(Serialize, Deserialize)]
struct Plugin(PathBuf, String);

impl Job {
    /// `device` is a name that [`device::open`] takes on the machine where the job is done.
    ///
    /// # Errors
    /// When the system does not say what the paths are relative to.
    pub fn new(
        study: &Study,
        registry: &Registry,
        plan: &Plan,
        out: &Path,
        device: &str,
    ) -> Result<Self> {
        Ok(Self {
            study: study.to_toml().to_owned(),
            plugins: registry
                .libraries()
                .iter()
                .map(|library| Plugin(library.path.clone(), library.hash.clone()))
                .collect(),
            found: study.found()?,
            out: std::path::absolute(out)?,
            device: device.to_owned(),
            plan: plan.fingerprint(),
        })
    }

    /// Opens the study, and loads the plugins that it was read with into `registry`. No device is
    /// opened yet, and nothing written.
    ///
    /// # Errors
    /// When the study would not be the same: a plugin, weights or the program have changed, or are
    /// not there.
    pub fn open(self, registry: &mut Registry) -> Result<OpenedJob> {
        const CHANGED: &str =
            "the program, a plugin or weights have changed since the study was read: run it again";
        for Plugin(path, hash) in &self.plugins {
            let library = Library::read(path)?;
            ensure!(library.hash == *hash, "{}: {CHANGED}", path.display());
            registry.load_library(library)?;
        }
        let study = Study::reopen(&self.study, self.found, registry)?;
        let plan = Plan::new(&study, device_kind(device::parse(&self.device)?));
        ensure!(plan.fingerprint() == self.plan, "{CHANGED}");
        Ok(OpenedJob { study, plan, out: self.out, device: self.device })
    }
}

/// A job, opened.
pub struct OpenedJob {
    /// The study.
    pub study: Study,
    /// Its cells.
    pub plan: Plan,
    /// The results' folder.
    pub out: PathBuf,
    device: String,
}

impl OpenedJob {
    /// Opens the device.
    ///
    /// # Errors
    /// When this machine does not have it.
    pub fn device(&self) -> Result<Device> {
        device::open(&self.device)
    }
}
