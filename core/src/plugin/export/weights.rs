//! The program's weights, as a plugin's model reads them.

use crate::device;
use crate::guard;
use crate::library::abi::{self, Text};
use crate::plugin::wire::{self, NO_TENSOR, call};
use crate::weights::{Dialect, Misfit, Role, Source, Weights};
use anyhow::{Context, Result};
use tch::Tensor;

/// Opens weights that are lent.
///
/// # Safety
/// `weights` must be null or as the interface says, for as long as the result is used.
pub(super) unsafe fn open(weights: *const abi::Weights) -> Result<Weights> {
    // SAFETY: promised by the caller.
    let device = unsafe { weights.as_ref().context("the weights are missing")?.device.read()? };
    Ok(Weights::new(HostWeights(weights), device::parse(device)?))
}

/// The program's weights. The program keeps the record of tensors that do not fit.
struct HostWeights(*const abi::Weights);

impl HostWeights {
    fn table(&self) -> &abi::Weights {
        // SAFETY: `open` has checked that it is not null and been promised the rest.
        unsafe { &*self.0 }
    }
}

impl Source for HostWeights {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        let table = self.table();
        let mut given = NO_TENSOR;
        let asked = table.tensor.context("the weights have no `tensor`").and_then(|tensor| {
            let (name, role) = (Text::of(name), wire::role_number(role));
            // SAFETY: everything is lent for the call, and there is a place for the tensor.
            call("reading weights", |error| unsafe {
                tensor(
                    table.context,
                    name,
                    shape.as_ptr(),
                    shape.len(),
                    role,
                    &raw mut given,
                    error,
                )
            })?;
            // SAFETY: just filled by the program.
            unsafe { wire::take(&mut given) }
        });
        // The program reports misfits itself; this error is something else.
        Ok(asked.unwrap_or_else(|error| guard::throw(error)))
    }

    fn dialect(&self) -> Dialect {
        if self.table().dialect == abi::DIALECT_PYTORCH {
            Dialect::PyTorch
        } else {
            Dialect::TensorFlow
        }
    }

    fn training(&self) -> bool {
        self.table().training != 0
    }

    fn spare(&self, start: &str) {
        let table = self.table();
        let told = table.spare.context("the weights have no `spare`").and_then(|spare| {
            // SAFETY: the text is lent for the call.
            Ok(call("reading weights", |error| unsafe {
                spare(table.context, Text::of(start), error)
            })?)
        });
        told.unwrap_or_else(|error| guard::throw(error));
    }
}
