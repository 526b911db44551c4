//! How distortion goes with error: fits, frontier, depth.

use crate::analysis::Estimate;
use crate::analysis::stats::Interval;
use crate::study::GoalKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How distortion goes with ln(error): mean distortion of the successes against
/// [`Model::ln_error`](crate::summary::Model::ln_error).
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Law {
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// The metric.
    pub metric: String,
    /// The models that have a point.
    pub points: Vec<Point>,
    /// Lines through all of them, through those on the frontier, and through those that remain
    /// without the families AlexNet and VGG.
    pub fits: Vec<Fit>,
}

/// A model in the plane of accuracy and distortion.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// The model.
    pub model: String,
    /// Abscissa.
    pub ln_error: f64,
    /// Ends of its interval.
    pub ln_error_interval: Option<Interval>,
    /// Mean distortion.
    pub distortion: f64,
    /// Ends of its interval.
    pub distortion_interval: Option<Interval>,
    /// Whether no other model is at least as accurate and at least as robust.
    pub on_frontier: bool,
    /// In which share of resamples it is so.
    pub membership: Option<f64>,
}

/// Which models a line goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subset {
    /// All.
    All,
    /// Those on the frontier.
    Frontier,
    /// All but those of the families AlexNet and VGG.
    WithoutAlexnetAndVgg,
}

/// distortion = slope · ln(error) + intercept, by ordinary least squares. Whatever a fit does not
/// have enough different points for is null.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// The models that it goes through.
    pub subset: Subset,
    /// How many they are.
    pub models: usize,
    /// Rise per e-fold of the error. Its interval resamples images; on the frontier, the frontier
    /// too.
    pub slope: Estimate,
    /// Student's interval of the slope, from the scatter of the points around the line.
    pub slope_interval_t: Option<Interval>,
    /// Height where the error is 1.
    pub intercept: Estimate,
    /// Share of the variance that the line explains.
    pub r2: Estimate,
    /// The line's height along the abscissa.
    pub band: Vec<Band>,
}

/// A line's height at a place.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// ln(error).
    pub ln_error: f64,
    /// The line.
    pub line: f64,
    /// Ends of its interval.
    pub interval: Option<Interval>,
}

/// A deeper model against the next less deep one of its family, by the images on which the attack
/// succeeds against both.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DepthEffect {
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// The metric.
    pub metric: String,
    /// The family.
    pub family: String,
    /// The less deep model.
    pub shallow: String,
    /// Number of its layers.
    pub shallow_depth: u32,
    /// The deeper model.
    pub deep: String,
    /// Number of its layers.
    pub deep_depth: u32,
    /// Number of images.
    pub images: usize,
    /// Mean distortion of the deeper model over that of the other: above 1, depth helps.
    pub ratio: Estimate,
}
