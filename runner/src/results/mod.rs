//! Work on finished results folders: two are compared, or one outcome is computed again. The
//! folders are only read.

pub mod diff;
mod join;
pub mod rerun;
