//! The program `runner`.

// The linker keeps a crate's registrations when somebody names the crate.
use gauntlet_plugins as _;
use std::process::ExitCode;

/// NVIDIA's libraries read it when they are first used; `0` keeps float32 float32 on a GPU.
const TF32: &str = "NVIDIA_TF32_OVERRIDE";

fn main() -> ExitCode {
    if std::env::var_os(TF32).is_none() {
        // SAFETY: the program's first statement: no other thread could read the environment.
        unsafe { std::env::set_var(TF32, "0") };
    }
    tch::set_num_interop_threads(1);
    gauntlet_runner::cli::main()
}
