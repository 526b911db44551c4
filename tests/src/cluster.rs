//! Programs that stand for Slurm's and run tasks on this machine (`slurm/fake`).

use std::env;
use std::ffi::OsString;
use std::iter;
use std::path::{Path, PathBuf};

/// The folder of the programs. They keep their state in the folder that `FAKE_SLURM` names.
pub fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm/fake")
}

/// `PATH` with the programs before all others.
///
/// # Panics
/// When a folder's name cannot stand in `PATH`.
pub fn path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(iter::once(programs()).chain(env::split_paths(&path)))
        .expect("no folder has a colon in its name")
}
