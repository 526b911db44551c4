//! Changing the folder of weights: one program at a time, each file complete or absent. The file
//! `SHA256SUMS` has the hashes, as `sha256sum -c` reads them.

use crate::store::{prepare, write_atomically};
use crate::weights::hash::sha256;
use anyhow::{Context, Result, bail, ensure};
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
    /// Locks the folder, which is made if it is not there.
    ///
    /// # Errors
    /// When the folder cannot be written to, or another program has locked it.
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

    /// Notes the hash of a file of the folder, and drops the hashes of files that are gone.
    pub fn record(&self, file: &str, sha256: &str) -> Result<()> {
        let mut sums = sums(&self.folder);
        sums.retain(|file, _| self.folder.join(file).is_file());
        sums.insert(file.to_owned(), sha256.to_owned());
        let text: String =
            sums.iter().flat_map(|(file, sha256)| [sha256, "  ", file, "\n"]).collect();
        write_atomically(&self.folder.join(SUMS), text.as_bytes())
    }
}

/// The noted hashes, by file name.
fn sums(folder: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder.join(SUMS)).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, file)| (file.to_owned(), sum.to_owned()))
        .collect()
}

/// SHA-256 of a weights file, in hexadecimal. It is the noted one unless the file has changed
/// since; otherwise the file is read.
///
/// # Errors
/// When the file cannot be read.
pub fn sum(file: &Path) -> io::Result<String> {
    let changed = |path: &Path| path.metadata()?.modified();
    let known = file.file_name().and_then(|name| {
        let folder = file.parent()?;
        let settled = changed(file).ok()? <= changed(&folder.join(SUMS)).ok()?;
        sums(folder).remove(name.to_str()?).filter(|_| settled)
    });
    known.map_or_else(|| sha256(file), Ok)
}

/// Checks that the disk of a folder has room for `bytes` bytes.
///
/// # Errors
/// When the disk has less room, or cannot be asked.
pub(super) fn check_space(folder: &Path, bytes: u64) -> Result<()> {
    let about =
        rustix::fs::statvfs(folder).with_context(|| format!("folder {}", folder.display()))?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    ensure!(
        free >= bytes,
        "about {} MB are needed in {}, and {} MB are free: make room, or set GAUNTLET_HOME to a \
         folder with room",
        bytes / 1_000_000,
        folder.display(),
        free / 1_000_000
    );
    Ok(())
}
