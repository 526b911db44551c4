//! Turns panics into errors.
//!
//! `tch` panics on every libtorch error, and plugins are other people's code: whatever runs a
//! model, an attack or a metric runs it through [`catch`], so that a failure costs one cell.

use anyhow::{Result, anyhow};
use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<u32> = const { Cell::new(0) };
}

/// Runs `work`; a panic in it comes back as an error that starts with `what`.
///
/// While `work` runs, the panic message is not printed: the caller reports the error.
pub fn catch<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    silence_guarded_panics();
    GUARDED.set(GUARDED.get() + 1);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(GUARDED.get() - 1);
    match result {
        Ok(result) => result,
        Err(payload) => Err(anyhow!("{what} panicked: {}", message(payload.as_ref()))),
    }
}

/// The first line of a panic's message, without libtorch's stack trace.
fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a value that is not text");
    // tch wraps what libtorch said: `called … on an `Err` value: Torch("…\nException raised …")`.
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
    use super::catch;
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
}
