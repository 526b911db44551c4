//! The kinds of faults.

mod cells;
mod kills;
mod limits;
mod places;
mod requests;

use crate::bed::Kind;
use crate::{Round, Scenario};
use anyhow::Result;
use std::time::Duration;

pub const SCENARIOS: &[Scenario] = &[
    Scenario::of_kills("kill-run", Kind::Threads, kills::run),
    Scenario::of_kills("kill-run-of-processes", Kind::Processes, kills::run),
    Scenario::of_kills("kill-worker", Kind::Processes, kills::worker),
    Scenario::of_kills("kill-run-with-plugin", Kind::Plugin, kills::run),
    Scenario::of_kills("kill-plugin-worker", Kind::Plugin, kills::worker),
    Scenario::of_kills("kill-at-temporary-file", Kind::Threads, kills::at_temporary_file),
    Scenario::of("two-runs", Kind::Threads, kills::two_runs),
    Scenario::of("two-runs-with-plugin", Kind::Plugin, kills::two_runs),
    Scenario::of("damaged-cells", Kind::Threads, cells::damaged),
    Scenario::of("obstacles", Kind::Threads, cells::obstacles),
    Scenario {
        obstacle: places::no_mounts,
        ..Scenario::of("full-disk", Kind::Plugin, places::full_disk)
    },
    Scenario {
        obstacle: places::no_mounts,
        ..Scenario::of("read-only", Kind::Threads, places::read_only)
    },
    Scenario::of("vanishing-folder", Kind::Processes, places::vanishing),
    Scenario::of("removed-folder", Kind::Threads, places::removed),
    Scenario::of("vanishing-plugin", Kind::Plugin, places::vanishing_plugin),
    Scenario {
        obstacle: limits::no_faketime,
        ..Scenario::of("clock-jumps", Kind::Plugin, limits::clock_jumps)
    },
    Scenario::of("times-of-files", Kind::Threads, limits::times_of_files),
    Scenario::of("memory-limit", Kind::Threads, limits::memory),
    Scenario {
        obstacle: limits::no_groups_for_memory,
        ..Scenario::of("memory-group", Kind::Plugin, limits::memory_group)
    },
    Scenario {
        obstacle: limits::no_groups_for_processes,
        ..Scenario::of("thread-limit", Kind::Threads, limits::threads)
    },
    Scenario {
        obstacle: limits::no_groups_for_processes,
        ..Scenario::of("thread-limit-with-plugin", Kind::Plugin, limits::threads)
    },
    Scenario::of("stop", Kind::Threads, requests::stop),
    Scenario::of("stop-with-plugin", Kind::Plugin, requests::stop),
    Scenario::of("closed-pipe", Kind::Plugin, requests::closed_pipe),
];

impl Scenario {
    const fn of_kills(
        name: &'static str,
        study: Kind,
        fault: fn(&mut Round) -> Result<()>,
    ) -> Self {
        Self { name, study, every: 1, obstacle: || None, fault }
    }

    const fn of(name: &'static str, study: Kind, fault: fn(&mut Round) -> Result<()>) -> Self {
        Self { every: 10, ..Self::of_kills(name, study, fault) }
    }
}

impl Round<'_> {
    /// A random instant of a run.
    fn instant(&mut self) -> Duration {
        self.bed.length.mul_f64(self.dice.unit())
    }
}
