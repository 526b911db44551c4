//! The format of a file, told by its content, and the way from it to one that is read. Pickles are
//! programs: they are refused by name, and never opened.

mod advice;
mod content;
mod kind;
mod python;

pub use kind::{FileFormat, Purpose};

use super::bytes::Bytes;
use super::source::Source;
use super::{graphdef, safetensors};
use anyhow::{Result, bail};
use std::fs::{self, File};
use std::path::Path;

impl FileFormat {
    /// The format of a file or folder.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> Result<Self> {
        if path.is_dir() {
            return Ok(content::folder(path));
        }
        let found = content::file(&Bytes::of_file(File::open(path)?)?)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Bare values can look like anything, but for what has a magic number.
        let vague = matches!(found, Self::Unknown | Self::Graph);
        Ok(if vague && content::is_checkpoint_data(&name) { Self::CheckpointData } else { found })
    }

    /// The format of a file's bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        content::file(&Bytes::in_memory(bytes.to_vec().into())).unwrap_or(Self::Unknown)
    }
}

/// Opens weights at a path, whose file may be open already.
pub(super) fn open_path(path: &Path, file: Option<File>) -> Result<Box<dyn Source>> {
    // A path that is not there is told as such.
    if fs::metadata(path)?.is_dir() || content::is_checkpoint_data(&path.to_string_lossy()) {
        let format = FileFormat::of(path)?;
        if !matches!(format, FileFormat::Safetensors | FileFormat::Graph) {
            bail!(format.refusal(Purpose::Weights));
        }
    }
    open(Bytes::of_file(file.map_or_else(|| File::open(path), Ok)?)?)
}

/// Opens weights of either format.
pub(super) fn open(bytes: Bytes) -> Result<Box<dyn Source>> {
    match content::file(&bytes)? {
        FileFormat::Safetensors => safetensors::open(bytes),
        FileFormat::Graph => graphdef::open(bytes),
        other => bail!(other.refusal(Purpose::Weights)),
    }
}

#[cfg(test)]
mod tests;
