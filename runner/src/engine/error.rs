//! The errors that the engine tells apart. Stores, models, attacks and metrics give plain errors;
//! only this file looks inside them.

use crate::errors::OutOfReach;
use gauntlet_core::oracle::Stop;
use thiserror::Error;

/// Why a cell could not be computed.
#[derive(Debug, Error)]
pub(super) enum CellError {
    /// The object store cannot be asked: no cell can be computed.
    #[error(transparent)]
    OutOfReach(anyhow::Error),
    /// The cell was stopped.
    #[error(transparent)]
    Stopped(Stop),
    /// The cell cannot be computed; others may.
    #[error(transparent)]
    Failed(anyhow::Error),
}

/// Why something stored could not be read, verified or shared.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    /// The object store cannot be asked.
    #[error(transparent)]
    OutOfReach(anyhow::Error),
    /// What is stored is missing or damaged.
    #[error(transparent)]
    Unusable(anyhow::Error),
}

impl From<anyhow::Error> for CellError {
    fn from(error: anyhow::Error) -> Self {
        match StoreError::from(error) {
            StoreError::OutOfReach(error) => Self::OutOfReach(error),
            StoreError::Unusable(error) => match error.downcast_ref::<Stop>() {
                Some(&stop) => Self::Stopped(stop),
                None => Self::Failed(error),
            },
        }
    }
}

impl From<anyhow::Error> for StoreError {
    fn from(error: anyhow::Error) -> Self {
        if error.is::<OutOfReach>() { Self::OutOfReach(error) } else { Self::Unusable(error) }
    }
}
