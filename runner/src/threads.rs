//! Sharing work out among threads.

use anyhow::Result;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `work` for every number below `count`, on at most `workers` threads.
///
/// # Errors
/// The first error of the work. After it no further number is begun.
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

/// Runs the same `work` on `count` threads at once, but at least on one, and waits for all of them.
/// The work itself shares out what is to be done.
///
/// Where the system gives fewer threads it runs on those; where it gives none, on this one.
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
