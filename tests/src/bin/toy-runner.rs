//! The command line with the toys instead of the built-ins.

use gauntlet_tests::toys;
use std::process::ExitCode;

fn main() -> ExitCode {
    gauntlet_runner::cli::main_with(toys::registry())
}
