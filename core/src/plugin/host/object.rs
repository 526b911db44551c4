//! A plugin's objects: made, used and released through the plugin's own functions.

use crate::guard;
use crate::library::abi::{Sink, Text};
use crate::plugin::wire::{FailedCall, call, sink, to_toml};
use anyhow::{Result, ensure};
use serde::de::DeserializeOwned;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, PoisonError};
use toml::Table;

pub(super) type Release = unsafe extern "C" fn(*mut c_void);
pub(super) type Make = unsafe extern "C" fn(Text, *mut *mut c_void, Sink) -> i32;

/// An object of a plugin.
pub(super) struct Object {
    pub pointer: *mut c_void,
    release: Release,
}

// SAFETY: the interface asks for objects that may go from thread to thread; those that several
// threads use at a time (attacks, metrics) must allow it.
unsafe impl Send for Object {}
unsafe impl Sync for Object {}

impl Object {
    /// Makes an object. `what` names it in errors.
    pub fn new(
        what: &str,
        release: Release,
        make: impl FnOnce(*mut *mut c_void, Sink) -> i32,
    ) -> Result<Self> {
        let mut pointer = std::ptr::null_mut();
        call(what, |error| make(&raw mut pointer, error))?;
        ensure!(!pointer.is_null(), "{what} gave no object");
        Ok(Self { pointer, release })
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: the maker's own function for its own object, which nobody uses any more.
        unsafe { (self.release)(self.pointer) }
    }
}

/// The object of an attack or a metric. It is replaced by a new one when it has panicked.
pub(super) struct RenewedObject {
    /// What it is, for messages: ``attack `x` ``.
    pub who: String,
    make: Make,
    release: Release,
    /// As TOML.
    parameters: String,
    object: Mutex<Option<Arc<Object>>>,
}

impl RenewedObject {
    pub fn new(who: String, make: Make, release: Release, parameters: &Table) -> Result<Self> {
        let new =
            Self { who, make, release, parameters: to_toml(parameters)?, object: Mutex::default() };
        new.object()?;
        Ok(new)
    }

    fn object(&self) -> Result<Arc<Object>> {
        let mut place = self.object.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = &*place {
            return Ok(Arc::clone(object));
        }
        // SAFETY: the text lives during the call, and there is a place for the object.
        let make = |object: *mut *mut c_void, error: Sink| unsafe {
            (self.make)(Text::of(&self.parameters), object, error)
        };
        Ok(Arc::clone(place.insert(Arc::new(Object::new(&self.who, self.release, make)?))))
    }

    /// What a function of the plugin tells of the object in TOML; `None` where it tells nothing.
    /// Throws the function's error. `what` names what is told: `the budget`.
    pub fn tell<T: DeserializeOwned>(
        &self,
        what: &str,
        function: impl FnOnce(*const c_void, Sink, Sink) -> i32,
    ) -> Option<T> {
        let mut toml = String::new();
        let told = self
            .call(|object, error| function(object, sink(&mut toml), error))
            .and_then(|()| if toml.is_empty() { Ok(None) } else { Ok(toml::from_str(&toml)?) });
        told.unwrap_or_else(|error| guard::throw(error.context(format!("{what} of {}", self.who))))
    }

    /// Calls a function of the plugin with the object.
    pub fn call(&self, function: impl FnOnce(*const c_void, Sink) -> i32) -> Result<()> {
        let object = self.object()?;
        call(&self.who, |error| function(object.pointer, error)).map_err(
            |FailedCall { panicked, error }| {
                if panicked {
                    self.object
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take_if(|now| Arc::ptr_eq(now, &object));
                }
                error
            },
        )
    }
}
