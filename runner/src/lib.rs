//! Gauntlet's study engine: it runs image classifiers through adversarial attacks, and keeps every
//! result so that a run can stop and go on.
//!
//! A study names images, models, attacks and metrics. The engine cuts it into *cells*, computes
//! those that the results folder lacks, and writes tables and figures from the stored cells:
//!
//! ```text
//! study.toml ─► study ─► plan ─► engine ─► store ─► analysis ─► summary ─► report
//!               names    cells   computes  a file   counts and  study.json tables,
//!               checked          cells     a cell   flags                  report.html
//! ```
//!
//! A program goes through it with a [`Registry`](gauntlet_core::registry::Registry) of models,
//! attacks and metrics, a [`Study`] read from a file or [built in code](Study::builder), and a
//! [`Session`] in a results folder:
//!
//! ```no_run
//! use gauntlet_core::{device::Device, registry::Registry};
//! use gauntlet_runner::report::{self, outcomes};
//! use gauntlet_runner::{RunOptions, Session, Silent, Study, StudyOptions};
//! use std::path::Path;
//!
//! fn main() -> anyhow::Result<()> {
//!     // All models, attacks and metrics that are linked into the program. A program's own
//!     // join them: `registry.model::<Mine>("mine 1.0.0")?`.
//!     let registry = Registry::linked()?;
//!     let study = Study::open("mini", &registry, StudyOptions::default())?;
//!
//!     let out = Path::new("results/mini");
//!     let options = RunOptions::on(Device::Cpu);
//!     let session = Session::open(&study, &registry, out, options, &Silent)?;
//!     let outcome = session.run()?;
//!     println!("{} cells computed, {} failed", outcome.computed, outcome.failures.len());
//!
//!     // Writes the files of the results folder, and prints the tables.
//!     report::print(&study, &session.report()?, &mut std::io::stdout())?;
//!     // One row for each image, source, target, attack and goal.
//!     outcomes::read(out, |_, outcome| {
//!         println!("{}: {}", outcome.row.image, outcome.row.success);
//!         Ok(())
//!     })
//! }
//! ```
//!
//! Errors are [`anyhow::Error`]s: what was found, what was expected, what to do. A cell that cannot
//! be computed is no error; it is a [`Failure`] in the [`RunOutcome`].
//!
//! Modules that are not listed here can change without notice.
//!
//! # Features
//!
//! - `cli` (default): the command line, with the built-in models, attacks and metrics.
//! - `jemalloc` (default, Linux): jemalloc as the program's allocator. Studies take a seventh to a
//!   fifth less time.
//! - `report` (part of `cli`): `report.html` and its figures.
//! - `pull` (part of `cli`): download, import and check of weights.
//! - `object-store`: an object store behind the results folder.

#[cfg(all(feature = "jemalloc", target_os = "linux"))]
mod allocator;
#[doc(hidden)]
pub mod analysis;
#[cfg(feature = "cli")]
#[doc(hidden)]
#[allow(rustdoc::invalid_html_tags, reason = "docstrings of arguments are their help texts")]
pub mod cli;
#[doc(hidden)]
pub mod cluster;
pub mod data;
#[doc(hidden)]
pub mod engine;
mod errors;
#[doc(hidden)]
pub mod estimate;
mod home;
#[doc(hidden)]
pub mod libraries;
mod process;
pub mod report;
pub mod results;
mod session;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod study;
#[doc(hidden)]
pub mod summary;
mod text;
mod threads;
#[doc(hidden)]
pub mod weights;

pub use analysis::Tables;
pub use engine::plan::Plan;
pub use engine::{Failure, Isolation, Progress, RunOptions, RunOutcome, Silent, serve};
pub use session::Session;
pub use store::{Store, StoreError};
pub use study::{
    GoalKind, LeftOut, Member, MemberKind, MissingInputs, Part, Policy, Study, StudyAttack,
    StudyBuilder, StudyMetric, StudyModel, StudyOptions,
};
