//! Everything that a Gauntlet plugin needs. Gauntlet runs image classifiers through adversarial
//! attacks, and this crate defines its models, attacks and metrics.
//!
//! # How the parts work together
//!
//! ```text
//!   export_plugin! in a crate ── linked in ──┐                  ┌── loaded by ── a plugin library
//!                                            ▼                  ▼   (C interface, panics caught)
//!                                         registry: all that a study can name
//!                                            │
//!                   ┌────────────────────────┼───────────────────────┐
//!                   ▼                        ▼                       ▼
//!                 model                    attack                  metric
//!             pixels → logits          cases → answers       images, model → numbers
//!                   │                        │                       │
//!                   └──────▶ oracle ◀────────┴───────────────────────┘
//!                            logits, gradients, random numbers, passes counted per case
//! ```
//!
//! The engine (`gauntlet-runner`) takes a model, an attack and [cases](attack::Cases), which are
//! images with a [goal](attack::Goal) each. It opens an [`Oracle`](oracle::Oracle) on the model and
//! gives it to the attack, which answers every case with pixels or with
//! [`NotFound`](attack::Answer::NotFound). The engine then looks at the pixels itself.
//!
//! Pixels are float32 in [0, 1], N×C×H×W, everywhere: RGB, or grey. Every norm and every ε is measured in
//! this domain.
//!
//! # A whole plugin
//!
//! A plugin implements [`Model`](model::Model) with [`Architecture`](model::Architecture),
//! [`Attack`](attack::Attack) or [`Metric`](metric::Metric), and names its types in
//! [`export_plugin!`]. This attack takes one step along the sign of the gradient:
//!
//! ```
//! use gauntlet_core::attack::{Budget, Norm};
//! use gauntlet_core::prelude::*;
//! # use gauntlet_core::oracle::Settings;
//! # use gauntlet_core::registry::Registry;
//! # use gauntlet_core::testing::{Affine, check_attack};
//!
//! export_plugin!(attack SignStep);
//!
//! /// One step along the sign of the gradient.
//! pub struct SignStep(SignStepParams);
//!
//! params! {
//!     /// Parameters of [`SignStep`].
//!     pub struct SignStepParams {
//!         /// Length of the step, pixels in [0, 1].
//!         pub epsilon: f64 = 8.0 / 255.0,
//!     }
//! }
//!
//! impl Attack for SignStep {
//!     const NAME: &'static str = "sign_step";
//!     const SUMMARY: &'static str = "one step along the sign of the gradient";
//!     type Params = SignStepParams;
//!
//!     fn new(params: SignStepParams) -> Result<Self> {
//!         let epsilon = params.epsilon;
//!         ensure!(epsilon > 0.0, "`epsilon` is {epsilon}, expected a positive number");
//!         Ok(Self(params))
//!     }
//!
//!     fn budget(&self) -> Option<Budget> {
//!         Some(Budget { norm: Norm::Linf, radius: self.0.epsilon })
//!     }
//!
//!     fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
//!         let all: Vec<usize> = (0..cases.len()).collect();
//!         let mut answers = Vec::new();
//!         for batch in all.chunks(oracle.lanes()) {
//!             let (first, count) = (batch[0], batch.len());
//!             let images = cases.pixels.narrow(0, first as i64, count as i64);
//!             let goals = Goals::new(&cases.goals[first..first + count], &images);
//!             // The margin of a goal is below zero where the goal is met.
//!             let gradient = oracle.gradient(batch, &images, |logits| goals.margin(logits))?;
//!             let moved = (images - gradient.pixels.sign() * self.0.epsilon).clamp(0.0, 1.0);
//!             answers.extend((0..count as i64).map(|row| Answer::Pixels(moved.get(row))));
//!         }
//!         Ok(answers)
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! // The conformance kit checks the rules that an attack must keep.
//! check_attack::<SignStep>(SignStepParams::default())?;
//!
//! // Run by hand, without the engine:
//! let model = Affine::new(3, 8, 1);
//! let images = Tensor::full([2, 3, 8, 8], 0.5, (Kind::Float, tch::Device::Cpu));
//! let cases = Cases::new(images, vec![Goal::Away(0), Goal::Towards(2)])?;
//! let oracle = Oracle::new(&model, vec![0, 1], Settings::default());
//! let registry = Registry::linked()?;
//! let entry = registry.find_attack("sign_step")?;
//! let attack = entry.make(&entry.entry.parameters(None, &"epsilon = 0.1".parse()?)?)?;
//! let answers = attack.run(&oracle, &cases)?;
//! assert!(matches!(answers[0], Answer::Pixels(_)));
//! assert_eq!(oracle.passes()[1].backward, 1);
//! # Ok(())
//! # }
//! ```
//!
//! An attack that takes many steps describes one step and lets [`lanes`] keep the batch full.
//! `docs/plugins.md` is the tutorial.

pub mod attack;
pub mod device;
pub mod generator;
pub mod guard;
pub mod lanes;
mod library;
pub mod logits;
pub mod metric;
pub mod model;
pub mod oracle;
pub mod params;
pub mod plugin;
pub mod registry;
pub mod testing;
pub mod weights;

pub use library::LIBTORCH;

/// One `use` for a plugin's source file.
pub mod prelude {
    pub use crate::attack::{Answer, Attack, Batch, Cases, Goal, Goals};
    pub use crate::lanes::{self, Lanes, Search};
    pub use crate::metric::{Direction, Metric, Scope};
    pub use crate::model::{Architecture, ImageShape, Model, ModelCard};
    pub use crate::oracle::Oracle;
    pub use crate::params::{NoParams, Preset};
    pub use crate::weights::Weights;
    pub use crate::{choices, export_plugin, params, rows};
    pub use anyhow::{Context as _, Result, bail, ensure};
    pub use rand_chacha::rand_core::RngCore;
    pub use tch::{self, Kind, Tensor};
}

// The macros name these, in plugins and in this crate itself.
#[doc(hidden)]
pub use {inventory, serde};
extern crate self as gauntlet_core;
