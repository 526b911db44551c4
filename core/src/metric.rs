//! Metrics: numbers about an outcome (a distortion) or about a model (a robustness score).

use crate::attack::{Cases, Cost, Goal};
use crate::oracle::Oracle;
use crate::params::{Params, Preset};
use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use tch::Tensor;

/// What one value of a metric is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// A pair of images: an original and its adversarial.
    Outcome,
    /// A model at one case.
    Model,
}

/// Which way is better for a defender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Greater values mean a more robust model.
    HigherIsMoreRobust,
    /// Smaller values mean a more robust model.
    LowerIsMoreRobust,
}

/// A measurement.
pub trait Metric: Send + Sync + Sized + 'static {
    /// The registered name, such as `l2`.
    const NAME: &'static str;

    /// One line for `runner list metrics`.
    const SUMMARY: &'static str;

    /// The unit, such as `pixel units` or `elements`.
    const UNIT: &'static str;

    /// What a value is about: [`outcome`](Self::outcome) is called for [`Scope::Outcome`],
    /// [`model`](Self::model) for [`Scope::Model`].
    const SCOPE: Scope;

    /// Which way is better for a defender.
    const DIRECTION: Direction;

    /// The value of an image and itself, if it is the same for all images: 0 for a distance.
    const AT_IDENTITY: Option<f64> = None;

    /// Whether exchanging original and adversarial leaves the value the same.
    const SYMMETRIC: bool = false;

    /// Names of further numbers that come with every value, such as the ends of its interval. NaN
    /// stands for a number that does not exist.
    const EXTRAS: &'static [&'static str] = &[];

    /// The parameters.
    type Params: Params;

    /// Further named sets of parameters.
    fn presets() -> Vec<Preset<Self::Params>> {
        Vec::new()
    }

    /// Checks the parameters, once, before any work.
    ///
    /// # Errors
    /// Says which parameter is wrong, what was found and what is expected.
    fn new(params: Self::Params) -> Result<Self>;

    /// Measures pairs of images, for [`Scope::Outcome`]. Both batches are N×C×H×W float32 with
    /// pixels in [0, 1]. Gives one value per row, each followed by its [`EXTRAS`](Self::EXTRAS).
    fn outcome(&self, _original: &Tensor, _adversarial: &Tensor) -> Result<Vec<f64>> {
        bail!("metric `{}` has scope `outcome` but does not implement `outcome`", Self::NAME)
    }

    /// Measures a model, for [`Scope::Model`]. Gives one value per case, each followed by its
    /// [`EXTRAS`](Self::EXTRAS).
    ///
    /// The model classifies every case correctly. A case's goal says which change of the class is
    /// measured: away from its own class, or towards another.
    fn model(&self, _oracle: &Oracle, _cases: &Cases) -> Result<Vec<f64>> {
        bail!("metric `{}` has scope `model` but does not implement `model`", Self::NAME)
    }

    /// What a case with this goal costs about, for [`Scope::Model`] and a model with `classes`
    /// classes. `None` when it is not known.
    fn cost(&self, _goal: Goal, _classes: i64) -> Option<Cost> {
        None
    }
}
