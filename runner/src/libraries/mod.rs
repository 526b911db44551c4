//! Plugin libraries on disk: where they are looked for, and which of them may be loaded.
//!
//! Loading a library runs its code, so only libraries that are named in [`Sources`] are loaded. The
//! names come from `--plugins`, `GAUNTLET_PLUGINS`, a study's `[plugins]`, or an embedding program.

mod rehearsal;

pub use rehearsal::{Rehearsal, serve_rehearsal};

use crate::libraries::rehearsal::LoadError;
use crate::text;
use anyhow::{Context, Error, Result, bail, ensure};
use gauntlet_core::plugin::{Call, Library, ReadError};
use gauntlet_core::registry::Registry;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Where plugin libraries come from, and which of them may be loaded.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Folders, which stand for all plugin libraries in them, and single libraries.
    pub places: Vec<PathBuf>,
    /// Files with hashes of libraries, see [`lock_line`]. Only libraries that are in all of them
    /// may be loaded.
    pub locks: Vec<PathBuf>,
}

/// The result of a search for libraries.
#[derive(Debug, Default)]
pub struct FoundLibraries {
    /// Libraries that fit this program and may be loaded.
    pub libraries: Vec<Library>,
    /// Plugin libraries that cannot or may not be loaded, and named files that are no plugins, each
    /// with the reason.
    pub refused: Vec<(PathBuf, Error)>,
    /// Libraries that took the process with them in which they were loaded first, or took too long
    /// there, each with what is known of it.
    pub lost: Vec<(PathBuf, Error)>,
    /// The other files in the folders, and why each is no plugin.
    pub ignored: Vec<(PathBuf, String)>,
    /// Messages for the user about libraries that are loaded all the same.
    pub warnings: Vec<String>,
}

impl FoundLibraries {
    /// Checks that nothing was refused.
    ///
    /// # Errors
    /// When anything was refused; the error has all reasons.
    pub fn check(&self) -> Result<()> {
        let reasons: Vec<String> =
            self.refused.iter().map(|(_, error)| format!("{error:#}")).collect();
        match reasons.as_slice() {
            [] => Ok(()),
            [reason] => bail!("{reason}"),
            _ => bail!("{} plugins are refused:\n  {}", reasons.len(), reasons.join("\n  ")),
        }
    }
}

impl Sources {
    /// The places and the locks of both. A library must be in all locks, whichever source names it.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.places.extend(other.places);
        self.locks.extend(other.locks);
        self
    }

    /// Looks for libraries. None of their code runs.
    ///
    /// # Errors
    /// When a folder or a lock cannot be read.
    pub fn search(&self) -> Result<FoundLibraries> {
        let locks = self.locks.iter().map(|path| Lock::read(path)).collect::<Result<Vec<_>>>()?;
        let mut found = FoundLibraries::default();
        for place in &self.places {
            let unreadable = || {
                format!(
                    "plugins {} cannot be read; `--plugins`, GAUNTLET_PLUGINS and [plugins] take \
                     folders and libraries",
                    place.display()
                )
            };
            let about = fs::metadata(place).with_context(unreadable)?;
            if !about.is_dir() {
                found.consider(place, true, &locks);
                continue;
            }
            found.warn_of_strangers("folder of plugins", place, &about);
            let entries = fs::read_dir(place).with_context(unreadable)?;
            let mut paths = entries
                .map(|entry| Ok(entry?.path()))
                .collect::<Result<Vec<_>>>()
                .with_context(unreadable)?;
            paths.sort();
            for path in &paths {
                found.consider(path, false, &locks);
            }
        }
        Ok(found)
    }

    /// Looks for libraries and loads them, in another process first. Those that take that process
    /// with them are [lost](FoundLibraries::lost) and not loaded here. What the others are asked for
    /// before any work is [rehearsed](Registry::load_rehearsed) there.
    ///
    /// # Errors
    /// When a folder or a lock cannot be read, see [`search`](Self::search).
    pub fn load_rehearsed(
        &self,
        registry: &mut Registry,
        rehearsal: &Rehearsal,
    ) -> Result<FoundLibraries> {
        let mut found = self.search()?;
        let libraries = std::mem::take(&mut found.libraries);
        for library in libraries {
            let own = rehearsal.of(&library);
            match own.load() {
                Ok(()) => match registry
                    .load_rehearsed(library.clone(), move |call: &Call| own.rehearse(call))
                {
                    Ok(_) => found.libraries.push(library),
                    Err(error) => found.refused.push((library.path, error)),
                },
                Err(LoadError::Refused(error)) => found.refused.push((library.path, error)),
                Err(LoadError::Lost(error)) => found.lost.push((library.path, error)),
            }
        }
        Ok(found)
    }

    /// Looks for libraries and loads them. Those that cannot be loaded are among the
    /// [refused](FoundLibraries::refused).
    ///
    /// # Errors
    /// When a folder or a lock cannot be read, see [`search`](Self::search).
    pub fn load(&self, registry: &mut Registry) -> Result<FoundLibraries> {
        let mut found = self.search()?;
        for library in std::mem::take(&mut found.libraries) {
            match registry.load_library(library.clone()) {
                Ok(_) => found.libraries.push(library),
                Err(error) => found.refused.push((library.path, error)),
            }
        }
        Ok(found)
    }
}

const WORLD_WRITABLE: u32 = 0o002;
const ROOT: u32 = 0;

impl FoundLibraries {
    /// Sorts a file into libraries, refused and ignored. `named` is whether the user named the file
    /// itself, not its folder.
    fn consider(&mut self, path: &Path, named: bool, locks: &[Lock]) {
        if path.is_dir() {
            self.ignored
                .push((path.to_owned(), "a folder; name it with a `--plugins` of its own".into()));
            return;
        }
        let library = match Library::read(path) {
            Ok(library) => library,
            Err(ReadError::NotAPlugin { source, .. }) if !named => {
                self.ignored.push((path.to_owned(), source.to_string()));
                return;
            }
            // A link to nothing, or a file that was deleted since the folder was listed.
            Err(ReadError::Unreadable { .. }) if !named && !path.exists() => {
                self.ignored.push((path.to_owned(), "a link to nothing".into()));
                return;
            }
            Err(error) => {
                self.refused.push((path.to_owned(), error.into()));
                return;
            }
        };
        if self.libraries.iter().any(|known| known.hash == library.hash) {
            return; // another path to the same file, or a copy
        }
        if let Ok(about) = fs::metadata(&library.path) {
            self.warn_of_strangers("plugin", &library.path, &about);
        }
        match library.check().and_then(|()| locks.iter().try_for_each(|lock| lock.admit(&library)))
        {
            Ok(()) => self.libraries.push(library),
            Err(error) => self.refused.push((library.path, error)),
        }
    }

    /// Warns when a file or folder can be changed by others than the user and root.
    fn warn_of_strangers(&mut self, what: &str, path: &Path, about: &Metadata) {
        let (path, owner) = (path.display(), about.uid());
        let why = "and its code runs as you";
        if about.permissions().mode() & WORLD_WRITABLE != 0 {
            self.warnings.push(format!(
                "{what} {path} can be changed by everybody here, {why}: `chmod o-w {path}`"
            ));
        }
        if owner != ROOT && owner != rustix::process::geteuid().as_raw() {
            self.warnings.push(format!(
                "{what} {path} can be changed by user {owner}, who owns it, \
                 {why}: copy it to a folder of yours"
            ));
        }
    }
}

/// A line of a lock.
struct LockEntry {
    /// BLAKE3 of a library, in hexadecimal.
    hash: String,
    /// The library's file name.
    file: String,
}

/// The hashes of libraries that may be loaded.
struct Lock {
    path: PathBuf,
    entries: Vec<LockEntry>,
}

impl Lock {
    fn read(path: &Path) -> Result<Self> {
        let text = text::read(path).with_context(|| {
            format!(
                "the lock of plugins {} cannot be read; `runner plugins lock` makes one",
                path.display()
            )
        })?;
        let mut entries = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (hash, file) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            ensure!(
                hash.len() == 64 && hash.bytes().all(|c| c.is_ascii_hexdigit()),
                "the lock of plugins {}, line {}: found `{hash}`, expected a BLAKE3 hash of 64 \
                 hexadecimal digits and a file, as \
                 `runner plugins lock` and `b3sum` write them",
                path.display(),
                number + 1
            );
            let name = Path::new(file.trim()).file_name().unwrap_or_default();
            let file = name.to_string_lossy().into_owned();
            entries.push(LockEntry { hash: hash.to_ascii_lowercase(), file });
        }
        Ok(Self { path: path.to_owned(), entries })
    }

    fn admit(&self, library: &Library) -> Result<()> {
        if self.entries.iter().any(|entry| entry.hash == library.hash) {
            return Ok(());
        }
        let (who, hash, lock) = (library.describe(), &library.hash, self.path.display());
        let name = library.path.file_name().unwrap_or_default().to_string_lossy();
        let expected = match self.entries.iter().find(|entry| entry.file == name) {
            Some(entry) => format!("for {name} it has {}", entry.hash),
            None => format!("it has {} others", self.entries.len()),
        };
        bail!(
            "plugin {who} is not in the lock {lock}: its hash is {hash}, {expected}; use the file \
             that was locked or, if you trust this \
             one, lock it with `runner plugins lock`"
        )
    }
}

/// The line of a lock that admits a library: BLAKE3 and path, in the format of `b3sum`.
pub fn lock_line(library: &Library) -> String {
    format!("{}  {}", library.hash, library.path.display())
}
