//! How a run went.

use crate::engine::plan::CellId;

/// What a run did.
#[derive(Debug, Default)]
pub struct RunOutcome {
    /// Number of cells that were computed and stored.
    pub computed: usize,
    /// Number of cells that were stored already when their turn came, by another process.
    pub found: usize,
    /// The cells that failed, in the plan's order.
    pub failures: Vec<Failure>,
    /// Number of cells that could not be computed because one that they need has failed.
    pub held_up: usize,
    /// Number of cells that were not computed because the run was cancelled.
    pub left: usize,
}

/// A cell that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The cell.
    pub cell: CellId,
    /// The cell in words.
    pub what: String,
    /// The first line of the error.
    pub reason: String,
}
