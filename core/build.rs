//! Lets this package's executables find libtorch without `LD_LIBRARY_PATH`, and gives the code the
//! target and the compiler that it is built with. Every package of the workspace that links
//! libtorch uses this file.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    let rustc =
        Command::new(env::var_os("RUSTC").expect("cargo sets it")).arg("--version").output();
    let rustc = rustc.map_or_else(
        |_| "rustc".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    println!("cargo::rustc-env=GAUNTLET_RUSTC={rustc}");
    println!("cargo::rustc-env=GAUNTLET_TARGET={}", env::var("TARGET").expect("cargo sets it"));

    // cargo-fuzz sets `fuzzing` itself. `make check` compiles the fuzz targets without it.
    println!("cargo::rerun-if-env-changed=GAUNTLET_FUZZING");
    if env::var_os("GAUNTLET_FUZZING").is_some() {
        println!("cargo::rustc-cfg=fuzzing");
    }

    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = env::var_os("LIBTORCH") else { return };
    let lib = Path::new(&libtorch).join("lib");
    println!("cargo::rerun-if-changed={}", lib.display());
    if !lib.is_dir() {
        println!("cargo::error=there is no libtorch at {}: run `make setup` once", lib.display());
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
