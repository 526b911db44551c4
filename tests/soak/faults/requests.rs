//! Users who stop a run or close its output.

use crate::Round;
use crate::run::{Run, command};
use anyhow::{Result, ensure};
use std::fs::File;
use std::io;
use std::process::Stdio;
use std::time::Duration;

/// Sends SIGTERM or SIGINT at a random instant, in some rounds twice.
pub fn stop(round: &mut Round) -> Result<()> {
    let (signal, code) = if round.number.is_multiple_of(2) { ("TERM", 143) } else { ("INT", 130) };
    let mut run = round.bed.start(&round.out.path)?;
    run.goes_on_after(round.instant())?;
    run.workers();
    round.out.look()?;
    run.signal(signal);
    let twice = round.dice.below(4) == 0;
    if twice {
        run.goes_on_after(Duration::from_millis(round.dice.below(20) as u64))?;
        run.signal(signal);
    }
    let ended = run.end()?;
    match ended.status.code() {
        Some(0) => round.note(format!("{signal}: it was writing tables, or at its end")),
        None if twice => round.note(format!("{signal} twice: ended at once")),
        None => {
            ensure!(!round.out.path.exists(), "{}, and says nothing: {}", ended.how(), ended.said);
            round.note(format!("{signal}: ended before its work began"));
        }
        Some(found) => {
            ensure!(found == code, "exit {found}, expected {code}: {}", ended.said);
            let last = ended.said.lines().last().unwrap_or_default();
            let said = last.starts_with(&format!("stopped by SIG{signal}: "))
                && last.ends_with("The same command goes on from there.");
            ensure!(said, "it does not say how to go on: {}", ended.said);
            round.note(format!("{signal}: exit {code}, and how to go on"));
        }
    }
    Ok(())
}

/// Closes the pipe of the output at once or later. The run goes on to its end.
pub fn closed_pipe(round: &mut Round) -> Result<()> {
    let (what, out, errors) =
        [("standard output", true, false), ("standard error", false, true), ("both", true, true)]
            [round.number % 3];
    let later = round.dice.below(2) == 0;
    let mut command = command(&[], &round.bed.arguments(&round.out.path), round.bed.place())?;
    let log = round.bed.place().join("stderr");
    let (reader, writer) = io::pipe()?;
    command.stdout(if out { writer.try_clone()?.into() } else { Stdio::null() });
    command.stderr(if errors { Stdio::from(writer) } else { File::create(&log)?.into() });
    let mut run = Run::spawn(command, (!errors).then_some(log))?;
    if later {
        run.goes_on_after(round.instant())?;
    }
    drop(reader);
    run.end()?.expect(&[0])?;
    ensure!(round.out.path.join("report.html").is_file(), "the run did not come to its end");
    round.note(format!("{what} closed {}", if later { "at some instant" } else { "at once" }));
    Ok(())
}
