//! Gauntlet's study engine: `study.toml` → plan → cells → store → analysis → report.
//!
//! A program that brings its own models or attacks registers them and runs a study like this:
//!
//! ```no_run
//! use gauntlet_core::{device::Device, registry::Registry};
//! use gauntlet_runner::{execute, plan::Plan, report, store::Store, study::Study};
//! # fn main() -> anyhow::Result<()> {
//! let registry = Registry::linked()?; // or Registry::empty(), then registry.model::<Mine>("mine 1.0.0")?
//! let study = Study::open("mini", &registry, Default::default())?;
//! let out = std::path::Path::new("results/mini");
//! let (plan, store) = (Plan::new(&study, "cpu"), Store::open(out)?);
//! let options = execute::Options::on(Device::Cpu);
//! let survey = execute::Survey::take(&plan, &store, &options, &execute::Silent);
//! let outcome = execute::run(&study, &plan, &survey, &registry, &store, &options, &execute::Silent)?;
//! let tables = report::write(&study, &plan, &store, out)?;
//! report::print(&study, &tables, &mut std::io::stdout())?;
//! # Ok(()) }
//! ```

pub mod analysis;
#[cfg(feature = "cli")]
pub mod cli;
pub mod data;
pub mod execute;
pub mod plan;
pub mod plugins;
pub mod report;
pub mod rows;
pub mod store;
pub mod study;
pub mod weights;
