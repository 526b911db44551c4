//! Plugin libraries that cargo built beside the tests, and those that tests make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library of a crate that the tests depend on: `sample`, `unruly`, or an example such as
/// `plugin_attack`.
pub fn library(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("a test has a file");
    let places = [format!("libgauntlet_{name}.so"), format!("lib{name}.so")]
        .map(|file| tests.with_file_name(file));
    places
        .iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{} is not there", places[0].display()))
        .clone()
}

/// Copies a library into a folder, with every `from` in it replaced by `to`, a text of the same
/// length.
pub fn altered(name: &str, folder: &Path, from: &str, to: &str) -> PathBuf {
    assert_eq!(from.len(), to.len(), "the file keeps its layout");
    let mut bytes = fs::read(library(name)).expect("it was built");
    let places: Vec<usize> = bytes
        .windows(from.len())
        .enumerate()
        .filter(|(_, window)| *window == from.as_bytes())
        .map(|(at, _)| at)
        .collect();
    assert!(!places.is_empty(), "`{from}` is not in there");
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
    let path = folder.join(format!("libgauntlet_{name}.so"));
    fs::write(&path, bytes).expect("the folder can be written to");
    path
}

/// Compiles `plugins/c/rogue.cpp` into a folder, with `macros` defined.
pub fn rogue(folder: &Path, macros: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = folder.join("librogue.so");
    let mut compiler = Command::new(std::env::var_os("CXX").unwrap_or("c++".into()));
    compiler
        .args(["-std=c++17", "-Wall", "-Werror", "-fPIC", "-shared", "-I"])
        .arg(root.join("../core/include"));
    compiler.arg(format!("-DTARGET=\"{}\"", gauntlet_core::plugin::stamp::TARGET));
    compiler.arg(format!("-DLIBTORCH=\"{}\"", gauntlet_core::LIBTORCH));
    compiler
        .args(macros.iter().map(|text| format!("-D{text}")))
        .arg(root.join("plugins/c/rogue.cpp"))
        .arg("-o")
        .arg(&path);
    let output = compiler.output().expect("there is a C++ compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// Compiles `plugins/c/attacks.cpp` into a folder.
pub fn cpp_attacks(folder: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let libtorch = PathBuf::from(std::env::var_os("LIBTORCH").expect("cargo sets LIBTORCH"));
    let path = folder.join("libattacks.so");
    let mut compiler = Command::new(std::env::var_os("CXX").unwrap_or("c++".into()));
    compiler.args(["-std=c++17", "-Wall", "-Werror", "-fPIC", "-fvisibility=hidden", "-shared"]);
    compiler.arg("-isystem").arg(libtorch.join("include"));
    compiler.arg("-I").arg(root.join("../core/include"));
    compiler.arg(root.join("plugins/c/attacks.cpp")).arg("-o").arg(&path);
    compiler.arg("-L").arg(libtorch.join("lib")).args(["-ltorch_cpu", "-lc10"]);
    let output = compiler.output().expect("there is a C++ compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    path
}

/// The text with `_` in place of each number of a line of Rust: `lib.rs:12` becomes `lib.rs:_`.
pub fn without_lines(text: &str) -> String {
    let mut parts = text.split(".rs:");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain += ".rs:_";
        plain += part.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    plain
}
