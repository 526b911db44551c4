//! Damaged files of cells.

use crate::Round;
use anyhow::{Context, Result, ensure};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Damages, truncates or exchanges files of rows or pixels in a finished study. The next run reports
/// them and computes their cells again. All other files stay.
pub fn damaged(round: &mut Round) -> Result<()> {
    let mut whole = copy(round)?;
    let count = 1 + round.dice.below(8);
    let mut hit: Vec<PathBuf> = Vec::new();
    for _ in 0..count {
        let file = round.dice.one(&whole).context("a study has cells")?.clone();
        let other = round.dice.one(&whole).context("a study has cells")?.clone();
        let way = damage(round, &file, &other)?;
        round.note(way);
        hit.push(file);
        whole.retain(|path| path.exists());
    }
    // Rows and pixels of the same key belong to one cell, and both are written again.
    let key = |path: &Path| {
        path.file_name().map(|name| name.to_string_lossy().chars().take(64).collect::<String>())
    };
    let keys: Vec<_> = hit.iter().map(|file| key(file)).collect();
    round.out.only(|file| !keys.contains(&key(file)))?;
    let ended = round.bed.run(&round.out.path)?;
    ended.expect(&[0])?;
    round.out.look()?;
    // Damage to a byte or to pixels that the run does not read goes unnoticed.
    if ended.said.contains("damaged and will be computed again") {
        round.note("reported, and computed again");
    }
    Ok(())
}

fn damage(round: &mut Round, file: &Path, other: &Path) -> Result<&'static str> {
    let bytes = fs::read(file)?;
    Ok(match round.dice.below(6) {
        0 => {
            let mut bytes = bytes;
            let at = round.dice.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << round.dice.below(8);
            }
            fs::write(file, bytes)?;
            "a bit flipped"
        }
        1 => {
            fs::write(file, &bytes[..round.dice.below(bytes.len())])?;
            "truncated"
        }
        2 => {
            fs::write(file, [])?;
            "emptied"
        }
        3 => {
            let garbage = round.dice.bytes(bytes.len());
            fs::write(file, garbage)?;
            "random bytes"
        }
        4 => {
            fs::copy(other, file)?;
            "another cell's file"
        }
        _ => {
            fs::remove_file(file)?;
            "removed"
        }
    })
}

/// Puts something that is no file in the place of a cell's file. The run either reports it or
/// replaces it.
pub fn obstacles(round: &mut Round) -> Result<()> {
    let whole = copy(round)?;
    let rows: Vec<_> = whole
        .into_iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "parquet"))
        .collect();
    let file = round.dice.one(&rows).context("a study has cells")?.clone();
    fs::remove_file(&file)?;
    let what = match round.number % 4 {
        0 => {
            fs::create_dir(&file)?;
            "a folder"
        }
        1 => {
            mknodat(CWD, &file, FileType::Fifo, Mode::from_raw_mode(0o644), 0)?;
            "a named pipe"
        }
        2 => {
            symlink("nowhere", &file)?;
            "a link to nothing"
        }
        _ => {
            symlink(file.file_name().context("a file has a name")?, &file)?;
            "a link to itself"
        }
    };
    let ended = round.bed.run(&round.out.path)?;
    ended.expect(&[0, 2])?;
    ensure!(
        ended.status.success() || ended.said.contains("a result cannot be stored"),
        "{}",
        ended.said
    );
    round.note(format!("{what}: {}", if ended.status.success() { "replaced" } else { "reported" }));
    if file.is_dir() {
        fs::remove_dir(&file)?;
    }
    round.out.forget();
    Ok(())
}

/// Copies the undisturbed results, and lists the cells' files.
fn copy(round: &mut Round) -> Result<Vec<PathBuf>> {
    let status =
        Command::new("cp").arg("-a").arg(round.bed.reference()).arg(&round.out.path).status()?;
    ensure!(status.success(), "cp: {status}");
    let mut found = Vec::new();
    for kind in fs::read_dir(round.out.path.join("cells"))? {
        for file in fs::read_dir(kind?.path())? {
            found.push(file?.path());
        }
    }
    found.sort();
    Ok(found)
}
