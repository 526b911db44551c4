//! A plugin's model, and the weights that are lent to it while it is loaded.

use super::describe::{describe, needed};
use super::object::Object;
use crate::device;
use crate::guard;
use crate::library::Library;
use crate::library::abi::{self, Sink, TensorRef, Text};
use crate::model::{Model, ModelCard};
use crate::plugin::wire::{self, FailedCall, NO_TENSOR, call, call_for_text, serve};
use crate::registry::ModelEntry;
use crate::weights::{Dialect, Weights};
use anyhow::{Context, Result, ensure};
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Arc;
use tch::Tensor;
use toml::Table;

pub(super) fn entry(library: &Arc<Library>, table: &'static abi::Model) -> Result<ModelEntry> {
    let (entry, _) = describe(library, &table.head)?;
    let (card, load) = (needed(table.card, "card")?, needed(table.load, "load")?);
    let (logits, release) = (needed(table.logits, "logits")?, needed(table.release, "release")?);
    let who = format!("model `{}`", entry.name);
    let embedded_weights = match table.weights {
        None => None,
        Some(weights) => {
            // SAFETY: it takes nothing; what it gives stays for the life of the process.
            let bytes = unsafe {
                let bytes = weights();
                wire::slice(bytes.data, bytes.length)?
            };
            Some(bytes).filter(|bytes| !bytes.is_empty())
        }
    };
    let describe = move |parameters: &Table| -> Result<ModelCard> {
        let parameters = wire::to_toml(parameters)?;
        // SAFETY: the text and the sinks live during the call.
        let toml = call_for_text("`card`", |toml, error| unsafe {
            card(Text::of(&parameters), toml, error)
        })?;
        toml::from_str(&toml).with_context(|| format!("its card cannot be read:\n{toml}"))
    };
    let make = move |parameters: &Table, weights: &Weights| -> Result<Box<dyn Model>> {
        let (card, parameters) = (describe(parameters)?, wire::to_toml(parameters)?);
        let device = device::name(weights.device());
        let weights = lend(weights, &device);
        // SAFETY: text and weights are lent for the call, and there is a place for the object.
        let object = Object::new(&who, release, |object, error| unsafe {
            load(Text::of(&parameters), &raw const weights, object, error)
        })?;
        let panicked = Cell::new(false);
        Ok(Box::new(PluginModel { who: who.clone(), card, object, logits, panicked }))
    };
    Ok(ModelEntry {
        entry,
        embedded_weights,
        pytorch: None,
        describe: Box::new(describe),
        load: Box::new(make),
    })
}

struct PluginModel {
    who: String,
    card: ModelCard,
    object: Object,
    logits: unsafe extern "C" fn(*const c_void, TensorRef, *mut abi::Tensor, Sink) -> i32,
    /// Whether it has panicked. It is then given no more work.
    panicked: Cell<bool>,
}

impl Model for PluginModel {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let logits = || {
            ensure!(
                !self.panicked.get(),
                "{} has panicked before and is given no more work",
                self.who
            );
            let mut logits = NO_TENSOR;
            // SAFETY: object and pixels are lent for the call, and there is a place for the logits.
            call(&self.who, |error| unsafe {
                (self.logits)(self.object.pointer, wire::lend(pixels), &raw mut logits, error)
            })
            .map_err(|FailedCall { panicked, error }| {
                self.panicked.set(panicked);
                if panicked { error } else { error.context(self.who.clone()) }
            })?;
            // SAFETY: just filled by the plugin.
            unsafe { wire::take(&mut logits) }
                .with_context(|| format!("{} gave no logits", self.who))
        };
        logits().unwrap_or_else(|error| guard::throw(error))
    }

    fn needs_reload(&self) -> bool {
        self.panicked.get()
    }
}

/// The table of weights that are lent, on the device of that name.
fn lend(weights: &Weights, device: &str) -> abi::Weights {
    abi::Weights {
        size: size_of::<abi::Weights>(),
        context: std::ptr::from_ref(weights).cast_mut().cast(),
        device: Text::of(device),
        training: u32::from(weights.root().training()),
        dialect: match weights.dialect() {
            Dialect::PyTorch => abi::DIALECT_PYTORCH,
            Dialect::TensorFlow => abi::DIALECT_TENSORFLOW,
        },
        tensor: Some(tensor),
        spare: Some(spare),
    }
}

unsafe extern "C" fn tensor(
    context: *mut c_void,
    name: Text,
    shape: *const i64,
    dimensions: usize,
    role: u32,
    tensor: *mut abi::Tensor,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the context is the weights that are lent; the plugin lends name and shape, and a
        // place for the tensor.
        unsafe {
            let weights = &*context.cast::<Weights>();
            let read = weights.root().tensor(
                name.read()?,
                wire::slice(shape, dimensions)?,
                wire::role(role)?,
            );
            tensor.write(wire::give(read));
        }
        Ok(())
    })
}

unsafe extern "C" fn spare(context: *mut c_void, start: Text, error: Sink) -> i32 {
    serve(error, || {
        // SAFETY: the context is the weights that are lent; the plugin lends the text.
        unsafe { (*context.cast::<Weights>()).spare(start.read()?) };
        Ok(())
    })
}
