//! The plugin libraries that cargo built beside the tests.

use std::path::PathBuf;

/// The library of a crate that the tests depend on: `sample` or `unruly`.
pub fn library(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("a test has a file");
    let path = tests.with_file_name(format!("libgauntlet_{name}.so"));
    assert!(path.is_file(), "{} is not there", path.display());
    path
}
