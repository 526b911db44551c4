//! Turns panics into errors.
//!
//! `tch` panics on every libtorch error, and plugins are other people's code. Therefore models,
//! attacks and metrics run inside [`catch`], so that a failure costs one cell of a study.

use anyhow::{Error, Result, anyhow};
use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// How many guards this thread is inside of.
    static GUARDED: Cell<u32> = const { Cell::new(0) };
}

/// How guarded work failed.
pub(crate) enum Caught {
    /// It returned an error, or threw one with [`throw`].
    Error(Error),
    /// It panicked. Holds the first line of the message.
    Panic(String),
}

/// The payload of the unwinding that [`throw`] starts.
struct Thrown(Error);

/// Runs `work`. A panic in it becomes an error that starts with `what`.
///
/// Panic messages are not printed while `work` runs: the caller reports the error.
pub fn catch<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    attempt(work).map_err(|caught| match caught {
        Caught::Error(error) => error,
        Caught::Panic(message) => anyhow!("{what} panicked: {message}"),
    })
}

/// Runs `work` like [`catch`], and tells errors from panics.
pub(crate) fn attempt<T>(work: impl FnOnce() -> Result<T>) -> Result<T, Caught> {
    silence_guarded_panics();
    GUARDED.set(GUARDED.get() + 1);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(GUARDED.get() - 1);
    match result {
        Ok(result) => result.map_err(Caught::Error),
        Err(payload) => Err(match payload.downcast::<Thrown>() {
            Ok(thrown) => Caught::Error(thrown.0),
            Err(payload) => Caught::Panic(message(payload.as_ref())),
        }),
    }
}

/// Takes an error out of a function that returns no `Result`: the innermost [`catch`] returns it.
///
/// # Panics
/// Outside of every [`catch`].
pub fn throw(error: Error) -> ! {
    assert!(GUARDED.get() > 0, "{error:#}");
    panic::resume_unwind(Box::new(Thrown(error)))
}

/// The first line of a panic's message. What follows in libtorch's is a stack trace.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a value that is not text");
    // tch wraps libtorch's message: `called … on an `Err` value: Torch("…\nException raised …")`.
    let text = text.split_once("Torch(\"").map_or(text, |(_, inner)| inner);
    let line = text.split("\\n").next().unwrap_or(text);
    line.lines().next().unwrap_or(line).trim_end_matches("\")").to_owned()
}

fn silence_guarded_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if GUARDED.get() == 0 {
                previous(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::{catch, throw};
    use tch::Tensor;

    #[test]
    fn a_torch_error_becomes_one_line() {
        let error = catch("attack `demo`", || {
            let _ = Tensor::from_slice(&[1f32, 2.]) + Tensor::from_slice(&[1f32, 2., 3.]);
            Ok(())
        })
        .unwrap_err()
        .to_string();
        assert!(error.starts_with("attack `demo` panicked: The size of tensor a (2)"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn a_plain_panic_keeps_its_words_and_success_its_value() {
        let error = catch::<()>("model `m`", || panic!("seven is {}", 7)).unwrap_err();
        assert_eq!(error.to_string(), "model `m` panicked: seven is 7");
        assert_eq!(catch("model `m`", || Ok(3)).unwrap(), 3);
    }

    #[test]
    fn a_thrown_error_comes_out_as_it_is() {
        let error = catch::<()>("model `m`", || throw(std::fmt::Error.into())).unwrap_err();
        assert!(error.is::<std::fmt::Error>());
    }
}
