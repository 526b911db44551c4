//! Stopping a command by a signal.

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// Lets the first SIGINT or SIGTERM set `cancel`; the second ends the program at once. The returned
/// number is that of the signal, 0 before there is one.
pub(super) fn stop_on_signal(cancel: &Arc<AtomicBool>) -> Result<Arc<AtomicUsize>> {
    let which = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, cancel.clone())?;
        flag::register_usize(signal, which.clone(), signal as usize)?;
        flag::register(signal, cancel.clone())?;
    }
    Ok(which)
}
