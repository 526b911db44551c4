//! `provenance.json`: what the results were made of.

use crate::engine::plan::{ENGINE, Plan};
use crate::study::{Part, Study};
use crate::weights::WeightsPlace;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

pub(super) const FILE: &str = "provenance.json";

/// The kind of device that the cells of a results folder were computed on: `cpu` or `cuda`.
///
/// # Errors
/// When the folder's `provenance.json` is missing or names no device.
pub fn device(folder: &Path) -> Result<String> {
    read::<Device>(folder).map(|document| document.device)
}

#[derive(Deserialize)]
struct Device {
    device: String,
}

/// Reads the `provenance.json` of a results folder.
///
/// # Errors
/// When it is missing, or no such document.
pub(crate) fn read<T: DeserializeOwned>(folder: &Path) -> Result<T> {
    let path = folder.join(FILE);
    let place = || {
        format!(
            "{} cannot be read: a results folder is expected, as `runner run` leaves it",
            path.display()
        )
    };
    serde_json::from_slice(&fs::read(&path).with_context(place)?).with_context(place)
}

/// The document, as JSON.
pub(super) fn provenance(study: &Study, plan: &Plan) -> Result<Vec<u8>> {
    let models = study.models.iter().map(|model| {
        let mut entry = part(&model.part);
        entry["card"] = json!(model.card);
        entry["weights"] = json!({
            "blake3": model.weights_hash,
            "file": match &model.weights {
                WeightsPlace::Embedded(_) | WeightsPlace::Absent(_) => None,
                WeightsPlace::File(path) | WeightsPlace::TorchScript(path) => Some(path),
            },
            "values": model.parameters,
        });
        entry
    });
    let attacks = study.attacks.iter().map(|attack| part(&attack.part));
    let metrics = study.metrics.iter().map(|metric| part(&metric.part));
    let images = study.data.pictures.iter().map(
        |picture| json!({ "name": picture.name, "label": picture.label, "blake3": picture.hash }),
    );
    // The cells with the adversarials at each model's own side, by slice.
    let own = plan.campaigns.iter().filter(|c| c.shape == study.models[c.model].card.shape());
    let campaigns = own.map(|campaign| {
        let keys = campaign.craft.iter().map(|&cell| &plan.cells[cell].address.key);
        json!({
            "model": study.models[campaign.model].part.label,
            "attack": study.attacks[campaign.attack].part.label,
            "goal": campaign.goal.name(),
            "cells": keys.collect::<Vec<_>>(),
        })
    });
    let document = json!({
        "program": concat!("gauntlet ", env!("CARGO_PKG_VERSION")),
        "engine": ENGINE,
        "libtorch": gauntlet_core::LIBTORCH,
        "device": plan.device,
        "machine": {
            "architecture": std::env::consts::ARCH,
            "system": std::env::consts::OS,
            "processor": processor(),
        },
        "plan": plan.fingerprint(),
        "study": study.to_toml(),
        "models": models.collect::<Value>(),
        "attacks": attacks.collect::<Value>(),
        "metrics": metrics.collect::<Value>(),
        "images": images.collect::<Value>(),
        "campaigns": campaigns.collect::<Value>(),
    });
    let mut text = serde_json::to_vec_pretty(&document)?;
    text.push(b'\n');
    Ok(text)
}

/// A part as JSON; `plugin` is the BLAKE3 hash of the library that it came from.
fn part(part: &Part) -> Value {
    json!({
        "label": part.label,
        "name": part.name,
        "origin": part.origin,
        "plugin": part.plugin,
        "parameters": part.parameters.to_string(),
    })
}

/// The processor's name, on systems that have `/proc/cpuinfo`.
fn processor() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
