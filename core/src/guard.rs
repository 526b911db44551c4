//! Turns panics into errors.
//!
//! `tch` panics on every libtorch error, and plugins are other people's code. Therefore models,
//! attacks and metrics run inside [`catch`], so that a failure costs one cell of a study.

use anyhow::{Error, Result, anyhow};
use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// How many guards this thread is inside of.
    static GUARDED: Cell<u32> = const { Cell::new(0) };
    /// Where the latest panic inside the innermost guard began.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether a panic ends the process, so that nobody can report it later.
static ABORTS: AtomicBool = AtomicBool::new(cfg!(panic = "abort"));

/// How guarded work failed.
pub(crate) enum Caught {
    /// It returned an error, or threw one with [`throw`].
    Error(Error),
    /// It panicked.
    Panic(Panic),
}

/// A panic. Its text is `at FILE:LINE: MESSAGE`, or the message alone where no place is known.
pub(crate) struct Panic {
    /// `FILE:LINE`.
    pub place: Option<String>,
    /// The first line of the message.
    pub message: String,
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.place.as_ref().map_or(Ok(()), |place| write!(f, "at {place}: "))?;
        f.write_str(&self.message)
    }
}

/// The payload of the unwinding that [`throw`] starts.
struct Thrown(Error);

/// Runs `work`. A panic in it becomes an error that starts with `what` and says where it began:
/// ``attack `x` panicked at src/lib.rs:12: …``.
///
/// Panic messages are not printed while `work` runs: the caller reports the error. Where a panic
/// ends the process they are.
pub fn catch<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    attempt(work).map_err(|caught| match caught {
        Caught::Error(error) => error,
        Caught::Panic(panic) => panicked(what, &panic.to_string()),
    })
}

/// Runs `work` like [`catch`], and tells errors from panics.
pub(crate) fn attempt<T>(work: impl FnOnce() -> Result<T>) -> Result<T, Caught> {
    watch_panics();
    // A guard may be entered while a panic unwinds, by a destructor.
    let outer = exchange_place(None);
    GUARDED.set(GUARDED.get() + 1);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(GUARDED.get() - 1);
    let place = exchange_place(outer);
    match result {
        Ok(result) => result.map_err(Caught::Error),
        Err(payload) => Err(match payload.downcast::<Thrown>() {
            Ok(thrown) => Caught::Error(thrown.0),
            Err(payload) => Caught::Panic(Panic { place, message: message(payload.as_ref()) }),
        }),
    }
}

/// The error of a panic in `what`, from the text of a [`Panic`].
pub(crate) fn panicked(what: &str, text: &str) -> Error {
    let place = text.strip_prefix("at ").and_then(|rest| rest.split_once(": "));
    let line = place.and_then(|(place, _)| place.rsplit_once(':'));
    let has_place = line.is_some_and(|(_, line)| line.parse::<u32>().is_ok());
    anyhow!("{what} panicked{} {text}", if has_place { "" } else { ":" })
}

/// Takes an error out of a function that returns no `Result`: the innermost [`catch`] returns it.
///
/// # Panics
/// Outside of every [`catch`].
pub fn throw(error: Error) -> ! {
    assert!(GUARDED.get() > 0, "{error:#}");
    panic::resume_unwind(Box::new(Thrown(error)))
}

/// Has every panic printed, since it ends the process: for a library that is built so.
#[doc(hidden)]
pub fn panics_abort() {
    ABORTS.store(true, Ordering::Relaxed);
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

/// Notes where panics inside of guards begin, and keeps them from being printed.
fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let guarded = GUARDED.get() > 0;
            if guarded {
                exchange_place(place(info));
            }
            if !guarded || ABORTS.load(Ordering::Relaxed) {
                previous(info);
            }
        }));
    });
}

/// Sets the place of the latest panic, and gives the one before.
fn exchange_place(new: Option<String>) -> Option<String> {
    // None while the thread ends, when its locals are gone.
    PLACE.try_with(|place| place.replace(new)).ok().flatten()
}

/// Where a panic began, as `FILE:LINE`. What libtorch refuses panics inside of tch, so the place is
/// that of tch's caller, if the code has line numbers.
fn place(info: &PanicHookInfo) -> Option<String> {
    let location = info.location()?;
    if is_tch(location.file()) {
        return caller_of_tch(&Backtrace::force_capture().to_string());
    }
    // A dependency's file is named from its package on.
    let packages = location.file().split_once("/registry/src/");
    let file = packages.and_then(|(_, rest)| Some(rest.split_once('/')?.1));
    Some(format!("{}:{}", file.unwrap_or(location.file()), location.line()))
}

/// The place of the innermost frame that called tch, from outside of the dependencies. Frames stand
/// in a backtrace from the inside out, with lines `at FILE:LINE:COLUMN`.
fn caller_of_tch(backtrace: &str) -> Option<String> {
    let places = backtrace.lines().filter_map(|line| line.trim_start().strip_prefix("at "));
    let dependencies = ["/registry/src/", "/git/checkouts/", "/rustc/", "/rustlib/src/"];
    let is_own =
        |place: &&str| !is_tch(place) && !dependencies.iter().any(|folder| place.contains(folder));
    let place = places.skip_while(|place| !is_tch(place)).find(is_own)?;
    let (place, _column) = place.rsplit_once(':')?;
    Some(place.strip_prefix("./").unwrap_or(place).to_owned())
}

fn is_tch(file: &str) -> bool {
    file.contains("/tch") && file.contains("/src/wrappers/")
}

#[cfg(test)]
mod tests {
    use super::{caller_of_tch, catch, panicked, throw};
    use tch::Tensor;

    /// The text of the error of guarded work that begins on this line of this file.
    fn said(line: u32, begin: &str, end: &str) -> String {
        format!("{begin} at {}:{line}: {end}", file!())
    }

    #[test]
    fn a_torch_error_becomes_one_line_with_the_place_that_called_libtorch() {
        let error = catch("attack `demo`", || {
            let _ = Tensor::from_slice(&[1f32, 2.]) + Tensor::from_slice(&[1f32, 2., 3.]);
            Ok(())
        })
        .unwrap_err()
        .to_string();
        // The path is relative to the folder that the test runs in.
        let expected = format!("guard.rs:{}: The size of tensor a (2) must match", line!() - 6);
        assert!(error.starts_with("attack `demo` panicked at "), "{error}");
        assert!(error.contains(&expected), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn the_caller_of_tch_is_the_first_place_outside_of_dependencies() {
        let backtrace = "\
   0: gauntlet_core::guard::place
             at ./core/src/guard.rs:1:1
   1: core::panicking::panic_fmt
             at /rustc/0a/library/core/src/panicking.rs:80:14
   2: tch::wrappers::tensor_generated::<impl tch::Tensor>::matmul
             at /home/me/.cargo/registry/src/index-1/tch-0.24.0/src/wrappers/tensor.rs:9:1
   3: core::ops::function::FnOnce::call_once
             at /rustc/0a/library/core/src/ops/function.rs:250:5
   4: my_attack::MiFgsm::adversarials
             at ./src/lib.rs:12:30
   5: my_attack::main
             at ./src/main.rs:3:1
";
        assert_eq!(caller_of_tch(backtrace).as_deref(), Some("src/lib.rs:12"));
        let without_lines = "   0: tch::Tensor::matmul\n   1: my_attack::MiFgsm::adversarials\n";
        assert_eq!(caller_of_tch(without_lines), None);
    }

    #[test]
    fn a_plain_panic_keeps_its_words_and_success_its_value() {
        let error = catch::<()>("model `m`", || panic!("seven is {}", 7)).unwrap_err();
        assert_eq!(error.to_string(), said(line!() - 1, "model `m` panicked", "seven is 7"));
        assert_eq!(catch("model `m`", || Ok(3)).unwrap(), 3);
    }

    #[test]
    fn a_guard_inside_of_a_panic_leaves_the_panic_its_place() {
        struct Guarded;

        impl Drop for Guarded {
            fn drop(&mut self) {
                let inner = catch::<()>("inner", || panic!("dropped")).unwrap_err().to_string();
                assert!(inner.ends_with(": dropped"), "{inner}");
            }
        }

        let error = catch::<()>("outer", || {
            let _guarded = Guarded;
            panic!("outer words")
        });
        let expected = said(line!() - 2, "outer panicked", "outer words");
        assert_eq!(error.unwrap_err().to_string(), expected);
        // A payload that is thrown on without a panic has no place, whatever panicked before.
        let error = catch::<()>("late", || std::panic::resume_unwind(Box::new("late words")));
        assert_eq!(error.unwrap_err().to_string(), "late panicked: late words");
    }

    #[test]
    fn a_message_that_only_looks_like_a_place_is_none() {
        for (text, expected) in [
            ("at src/lib.rs:12: seven", "x panicked at src/lib.rs:12: seven"),
            ("at least: one", "x panicked: at least: one"),
            ("seven", "x panicked: seven"),
        ] {
            assert_eq!(panicked("x", text).to_string(), expected);
        }
    }

    #[test]
    fn a_thrown_error_comes_out_as_it_is() {
        let error = catch::<()>("model `m`", || throw(std::fmt::Error.into())).unwrap_err();
        assert!(error.is::<std::fmt::Error>());
    }
}
