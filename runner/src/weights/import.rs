//! Importing a user's own weights into Gauntlet's folder, under the names and in the layouts of the
//! reference checkpoints.

use crate::store::Pending;
use crate::weights::check::{WeightsReport, examine};
use crate::weights::folder::WeightsFolder;
use crate::weights::hash::sha256;
use crate::weights::locate::file_names;
use anyhow::{Context, Result, bail};
use gauntlet_core::registry::Registry;
use gauntlet_core::weights::{Note, Read};
use safetensors::tensor::{Dtype, View};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tch::{Kind, Tensor};
use toml::Table;

/// An imported weights file.
#[derive(Debug)]
pub struct Imported {
    /// Facts about the file that was imported.
    pub report: WeightsReport,
    /// The file in Gauntlet's folder.
    pub path: PathBuf,
    /// SHA-256 of the file at `path`, in hexadecimal.
    pub sha256: String,
    /// Whether the file was copied unchanged: a graph of which the network reads more than weights.
    pub as_it_is: bool,
}

/// Checks a weights file and puts it into `folder` as `<model>.safetensors`, in place of what was
/// there. `given` are the model's parameters that differ from the defaults; the new file notes
/// them.
///
/// # Errors
/// When the file does not fit, or cannot be written. Then nothing has changed.
pub fn import(
    registry: &Registry,
    file: &Path,
    model: &str,
    given: &Table,
    folder: &Path,
) -> Result<Imported> {
    let tensors: Rc<RefCell<Vec<(String, Stored)>>> = Rc::default();
    let collecting = Rc::clone(&tensors);
    let (report, as_it_is) = examine(registry, file, model, given, move |read| {
        if let Read::Tensor(name, tensor) = read {
            collecting.borrow_mut().push(((*name).to_owned(), Stored::new(tensor)));
        }
    })?;
    if registry.find_model(model)?.embedded_weights.is_some() {
        bail!(
            "the weights of `{model}` are part of the program, so that studies with it stay what \
             they are; use yours with \
             `--weights {0}`, or `weights = \"{0}\"` in a study",
            file.display()
        );
    }
    let weights_folder = WeightsFolder::open(folder)?;
    let own = format!("{model}.{}", if as_it_is { "pb" } else { "safetensors" });
    let path = folder.join(&own);
    let place = || format!("writing {}", path.display());
    let mut pending = Pending::new(&path)?;
    if as_it_is {
        let mut graph = File::open(file).with_context(|| format!("weights {}", file.display()))?;
        io::copy(&mut graph, pending.file()).with_context(place)?;
    } else {
        let name =
            file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let defaults = &registry.find_model(model)?.entry.defaults;
        let parameters =
            report.parameters.iter().filter(|(key, value)| defaults.get(*key) != Some(value));
        let note = Note {
            source: name,
            source_sha256: report.sha256.clone(),
            dialect: report.dialect,
            parameters: parameters.map(|(key, value)| (key.clone(), value.clone())).collect(),
        };
        let tensors = tensors.take();
        let bytes = safetensors::serialize(tensors, Some(note.metadata())).with_context(place)?;
        pending.file().write_all(&bytes).with_context(place)?;
    }
    let sha256 = sha256(pending.path()).with_context(place)?;
    pending.commit()?;
    // `find` would prefer these files to the new one.
    for other in file_names(model).take_while(|name| *name != own) {
        match std::fs::remove_file(folder.join(&other)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {other}"));
            }
            _ => {}
        }
    }
    weights_folder.record(&own, &sha256)?;
    Ok(Imported { report, path, sha256, as_it_is })
}

/// A float32 tensor with the shape and bytes that safetensors asks for.
struct Stored {
    tensor: Tensor,
    shape: Vec<usize>,
}

impl Stored {
    fn new(tensor: &Tensor) -> Self {
        Self {
            tensor: tensor.to_kind(Kind::Float).contiguous(),
            shape: tensor.size().iter().map(|&n| n as usize).collect(),
        }
    }
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut values = vec![0f32; self.tensor.numel()];
        self.tensor.copy_data(&mut values, self.tensor.numel());
        values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()
    }

    fn data_len(&self) -> usize {
        self.tensor.numel() * 4
    }
}
