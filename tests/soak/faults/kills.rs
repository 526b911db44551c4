//! SIGKILL, and two runs in one folder.

use crate::Round;
use anyhow::{Result, ensure};
use gauntlet_tests::processes::send;
use gauntlet_tests::results::is_temporary;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// Kills the run at a random instant.
pub fn run(round: &mut Round) -> Result<()> {
    let mut run = round.bed.start(&round.out.path)?;
    if run.goes_on_after(round.instant())? {
        round.out.look()?;
        run.workers();
        run.signal("KILL");
        run.end()?;
        seen_after(round)
    } else {
        round.note("had ended before");
        run.end()?.expect(&[0])
    }
}

/// Notes what the kill hit.
fn seen_after(round: &mut Round) -> Result<()> {
    let phase = if round.out.path.join("accuracy.csv").exists() {
        "killed as it wrote tables and figures"
    } else if round.out.path.join("cells").exists() {
        "killed as it computed"
    } else {
        "killed before its folder was made"
    };
    round.note(phase);
    if round.out.temporary()? > 0 {
        round.note("left a temporary file");
    }
    round.out.look()
}

/// Kills a process that computes for the run at a random instant. The run goes on and loses at most
/// one cell.
pub fn worker(round: &mut Round) -> Result<()> {
    let mut run = round.bed.start(&round.out.path)?;
    let mut here = run.goes_on_after(round.instant())?;
    let mut workers = run.workers();
    while here && workers.is_empty() {
        here = run.goes_on_after(Duration::from_millis(5))?;
        workers = run.workers();
    }
    round.out.look()?;
    let Some(worker) = round.dice.one(&workers).copied() else {
        round.note("had ended before");
        return run.end()?.expect(&[0]);
    };
    send("KILL", worker);
    let ended = run.end()?;
    ended.expect(&[0, 1])?;
    if ended.status.success() {
        round.note("the worker was idle: no cell failed");
    } else {
        ensure!(ended.said.contains("died of SIGKILL"), "{}", ended.said);
        round.note("one cell failed, and the run came to its end");
    }
    ensure!(round.out.temporary()? == 0, "the run left what its worker was writing");
    Ok(())
}

/// Kills the run while a temporary file is there.
pub fn at_temporary_file(round: &mut Round) -> Result<()> {
    let mut run = round.bed.start(&round.out.path)?;
    let kinds = ["clean", "craft", "measure", "transfer", ".", "../figures"];
    let folder = round.out.path.join("cells").join(kinds[round.dice.below(kinds.len())]);
    // Up to five temporary files come and go before the kill.
    let mut left = round.dice.below(6);
    let mut last = None;
    while run.child.try_wait()?.is_none() {
        let mut files = fs::read_dir(&folder).into_iter().flatten().flatten();
        let now = files.find_map(|entry| Some(entry.path()).filter(|path| is_temporary(path)));
        if now.is_some() && now != last {
            last = now;
            if left == 0 {
                run.signal("KILL");
                run.end()?;
                return seen_after(round);
            }
            left -= 1;
        }
    }
    round.note("had ended before");
    run.end()?.expect(&[0])
}

/// Starts two runs in one folder. In every other round one of them is killed.
pub fn two_runs(round: &mut Round) -> Result<()> {
    let first = round.bed.start(&round.out.path)?;
    let delay = round.instant().mul_f64(0.5);
    sleep(delay);
    let mut second = round.bed.start(&round.out.path)?;
    if round.number % 2 == 1 && second.goes_on_after(round.instant())? {
        second.workers();
        second.signal("KILL");
        second.end()?;
        round.note("one was killed");
    } else {
        second.end()?.expect(&[0])?;
        round.note("both came to their end");
    }
    first.end()?.expect(&[0])
}
