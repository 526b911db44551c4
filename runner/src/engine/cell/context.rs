//! What a cell is computed under: the study's settings, the device, and when to stop.

use crate::data::Picture;
use crate::study::{Samples, Study};
use anyhow::Result;
use gauntlet_core::device::{self, Device};
use gauntlet_core::guard;
use gauntlet_core::oracle::{Draws, Oracle, Purpose, Settings};
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
    /// When the cell is given up.
    pub deadline: Option<Instant>,
    /// Set when the whole run is given up.
    pub cancel: &'a Arc<AtomicBool>,
    /// How the cell's model is asked if it answers at random; none if its answers repeat.
    pub samples: Option<Samples>,
}

impl CellContext<'_> {
    /// Settings of the oracle that an attack, a score or the probe is given.
    pub fn settings(self) -> Settings {
        Settings {
            lanes: self.lanes,
            seed: self.study.seed,
            deadline: self.deadline,
            cancel: self.cancel.clone(),
            draws: self
                .samples
                .map(|samples| Draws { count: samples.attack, purpose: Purpose::Attack }),
        }
    }

    /// Does work that may panic, and waits until a GPU has done its part. `what` begins the message
    /// of a panic.
    pub(super) fn see_through<T>(self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        guard::catch(what, || {
            let answer = work();
            device::wait(self.device);
            answer
        })
    }
}

/// The answer of an attack or a score; an error if the oracle was stopped, whatever the answer:
/// then it depends on the clock.
pub(super) fn unhurried<T>(oracle: &Oracle, answer: Result<T>) -> Result<T> {
    oracle.stopped().map_or(answer, |stop| Err(stop.into()))
}

/// The number of a picture's random stream. It follows from the picture alone, not from those
/// beside it.
pub(super) fn stream(picture: &Picture) -> u64 {
    u64::from_str_radix(&picture.hash[..16], 16).expect("a hash is hexadecimal")
}
