//! The study itself: what is known once its text is read and checked.

use crate::data::{Classes, Data, MissingImages, Picture, SkippedImage};
#[cfg(doc)]
use crate::study::goal::GoalKind;
use crate::study::goal::Policy;
#[cfg(doc)]
use crate::study::options::StudyOptions;
use crate::study::part::{LeftOut, MemberKind, StudyAttack, StudyMetric, StudyModel};
use crate::weights::MissingWeights;
use anyhow::Result;
use gauntlet_core::attack::Norm;
use gauntlet_core::plugin::Library;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// A study that is ready to run: every name is known, every parameter valid, every file there.
pub struct Study {
    /// Name of the study and of its results folder.
    pub name: String,
    /// Seed of all random draws.
    pub seed: u64,
    /// How far below the greatest logit the target's may lie for a success on the source
    /// (`tie_tolerance`). The default is 0: the greatest logit alone decides. See
    /// [`gauntlet_core::attack::Goal::met_within`].
    pub tie_tolerance: f64,
    /// Time limit of a cell (`cell_timeout`, in seconds in the file); zero is no limit. When
    /// `None`, cells that run code of a plugin library have an hour, and the others no limit.
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
    /// Names of the classes, where they are known.
    pub class_names: Option<Classes>,
    /// How adversarials are fitted to models of another side; `None` when the study has no
    /// transfer.
    pub transfer: Option<Policy>,
    /// Number of images, from the first on, with which each model is probed for what makes attacks
    /// on it fail (`images` in `[probe]`, by default 64). It is rounded up to whole
    /// [slices](crate::engine::plan::SLICE); 0 is no probe.
    pub probe: usize,
    /// The plugin libraries whose code takes part, in the order in which they were loaded.
    pub plugins: Vec<Arc<Library>>,
    /// Weights and images that the study needs and that are not there; always empty unless
    /// [`StudyOptions::plan_only`].
    pub missing: MissingInputs,
    /// Members that take part though the study does not name them: kind and label.
    pub joined: Vec<(MemberKind, String)>,
    /// Members that could take part and do not.
    pub left_out: Vec<LeftOut>,
    /// The study as TOML with everything spelled out.
    pub(super) resolved: String,
}

/// Weights and images that a study needs and that are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingInputs {
    /// One entry for each model without weights.
    pub weights: Vec<MissingWeights>,
    /// The folder of images, if it is missing.
    pub images: Option<MissingImages>,
}

/// What reading a study found beside its text. With [`Study::to_toml`] it makes the same study in
/// another process, see [`Study::reopen`].
#[derive(Serialize, Deserialize)]
pub(crate) struct FoundInputs {
    pub(super) pictures: Vec<Picture>,
    pub(super) skipped: Vec<SkippedImage>,
    pub(super) classes: Option<Classes>,
    pub(super) joined: Vec<(MemberKind, String)>,
    pub(super) left_out: Vec<LeftOut>,
}

/// Greatest number of radii that the probe tries.
const RADII: usize = 4;
/// The radius that the probe tries when no attack has one: the usual one in studies of ImageNet.
const USUAL_RADIUS: f64 = 8.0 / 255.0;

impl Study {
    /// What another process needs beside [`Study::to_toml`] to have the very same study.
    ///
    /// # Errors
    /// When the current folder, from which relative paths start, is gone.
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

    /// The ℓ∞ radii of the probe's random perturbations, ascending, in pixel values of [0, 1]:
    /// those that the study's attacks are limited to. Of more than four, four are taken, evenly
    /// spread from the least to the greatest. When no attack has one, the radius is 8/255.
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

    /// The class that the goal [`GoalKind::Random`] aims at: drawn from the classes other than the
    /// label, by the seed and the image's hash.
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
