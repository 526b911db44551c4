//! Atomic writes: temporary files, and the removal of those that dead processes left.
//!
//! The writer of a temporary file holds a lock on it, which the system releases however the
//! process ends. The file's name says which machine made it, and since which boot. So
//! processes of the same machine know at once when a file's writer has died. On other machines the
//! lock may not be visible, so they decide by the file's age.

use anyhow::{Context, Result};
use std::fs::{self, DirEntry, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;

/// The bytes of a file.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a regular file. Anything else is an error: to open a pipe would wait for ever.
pub(super) fn open_file(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("not a file"))
    }
}

/// The beginning of the names of all temporary files.
const TEMPORARY: &str = ".tmp-";
/// A temporary file of another machine counts as abandoned when it is older than this.
const STALE: Duration = Duration::from_hours(1);

/// The beginning of the names of this machine's temporary files since its boot; none where the
/// system has no boot ID.
static OURS: LazyLock<Option<String>> = LazyLock::new(|| {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().replace('-', "");
    (boot.len() == 32 && boot.bytes().all(|c| c.is_ascii_hexdigit()))
        .then(|| format!("{TEMPORARY}{}-", &boot[..12]))
});

/// Writes a file, which replaces an older one as a whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut pending = Pending::new(path)?;
    pending.file().write_all(bytes).with_context(|| format!("writing {}", path.display()))?;
    pending.commit()
}

/// A file under a temporary name, in the folder of the file that it will become.
pub struct Pending {
    temporary: NamedTempFile,
    path: PathBuf,
}

impl Pending {
    /// Makes the temporary file of `path`.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub fn new(path: &Path) -> Result<Self> {
        let folder = path.parent().context("a file has a folder")?;
        let temporary = temporary(folder).with_context(|| format!("writing {}", path.display()))?;
        Ok(Self { temporary, path: path.to_owned() })
    }

    /// The file to write to.
    pub fn file(&mut self) -> &mut File {
        self.temporary.as_file_mut()
    }

    /// The temporary path.
    #[cfg(feature = "pull")]
    pub(crate) fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Syncs the file and renames it to its path.
    ///
    /// # Errors
    /// When the file cannot be synced or renamed.
    pub fn commit(self) -> Result<()> {
        let context = || format!("writing {}", self.path.display());
        self.temporary.as_file().sync_all().with_context(context)?;
        self.temporary.persist(&self.path).map_err(|e| e.error).with_context(context)?;
        let folder = self.path.parent().context("a file has a folder")?;
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(context)
    }
}

/// Makes a folder if need be, checks that it can be written to, and removes the temporary files in
/// it whose writers have died.
pub(crate) fn prepare(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    // Times of files may come from another machine's clock, so "now" is taken from there too.
    let now = temporary(folder)?.as_file().metadata()?.modified()?;
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            sweep(&entry, now);
        }
    }
    Ok(())
}

/// A new temporary file, locked.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(OURS.as_deref().unwrap_or(TEMPORARY));
    // tempfile's default is 0600. The umask decides instead, as for any other file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    loop {
        let file = builder.tempfile_in(folder)?;
        match file.as_file().try_lock() {
            // Another process may have removed the file before it was locked.
            Ok(()) if !exists(&file) => {}
            Err(TryLockError::WouldBlock) => {}
            // Where the file system has no locks, the file goes without.
            Ok(()) | Err(TryLockError::Error(_)) => return Ok(file),
        }
    }
}

/// Whether a file still has its name.
#[cfg(unix)]
fn exists(file: &NamedTempFile) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.as_file().metadata().is_ok_and(|about| about.nlink() > 0)
}

/// Removes a temporary file whose writer has died.
fn sweep(entry: &DirEntry, now: SystemTime) {
    let path = entry.path();
    let ours =
        OURS.as_deref().is_some_and(|ours| entry.file_name().to_string_lossy().starts_with(ours));
    let old = || {
        let written = entry.metadata().and_then(|about| about.modified()).ok();
        written.and_then(|written| now.duration_since(written).ok()).is_some_and(|age| age > STALE)
    };
    // The lock is held until the file is removed, so that its writer cannot take it in between.
    let lock = ours.then(|| {
        OpenOptions::new().read(true).write(true).open(&path).map_err(TryLockError::Error)
    });
    let locked = lock.map(|file| file.and_then(|file| file.try_lock().map(|()| file)));
    let abandoned = match &locked {
        Some(Ok(_)) => true,
        Some(Err(TryLockError::WouldBlock)) => false,
        Some(Err(TryLockError::Error(_))) | None => old(),
    };
    if abandoned {
        // Another process may have removed it already.
        let _ = fs::remove_file(&path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_file_of_this_machine_goes_with_its_writer() {
        let folder = tempfile::tempdir().unwrap();
        let pending = Pending::new(&folder.path().join("cell")).unwrap();
        let abandoned = pending.temporary.path().with_extension("abandoned");
        File::create(&abandoned).unwrap();
        prepare(folder.path()).unwrap();
        assert!(!abandoned.exists(), "nobody holds it");
        assert!(pending.temporary.path().exists(), "it is being written");
        pending.commit().unwrap();
        prepare(folder.path()).unwrap();
        assert_eq!(left(folder.path()), 1, "the file alone");
    }

    #[test]
    fn another_machine_s_file_goes_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".tmp-000000000000-abc");
        let file = File::create(&path).unwrap();
        prepare(folder.path()).unwrap();
        assert!(path.exists(), "a process there may be writing it");
        for (written, stays) in
            [(SystemTime::now() + 2 * STALE, true), (SystemTime::now() - 2 * STALE, false)]
        {
            file.set_modified(written).unwrap();
            prepare(folder.path()).unwrap();
            assert_eq!(path.exists(), stays);
        }
    }

    #[test]
    fn a_file_that_is_swept_before_it_is_locked_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cell");
        std::thread::scope(|scope| {
            let sweeping = scope.spawn(|| (0..300).try_for_each(|_| prepare(folder.path())));
            for n in 0..300_u32 {
                write_atomically(&path, &n.to_le_bytes()).unwrap();
                assert_eq!(fs::read(&path).unwrap(), n.to_le_bytes());
            }
            sweeping.join().unwrap().unwrap();
        });
        assert_eq!(left(folder.path()), 1);
    }
}
