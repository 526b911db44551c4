//! The command line with the toys instead of the built-ins.

use gauntlet_tests::toys;
use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    gauntlet_runner::cli::run(std::env::args_os(), toys::registry(), &mut io::stdout())
}
