//! A plugin library as a file: its stamp, its hash, and the C interface that it speaks.
//!
//! Nothing in here runs a library's code. [`Registry::load`](crate::registry::Registry::load) does.

pub mod abi;
pub mod stamp;

pub use stamp::{LIBTORCH, NotAPlugin, Stamp, VERSION};

use anyhow::{Result, ensure};
use serde::Serialize;
use stamp::Fault;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A plugin library on disk. None of its code has run.
#[derive(Clone, Debug, Serialize)]
pub struct Library {
    /// Absolute path without symbolic links.
    pub path: PathBuf,
    /// BLAKE3 of the file, in hexadecimal.
    pub hash: String,
    /// What the library says of itself.
    pub stamp: Stamp,
}

/// Why a file cannot be read as a plugin library.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file is something else.
    #[error("{}", path.display())]
    NotAPlugin {
        /// The file.
        path: PathBuf,
        /// What the file is.
        source: NotAPlugin,
    },
    /// The file cannot be read, or is damaged.
    #[error("{}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        source: anyhow::Error,
    },
}

impl Library {
    /// Reads a file's stamp and hash.
    ///
    /// # Errors
    /// [`ReadError::NotAPlugin`] when the file has no stamp; [`ReadError::Unreadable`] when it
    /// cannot be read or is damaged.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let read = || -> Result<Self, Fault> {
            let path = path.canonicalize()?;
            let bytes = stamp::open(&path)?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let stamp = stamp::read(&bytes, name.strip_prefix("lib").unwrap_or(&name))?;
            Ok(Self { hash: blake3::hash(&bytes).to_string(), path, stamp })
        };
        let path = || path.to_owned();
        read().map_err(|fault| match fault {
            Fault::NotAPlugin(source) => ReadError::NotAPlugin { path: path(), source },
            Fault::Io(error) => ReadError::Unreadable { path: path(), source: error.into() },
            Fault::Damaged(source) => ReadError::Unreadable { path: path(), source },
        })
    }

    /// Checks that the stamp fits this program: the same interface, target and libtorch.
    ///
    /// # Errors
    /// Says what the stamp has, what this program expects, and how to build a library that fits.
    pub fn check(&self) -> Result<()> {
        let Stamp { abi, with, target, libtorch, name, entry, .. } = &self.stamp;
        let who = self.describe();
        let with = if with.is_empty() { String::new() } else { format!(" ({with})") };
        ensure!(
            *abi == abi::ABI,
            "plugin {who} speaks ABI {abi}{with}, this program speaks ABI {} ({VERSION}): build \
             the plugin against {VERSION}, or use the runner that it was built for",
            abi::ABI
        );
        ensure!(
            target == stamp::TARGET,
            "plugin {who} was built for {target}, this program for {}: build it with `cargo build \
             --release --target {}`",
            stamp::TARGET,
            stamp::TARGET
        );
        ensure!(
            libtorch == LIBTORCH,
            "plugin {who} was built for libtorch {libtorch}, this program for libtorch {LIBTORCH}: \
             build it with LIBTORCH set to a libtorch {LIBTORCH} (and, in Rust, with the `tch` of \
             {VERSION})"
        );
        let is_entry = |symbol: &str| {
            symbol.starts_with("gauntlet_plugin_")
                && symbol.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        };
        ensure!(
            !name.is_empty() && is_entry(entry),
            "plugin {who} has a stamp without a name or an entry function: build it again"
        );
        Ok(())
    }

    /// Name, version and path, for messages.
    pub fn describe(&self) -> String {
        format!("{} ({})", self.stamp, self.path.display())
    }

    /// Whether a panic in the library ends the process.
    pub fn aborts(&self) -> bool {
        self.stamp.panic == "abort"
    }
}
