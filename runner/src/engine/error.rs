//! Why a cell could not be computed.

use crate::store::StoreError;
use gauntlet_core::oracle::Stop;
use thiserror::Error;

/// Why a cell could not be computed.
#[derive(Debug, Error)]
pub(super) enum CellError {
    /// A store cannot be asked or written to. Where it is [out of reach](StoreError::OutOfReach),
    /// no cell can be computed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cell was stopped.
    #[error(transparent)]
    Stopped(Stop),
    /// The cell cannot be computed; others may.
    #[error(transparent)]
    Failed(anyhow::Error),
}

/// Models, attacks and metrics give plain errors. Those of an oracle that was stopped come back
/// through them.
impl From<anyhow::Error> for CellError {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<Stop>() {
            Some(&stop) => Self::Stopped(stop),
            None => Self::Failed(error),
        }
    }
}
