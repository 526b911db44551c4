//! How a crate offers what it brings.

use crate::registry::Registry;
use anyhow::Result;

/// One crate's [`export_plugin!`](crate::export_plugin), found by the linker.
pub struct Linked {
    /// Crate name and version.
    pub origin: &'static str,
    /// Adds everything that the crate names.
    pub register: fn(&mut Registry, &str) -> Result<()>,
}

inventory::collect!(Linked);

/// Offers models, attacks and metrics to every program that links this crate:
///
/// ```
/// # use gauntlet_core::testing::{Affine, Nudge};
/// gauntlet_core::export_plugin!(model Affine, attack Nudge);
/// ```
///
/// Types are [`Architecture`](crate::model::Architecture)s, [`Attack`](crate::attack::Attack)s
/// and [`Metric`](crate::metric::Metric)s. The linking program must name the crate once
/// (`use my_plugin as _;`), or the linker leaves it out.
#[macro_export]
macro_rules! export_plugin {
    ($($kind:ident $type:ty),+ $(,)?) => {
        $crate::inventory::submit! {
            $crate::plugin::Linked {
                origin: concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")),
                register: |registry, origin| {
                    $( registry.$kind::<$type>(origin)?; )+
                    Ok(())
                },
            }
        }
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
        assert_eq!(registry.find_attack("nudge").unwrap().entry.origin, concat!("gauntlet-core ", env!("CARGO_PKG_VERSION")));
        assert_eq!(registry.models().map(|m| m.entry.name.as_str()).collect::<Vec<_>>(), ["affine"]);
    }
}
