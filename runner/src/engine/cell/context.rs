//! What a cell is computed under: seed, device, lanes, deadline.

use crate::data::Picture;
use crate::study::Study;
use anyhow::Result;
use gauntlet_core::device::{self, Device};
use gauntlet_core::guard;
use gauntlet_core::oracle::{Oracle, Settings};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What a cell is computed under.
#[derive(Clone, Copy)]
pub(super) struct CellContext<'a> {
    pub study: &'a Study,
    pub device: Device,
    /// Lanes per batch: the size of a slice.
    pub lanes: usize,
    /// When the cell is to be given up.
    pub deadline: Option<Instant>,
    /// Set when all are.
    pub cancel: &'a Arc<AtomicBool>,
}

impl CellContext<'_> {
    /// What an attack or a score works under.
    pub fn settings(self) -> Settings {
        Settings {
            lanes: self.lanes,
            seed: self.study.seed,
            deadline: self.deadline,
            cancel: self.cancel.clone(),
        }
    }

    /// Does what may panic, up to the end of a GPU's part in it.
    pub(super) fn see_through<T>(self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        guard::catch(what, || {
            let answer = work();
            device::wait(self.device);
            answer
        })
    }
}

/// The answer of an attack or a score, if the clock had no part in it.
pub(super) fn unhurried<T>(oracle: &Oracle, answer: Result<T>) -> Result<T> {
    oracle.stopped().map_or(answer, |stop| Err(stop.into()))
}

/// The number of a picture's random stream: the same in whatever company.
pub(super) fn stream(picture: &Picture) -> u64 {
    u64::from_str_radix(&picture.hash[..16], 16).expect("a hash is hexadecimal")
}
