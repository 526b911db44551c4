//! The conformance kit: what every attack, model and metric must keep, for the tests of those who
//! write one. `runner plugins check` runs the same on a library.
//!
//! ```
//! # use gauntlet_core::testing::{Nudge, NudgeParams};
//! # use gauntlet_core::prelude::*;
//! # struct Still;
//! # impl Metric for Still {
//! #     const NAME: &'static str = "still";
//! #     const SUMMARY: &'static str = "nothing";
//! #     const UNIT: &'static str = "none";
//! #     const SCOPE: Scope = Scope::Outcome;
//! #     const DIRECTION: Direction = Direction::LowerIsMoreRobust;
//! #     type Params = NoParams;
//! #     fn new(_: NoParams) -> Result<Self> { Ok(Self) }
//! #     fn outcome(&self, original: &Tensor, _: &Tensor) -> Result<Vec<f64>> { Ok(vec![0.0; original.size()[0] as usize]) }
//! # }
//! # fn main() {
//! gauntlet_core::testing::check_metric::<Still>(NoParams {}).unwrap();
//! # }
//! ```

mod affine;
mod attack;
mod metric;
mod model;
mod report;

pub use affine::{Affine, Nudge, NudgeParams};
pub use report::{Check, Event, Report, Verdict};

use crate::attack::Attack;
use crate::metric::Metric;
use crate::model::Architecture;
use crate::params::to_table;
use crate::registry::{AttackEntry, MetricEntry, ModelEntry};
use anyhow::Result;

/// Checks an attack: its answers on affine models, whose nearest adversarials are known, and what
/// it does where nothing can be found, where nothing is to be done, and where the model fails.
///
/// # Errors
/// The report, when a check has failed.
pub fn check_attack<A: Attack>(params: A::Params) -> Result<()> {
    Report::of_attack(&AttackEntry::of::<A>(""), &to_table(&params), &mut |_| ()).passed()
}

/// Checks a model, with the weights that are part of it, or drawn ones: its card, its logits, and
/// its gradient against finite differences.
///
/// # Errors
/// The report, when a check has failed.
pub fn check_model<A: Architecture>(params: A::Params) -> Result<()> {
    Report::of_model(&ModelEntry::of::<A>(""), &to_table(&params), None, &mut |_| ()).passed()
}

/// Checks a metric: its values of pairs of images, or those of an affine model.
///
/// # Errors
/// The report, when a check has failed.
pub fn check_metric<M: Metric>(params: M::Params) -> Result<()> {
    Report::of_metric(&MetricEntry::of::<M>(""), &to_table(&params), &mut |_| ()).passed()
}
