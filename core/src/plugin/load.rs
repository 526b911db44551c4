//! Loading of plugin libraries.

use super::host;
use crate::library::Library;
use crate::registry::Registry;
use anyhow::{Result, bail};
use std::path::Path;
use std::sync::Arc;

impl Registry {
    /// Opens a plugin library and adds everything that it brings, or nothing. A library that has
    /// been loaded already, from this file or from a copy of it, is not opened again.
    ///
    /// # Errors
    /// Says what is wrong with the library, see [`Library::read`] and [`Library::check`], or which
    /// name is taken.
    pub fn load(&mut self, path: &Path) -> Result<Arc<Library>> {
        self.load_library(Library::read(path)?)
    }

    /// Opens a plugin library that has been read, see [`load`](Self::load). The caller could look
    /// at its stamp and hash before any of its code runs.
    ///
    /// # Errors
    /// Says what is wrong with the library, see [`Library::check`], or which name is taken.
    pub fn load_library(&mut self, library: Library) -> Result<Arc<Library>> {
        self.load_changed(library, |brought| brought)
    }

    /// Opens a plugin library, and adds what `change` makes of all that it brings.
    pub(super) fn load_changed(
        &mut self,
        library: Library,
        change: impl FnOnce(Self) -> Self,
    ) -> Result<Arc<Library>> {
        let known = self.libraries();
        if let Some(known) = known.iter().find(|known| known.hash == library.hash) {
            return Ok(Arc::clone(known));
        }
        if let Some(known) = known.iter().find(|known| known.stamp.name == library.stamp.name) {
            let (one, other) = (known.describe(), library.describe());
            bail!("plugin `{}` is there twice: {one} and {other}; remove one", library.stamp.name);
        }
        library.check()?;
        let library = Arc::new(library);
        self.adopt(change(host::open(&library)?), &library)?;
        Ok(library)
    }
}
