//! Distortion against error: laws, their points and lines, and the effect of depth.

use crate::analysis::Estimate;
use crate::analysis::stats::Interval;
use crate::study::GoalKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Mean distortion of the successes against ln(error), one point per model. ln(error) is that of
/// `Model`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Law {
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// The metric.
    pub metric: String,
    /// The models that have both an error and a success.
    pub points: Vec<Point>,
    /// Lines through all points, through those on the frontier, and through all but those of the
    /// families AlexNet and VGG.
    pub fits: Vec<Fit>,
}

/// A model in the plane of error and distortion.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// The model.
    pub model: String,
    /// ln(error), the abscissa.
    pub ln_error: f64,
    /// Ends of the interval of `ln_error`.
    pub ln_error_interval: Option<Interval>,
    /// Mean distortion of the successes, the ordinate.
    pub distortion: f64,
    /// Ends of the interval of `distortion`.
    pub distortion_interval: Option<Interval>,
    /// Whether no other model is at least as accurate and at least as robust.
    pub on_frontier: bool,
    /// Share of the resamples in which the model is on the frontier.
    pub membership: Option<f64>,
}

/// Which models a line goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subset {
    /// All models.
    All,
    /// The models on the frontier.
    Frontier,
    /// All models but those of the families AlexNet and VGG.
    WithoutAlexnetAndVgg,
}

/// A line, distortion = slope · ln(error) + intercept, by ordinary least squares. A number is null
/// when there are too few different points for it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// The models that the line is fitted to.
    pub subset: Subset,
    /// Number of these models.
    pub models: usize,
    /// Rise per e-fold of the error. Its interval resamples images; for the frontier, every
    /// resample has its own frontier.
    pub slope: Estimate,
    /// Student's interval of the slope, from the scatter of the points around the line.
    pub slope_interval_t: Option<Interval>,
    /// Height of the line where the error is 1.
    pub intercept: Estimate,
    /// Share of the variance that the line explains.
    pub r2: Estimate,
    /// Heights of the line, at even distances along the abscissa.
    pub band: Vec<Band>,
}

/// A line's height at an abscissa.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Band {
    /// ln(error), the abscissa.
    pub ln_error: f64,
    /// Height of the line.
    pub line: f64,
    /// Ends of the height's interval.
    pub interval: Option<Interval>,
}

/// A model against the next less deep one of its family, on the images where the attack succeeds
/// against both.
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
    /// Number of layers of the less deep model.
    pub shallow_depth: u32,
    /// The deeper model.
    pub deep: String,
    /// Number of layers of the deeper model.
    pub deep_depth: u32,
    /// Number of images.
    pub images: usize,
    /// Mean distortion of the deeper model over that of the other. Above 1 the deeper model is more
    /// robust, by a metric whose greater values mean so.
    pub ratio: Estimate,
}
