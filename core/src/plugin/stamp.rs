//! The stamp: what a library says of itself in plain text, in a link section of its own, so that it
//! can be read from the file before any of its code runs.

use super::{VERSION, abi};
use crate::LIBTORCH;
use anyhow::{Context, Result, ensure};
use object::{Object, ObjectKind, ObjectSection};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Name of the link section.
pub const SECTION: &str = ".gauntlet";

/// The target triple that this crate was built for.
pub const TARGET: &str = env!("GAUNTLET_TARGET");

/// The compiler that built this crate.
const COMPILER: &str = env!("GAUNTLET_RUSTC");

/// Real sections have a few hundred bytes.
const MAX_SECTION: usize = 1 << 16;

/// What a stamp says, as TOML. Only `abi` means the same whatever its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Number of the interface, see [`abi::ABI`].
    pub abi: u32,
    /// The library that speaks it, such as `gauntlet-core 0.1.0`.
    #[serde(default)]
    pub with: String,
    /// Target triple.
    #[serde(default)]
    pub target: String,
    /// Version of libtorch.
    #[serde(default)]
    pub libtorch: String,
    /// The plugin's name; of a Rust plugin, its crate's.
    #[serde(default)]
    pub name: String,
    /// The plugin's version.
    #[serde(default)]
    pub version: String,
    /// What compiled it.
    #[serde(default)]
    pub compiler: String,
    /// What a panic does there: `unwind`, or `abort`, which ends the process.
    #[serde(default)]
    pub panic: String,
    /// Name of the entry function, an [`abi::Entry`].
    #[serde(default)]
    pub entry: String,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

/// The stamp of a Rust crate, in pieces; ends with a zero byte.
#[doc(hidden)]
pub const fn pieces<'a>(
    name: &'a str,
    version: &'a str,
    entry: &'a str,
    aborts: bool,
) -> [&'a str; 18] {
    const DIGIT: &str = {
        assert!(abi::ABI < 10, "written as one digit");
        match std::str::from_utf8(&[b'0' + abi::ABI as u8]) {
            Ok(digit) => digit,
            Err(_) => unreachable!(),
        }
    };
    let panic = if aborts { "\"\npanic = \"abort" } else { "\"\npanic = \"unwind" };
    [
        "abi = ",
        DIGIT,
        "\nwith = \"",
        VERSION,
        "\"\ntarget = \"",
        TARGET,
        "\"\nlibtorch = \"",
        LIBTORCH,
        "\"\nname = \"",
        name,
        "\"\nversion = \"",
        version,
        "\"\ncompiler = \"",
        COMPILER,
        panic,
        "\"\nentry = \"",
        entry,
        "\"\n\0",
    ]
}

/// Number of bytes in all pieces.
#[doc(hidden)]
pub const fn length(pieces: &[&str]) -> usize {
    let (mut length, mut piece) = (0, 0);
    while piece < pieces.len() {
        length += pieces[piece].len();
        piece += 1;
    }
    length
}

/// The bytes of all pieces.
#[doc(hidden)]
pub const fn join<const LENGTH: usize>(pieces: &[&str]) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    let (mut at, mut piece) = (0, 0);
    while piece < pieces.len() {
        let text = pieces[piece].as_bytes();
        let mut n = 0;
        while n < text.len() {
            bytes[at] = text[n];
            (at, n) = (at + 1, n + 1);
        }
        piece += 1;
    }
    bytes
}

/// A file that is no plugin; says what it is instead.
#[derive(Debug)]
pub struct NotAPlugin(String);

impl fmt::Display for NotAPlugin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAPlugin {}

/// Opens a file that may be a library, and reads no more of it than is needed to see that it is
/// none.
///
/// # Errors
/// [`NotAPlugin`] when it is none; otherwise when it cannot be read.
pub(super) fn open(path: &Path) -> Result<Vec<u8>> {
    let not = |what: &str| {
        NotAPlugin(format!(
            "{what}, so not a plugin; `cargo build --release` leaves one in `target/release`"
        ))
    };
    ensure!(fs::metadata(path)?.is_file(), not("not a file"));
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut bytes)?;
    ensure!(!bytes.is_empty(), not("an empty file"));
    ensure!(bytes == MAGIC, not("not a shared library (ELF)"));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How a shared library begins.
const MAGIC: &[u8] = b"\x7fELF";

/// The stamp in the bytes of a library. A library that holds other plugins too has several: `stem`,
/// its file's name without `lib` and ending, says which one it is.
///
/// # Errors
/// [`NotAPlugin`] when it is a program, or has no stamp; otherwise says what is wrong with it.
pub(super) fn read(bytes: &[u8], stem: &str) -> Result<Stamp> {
    let damaged = "the file is damaged or not whole; build or copy it again";
    let file = object::File::parse(bytes).context(damaged)?;
    // A program that links plugins in has their stamps too.
    if file.kind() != ObjectKind::Dynamic || file.section_by_name(".interp").is_some() {
        return Err(NotAPlugin("a program or an object file, so not a plugin".into()).into());
    }
    let Some(section) = file.section_by_name(SECTION) else {
        let remedy = "a plugin is made with `export_plugin!` and `crate-type = [\"cdylib\"]`, or \
                      with `GAUNTLET_PLUGIN` in C++";
        return Err(NotAPlugin(format!(
            "a shared library without the stamp of a plugin; {remedy}"
        ))
        .into());
    };
    let section = section.data().context(damaged)?;
    // So it is in a file of debugging symbols that were split off.
    if section.iter().all(|&byte| byte == 0) {
        return Err(NotAPlugin(
            "a library whose stamp is empty, as in a file of debugging symbols, so not a plugin"
                .into(),
        )
        .into());
    }
    ensure!(
        section.len() <= MAX_SECTION,
        "the stamp has {} bytes, expected {MAX_SECTION} at the most; build the plugin again",
        section.len()
    );
    let mut stamps = section
        .split(|&byte| byte == 0)
        .filter(|stamp| !stamp.is_empty())
        .map(|stamp| toml::from_str(std::str::from_utf8(stamp)?).context("not a stamp"))
        .collect::<Result<Vec<Stamp>>>()
        .context("the stamp cannot be read; build the plugin again")?;
    let same = |stamp: &Stamp| stamp.name.replace('-', "_") == stem.replace('-', "_");
    match stamps.iter().position(same) {
        Some(n) => Ok(stamps.swap_remove(n)),
        None if stamps.len() == 1 => Ok(stamps.remove(0)),
        None => {
            let names: Vec<String> =
                stamps.iter().map(|stamp| format!("`{}`", stamp.name)).collect();
            anyhow::bail!(
                "it holds {} plugins ({}); name the file after the one that is meant, \
                 `lib<name>.so`",
                names.len(),
                names.join(", ")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_a_stamp() {
        const PIECES: [&str; 18] = pieces("my-attack", "1.2.3", "gauntlet_plugin_my_attack", false);
        const BYTES: [u8; length(&PIECES)] = join(&PIECES);
        let (end, text) = BYTES.split_last().unwrap();
        assert_eq!(*end, 0);
        let stamp: Stamp = toml::from_str(std::str::from_utf8(text).unwrap()).unwrap();
        assert_eq!(
            (stamp.abi, stamp.libtorch.as_str(), stamp.panic.as_str()),
            (abi::ABI, LIBTORCH, "unwind")
        );
        assert_eq!(
            (stamp.to_string().as_str(), stamp.entry.as_str()),
            ("my-attack 1.2.3", "gauntlet_plugin_my_attack")
        );
        assert!(stamp.compiler.starts_with("rustc 1.") && stamp.target.contains('-'), "{stamp:?}");
    }
}
