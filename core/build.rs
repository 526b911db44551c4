//! Lets this package's executables find libtorch without `LD_LIBRARY_PATH`.
//! Every package of the workspace that links one uses this same file.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let Some(libtorch) = std::env::var_os("LIBTORCH") else { return };
    let lib = Path::new(&libtorch).join("lib");
    println!("cargo::rerun-if-changed={}", lib.display());
    if !lib.is_dir() {
        println!("cargo::error=there is no libtorch at {}: run `make setup` once", lib.display());
    }
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", lib.display());
}
