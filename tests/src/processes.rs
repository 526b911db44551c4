//! Programs that are run, and the system's processes.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Exit code, standard output and standard error of a program.
///
/// # Panics
/// When a signal has ended the program, or its output is no UTF-8.
pub fn ended(output: Output) -> (i32, String, String) {
    let code = output.status.code().unwrap_or_else(|| panic!("{}", output.status));
    let text = |bytes| String::from_utf8(bytes).expect("programs write UTF-8");
    (code, text(output.stdout), text(output.stderr))
}

/// The processes that a process has started and not yet waited for.
pub fn children(of: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>()
        })
        .collect()
}

/// Whether a process exists and is no zombie.
pub fn alive(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
}

/// Sends a signal, such as `KILL`, to a process. Says whether the process was there.
///
/// # Panics
/// When the program `kill` cannot be started.
pub fn send(signal: &str, process: u32) -> bool {
    Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(process.to_string())
        .stderr(Stdio::null())
        .status()
        .expect("there is a program `kill`")
        .success()
}

/// Waits until something is so.
///
/// # Panics
/// When it is not so after ten minutes, on however busy a machine.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_mins(10), "{what}");
        sleep(Duration::from_millis(10));
    }
}
