//! A study for other processes, on this machine or another. They open the same study, images,
//! plugins and store, and so have the same cells; otherwise they refuse.

use crate::engine::options::device_kind;
use crate::engine::plan::Plan;
use crate::study::{FoundInputs, Study};
use anyhow::{Result, ensure};
use gauntlet_core::device::{self, Device};
use gauntlet_core::plugin::Library;
use gauntlet_core::registry::Registry;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All that a process must know to compute any cell of a study.
#[derive(Serialize, Deserialize)]
pub struct Job {
    /// The study as TOML, with every default spelled out.
    study: String,
    /// The plugin libraries that it was read with.
    plugins: Vec<Plugin>,
    /// The study's images, and what else its text does not say.
    found: FoundInputs,
    /// The results folder.
    pub out: PathBuf,
    /// The name of the device to compute on.
    device: String,
    /// The plan's fingerprint. If both sides have the same, they mean the same cells, with the same
    /// weights.
    pub plan: String,
}

/// A plugin library: its path, and the BLAKE3 of its file.
#[derive(Serialize, Deserialize)]
struct Plugin(PathBuf, String);

impl Job {
    /// The job of a study. `device` is a name that [`device::open`] takes on the machine where the
    /// job is done.
    ///
    /// # Errors
    /// When the system does not say which folder relative paths start from.
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
    /// opened, and nothing is written.
    ///
    /// # Errors
    /// When the study would not be the same: a plugin, weights or the program have changed or are
    /// gone.
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

/// A job whose study is open.
pub struct OpenedJob {
    /// The study.
    pub study: Study,
    /// The study's cells.
    pub plan: Plan,
    /// The results folder.
    pub out: PathBuf,
    /// The name of the device.
    device: String,
}

impl OpenedJob {
    /// Opens the device to compute on.
    ///
    /// # Errors
    /// When this machine does not have it.
    pub fn device(&self) -> Result<Device> {
        device::open(&self.device)
    }
}
