//! Work on finished results folders: two are compared, one outcome is computed again, or the
//! adversarials are found. The folders are only read.

pub mod diff;
mod join;
pub mod record;
pub mod rerun;
