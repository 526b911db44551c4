//! How far a run or a download has come: a bar on a terminal, a line every half minute elsewhere.
//! Without colour.

use crate::cli::text::counted;
use crate::engine::Progress;
use crate::weights::DownloadProgress;
use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Time between two lines where there is no terminal.
const QUIET: Duration = Duration::from_secs(30);

/// How far a run has come.
pub(super) struct Terminal {
    state: Mutex<State>,
    /// Whether standard error is a terminal.
    attended: bool,
}

struct State {
    bar: ProgressBar,
    phase: String,
    done: usize,
    cases: usize,
    begun: Instant,
    told: Instant,
}

impl Terminal {
    pub fn new() -> Self {
        let now = Instant::now();
        let state = State {
            bar: ProgressBar::hidden(),
            phase: String::new(),
            done: 0,
            cases: 0,
            begun: now,
            told: now,
        };
        Self { state: Mutex::new(state), attended: io::stderr().is_terminal() }
    }

    fn say(&self, state: &State, line: &str) {
        if self.attended {
            state.bar.suspend(|| drop(writeln!(io::stderr(), "{line}")));
        } else {
            let _ = writeln!(io::stderr(), "{line}");
        }
    }
}

impl Progress for Terminal {
    fn begin(&self, phase: &str, cells: usize, cases: usize) {
        let mut state = self.state.lock().expect("nobody panics with the lock");
        let now = Instant::now();
        *state = State {
            bar: ProgressBar::hidden(),
            phase: phase.to_owned(),
            done: 0,
            cases,
            begun: now,
            told: now,
        };
        if self.attended {
            let style = ProgressStyle::with_template(
                "{prefix} [{bar:24}] {pos}/{len} images, {per_sec}, {eta} left  {wide_msg}",
            )
            .expect("the template is valid")
            .progress_chars("=> ");
            state.bar =
                ProgressBar::new(cases as u64).with_style(style).with_prefix(phase.to_owned());
            state.bar.enable_steady_tick(Duration::from_millis(500));
        } else {
            self.say(
                &state,
                &format!("{phase}: {}, {}", counted(cells, "cell"), counted(cases, "image")),
            );
        }
    }

    fn advance(&self, cases: usize, cell: &str) {
        let mut state = self.state.lock().expect("nobody panics with the lock");
        state.done += cases;
        if self.attended {
            state.bar.set_message(cell.to_owned());
            state.bar.inc(cases as u64);
        } else if state.told.elapsed() >= QUIET {
            state.told = Instant::now();
            let rate = state.done as f64 / state.begun.elapsed().as_secs_f64();
            let left = (state.cases - state.done) as f64 / rate;
            self.say(
                &state,
                &format!(
                    "{}: {}/{} images, {rate:.1} per second, {left:.0} s left",
                    state.phase, state.done, state.cases
                ),
            );
        }
    }

    fn warn(&self, message: &str) {
        let state = self.state.lock().expect("nobody panics with the lock");
        self.say(&state, &format!("warning: {message}"));
    }

    fn end(&self) {
        self.state.lock().expect("nobody panics with the lock").bar.finish_and_clear();
    }
}

/// How far a download has come.
pub(super) struct Transfer {
    state: Mutex<Bytes>,
    /// Whether standard error is a terminal.
    attended: bool,
}

struct Bytes {
    bar: ProgressBar,
    begun: Instant,
    told: Instant,
    /// Bytes that were there at the beginning.
    before: u64,
}

impl Transfer {
    pub fn new() -> Self {
        let now = Instant::now();
        let state = Bytes { bar: ProgressBar::hidden(), begun: now, told: now, before: 0 };
        Self { state: Mutex::new(state), attended: io::stderr().is_terminal() }
    }

    fn state(&self) -> MutexGuard<'_, Bytes> {
        self.state.lock().expect("nobody panics with the lock")
    }
}

impl DownloadProgress for Transfer {
    fn begin(&self, what: &str, total: u64, done: u64) {
        let mut state = self.state();
        let style = ProgressStyle::with_template(
            "[{bar:24}] {decimal_bytes}/{decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} \
             left  {wide_msg}",
        )
        .expect("the template is valid")
        .progress_chars("=> ");
        let now = Instant::now();
        let bar = if self.attended {
            ProgressBar::new(total)
        } else {
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden())
        };
        *state = Bytes {
            bar: bar.with_style(style).with_message(what.to_owned()).with_position(done),
            begun: now,
            told: now,
            before: done,
        };
        state.bar.reset_eta();
        if self.attended {
            state.bar.enable_steady_tick(Duration::from_millis(500));
        } else {
            let _ =
                writeln!(io::stderr(), "{what}: {} of {}", DecimalBytes(done), DecimalBytes(total));
        }
    }

    fn advance(&self, bytes: u64) {
        let mut state = self.state();
        state.bar.inc(bytes);
        if !self.attended && state.told.elapsed() >= QUIET {
            state.told = Instant::now();
            let (done, total) = (state.bar.position(), state.bar.length().unwrap_or_default());
            let rate = (done - state.before) as f64 / state.begun.elapsed().as_secs_f64();
            let left = total.saturating_sub(done) as f64 / rate;
            let _ = writeln!(
                io::stderr(),
                "{} of {}, {} per second, {left:.0} s left",
                DecimalBytes(done),
                DecimalBytes(total),
                DecimalBytes(rate as u64)
            );
        }
    }

    fn warn(&self, message: &str) {
        self.state().bar.suspend(|| drop(writeln!(io::stderr(), "warning: {message}")));
    }

    fn end(&self) {
        self.state().bar.finish_and_clear();
    }
}
