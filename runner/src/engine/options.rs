//! The options of a run, and who is told of its progress.

use gauntlet_core::device::Device;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where to compute, how much at a time, and what to isolate.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The device that models are loaded on.
    pub device: Device,
    /// Number of cells that are computed at a time, each with a model of its own; at least 1.
    pub workers: usize,
    /// Which cells are computed in processes of their own. None: no cell is.
    pub isolation: Option<Isolation>,
    /// Ends a run early, once it is set from elsewhere. Cells that are being computed are dropped;
    /// those that are stored stay.
    pub cancel: Arc<AtomicBool>,
}

impl RunOptions {
    /// Options for a device: as many workers as the machine has cores on the CPU, one on a GPU.
    /// Nothing is isolated.
    pub fn on(device: Device) -> Self {
        let workers = if device == Device::Cpu {
            std::thread::available_parallelism().map_or(1, usize::from)
        } else {
            1
        };
        Self { device, workers, isolation: None, cancel: Arc::default() }
    }

    /// Whether the run is to end early.
    pub(crate) fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }
}

/// Which cells are computed in processes of their own, and how such a process is started.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// Whether all cells are isolated, or only those that run code of a plugin library.
    pub everything: bool,
    /// The program, which must call [`serve`](crate::engine::serve()).
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl Isolation {
    /// By this same program, called with `arguments`. Its file may have been moved or replaced
    /// since it was started.
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

/// The kind of a device, as [`Plan::new`](crate::engine::plan::Plan::new) takes it: `cpu` or
/// `cuda`.
pub fn device_kind(device: Device) -> &'static str {
    match device {
        Device::Cuda(_) => "cuda",
        _ => "cpu",
    }
}

/// Is told how a run goes. Calls come from several threads.
pub trait Progress: Sync {
    /// A phase begins. It has this many cells to compute, and this many images, counted once per
    /// cell.
    fn begin(&self, _phase: &str, _cells: usize, _cases: usize) {}
    /// A cell of the phase, with this many images, is done or has failed.
    fn advance(&self, _cases: usize, _cell: &str) {}
    /// Something that a user should know now.
    fn warn(&self, _message: &str) {}
    /// The phase has ended.
    fn end(&self) {}
}

/// Tells nobody.
pub struct Silent;

impl Progress for Silent {}
