//! The program's side of the boundary: opens a library, and makes registry entries of what its
//! tables offer. No panic of a plugin comes in here, and no panic of the program goes out to it.

mod attack;
mod describe;
mod metric;
mod model;
mod object;
mod oracle;

use super::wire;
use crate::library::abi::{self, Text};
use crate::library::{Library, VERSION};
use crate::registry::Registry;
use anyhow::{Context, Result, bail, ensure};
use std::mem::{MaybeUninit, offset_of};
use std::sync::Arc;

/// Lets a table of pointers be a static.
struct Constant<T>(T);

// SAFETY: nobody writes to the table or to what it points to.
unsafe impl Sync for Constant<abi::Host> {}

static HOST: Constant<abi::Host> = Constant(abi::Host {
    size: size_of::<abi::Host>(),
    abi: abi::ABI,
    reserved: 0,
    version: Text::of(VERSION),
});

/// Opens a library that has been checked, and registers all that it brings in a registry of its
/// own.
pub(super) fn open(library: &Arc<Library>) -> Result<Registry> {
    let mut registry = Registry::empty();
    let registered = enter(library)
        .and_then(|items| items.iter().try_for_each(|item| register(&mut registry, library, item)));
    registered.with_context(|| format!("plugin {} cannot be loaded", library.describe()))?;
    Ok(registry)
}

#[cfg(unix)]
fn map(library: &Library) -> Result<abi::Entry> {
    use libloading::os::unix::{Library as Mapped, RTLD_LOCAL, RTLD_NOW};

    // SAFETY: opening a library runs its initialisers. The user asked for this library's code to
    // run by naming its folder; the stamp says that it is meant for this program.
    let mapped = unsafe { Mapped::open(Some(&library.path), RTLD_NOW | RTLD_LOCAL) }.context(
        "the dynamic linker refuses it; build it against the same libtorch, on this system",
    )?;
    let entry = &library.stamp.entry;
    // SAFETY: the stamp says that this symbol is the entry function of this interface.
    let symbol = unsafe { mapped.get::<abi::Entry>(entry.as_bytes()) }.with_context(|| {
        format!("it has no function `{entry}`, which its stamp names; build it again")
    })?;
    let function = *symbol;
    // Never unloaded: its tables, its code and its thread-locals are in use from now on.
    std::mem::forget(mapped);
    Ok(function)
}

#[cfg(not(unix))]
fn map(_: &Library) -> Result<abi::Entry> {
    bail!("plugin libraries are supported on Linux only")
}

/// Runs the library's entry function.
fn enter(library: &Library) -> Result<&'static [abi::Item]> {
    let entry = map(library)?;
    // SAFETY: the entry function of a library with this program's stamp. The table stays for the
    // life of the process.
    let plugin = unsafe { table(entry(&raw const HOST.0), size_of::<abi::Plugin>(), "plugin")? };
    ensure!(
        plugin.abi == abi::ABI,
        "its table is of ABI {}, expected {} as its stamp says; build it again",
        plugin.abi,
        abi::ABI
    );
    // SAFETY: the library's own array, which stays for the life of the process.
    let items = unsafe { wire::slice(plugin.items, plugin.count)? };
    ensure!(!items.is_empty(), "it brings nothing: no attack, no model, no metric");
    Ok(items)
}

/// A plugin's table, which stays for the life of the process. It has `least` bytes or more; fields
/// beyond its size are absent.
///
/// # Safety
/// The pointer must come from where the interface says that such a table stands. Zeros must stand
/// for fields that are absent.
unsafe fn table<T>(table: *const T, least: usize, what: &str) -> Result<&'static T> {
    ensure!(!table.is_null() && table.is_aligned(), "its {what} table is missing");
    // SAFETY: promised by the caller. Every table begins with its size, and is not read beyond it.
    let found = unsafe { table.cast::<usize>().read() };
    ensure!(
        found >= least,
        "its {what} table has {found} bytes, expected at least {least}; build it again"
    );
    if found >= size_of::<T>() {
        // SAFETY: promised by the caller.
        return Ok(unsafe { &*table });
    }
    let mut whole = Box::new(MaybeUninit::<T>::zeroed());
    // SAFETY: the table has `found` bytes, the copy has more. The rest is zero, as promised.
    Ok(unsafe {
        whole.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(table.cast(), found);
        Box::leak(whole).assume_init_ref()
    })
}

pub(super) fn register(
    registry: &mut Registry,
    library: &Arc<Library>,
    item: &abi::Item,
) -> Result<()> {
    let at = item.table;
    // SAFETY: `kind` says which table this is. Functions that are null are absent.
    unsafe {
        match item.kind {
            abi::ITEM_ATTACK => {
                let table = table(at.cast(), offset_of!(abi::Attack, cost), "attack")?;
                registry.add_attack(attack::entry(library, table)?)
            }
            abi::ITEM_MODEL => {
                let table = table(at.cast(), size_of::<abi::Model>(), "model")?;
                registry.add_model(model::entry(library, table)?)
            }
            abi::ITEM_METRIC => {
                let table = table(at.cast(), offset_of!(abi::Metric, cost), "metric")?;
                registry.add_metric(metric::entry(library, table)?)
            }
            other => bail!("it brings something of the unknown kind {other}; use a newer runner"),
        }
    }
}
