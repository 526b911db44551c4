//! Attacks and metrics whose type and parameters are chosen at run time.

use crate::attack::{Answer, Attack, Budget, Cases, Cost, Goal};
use crate::metric::Metric;
use crate::oracle::Oracle;
use anyhow::Result;
use tch::Tensor;

/// An [`Attack`] whose parameters are set.
pub trait DynAttack: Send + Sync {
    /// See [`Attack::budget`].
    fn budget(&self) -> Option<Budget> {
        None
    }

    /// See [`Attack::cost`].
    fn cost(&self, _goal: Goal) -> Option<Cost> {
        None
    }

    /// See [`Attack::run`].
    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>>;
}

impl<A: Attack> DynAttack for A {
    fn budget(&self) -> Option<Budget> {
        Attack::budget(self)
    }

    fn cost(&self, goal: Goal) -> Option<Cost> {
        Attack::cost(self, goal)
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        Attack::run(self, oracle, cases)
    }
}

/// A [`Metric`] whose parameters are set.
pub trait DynMetric: Send + Sync {
    /// See [`Metric::outcome`].
    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>>;

    /// See [`Metric::cost`].
    fn cost(&self, _goal: Goal, _classes: i64) -> Option<Cost> {
        None
    }

    /// See [`Metric::model`].
    fn model(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<f64>>;
}

impl<M: Metric> DynMetric for M {
    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
        Metric::outcome(self, original, adversarial)
    }

    fn cost(&self, goal: Goal, classes: i64) -> Option<Cost> {
        Metric::cost(self, goal, classes)
    }

    fn model(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<f64>> {
        Metric::model(self, oracle, cases)
    }
}
