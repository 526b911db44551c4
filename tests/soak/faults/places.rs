//! Folders that are full, read-only, or gone.

use crate::Round;
use crate::run::Ended;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A tmpfs that is unmounted in the end.
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

/// Why nothing can be mounted here.
pub fn no_mounts() -> Option<String> {
    let tried = || -> Result<()> {
        let place = tempfile::tempdir()?;
        Mount::new(place.path(), "size=64k").map(drop)
    };
    tried().err().map(|error| format!("{error:#} (it takes root)"))
}

/// The results' folder is on a disk that gets full; then the disk grows.
pub fn full_disk(round: &mut Round) -> Result<()> {
    let at = round.out.path.clone();
    let size = 4 + round.dice.below(2500);
    let mount = Mount::new(&at, &format!("size={size}k"))?;
    let ended = round.bed.run(&at)?;
    told(round, &ended, "No space left on device", "there was room enough")?;
    ensure!(mount.change("size=1g")?, "the disk cannot be made larger");
    finish_here(round)
}

/// The results' folder becomes read-only at a random instant, or is so from the start.
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
        round.note("read-only from the start: told");
    } else {
        let instant = round.instant();
        let mut run = round.bed.start(&at)?;
        run.goes_on_after(instant)?;
        let start = Instant::now();
        // Not while a file is open for writing.
        while !mount.change("ro")? && start.elapsed() < Duration::from_secs(20) {
            sleep(Duration::from_millis(1));
        }
        let ended = run.end()?;
        told(round, &ended, "Read-only file system", "was at its end before")?;
    }
    ensure!(mount.change("rw")?, "it cannot be made writable");
    finish_here(round)
}

/// The results' folder is moved away at a random instant, and comes back.
pub fn vanishing(round: &mut Round) -> Result<()> {
    let (at, away) = (round.out.path.clone(), round.out.path.with_extension("away"));
    let mut run = round.bed.start(&at)?;
    run.goes_on_after(round.instant())?;
    if !at.exists() {
        round.note("was not yet there");
        return run.end()?.expect(&[0]);
    }
    fs::rename(&at, &away)?;
    let ended = run.end()?;
    told(round, &ended, "No such file or directory", "was at its end before")?;
    // A process that was just being started may have made it anew.
    let _ = fs::remove_dir_all(&at);
    fs::rename(&away, &at)?;
    Ok(())
}

/// The results' folder is removed at a random instant.
pub fn removed(round: &mut Round) -> Result<()> {
    let at = round.out.path.clone();
    let mut run = round.bed.start(&at)?;
    run.goes_on_after(round.instant())?;
    let gone = fs::remove_dir_all(&at);
    let ended = run.end()?;
    match gone {
        Ok(()) => told(round, &ended, "No such file or directory", "was at its end before")?,
        // The run was quicker in one of the folders.
        Err(_) => round.note(format!("removed in part: {}", ended.how())),
    }
    // Rows may have lost their pixels, and are computed again.
    round.bed.run(&at)?.expect(&[0])?;
    round.out.forget();
    Ok(())
}

/// The plugin's file is moved away at a random instant, and comes back.
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
    round.note(if ended.status.success() { "was loaded before" } else { "told" });
    Ok(())
}

/// The fault came in time and was told, or not in time.
fn told(round: &mut Round, ended: &Ended, what: &str, otherwise: &str) -> Result<()> {
    ended.expect(&[0, 1, 2])?;
    if ended.status.success() {
        round.note(otherwise);
    } else {
        ensure!(ended.said.contains(what), "`{what}` is expected: {}", ended.said);
        round.note(format!("told, {}", ended.how()));
    }
    Ok(())
}

/// Finishes before the disk goes, and leaves the results where it was.
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
