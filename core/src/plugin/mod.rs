//! How a crate offers models, attacks and metrics: to the programs that link it, and as a library
//! that a program opens at run time. [`export_plugin!`](crate::export_plugin) serves both.
//!
//! Both sides of the boundary are in here: `export` is the plugin's, `host` the program's. What
//! crosses it is described in [`abi`].

#[doc(hidden)]
pub mod export;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host;
mod load;
mod rehearsal;
mod wire;

pub use crate::library::{Library, NotAPlugin, ReadError, Stamp, VERSION, abi, stamp};
pub use rehearsal::Call;

/// Offers models, attacks and metrics to every program that links this crate and, where the crate
/// is built as a `cdylib`, to `runner --plugins`:
///
/// ```
/// # use gauntlet_core::testing::{Affine, Nudge};
/// gauntlet_core::export_plugin!(model Affine, attack Nudge);
/// ```
///
/// A crate calls it once. Types are [`Architecture`](crate::model::Architecture)s,
/// [`Attack`](crate::attack::Attack)s and [`Metric`](crate::metric::Metric)s. A program that links
/// the crate must name it once (`use my_plugin as _;`), or the linker leaves it out.
#[macro_export]
macro_rules! export_plugin {
    ($($kind:ident $type:ty),+ $(,)?) => {
        const _: () = {
            $crate::inventory::submit! {
                $crate::registry::Linked {
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
            static BYTES: [u8; $crate::plugin::stamp::length(STAMP)] =
                $crate::plugin::stamp::join(STAMP);

            // The name differs from crate to crate, so that two of them can be linked into one
            // program.
            #[unsafe(export_name = concat!("gauntlet_plugin_", env!("CARGO_CRATE_NAME")))]
            extern "C" fn entry(
                _: *const $crate::plugin::abi::Host,
            ) -> *const $crate::plugin::abi::Plugin {
                static PLUGIN: $crate::plugin::export::Exported =
                    $crate::plugin::export::Exported::new(
                        &BYTES,
                        &[$( $crate::plugin::export::$kind::<$type>() ),+],
                    );
                // The crate's own setting: its dependencies may be built with another one.
                if cfg!(panic = "abort") {
                    $crate::guard::panics_abort();
                }
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
