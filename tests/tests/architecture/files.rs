//! The project's files: those that Git tracks, or all where there is no Git.

use crate::Tree;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// Folders that builds and runs fill.
const MADE: [&str; 4] = [".git", ".libtorch", "results", "target"];

/// Reads every file that is a text.
pub fn read() -> io::Result<Tree> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the project");
    let mut names = Vec::new();
    match tracked(root) {
        Some(list) => names = list,
        None => walk(root, "", &mut names)?,
    }
    let mut tree = Tree::new();
    for name in names {
        match fs::read(root.join(&name)).map(String::from_utf8) {
            Ok(Ok(text)) => {
                tree.insert(name, text);
            }
            // Images and weights, or what was removed and not yet committed.
            Ok(Err(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(tree)
}

fn tracked(root: &Path) -> Option<Vec<String>> {
    if !root.join(".git").exists() {
        return None;
    }
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output().ok()?;
    let names = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(names.split_terminator('\0').map(String::from).collect())
}

fn walk(root: &Path, folder: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let kind = entry.file_type()?;
        if kind.is_dir() && !MADE.contains(&name.as_str()) {
            walk(root, &path, names)?;
        } else if kind.is_file() {
            names.push(path);
        }
    }
    Ok(())
}
