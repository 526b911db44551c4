//! The stamp: what a library says of itself in plain text, in a link section of its own. It is read
//! from the file before any of the library's code runs.

use super::abi;
use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectKind, ObjectSection};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use thiserror::Error;

/// The libtorch that this crate is built for.
pub const LIBTORCH: &str = "2.11.0";

/// The name and version of this crate.
pub const VERSION: &str = concat!("gauntlet-core ", env!("CARGO_PKG_VERSION"));

/// The target triple that this crate was built for.
pub const TARGET: &str = env!("GAUNTLET_TARGET");

/// Name of the link section.
pub const SECTION: &str = ".gauntlet";

/// The compiler that built this crate.
const COMPILER: &str = env!("GAUNTLET_RUSTC");

/// Greatest size of the section, in bytes. Real ones have a few hundred.
const MAX_SECTION: usize = 1 << 16;

/// First bytes of a shared library.
const MAGIC: &[u8] = b"\x7fELF";

/// Where the Rust compiler leaves a plugin, for messages.
const BUILD: &str = "`cargo build --release` leaves one in `target/release`";

/// What a stamp says, as TOML. The meaning of `abi` never changes; that of the other fields may
/// change with `abi`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Number of the interface, see [`abi::ABI`].
    pub abi: u32,
    /// The library or header that the plugin is built with, such as `gauntlet-core 0.1.0`.
    #[serde(default)]
    pub with: String,
    /// Target triple.
    #[serde(default)]
    pub target: String,
    /// Version of libtorch.
    #[serde(default)]
    pub libtorch: String,
    /// The plugin's name; for a plugin in Rust, its crate's.
    #[serde(default)]
    pub name: String,
    /// The plugin's version.
    #[serde(default)]
    pub version: String,
    /// Compiler that built the plugin.
    #[serde(default)]
    pub compiler: String,
    /// Effect of a panic in the plugin: `unwind`, or `abort`, which ends the process.
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

/// The stamp of a Rust crate, in pieces. The last piece ends with a zero byte.
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

/// A file is not a plugin library, but something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAPlugin {
    /// A folder, a pipe, a device.
    #[error("not a file, so not a plugin; {BUILD}")]
    NoFile,
    /// The file has no bytes.
    #[error("an empty file, so not a plugin; {BUILD}")]
    Empty,
    /// The file does not begin like an ELF file.
    #[error("not a shared library (ELF), so not a plugin; {BUILD}")]
    NoElf,
    /// A program, which has the stamps of plugins that are linked into it, or an object file.
    #[error("a program or an object file, so not a plugin")]
    Program,
    /// A library without a stamp.
    #[error(
        "a shared library without the stamp of a plugin; a plugin is made with `export_plugin!` \
         and `crate-type = [\"cdylib\"]`, or with `GAUNTLET_PLUGIN` in C++"
    )]
    NoStamp,
    /// A file of split debugging symbols, whose sections are filled with zeros.
    #[error("a library whose stamp is empty, as in a file of debugging symbols, so not a plugin")]
    EmptyStamp,
}

/// Why a file has no stamp to read.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    /// The file is no plugin library.
    #[error(transparent)]
    NotAPlugin(#[from] NotAPlugin),
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The library or its stamp is damaged.
    #[error(transparent)]
    Damaged(#[from] anyhow::Error),
}

/// The bytes of a file that may be a library. Of a file that is none, only the first bytes are
/// read.
///
/// # Errors
/// When the file is no library, or cannot be read.
pub(super) fn open(path: &Path) -> Result<Vec<u8>, Fault> {
    if !fs::metadata(path)?.is_file() {
        return Err(NotAPlugin::NoFile.into());
    }
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(NotAPlugin::Empty.into());
    }
    if bytes != MAGIC {
        return Err(NotAPlugin::NoElf.into());
    }
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The stamp in the bytes of a library. A library that links other plugins in has their stamps too:
/// `stem`, its file's name without `lib` and ending, says which one is its own.
///
/// # Errors
/// When the file is a program or has no stamp, or the library or its stamp is damaged.
pub(crate) fn read(bytes: &[u8], stem: &str) -> Result<Stamp, Fault> {
    let damaged = "the file is damaged or not whole; build or copy it again";
    let file = object::File::parse(bytes).context(damaged)?;
    let is_program = file.section_by_name(".interp").is_some();
    if file.kind() != ObjectKind::Dynamic || is_program {
        return Err(NotAPlugin::Program.into());
    }
    let section = file.section_by_name(SECTION).ok_or(NotAPlugin::NoStamp)?;
    let section = section.data().context(damaged)?;
    if section.iter().all(|&byte| byte == 0) {
        return Err(NotAPlugin::EmptyStamp.into());
    }
    Ok(own_stamp(section, stem)?)
}

/// The library's own stamp among those in its section.
fn own_stamp(section: &[u8], stem: &str) -> Result<Stamp> {
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
    let is_own = |stamp: &Stamp| stamp.name.replace('-', "_") == stem.replace('-', "_");
    match stamps.iter().position(is_own) {
        Some(n) => Ok(stamps.swap_remove(n)),
        None if stamps.len() == 1 => Ok(stamps.remove(0)),
        None => {
            let names: Vec<String> =
                stamps.iter().map(|stamp| format!("`{}`", stamp.name)).collect();
            bail!(
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
