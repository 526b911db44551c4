//! The functions of a model's table.

use super::object::{self, Exports};
use super::weights;
use crate::guard;
use crate::library::abi::{self, Sink, TensorRef, Text};
use crate::model::{Architecture, Model};
use crate::params;
use crate::plugin::wire::{self, serve};
use crate::registry::{Entry, ModelEntry};
use std::ffi::c_void;
use std::marker::PhantomData;

/// Exports the architecture `A`.
pub(super) struct OfModel<A>(PhantomData<A>);

impl<A: Architecture> Exports for OfModel<A> {
    fn entry() -> Entry {
        ModelEntry::of::<A>("").entry
    }
}

pub(super) unsafe extern "C" fn card<A: Architecture>(
    parameters: Text,
    toml: Sink,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends the text for this call.
        let parameters = params::parse(unsafe { parameters.read()? })?;
        wire::put(toml, &toml::to_string(&(ModelEntry::of::<A>("").describe)(&parameters)?)?);
        Ok(())
    })
}

pub(super) unsafe extern "C" fn embedded<A: Architecture>() -> abi::Bytes {
    let bytes =
        guard::attempt(|| Ok(A::embedded_weights())).unwrap_or_default().unwrap_or_default();
    abi::Bytes { data: bytes.as_ptr(), length: bytes.len() }
}

pub(super) unsafe extern "C" fn load<A: Architecture>(
    parameters: Text,
    weights: *const abi::Weights,
    object: *mut *mut c_void,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends text and weights for this call, and a place for the object.
        unsafe {
            let parameters = params::parse(parameters.read()?)?;
            let weights = weights::open(weights)?;
            object::hand_out((ModelEntry::of::<A>("").load)(&parameters, &weights)?, object);
        }
        Ok(())
    })
}

pub(super) unsafe extern "C" fn logits(
    object: *const c_void,
    pixels: TensorRef,
    logits: *mut abi::Tensor,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends the object and the pixels for this call, and a place for the
        // tensor.
        unsafe {
            let model = object::borrow::<dyn Model>(object)?;
            logits.write(wire::give(model.logits(&wire::borrow(pixels)?)));
        }
        Ok(())
    })
}
