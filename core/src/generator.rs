//! libtorch's own generator of random numbers, from which models with random layers draw. All
//! threads of a process share it.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Seeds the generator of every device and runs `work`, which draws from it. Threads that do so
/// wait for each other, so what `work` draws follows from the seed alone.
pub fn seeded<T>(seed: u64, work: impl FnOnce() -> T) -> T {
    let _guard = lock();
    tch::manual_seed(seed.cast_signed());
    work()
}

/// Keeps other threads from seeding the generator.
pub(crate) fn lock() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::seeded;
    use tch::{Device, Kind, Tensor};

    #[test]
    fn threads_that_draw_at_once_get_what_each_gets_alone() {
        let draw = |seed| {
            seeded(seed, || {
                let draws = || Tensor::randn([8], (Kind::Float, Device::Cpu));
                Vec::<f32>::try_from(Tensor::cat(&[draws(), draws(), draws()], 0)).unwrap()
            })
        };
        let alone: Vec<_> = (0..4).map(draw).collect();
        assert_ne!(alone[0], alone[1]);
        let together: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|seed| scope.spawn(move || (0..50).map(|_| draw(seed)).collect::<Vec<_>>()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (alone, together) in alone.iter().zip(&together) {
            assert!(together.iter().all(|drawn| drawn == alone));
        }
    }
}
