//! The folder of weights under change: one program at a time, each file complete or absent, and
//! `SHA256SUMS`, which `sha256sum -c` reads too.

use super::download::{hexadecimal, sha256};
use crate::store::{prepare, write_atomically};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const SUMS: &str = "SHA256SUMS";

/// The folder, locked against other programs that change it.
pub(super) struct WeightsFolder {
    pub folder: PathBuf,
    _lock: File,
}

impl WeightsFolder {
    /// Makes the folder if need be.
    ///
    /// # Errors
    /// When it cannot be written to, or another program is at it.
    pub fn open(folder: &Path) -> Result<Self> {
        let context = || {
            format!(
                "the weights' folder {} cannot be written to; GAUNTLET_HOME chooses another place",
                folder.display()
            )
        };
        prepare(folder).with_context(context)?;
        let lock = File::create(folder.join(".lock")).with_context(context)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { folder: folder.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "another `runner weights` is changing {}: wait until it is done",
                    folder.display()
                )
            }
            Err(TryLockError::Error(error)) => Err(error).with_context(context),
        }
    }

    /// Writes down the hash of a file of the folder, and forgets files that are gone.
    pub fn record(&self, file: &str, sha256: &str) -> Result<()> {
        let mut sums = sums(&self.folder);
        sums.retain(|file, _| self.folder.join(file).is_file());
        sums.insert(file.to_owned(), sha256.to_owned());
        let text: String =
            sums.iter().flat_map(|(file, sha256)| [sha256, "  ", file, "\n"]).collect();
        write_atomically(&self.folder.join(SUMS), text.as_bytes())
    }
}

/// The hashes that were written down, by file name.
fn sums(folder: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder.join(SUMS)).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, file)| (file.to_owned(), sum.to_owned()))
        .collect()
}

/// SHA-256 of a weights file, in hexadecimal: as it was written down beside it, unless the file has
/// changed since; or by reading the file.
///
/// # Errors
/// When it cannot be read.
pub fn sum(file: &Path) -> io::Result<String> {
    let changed = |path: &Path| path.metadata()?.modified();
    let known = file.file_name().and_then(|name| {
        let folder = file.parent()?;
        let settled = changed(file).ok()? <= changed(&folder.join(SUMS)).ok()?;
        sums(folder).remove(name.to_str()?).filter(|_| settled)
    });
    known.map_or_else(|| sha256(file), Ok)
}

/// SHA-256 of bytes, in hexadecimal.
pub fn sum_of(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}
