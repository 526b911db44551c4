//!

pub mod diff;
pub mod rerun;
