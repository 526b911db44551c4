//! The errors of a store that its callers tell apart.

use thiserror::Error;

/// Why something could not be read from the store or written to it.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The object store behind the results folder cannot be asked. What is in it is neither missing
    /// nor damaged.
    #[error("{0}")]
    OutOfReach(String),
    /// What is stored is missing or damaged, or the folder cannot be read or written to.
    #[error(transparent)]
    Unusable(#[from] anyhow::Error),
}

pub(super) type Result<T> = std::result::Result<T, StoreError>;
