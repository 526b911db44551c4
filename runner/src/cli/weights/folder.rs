//! The folder of weights, for the commands that write to it.

use crate::home;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Gauntlet's folder of weights.
///
/// # Errors
/// When no variable says where it is.
pub(super) fn weights_folder() -> Result<PathBuf> {
    home::folder().context("there is no place for weights: set GAUNTLET_HOME, or HOME")
}
