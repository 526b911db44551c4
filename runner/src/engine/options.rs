//! Where and how widely to compute, and who is told of it.

use gauntlet_core::device::Device;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where, how widely and how carefully to compute.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where models live.
    pub device: Device,
    /// How many cells are computed at a time, each with a model of its own; at least 1.
    pub workers: usize,
    /// Which cells are computed in processes of their own; none of them unless set.
    pub isolation: Option<Isolation>,
    /// Set from elsewhere to end a run early: cells in flight are dropped, those stored stay.
    pub cancel: Arc<AtomicBool>,
}

impl RunOptions {
    /// All cores of the machine on the CPU; one worker on a GPU.
    pub fn on(device: Device) -> Self {
        let workers = if device == Device::Cpu {
            std::thread::available_parallelism().map_or(1, usize::from)
        } else {
            1
        };
        Self { device, workers, isolation: None, cancel: Arc::default() }
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// Which cells are computed in processes of their own, and how such a process is started.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// All cells; otherwise those in which code of a plugin library runs.
    pub everything: bool,
    /// The program, which must come to [`serve`](crate::engine::serve()).
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Isolation {
    /// By this same program, called with `arguments`. It need not stand any more where it stood
    /// when it was started.
    pub fn by_this_program(
        everything: bool,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Self {
        Self {
            everything,
            program: PathBuf::from("/proc/self/exe"),
            arguments: arguments.into_iter().collect(),
        }
    }
}

/// The kind of a device, as a plan wants it: `cpu` or `cuda`.
pub fn device_kind(device: Device) -> &'static str {
    match device {
        Device::Cuda(_) => "cuda",
        _ => "cpu",
    }
}

/// Told what goes on. Calls come from several threads.
pub trait Progress: Sync {
    /// A phase begins: its name, and the cells and images (once per cell) that it has to do.
    fn begin(&self, _phase: &str, _cells: usize, _cases: usize) {}
    /// A cell of the phase is done, or has failed.
    fn advance(&self, _cases: usize, _cell: &str) {}
    /// Something that a user should know now.
    fn warn(&self, _message: &str) {}
    /// The phase is over.
    fn end(&self) {}
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {}
