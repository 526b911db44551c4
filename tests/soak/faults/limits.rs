//! Clocks that jump, and memory and threads that run out.

use crate::Round;
use crate::run::{Ended, runner};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

const YEAR: Duration = Duration::from_hours(365 * 24);

/// The file of libfaketime, where Debian's package `faketime` installs it.
fn faketime() -> Option<PathBuf> {
    let folders = [
        "/usr/lib/x86_64-linux-gnu/faketime",
        "/usr/lib/aarch64-linux-gnu/faketime",
        "/usr/lib/faketime",
    ];
    folders
        .iter()
        .map(|folder| Path::new(folder).join("libfaketimeMT.so.1"))
        .find(|path| path.is_file())
}

pub fn no_faketime() -> Option<String> {
    let Some(library) = faketime() else {
        return Some("libfaketime is not installed (Debian: apt-get install faketime)".into());
    };
    let begins = || -> Result<Option<bool>> {
        let mut child = Command::new(runner()?)
            .arg("--version")
            .env("LD_PRELOAD", library)
            .stdout(Stdio::null())
            .spawn()?;
        sleep(Duration::from_secs(5));
        let ended = child.try_wait()?.map(|status| status.success());
        child.kill()?;
        child.wait()?;
        Ok(ended)
    };
    match begins() {
        Ok(Some(true)) => None,
        Ok(Some(false)) => Some("the program fails under libfaketime".into()),
        Ok(None) => Some(
            "a program with jemalloc never begins under libfaketime: run `cargo build -p \
             gauntlet-runner --no-default-features --features cli --target-dir target/plain`, and \
             set RUNNER to target/plain/debug/runner"
                .into(),
        ),
        Err(error) => Some(format!("{error:#}")),
    }
}

/// Makes the wall clock jump back and forth by hours to years, several times in a run. The monotonic
/// clock and the times of files stay correct.
pub fn clock_jumps(round: &mut Round) -> Result<()> {
    let clock = round.bed.place().join("clock");
    set(&clock, "+0")?;
    let library = faketime().context("it was there")?;
    let variables = [
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()),
        "FAKETIME_NO_CACHE=1".into(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
        "NO_FAKE_STAT=1".into(),
    ];
    let before: Vec<&str> =
        ["env"].into_iter().chain(variables.iter().map(String::as_str)).collect();
    let mut run = round.bed.start_under(&before, &round.out.path)?;
    let mut jumps = 0;
    while run.goes_on_after(round.bed.length.mul_f64(round.dice.between(0.02, 0.2)))? {
        let offset = ["-20y", "-1d", "-2h", "+2h", "+1d", "+20y"];
        set(&clock, round.dice.one(&offset).copied().unwrap_or("+0"))?;
        jumps += 1;
    }
    run.end()?.expect(&[0])?;
    round.note(if jumps > 0 {
        "the clock jumped, mostly several times"
    } else {
        "had ended before"
    });
    Ok(())
}

fn set(clock: &Path, offset: &str) -> Result<()> {
    let new = clock.with_extension("new");
    fs::write(&new, offset)?;
    Ok(fs::rename(new, clock)?)
}

/// After a kill, dates all files to the past or the future, temporary ones included.
pub fn times_of_files(round: &mut Round) -> Result<()> {
    super::kills::at_temporary_file(round)?;
    let past = round.number.is_multiple_of(2);
    let time = if past { SystemTime::now() - 30 * YEAR } else { SystemTime::now() + 30 * YEAR };
    let mut waiting = vec![round.out.path.clone()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(
                fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?,
            );
        } else {
            File::options().append(true).open(&path)?.set_modified(time)?;
        }
    }
    round.out.forget();
    round.note(if past { "thirty years ago" } else { "in thirty years" });
    Ok(())
}

/// Limits the address space to a size between one in which the program just loads and one that is
/// enough.
pub fn memory(round: &mut Round) -> Result<()> {
    let limit = format!("--as={}", (round.dice.between(0.40, 0.57) * 2f64.powi(30)) as u64);
    let ended = round.bed.start_under(&["prlimit", &limit], &round.out.path)?.end()?;
    ran_out(round, &ended)
}

/// Checks that a run that failed said something: the program, libtorch, the C library or the system
/// reports what ran out.
fn ran_out(round: &mut Round, ended: &Ended) -> Result<()> {
    ensure!(
        ended.status.success() || ended.status.code().is_none() || !ended.said.trim().is_empty(),
        "{} without a word",
        ended.how()
    );
    let how = ended.how();
    round.note(match ended.status.code() {
        Some(0) => "there was enough".to_owned(),
        Some(1) => "cells failed, exit 1".to_owned(),
        Some(2) => "reported, exit 2".to_owned(),
        _ => how,
    });
    if std::env::var_os("SAY").is_some() {
        println!("{}: {}", ended.how(), ended.said);
    }
    Ok(())
}

/// A control group of one round.
struct Group(PathBuf);

impl Group {
    /// A group with a limit. `limit` names its file in version 1, whose controllers have trees of
    /// their own, and in version 2.
    fn new(controller: &str, limit: (&str, &str), value: u64) -> Result<Self> {
        let (own, shared) =
            (Path::new("/sys/fs/cgroup").join(controller), Path::new("/sys/fs/cgroup"));
        let (root, file) = if own.is_dir() { (own.as_path(), limit.0) } else { (shared, limit.1) };
        let folder = root.join(format!("soak-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let group = Self(folder);
        fs::write(group.0.join(file), value.to_string())?;
        Ok(group)
    }

    fn of_processes(count: u64) -> Result<Self> {
        Self::new("pids", ("pids.max", "pids.max"), count)
    }

    fn of_memory(bytes: u64) -> Result<Self> {
        Self::new("memory", ("memory.limit_in_bytes", "memory.max"), bytes)
    }

    /// The words before a program that put it into the group.
    fn enter(&self) -> [String; 4] {
        let procs = self.0.join("cgroup.procs");
        [
            "sh".into(),
            "-c".into(),
            format!("echo $$ > {} && exec \"$@\"", procs.display()),
            "sh".into(),
        ]
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

pub fn no_groups_for_processes() -> Option<String> {
    Group::of_processes(9)
        .err()
        .map(|error| format!("no control group can limit processes: {error:#}"))
}

pub fn no_groups_for_memory() -> Option<String> {
    Group::of_memory(1 << 30)
        .err()
        .map(|error| format!("no control group can limit memory: {error:#}"))
}

/// Limits the memory of the run and its workers together. The system kills one of them.
pub fn memory_group(round: &mut Round) -> Result<()> {
    let group = Group::of_memory((round.dice.between(60.0, 500.0) * 2f64.powi(20)) as u64)?;
    let before = group.enter();
    let ended =
        round.bed.start_under(&before.each_ref().map(String::as_str), &round.out.path)?.end()?;
    ran_out(round, &ended)
}

/// Limits the number of processes and threads.
pub fn threads(round: &mut Round) -> Result<()> {
    let count = 1 + round.dice.below(14);
    let group = Group::of_processes(count as u64)?;
    let before = group.enter();
    let ended =
        round.bed.start_under(&before.each_ref().map(String::as_str), &round.out.path)?.end()?;
    ran_out(round, &ended)
}
