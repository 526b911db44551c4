//! What attacks are asked for, and how adversarials are fitted to models of another size.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What attacks are asked for.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum GoalKind {
    /// Any class but the true one.
    Untargeted,
    /// A class drawn from the others: by seed and image, the same for every model and attack.
    Random,
    /// The class that the model finds least likely.
    LeastLikely,
    /// The class that the model finds most likely after the true one.
    Second,
    /// The class that the label file gives for the image.
    Given,
}

impl GoalKind {
    /// The name in study files and tables.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How pixels crafted for one side are given to a model of another.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Policy {
    /// The centre is cut out, or mid grey (0.5) put around: as published.
    CropOrPad,
    /// Resized, bilinear with antialiasing.
    Resize,
    /// Crafted at the target's size: the source looks at the target's images, resized to its own
    /// side within the function that is attacked. No pixel is fitted afterwards.
    Native,
}

impl Policy {
    /// The name in study files.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// The goals of an attack or a metric.
///
/// # Errors
/// When the list is empty, or has a goal twice.
pub(super) fn goals(goals: &[GoalKind]) -> Result<Vec<GoalKind>> {
    let distinct: BTreeSet<GoalKind> = goals.iter().copied().collect();
    ensure!(
        !goals.is_empty() && distinct.len() == goals.len(),
        "expected at least one goal, and none twice"
    );
    Ok(goals.to_vec())
}
