//! Computing the cells that are missing.
//!
//! A cell is computed by one thread, and libtorch uses one thread for it: the cell's bits do not
//! depend on the number of workers. If a cell fails, those that need it are not computed; all
//! others are.

mod cell;
mod error;
mod job;
mod options;
mod outcome;
pub mod plan;
mod planner;
mod process;
mod queue;
mod run;
mod serve;
mod survey;
mod workers;

pub(crate) use cell::Engine;
pub(crate) use cell::probe::cost as probe_cost;
pub use job::{Job, OpenedJob};
pub use options::{Isolation, Progress, RunOptions, Silent, device_kind};
pub use outcome::{Failure, RunOutcome};
pub(crate) use queue::Queue;
pub(crate) use run::{permit, run, share};
pub use serve::serve;
pub(crate) use survey::{HeldUp, PartialSurvey, Survey, presence_of};
