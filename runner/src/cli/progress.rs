//! How far a run is: a bar on a terminal, a line now and then elsewhere. Without colour.

use super::counted;
use crate::execute::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two lines where there is no terminal.
const QUIET: Duration = Duration::from_secs(30);

pub(super) struct Terminal {
    state: Mutex<State>,
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
        let state = State { bar: ProgressBar::hidden(), phase: String::new(), done: 0, cases: 0, begun: now, told: now };
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
        *state = State { bar: ProgressBar::hidden(), phase: phase.to_owned(), done: 0, cases, begun: now, told: now };
        if self.attended {
            let style = ProgressStyle::with_template("{prefix} [{bar:24}] {pos}/{len} images, {per_sec}, {eta} left  {wide_msg}")
                .expect("the template is valid")
                .progress_chars("=> ");
            state.bar = ProgressBar::new(cases as u64).with_style(style).with_prefix(phase.to_owned());
            state.bar.enable_steady_tick(Duration::from_millis(500));
        } else {
            self.say(&state, &format!("{phase}: {}, {}", counted(cells, "cell"), counted(cases, "image")));
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
            self.say(&state, &format!("{}: {}/{} images, {rate:.1} per second, {left:.0} s left", state.phase, state.done, state.cases));
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
