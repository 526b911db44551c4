//! Work on results that are there: two results' folders beside each other, and one outcome once
//! more.

pub mod diff;
pub mod rerun;
