//! Specifications of cells: all that determines their content. A cell's key is the hash of its
//! specification, so a finished results folder finds its cells by what it records.

use gauntlet_core::model::ModelCard;
use serde_json::{Value, json};

/// What all cells of a study have in common.
pub(crate) struct Common<'a> {
    pub engine: &'a str,
    /// Version of the program.
    pub program: &'a str,
    pub libtorch: &'a str,
    /// Kind of device: `cpu` or `cuda`.
    pub device: &'a str,
}

/// A registered part: `parameters` are TOML text, which can say what JSON cannot: infinity and NaN.
pub(crate) fn part(name: &str, origin: &str, parameters: &str, plugin: Option<&str>) -> Value {
    let mut spec = json!({ "name": name, "origin": origin, "parameters": parameters });
    if let Some(hash) = plugin {
        spec["plugin"] = json!(hash);
    }
    spec
}

/// A model: its part, the hash of its weights, and its card.
pub(crate) fn model(mut part: Value, weights: &str, card: &ModelCard) -> Value {
    part["weights"] = json!(weights);
    part["side"] = json!(card.side);
    part["classes"] = json!(card.classes);
    part["label_offset"] = json!(card.label_offset);
    part
}

/// A model's answers to images (hash and label each) at its own side.
pub(crate) fn clean<'a>(
    common: &Common,
    model: &Value,
    images: impl Iterator<Item = (&'a str, i64)>,
) -> Value {
    json!({
        "cell": "clean",
        "engine": common.engine,
        "program": common.program,
        "libtorch": common.libtorch,
        "device": common.device,
        "model": model,
        "images": images.collect::<Vec<_>>(),
    })
}

/// An attack on the images of a clean cell, which is named by its key. `targets` are the images'
/// target classes, where they come with the images; otherwise they follow from the clean cell and
/// the seed.
pub(crate) fn craft(
    clean: &str,
    attack: &Value,
    goal: &str,
    seed: u64,
    tie_tolerance: f64,
    targets: Option<Vec<Option<i64>>>,
) -> Value {
    let mut spec =
        json!({ "cell": "craft", "clean": clean, "attack": attack, "goal": goal, "seed": seed });
    if let Some(targets) = targets {
        spec["targets"] = json!(targets);
    }
    if tie_tolerance != 0.0 {
        spec["tie_tolerance"] = json!(tie_tolerance);
    }
    spec
}
