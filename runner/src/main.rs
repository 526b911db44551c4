//! The program `runner`.

// The linker keeps the registrations of a crate only when the program names the crate.
#[cfg(feature = "modern")]
use gauntlet_modern as _;
use gauntlet_plugins as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    tch::set_num_interop_threads(1);
    gauntlet_runner::cli::main()
}
