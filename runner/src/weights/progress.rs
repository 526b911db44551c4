//! How far a download has come.

/// Is told how far a download, or other work on many bytes, has come.
pub trait DownloadProgress {
    /// Work on `total` bytes begins, of which `done` are done already.
    fn begin(&self, _what: &str, _total: u64, _done: u64) {}
    /// Another `bytes` bytes are done.
    fn advance(&self, _bytes: u64) {}
    /// The user should know this at once.
    fn warn(&self, _message: &str) {}
    /// The work is over.
    fn end(&self) {}
}

/// Shows nothing.
pub struct SilentDownload;

impl DownloadProgress for SilentDownload {}
