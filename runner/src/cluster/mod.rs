//! A study on a Slurm cluster: its missing cells as job arrays, one after the other as the phases
//! are, each task a list of cells that `runner work` computes; last a job that writes the tables.
//! All share the results' folder, where a cell is complete or absent: nothing is locked, and no
//! task knows another.
//!
//! What was submitted stands in `OUT/slurm/<n>`: the study (`job.json`), the lists of cells, the
//! scripts, their output, and a [`Record`] of it all.

mod record;
mod script;
mod slurm;
mod split;
mod status;
mod submit;
pub mod task;
mod time;

pub use record::{Array, Phase, Record, Submission, Task, failures};
#[cfg(feature = "cli")]
pub(crate) use script::quoted;
pub use slurm::{cancel, check};
pub use status::{PhaseStatus, SubmissionStatus, TaskCount};
pub use submit::{Draft, Size, Wishes, submit};
pub use time::{TimeLimit, clock};
