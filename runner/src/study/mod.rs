//! A study: which images, models, attacks and metrics, read from TOML and checked against the
//! registry before any work.

mod builder;
mod built_in;
mod checks;
mod goal;
mod images;
mod part;
mod reader;
mod refusal;
mod resolve;
mod selection;
mod set;
mod syntax;
#[cfg(test)]
mod tests;
pub mod torchscript;
mod writer;

use crate::data::{self, Classes, Data, Picture, Skipped};
use crate::weights;
use anyhow::Result;
pub use builder::{Member, StudyBuilder};
pub use built_in::{BUILT_IN, BuiltIn};
use gauntlet_core::attack::Norm;
use gauntlet_core::plugin::Library;
pub use goal::{GoalKind, Policy};
pub use part::{LeftOut, MemberKind, Part, StudyAttack, StudyMetric, StudyModel};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A study that is ready to run: every name is known, every parameter valid, every file there.
pub struct Study {
    /// Names the results' folder.
    pub name: String,
    /// Of all that is random.
    pub seed: u64,
    /// How far below the greatest logit that of a target may be for success on the source
    /// (`tie_tolerance`, 0 unless given: the greatest logit alone decides), see
    /// [`gauntlet_core::attack::Goal::met_within`].
    pub tie_tolerance: f64,
    /// How long a cell may take (`cell_timeout`, in seconds); zero is as long as it likes. Unless
    /// given, an hour where code of a plugin library runs, and as long as it likes elsewhere.
    pub cell_timeout: Option<Duration>,
    /// The images.
    pub data: Data,
    /// Number of real classes, the same for all models.
    pub classes: i64,
    /// The models, in the order of the tables.
    pub models: Vec<StudyModel>,
    /// The attacks, in the order of the tables.
    pub attacks: Vec<StudyAttack>,
    /// The metrics, in the order of the tables.
    pub metrics: Vec<StudyMetric>,
    /// What the classes are called, where that is known.
    pub class_names: Option<Classes>,
    /// How adversarials are fitted to models of another size; none when the study has no transfer.
    pub transfer: Option<Policy>,
    /// With how many images, from the first on, each model is probed for what makes attacks on it
    /// fail, rounded up to whole [slices](crate::engine::plan::SLICE) (`images` in `[probe]`, 64 unless
    /// given); 0 is no probe.
    pub probe: usize,
    /// The plugin libraries whose code takes part, in the order in which they were loaded.
    pub plugins: Vec<Arc<Library>>,
    /// What must still be got before it can be run; nothing unless [`StudyOptions::plan_only`].
    pub missing: MissingInputs,
    /// Who takes part though the study does not name it, by label.
    pub joined: Vec<(MemberKind, String)>,
    /// Who could take part and does not.
    pub left_out: Vec<LeftOut>,
    resolved: String,
}

/// Weights and images that a study needs and that are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingInputs {
    /// Of each model without weights.
    pub weights: Vec<weights::MissingWeights>,
    /// The images.
    pub images: Option<data::MissingImages>,
}

/// What was found when a study was read, beside what its text says.
#[derive(Serialize, Deserialize)]
pub(crate) struct FoundInputs {
    pictures: Vec<Picture>,
    skipped: Vec<Skipped>,
    classes: Option<Classes>,
    joined: Vec<(MemberKind, String)>,
    left_out: Vec<LeftOut>,
}

/// What a program may set besides the study file.
#[derive(Debug, Default)]
pub struct StudyOptions {
    /// Replaces `images`.
    pub images: Option<usize>,
    /// Changes to the study, each `PATH=VALUE` as of `runner run --set`.
    pub set: Vec<String>,
    /// Weights and images that are missing are noted in [`Study::missing`] and no error: the study
    /// can be planned, not run.
    pub plan_only: bool,
    /// A folder with weights, for models to which the study names none.
    pub weights: Option<PathBuf>,
    /// Replaces `cell_timeout`.
    pub cell_timeout: Option<Duration>,
    /// Replaces `include`, unless it is empty.
    pub include: Vec<String>,
    /// Comes to `exclude`.
    pub exclude: Vec<String>,
    /// Images in memory that replace `[data]`.
    pub pictures: Option<Vec<Picture>>,
}

/// So many radii at the most are tried by lot.
const RADII: usize = 4;
/// The radius that is tried where no attack has one: what studies of ImageNet mostly use.
const USUAL_RADIUS: f64 = 8.0 / 255.0;

impl Study {
    /// What [`Study::to_toml`] leaves to be found: for a process that shall have the very same
    /// study.
    pub(crate) fn found(&self) -> Result<FoundInputs> {
        Ok(FoundInputs {
            pictures: self
                .data
                .pictures
                .iter()
                .cloned()
                .map(Picture::absolute)
                .collect::<Result<_>>()?,
            skipped: self.data.skipped.clone(),
            classes: self.class_names.clone(),
            joined: self.joined.clone(),
            left_out: self.left_out.clone(),
        })
    }

    /// The study as TOML with everything spelled out: all parameters, absolute paths.
    pub fn to_toml(&self) -> &str {
        &self.resolved
    }

    /// The ℓ∞ radii that attacks are limited to, ascending: perturbations drawn by lot are as
    /// large. Of many, some from the least to the greatest; of none, 8/255.
    pub fn radii(&self) -> Vec<f64> {
        let budgets = self.attacks.iter().filter_map(StudyAttack::budget);
        let mut radii: Vec<f64> = budgets
            .filter(|budget| budget.norm == Norm::Linf)
            .map(|budget| budget.radius)
            .collect();
        radii.sort_by(f64::total_cmp);
        radii.dedup();
        if radii.is_empty() {
            return vec![USUAL_RADIUS];
        }
        let (count, last) = (radii.len().min(RADII), radii.len() - 1);
        (0..count).map(|n| radii[if count == 1 { 0 } else { n * last / (count - 1) }]).collect()
    }

    /// The class that [`GoalKind::Random`] aims at: drawn by seed and image over the other classes.
    pub fn random_target(&self, picture: &Picture) -> i64 {
        let hash = blake3::Hasher::new()
            .update(&self.seed.to_le_bytes())
            .update(picture.hash.as_bytes())
            .finalize();
        let draw = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"));
        let other = ((u128::from(draw) * (self.classes - 1) as u128) >> 64) as i64;
        if other < picture.label { other } else { other + 1 }
    }
}
