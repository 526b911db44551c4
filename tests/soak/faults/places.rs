//! Folders that are full, read-only, or gone.

use crate::Round;
use crate::run::Ended;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A tmpfs that is unmounted when it is dropped.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(at: &'a Path, options: &str) -> Result<Self> {
        fs::create_dir_all(at)?;
        ensure!(mount(&["-t", "tmpfs", "-o", options, "soak"], at)?, "no tmpfs can be mounted");
        Ok(Self(at))
    }

    fn change(&self, options: &str) -> Result<bool> {
        mount(&["-o", &format!("remount,{options}")], self.0)
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn mount(options: &[&str], at: &Path) -> Result<bool> {
    Ok(Command::new("mount").args(options).arg(at).stderr(Stdio::null()).status()?.success())
}

/// The reason why nothing can be mounted here, if so.
pub fn no_mounts() -> Option<String> {
    let tried = || -> Result<()> {
        let place = tempfile::tempdir()?;
        Mount::new(place.path(), "size=64k").map(drop)
    };
    tried().err().map(|error| format!("{error:#} (mounting needs root)"))
}

/// Puts the results folder on a disk that gets full. Then the disk grows.
pub fn full_disk(round: &mut Round) -> Result<()> {
    let at = round.out.path.clone();
    let size = 4 + round.dice.below(2500);
    let mount = Mount::new(&at, &format!("size={size}k"))?;
    let ended = round.bed.run(&at)?;
    told(round, &ended, "No space left on device", "there was room enough")?;
    ensure!(mount.change("size=1g")?, "the disk cannot be made larger");
    finish_here(round)
}

/// Makes the results folder read-only at a random instant or from the start.
pub fn read_only(round: &mut Round) -> Result<()> {
    let at = round.out.path.clone();
    let mount = Mount::new(&at, "size=1g")?;
    if round.number.is_multiple_of(4) {
        ensure!(mount.change("ro")?, "it cannot be made read-only");
        let ended = round.bed.run(&at)?;
        ended.expect(&[2])?;
        ensure!(
            ended.said.contains("cannot be written to; choose another with `--out DIR`"),
            "{}",
            ended.said
        );
        round.note("read-only from the start: reported");
    } else {
        let instant = round.instant();
        let mut run = round.bed.start(&at)?;
        run.goes_on_after(instant)?;
        let start = Instant::now();
        // The system refuses while a file is open for writing.
        while !mount.change("ro")? && start.elapsed() < Duration::from_secs(20) {
            sleep(Duration::from_millis(1));
        }
        let ended = run.end()?;
        told(round, &ended, "Read-only file system", "had ended before")?;
    }
    ensure!(mount.change("rw")?, "it cannot be made writable");
    finish_here(round)
}

/// Moves the results folder away at a random instant and back again.
pub fn vanishing(round: &mut Round) -> Result<()> {
    let (at, away) = (round.out.path.clone(), round.out.path.with_extension("away"));
    let mut run = round.bed.start(&at)?;
    run.goes_on_after(round.instant())?;
    if !at.exists() {
        round.note("the folder was not there yet");
        return run.end()?.expect(&[0]);
    }
    fs::rename(&at, &away)?;
    let ended = run.end()?;
    told(round, &ended, "No such file or directory", "had ended before")?;
    // A process that was just starting may have made the folder again.
    let _ = fs::remove_dir_all(&at);
    fs::rename(&away, &at)?;
    Ok(())
}

/// Removes the results folder at a random instant.
pub fn removed(round: &mut Round) -> Result<()> {
    let at = round.out.path.clone();
    let mut run = round.bed.start(&at)?;
    run.goes_on_after(round.instant())?;
    let gone = fs::remove_dir_all(&at);
    let ended = run.end()?;
    match gone {
        Ok(()) => told(round, &ended, "No such file or directory", "had ended before")?,
        // The run wrote into a folder that was just emptied.
        Err(_) => round.note(format!("removed in part: {}", ended.how())),
    }
    // Rows that have lost their pixels are computed again.
    round.bed.run(&at)?.expect(&[0])?;
    round.out.forget();
    Ok(())
}

/// Moves the plugin's file away at a random instant and back again.
pub fn vanishing_plugin(round: &mut Round) -> Result<()> {
    let at = round.bed.place().join("plugins/libgauntlet_sample.so");
    let away = round.bed.place().join("away.so");
    let out = round.out.path.clone();
    let mut run = round.bed.start(&out)?;
    run.goes_on_after(round.instant())?;
    fs::rename(&at, &away)?;
    let ended = run.end();
    fs::rename(&away, &at)?;
    let ended = ended?;
    ended.expect(&[0, 2])?;
    ensure!(
        ended.status.success()
            || ended.said.contains("libgauntlet_sample.so")
            || ended.said.contains("bands"),
        "{}",
        ended.said
    );
    round.note(if ended.status.success() { "was loaded before" } else { "reported" });
    Ok(())
}

/// Checks that a run that the fault has stopped reports it, and notes which it was.
fn told(round: &mut Round, ended: &Ended, what: &str, otherwise: &str) -> Result<()> {
    ended.expect(&[0, 1, 2])?;
    if ended.status.success() {
        round.note(otherwise);
    } else {
        ensure!(ended.said.contains(what), "expected `{what}`: {}", ended.said);
        round.note(format!("reported, {}", ended.how()));
    }
    Ok(())
}

/// Finishes the study before the disk is unmounted, and keeps a copy of the results.
fn finish_here(round: &mut Round) -> Result<()> {
    let bed = round.bed;
    bed.finish(&mut round.out)?;
    let copy = round.out.path.with_extension("copy");
    let status = Command::new("cp").arg("-a").arg(&round.out.path).arg(&copy).status()?;
    ensure!(status.success(), "cp: {status}");
    round.out.path = copy;
    round.out.forget();
    round.out.path.parent().context("it is in a folder").map(drop)
}
