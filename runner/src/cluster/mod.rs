//! A study on a Slurm cluster.
//!
//! The missing cells of each phase are job arrays, which wait for those of the phase before. A task
//! of an array is a list of cells that `runner work` computes. A last job writes the tables. All
//! tasks share the results folder, where a cell is whole or absent: nothing is locked, and no task
//! knows another.
//!
//! A submission is written to `OUT/slurm/<n>`: the study (`job.json`), the lists of cells, the
//! scripts, their output, and a [`Record`] of all this.

mod draft;
mod record;
mod script;
mod slurm;
mod split;
mod status;
mod submit;
pub mod task;
mod time;
mod wishes;

pub use draft::Draft;
pub use record::{Array, Phase, Record, Submission, Task, failures};
#[cfg(feature = "cli")]
pub(crate) use script::quoted;
pub use slurm::{cancel, check};
pub use status::{PhaseStatus, SubmissionStatus, TaskCount};
pub use submit::submit;
pub use time::{TimeLimit, clock};
pub use wishes::{Size, Wishes};
