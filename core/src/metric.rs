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
    /// One adversarial beside its original.
    Outcome,
    /// One model at one case.
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

    /// What the values are about; says which of the two functions below is called.
    const SCOPE: Scope;

    /// Which way is better for a defender.
    const DIRECTION: Direction;

    /// The value of an image beside itself, if that is always the same: 0 for a distance.
    const AT_IDENTITY: Option<f64> = None;

    /// Whether original and adversarial can change places.
    const SYMMETRIC: bool = false;

    /// Names of further numbers that come with every value, such as the ends of its interval. NaN
    /// says that there is none.
    const EXTRAS: &'static [&'static str] = &[];

    /// The settings.
    type Params: Params;

    /// Further named settings.
    fn presets() -> Vec<Preset<Self::Params>> {
        Vec::new()
    }

    /// Checks the settings, once, before any work.
    fn new(params: Self::Params) -> Result<Self>;

    /// [`Scope::Outcome`]: one value per row of two N×3×S×S float32 batches in [0, 1], each followed
    /// by its [`EXTRAS`](Self::EXTRAS).
    fn outcome(&self, _original: &Tensor, _adversarial: &Tensor) -> Result<Vec<f64>> {
        bail!("metric `{}` has scope `outcome` but does not implement `outcome`", Self::NAME)
    }

    /// [`Scope::Model`]: one value per case, each followed by its [`EXTRAS`](Self::EXTRAS). The
    /// model classifies every case correctly; the goal says from where, or to where, it is robust.
    fn model(&self, _oracle: &Oracle, _cases: &Cases) -> Result<Vec<f64>> {
        bail!("metric `{}` has scope `model` but does not implement `model`", Self::NAME)
    }

    /// [`Scope::Model`]: about what a case with such a goal costs with a model of so many classes. None:
    /// it is not known.
    fn cost(&self, _goal: Goal, _classes: i64) -> Option<Cost> {
        None
    }
}
