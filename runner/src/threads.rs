//! Work shared out among threads.

use anyhow::Result;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `work` for 0..count on some threads, until it is done or the first error.
pub(crate) fn in_parallel(
    workers: usize,
    count: usize,
    work: impl Fn(usize) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    crowd(workers.min(count), || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= count {
                break;
            }
            if let Err(error) = work(n) {
                next.store(count, Ordering::Relaxed);
                failed.lock().expect("nobody panics with the lock").get_or_insert(error);
            }
        }
    });
    failed.into_inner().expect("nobody panics with the lock").map_or(Ok(()), Err)
}

/// Runs the same `work` on so many threads at a time, at least on one: on fewer where the system
/// has no more, and in the last resort on this one. The threads share out among themselves what is
/// to be done.
pub(crate) fn crowd(count: usize, work: impl Fn() + Sync) {
    std::thread::scope(|scope| {
        let begun = (0..count.max(1))
            .take_while(|_| std::thread::Builder::new().spawn_scoped(scope, &work).is_ok())
            .count();
        if begun == 0 {
            work();
        }
    });
}
