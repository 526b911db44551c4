//! Plugin libraries on the command line: which are loaded, which are refused and with what message,
//! and that a library that misbehaves costs its own cells only.

mod loading;
mod locks;
mod misbehaviour;
mod processes;
mod refusals;
mod rehearsals;
mod studies;

use gauntlet_core::plugin::Library;
use gauntlet_tests::libraries::library;
use gauntlet_tests::processes::ended;
use gauntlet_tests::toys;
use gauntlet_unruly as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const STUDY: &str = r#"name = "toys"
metrics = ["largest"]
[data]
folder = "images"
[[models]]
name = "toy_8"
[[models]]
name = "toy_12"
[[attacks]]
name = "step"
[transfer]
policy = "crop_or_pad"
"#;

/// A folder with a study, its images, and an empty folder `plugins`.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    for folder in ["images", "plugins"] {
        fs::create_dir(place.path().join(folder)).unwrap();
    }
    toys::save_pictures(12, &place.path().join("images"));
    fs::write(place.path().join("study.toml"), STUDY).unwrap();
    place
}

/// Copies a library into the folder `plugins`.
fn install(place: &Path, name: &str) -> PathBuf {
    let path = place.join(format!("plugins/libgauntlet_{name}.so"));
    fs::copy(library(name), &path).unwrap();
    path
}

fn command(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toy-runner"));
    command.current_dir(place).env_remove("GAUNTLET_PLUGINS").args(arguments);
    command
}

/// Runs a command; gives exit code, standard output and standard error.
fn session(mut command: Command) -> (i32, String, String) {
    ended(command.output().unwrap())
}

/// Standard output of a session that succeeds.
fn said(place: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = session(command(place, arguments));
    assert_eq!(code, 0, "{err}");
    out
}

/// The message of a session that fails before any work.
fn refusal(place: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = session(command(place, arguments));
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    err
}

fn hash(path: &Path) -> String {
    Library::read(path).unwrap().hash
}

/// The study with more attacks before its own.
fn with_attacks(more: &str) -> String {
    STUDY.replacen("[[attacks]]", &format!("{more}\n[[attacks]]"), 1)
}
