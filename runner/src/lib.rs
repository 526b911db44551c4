//! Gauntlet's study engine: `study.toml` → plan → cells → store → analysis → report.
//!
//! A program that brings its own models or attacks registers them and runs a study like this:
//!
//! ```no_run
//! use gauntlet_core::{device::Device, registry::Registry};
//! use gauntlet_runner::{Session, Study, engine, report};
//! # fn main() -> anyhow::Result<()> {
//! let registry = Registry::linked()?; // or Registry::empty(), then registry.model::<Mine>("mine 1.0.0")?
//! let study = Study::open("mini", &registry, Default::default())?;
//! let options = engine::Options::on(Device::Cpu);
//! let session = Session::open(&study, &registry, "results/mini".as_ref(), options, &engine::Silent)?;
//! session.run()?;
//! report::print(&study, &session.report()?, &mut std::io::stdout())?;
//! # Ok(()) }
//! ```
//!
//! Without the default features there is no command line, and memory comes from the program's own
//! allocator. On Linux the feature `jemalloc` is worth having: studies take a seventh to a fifth
//! less time.

#[cfg(all(feature = "jemalloc", target_os = "linux"))]
mod allocator;
pub mod analysis;
#[cfg(feature = "cli")]
pub mod cli;
pub mod cluster;
pub mod data;
pub mod engine;
mod errors;
pub mod estimate;
mod home;
pub mod libraries;
pub mod report;
pub mod results;
mod session;
pub mod store;
pub mod study;
pub mod summary;
mod threads;
pub mod weights;

pub use session::Session;
pub use study::Study;
