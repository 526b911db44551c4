//! What attacks, models and metrics share: the head of their tables, and objects that go out.

use crate::guard;
use crate::library::abi::{Head, Sink, Text};
use crate::params;
use crate::plugin::wire::{self, About, Measure, serve};
use crate::registry::Entry;
use anyhow::{Context, Result};
use std::ffi::c_void;
use toml::Table;

/// A type that is exported: what is known without an object of it.
pub(super) trait Exports: 'static {
    fn entry() -> Entry;

    /// What describes a metric; `None` for the other kinds.
    fn measure() -> Option<Measure> {
        None
    }
}

/// A type whose objects parameters alone make.
pub(super) trait Maker<T: ?Sized>: Exports {
    fn make(parameters: &Table) -> Result<Box<T>>;
}

pub(super) const fn head<E: Exports>(size: usize) -> Head {
    Head { size, describe: Some(describe::<E>), resolve: Some(resolve::<E>) }
}

unsafe extern "C" fn describe<E: Exports>(toml: Sink, error: Sink) -> i32 {
    serve(error, || {
        let Entry { name, summary, defaults: parameters, descriptions, presets, .. } = E::entry();
        let measure = E::measure();
        let about = About { name, summary, measure, parameters, descriptions, presets };
        wire::put(toml, &toml::to_string(&about)?);
        Ok(())
    })
}

unsafe extern "C" fn resolve<E: Exports>(
    preset: Text,
    overrides: Text,
    toml: Sink,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends both texts for this call.
        let (preset, overrides) = unsafe { (preset.read()?, overrides.read()?) };
        let preset = (!preset.is_empty()).then_some(preset);
        let parameters = (E::entry().resolve)(preset, &params::parse(overrides)?)?;
        wire::put(toml, &toml::to_string(&parameters)?);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn make<M: Maker<T>, T: ?Sized>(
    parameters: Text,
    object: *mut *mut c_void,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends the text, and a place for the object.
        unsafe { hand_out(M::make(&params::parse(parameters.read()?)?)?, object) };
        Ok(())
    })
}

pub(super) unsafe extern "C" fn release<T: ?Sized>(object: *mut c_void) {
    // There is nobody to report a panic to.
    let _ = guard::attempt(|| {
        if !object.is_null() {
            // SAFETY: the object comes from `hand_out` and is released once.
            drop(unsafe { Box::from_raw(object.cast::<Box<T>>()) });
        }
        Ok(())
    });
}

/// Gives an object out. Its pointer points to a box, since the object itself has a wide pointer.
///
/// # Safety
/// `place` must be a place for a pointer.
pub(super) unsafe fn hand_out<T: ?Sized>(object: Box<T>, place: *mut *mut c_void) {
    // SAFETY: promised by the caller.
    unsafe { place.write(Box::into_raw(Box::new(object)).cast()) }
}

/// Borrows an object that was given out.
///
/// # Safety
/// `object` must come from [`hand_out`] for the same type, and live as long as the result is used.
pub(super) unsafe fn borrow<'a, T: ?Sized>(object: *const c_void) -> Result<&'a T> {
    // SAFETY: promised by the caller.
    Ok(unsafe { object.cast::<Box<T>>().as_ref() }.context("an object is missing")?)
}
