//! Times, which stand apart from all else.

use crate::study::GoalKind;
use crate::summary::TIMING;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A line of `timing.csv`: the seconds that a campaign took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The model.
    pub model: String,
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// How many images were attacked.
    pub source_correct: usize,
    /// The attack, all images together.
    pub attack_seconds: f64,
    /// The attack, per image.
    pub seconds_per_image: Option<f64>,
    /// The other models' look at its pixels.
    pub transfer_seconds: f64,
}

impl Timing {
    /// Reads the times of a results' folder, in the order of [`Summary::campaigns`].
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn read(folder: &Path) -> Result<Vec<Self>> {
        let path = folder.join(TIMING);
        let read =
            || csv::Reader::from_path(&path)?.deserialize().collect::<Result<_, csv::Error>>();
        read().with_context(|| format!("{}", path.display()))
    }
}
