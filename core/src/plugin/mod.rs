//! How a crate offers what it brings: to the programs that link it, and as a library that a program
//! opens at run time. [`export_plugin!`](crate::export_plugin) serves both.

pub mod abi;
#[doc(hidden)]
pub mod export;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host;
pub mod stamp;
mod wire;

pub(crate) use host::open;
pub use stamp::{NotAPlugin, Stamp};

use crate::LIBTORCH;
use crate::registry::Registry;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The name and version of this crate.
pub const VERSION: &str = concat!("gauntlet-core ", env!("CARGO_PKG_VERSION"));

/// One crate's [`export_plugin!`](crate::export_plugin), found by the linker.
pub struct Linked {
    /// Crate name and version.
    pub origin: &'static str,
    /// Adds everything that the crate names.
    pub register: fn(&mut Registry, &str) -> Result<()>,
}

inventory::collect!(Linked);

/// A plugin library on disk. None of its code has run.
#[derive(Clone, Debug, Serialize)]
pub struct Library {
    /// Where it is; absolute, without symbolic links.
    pub path: PathBuf,
    /// BLAKE3 of the file, in hexadecimal.
    pub hash: String,
    /// What it says of itself.
    pub stamp: Stamp,
}

impl Library {
    /// Reads a file's stamp and hash.
    ///
    /// # Errors
    /// [`NotAPlugin`] when there is no stamp; otherwise when the file cannot be read or is damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let read = || -> Result<Self> {
            let path = path.canonicalize()?;
            let bytes = stamp::open(&path)?;
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let stamp = stamp::read(&bytes, name.strip_prefix("lib").unwrap_or(&name))?;
            Ok(Self { hash: blake3::hash(&bytes).to_string(), path, stamp })
        };
        read().with_context(|| path.display().to_string())
    }

    /// Whether the stamp fits this program: the same interface, target and libtorch.
    ///
    /// # Errors
    /// Says what was found, what is expected, and how to mend it.
    pub fn check(&self) -> Result<()> {
        let Stamp { abi, with, target, libtorch, name, entry, .. } = &self.stamp;
        let who = self.describe();
        let with = if with.is_empty() { String::new() } else { format!(" ({with})") };
        ensure!(
            *abi == abi::ABI,
            "plugin {who} speaks ABI {abi}{with}, this program speaks ABI {} ({VERSION}): build \
             the plugin against {VERSION}, \
             or use the runner that it was built for",
            abi::ABI
        );
        ensure!(
            target == stamp::TARGET,
            "plugin {who} was built for {target}, this program for {}: build it with `cargo build \
             --release --target {}`",
            stamp::TARGET,
            stamp::TARGET
        );
        ensure!(
            libtorch == LIBTORCH,
            "plugin {who} was built for libtorch {libtorch}, this program for libtorch {LIBTORCH}: \
             build it with LIBTORCH set to a \
             libtorch {LIBTORCH} (and, in Rust, with the `tch` of {VERSION})"
        );
        let symbol = |text: &str| {
            text.starts_with("gauntlet_plugin_")
                && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        };
        ensure!(
            !name.is_empty() && symbol(entry),
            "plugin {who} has a stamp without a name or an entry function: build it again"
        );
        Ok(())
    }

    /// Name, version and place, for messages.
    pub fn describe(&self) -> String {
        format!("{} ({})", self.stamp, self.path.display())
    }

    /// Whether a panic in it ends the process.
    pub fn aborts(&self) -> bool {
        self.stamp.panic == "abort"
    }
}

/// Offers models, attacks and metrics, to every program that links this crate:
///
/// ```
/// # use gauntlet_core::testing::{Affine, Nudge};
/// gauntlet_core::export_plugin!(model Affine, attack Nudge);
/// ```
///
/// and, where the crate is built as a `cdylib`, to `runner --plugins`. Once per crate.
///
/// Types are [`Architecture`](crate::model::Architecture)s, [`Attack`](crate::attack::Attack)s
/// and [`Metric`](crate::metric::Metric)s. A program that links the crate must name it once
/// (`use my_plugin as _;`), or the linker leaves it out.
#[macro_export]
macro_rules! export_plugin {
    ($($kind:ident $type:ty),+ $(,)?) => {
        const _: () = {
            $crate::inventory::submit! {
                $crate::plugin::Linked {
                    origin: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
                    register: |registry, origin| {
                        $( registry.$kind::<$type>(origin)?; )+
                        Ok(())
                    },
                }
            }

            const STAMP: &[&str] = &$crate::plugin::stamp::pieces(
                env!("CARGO_PKG_NAME"),
                env!("CARGO_PKG_VERSION"),
                concat!("gauntlet_plugin_", env!("CARGO_CRATE_NAME")),
                cfg!(panic = "abort"),
            );

            #[used]
            #[unsafe(link_section = ".gauntlet")]
            static BYTES: [u8; $crate::plugin::stamp::length(STAMP)] = $crate::plugin::stamp::join(STAMP);

            // The name differs from crate to crate, so that two of them can be linked into one
            // program.
            #[unsafe(export_name = concat!("gauntlet_plugin_", env!("CARGO_CRATE_NAME")))]
            extern "C" fn entry(_: *const $crate::plugin::abi::Host) -> *const $crate::plugin::abi::Plugin {
                static PLUGIN: $crate::plugin::export::Exported =
                    $crate::plugin::export::Exported::new(&BYTES, &[$( $crate::plugin::export::$kind::<$type>() ),+]);
                PLUGIN.table()
            }
        };
    };
}

#[cfg(test)]
mod tests {
    use crate::registry::Registry;
    use crate::testing::{Affine, Nudge};

    crate::export_plugin!(attack Nudge, model Affine);

    #[test]
    fn what_is_linked_is_found_with_its_origin() {
        let registry = Registry::linked().unwrap();
        assert_eq!(
            registry.find_attack("nudge").unwrap().entry.origin,
            concat!("gauntlet-core ", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(
            registry.models().map(|m| m.entry.name.as_str()).collect::<Vec<_>>(),
            ["affine"]
        );
    }
}
