//! Opening the file of a TorchScript module, and saying what is wrong with it.

use anyhow::{Context, Error, Result, anyhow, bail};
use gauntlet_core::device::Device;
use gauntlet_core::weights::{FileFormat, Purpose};
use std::path::Path;
use tch::{CModule, Kind, TchError};

/// What libtorch says of an operation that changes the module's input, and how that is mended.
const IN_PLACE: (&[&str], &str) = (
    &["requires grad is being used in an in-place operation", "in-place operation on a leaf"],
    "it changes its input in place, and the pixels are not its own. Let its `forward` begin with \
     `x = x.clone()`, or wrap the module. In Python:
  class Copied(torch.nn.Module):
      def __init__(self, module): super().__init__(); self.module = module
      def forward(self, x): return self.module(x.clone())
  torch.jit.trace(Copied(torch.jit.load(\"FILE.pt\").eval()), torch.rand(1, 3, S, \
     S)).save(\"COPIED.pt\")",
);
/// What libtorch says of constants that are not widened with the weights, and how that is mended.
const PRECISION: (&[&str], &str) = (
    &[
        "expected scalar type",
        "should be the same",
        "to have the same dtype",
        "must have the same dtype",
        "used as indices must be",
    ],
    "it computes in several types of numbers. Write it again in float32. In Python:
  import torch
  model = …  # the network, with its weights
  torch.jit.trace(model.float().eval(), torch.rand(1, 3, S, S)).save(\"FILE.pt\")",
);

/// Loads a module, frozen, in evaluation and in float32.
///
/// # Errors
/// When `bytes` are no module: says what they are, and how to write one.
pub(super) fn open(mut bytes: &[u8], device: Device) -> Result<CModule> {
    let all = bytes;
    let mut module = match CModule::load_data_on_device(&mut bytes, device) {
        Ok(module) => module,
        Err(error) => {
            let format = FileFormat::of_bytes(all);
            let refusal = format.refusal(Purpose::Module);
            match format {
                _ if format.is_too_new() => bail!("{refusal}"),
                FileFormat::TorchScript { .. } => {
                    bail!("libtorch says: {}\n{refusal}", reason(&error))
                }
                _ => bail!("this is no TorchScript module, but {refusal}"),
            }
        }
    };
    module
        .f_set_eval()
        .map_err(|error| anyhow!("it cannot be switched to evaluation: {}", reason(&error)))?;
    let parameters = module.named_parameters().context("its parameters")?;
    if parameters.iter().any(|(_, parameter)| is_of_other_precision(parameter.kind())) {
        module.to(device, Kind::Float, false);
    }
    for (_, mut parameter) in module.named_parameters().context("its parameters")? {
        let _ = parameter.requires_grad_(false);
    }
    Ok(module)
}

fn is_of_other_precision(kind: Kind) -> bool {
    matches!(kind, Kind::Half | Kind::BFloat16 | Kind::Double)
}

/// An error of a module's trial, with the way to mend it where that is known.
pub(super) fn explained(error: Error) -> Error {
    let text = format!("{error:#}");
    let known = |(signs, _): &&(&[&str], &str)| signs.iter().any(|sign| text.contains(sign));
    match [IN_PLACE, PRECISION].iter().find(known) {
        Some((_, mend)) => anyhow!("{text}: {mend}"),
        None => error,
    }
}

/// What is done to the weights of a module's file, which are loaded in float32. `None` where that is
/// nothing.
pub(super) fn precision(file: &Path) -> Option<String> {
    let FileFormat::TorchScript { precision, .. } = FileFormat::of(file).ok()? else { return None };
    let from = precision?;
    let done = if from == "float64" { "rounded" } else { "widened" };
    Some(format!("{from} {done} to float32"))
}

/// An error of libtorch in one line. Of an error of the interpreter, this is the message of the
/// operation, without the trace.
pub(super) fn reason(error: &TchError) -> String {
    let text = if let TchError::Torch(text) = error { text.clone() } else { error.to_string() };
    let said = text.lines().rev().find_map(|line| line.strip_prefix("RuntimeError: "));
    let line =
        said.or(text.lines().map(str::trim).find(|line| !line.is_empty())).unwrap_or_default();
    line.to_owned()
}
