//! Bytes of a file, which is never held in memory as a whole, or bytes in memory.

use anyhow::{Context, Result};
use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// A file, or bytes in memory.
pub(super) enum Bytes {
    /// A file that is read by position, so that two readers do not disturb each other.
    File {
        file: File,
        length: u64,
    },
    Memory(Cow<'static, [u8]>),
}

impl Bytes {
    pub fn of_file(file: File) -> Result<Self> {
        let about = file.metadata()?;
        anyhow::ensure!(about.is_file(), "a file is expected");
        Ok(Self::File { length: about.len(), file })
    }

    pub fn in_memory(bytes: Cow<'static, [u8]>) -> Self {
        Self::Memory(bytes)
    }

    pub fn len(&self) -> u64 {
        match self {
            Self::File { length, .. } => *length,
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// The bytes in `range`, which must lie within the file.
    pub fn read(&self, range: Range<u64>) -> Result<Cow<'_, [u8]>> {
        let (start, end) = (range.start as usize, range.end as usize);
        if let Self::Memory(bytes) = self {
            return bytes
                .get(start..end)
                .map(Cow::Borrowed)
                .context("it cannot be read to its end");
        }
        let mut bytes = vec![0; end - start];
        Cursor { bytes: self, at: range.start }
            .read_exact(&mut bytes)
            .context("it cannot be read to its end")?;
        Ok(bytes.into())
    }

    /// At most `count` bytes from the start.
    pub fn start(&self, count: u64) -> Result<Cow<'_, [u8]>> {
        self.read(0..count.min(self.len()))
    }

    /// A reader that begins at the start.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor { bytes: self, at: 0 }
    }
}

/// A position in [`Bytes`].
pub(super) struct Cursor<'a> {
    bytes: &'a Bytes,
    at: u64,
}

impl Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.bytes {
            Bytes::File { file, .. } => std::os::unix::fs::FileExt::read_at(file, buffer, self.at)?,
            Bytes::Memory(bytes) => {
                bytes.get(self.at as usize..).unwrap_or_default().read(buffer)?
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Cursor<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.bytes.len().checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
