//! Times: `timing.csv`, apart from the document, which has no times.

use crate::study::GoalKind;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file that times are in.
const TIMING: &str = "timing.csv";

/// A line of `timing.csv`: the seconds that a campaign took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// The model.
    pub model: String,
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// Number of images that were attacked.
    pub source_correct: usize,
    /// Seconds of the attack on all images.
    pub attack_seconds: f64,
    /// Seconds of the attack per image; none when no image was attacked.
    pub seconds_per_image: Option<f64>,
    /// Seconds that the other models took to classify the attack's pixels.
    pub transfer_seconds: f64,
}

impl Timing {
    /// Reads the times of a results folder, in the order of
    /// [`Summary::campaigns`](crate::summary::Summary::campaigns).
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
