//! The conformance kit: checks of the rules that every attack, model and metric must keep. Plugin
//! authors call it in their tests, and `runner plugins check` runs it on a library.
//!
//! ```
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
//! #     fn outcome(&self, original: &Tensor, _: &Tensor) -> Result<Vec<f64>> {
//! #         Ok(vec![0.0; original.size()[0] as usize])
//! #     }
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
pub use report::{Check, CheckOutcome, Event, Report};

use crate::attack::Attack;
use crate::metric::Metric;
use crate::model::Architecture;
use crate::params::to_table;
use crate::registry::{AttackEntry, MetricEntry, ModelEntry};
use anyhow::Result;

/// Checks an attack. Its answers are looked at on affine models, whose nearest adversarials are
/// known. Further checks look at what it does when no adversarial can be found, when the goals are
/// met already, and when the model fails.
///
/// # Errors
/// The report, when a check has failed.
pub fn check_attack<A: Attack>(params: A::Params) -> Result<()> {
    Report::of_attack(&AttackEntry::of::<A>(""), &to_table(&params), &mut |_| ()).passed()
}

/// Checks a model: its card, its logits, and its gradient against finite differences. The weights
/// are those that are part of it, or random ones where it has none.
///
/// # Errors
/// The report, when a check has failed.
pub fn check_model<A: Architecture>(params: A::Params) -> Result<()> {
    Report::of_model(&ModelEntry::of::<A>(""), &to_table(&params), None, &mut |_| ()).passed()
}

/// Checks a metric: its values for pairs of images, or for an affine model.
///
/// # Errors
/// The report, when a check has failed.
pub fn check_metric<M: Metric>(params: M::Params) -> Result<()> {
    Report::of_metric(&MetricEntry::of::<M>(""), &to_table(&params), &mut |_| ()).passed()
}
