//! What all libraries are given: images, and the network's weights.

use anyhow::{Context, Result, ensure};
use gauntlet_core::device::Device;
use gauntlet_core::model::Model;
use gauntlet_core::registry::Registry;
use gauntlet_core::weights::Weights;
use gauntlet_runner::data::{self, Data, Folder, Source};
use gauntlet_tests::benching::{Origin, Recorder, made_up};
use gauntlet_tests::golden::network_images;
use std::env;
use std::fs;
use std::path::Path;
use tch::Tensor;
use toml::Table;

pub fn read(path: &Path, name: &str) -> Result<Tensor> {
    let tensors = Tensor::read_safetensors(path)?;
    tensors
        .into_iter()
        .find(|(found, _)| found == name)
        .map(|(_, tensor)| tensor)
        .with_context(|| format!("{}: no `{name}`", path.display()))
}

/// `count` images that the network classifies correctly, and its answers.
pub fn images(model: &dyn Model, count: usize) -> Result<(Tensor, Vec<i64>)> {
    let side = model.card().side;
    let source = match env::var_os("PHOTOS") {
        Some(photos) => Some(Source::Folder(Folder { path: photos.into(), ..Folder::default() })),
        None => (side == 28).then_some(Source::FashionMnist),
    };
    let Some(source) = source else {
        // Waves belong to no class: whatever the network answers counts as correct.
        let waves = network_images(side);
        let rows: Vec<Tensor> =
            (0..count as i64).map(|n| waves.get(n % 2).roll([n * 5], [2])).collect();
        let pixels = Tensor::stack(&rows, 0);
        let labels = Vec::try_from(tch::no_grad(|| model.logits(&pixels)).argmax(1, false))?;
        return Ok((pixels, labels));
    };
    let found = Data::open(&source, Some(4 * count), 0)?;
    let offset = model.card().label_offset;
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    for picture in &found.pictures {
        let pixels = data::batch(std::slice::from_ref(picture), side)?;
        let answer = tch::no_grad(|| model.logits(&pixels)).argmax(1, false).int64_value(&[0]);
        if answer == picture.label + offset && labels.len() < count {
            labels.push(answer);
            rows.push(pixels);
        }
    }
    ensure!(
        labels.len() == count,
        "the network knows {} of {} images only",
        labels.len(),
        found.pictures.len()
    );
    Ok((Tensor::cat(&rows, 0), labels))
}

/// Writes the network's weights under the names of its checkpoint.
pub fn export(registry: &Registry, name: &str, origin: &Origin, path: &Path) -> Result<()> {
    let entry = registry.find_model(name).with_context(|| format!("no model `{name}`"))?;
    match origin {
        Origin::Embedded => {
            fs::write(path, entry.embedded_weights.context("there are embedded weights")?)?;
        }
        Origin::File(file) => drop(fs::copy(file, path)?),
        Origin::MadeUp => {
            let recorder = Recorder::new(made_up(name));
            entry.load(
                &entry.entry.parameters(None, &Table::new())?,
                Weights::new(recorder.clone(), Device::Cpu),
            )?;
            Tensor::write_safetensors(&recorder.kept(), path)?;
        }
    }
    Ok(())
}
