//! What a weights file is, and whether a network runs on it.

use crate::weights::hash::sha256;
use crate::weights::locate::parameters;
use crate::weights::plain::PlainAnswer;
use anyhow::{Context, Result, anyhow};
use gauntlet_core::device::Device;
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::registry::{ModelEntry, Registry};
use gauntlet_core::weights::{Dialect, Graph, Note, Read, Weights};
use serde::Serialize;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use toml::Table;

/// Greatest number of graph operations in the facts, the most frequent first.
const NAMED_OPERATIONS: usize = 8;

/// Facts about a weights file that fits its network.
#[derive(Debug, Serialize)]
pub struct WeightsReport {
    /// The weights file.
    pub file: PathBuf,
    /// The model whose weights the file holds.
    pub model: String,
    /// All parameters of the model.
    pub parameters: Table,
    /// The model's card.
    pub card: ModelCard,
    /// Format of the file, in words.
    pub form: String,
    /// Whose names and layouts the weights have.
    pub dialect: Dialect,
    /// The file's own note on where it comes from.
    pub note: Option<Note>,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
    /// BLAKE3 of the file, in hexadecimal. Results name weights by it.
    pub blake3: String,
    /// Number of tensors that the network reads.
    pub tensors: usize,
    /// Number of values in these tensors, moving statistics of batch norm included.
    pub values: i64,
    /// Other facts about a frozen graph, in words.
    pub facts: Vec<String>,
    /// The network's answer to two plain images.
    pub answer: PlainAnswer,
}

/// Loads a weights file strictly, and runs the network on it. `given` are the model's parameters
/// that differ from the defaults.
///
/// # Errors
/// When tensors are missing, unexpected or misshapen (all are named), or logits are not finite.
pub fn check(
    registry: &Registry,
    file: &Path,
    model: &str,
    given: &Table,
) -> Result<WeightsReport> {
    Ok(examine(registry, file, model, given, |_| {})?.0)
}

/// Like [`check`], with an observer of all that the network reads. Also returns whether the network
/// read anything of the graph beside its weights.
pub(super) fn examine(
    registry: &Registry,
    file: &Path,
    name: &str,
    given: &Table,
    observer: impl Fn(&Read) + 'static,
) -> Result<(WeightsReport, bool)> {
    let place = || format!("weights {}", file.display());
    let entry = registry.find_model(name)?;
    let weights = Weights::open(file, Device::Cpu)?;
    let parameters = entry.entry.parameters(None, &parameters(&weights, given))?;
    let note = weights.note().cloned();
    let facts = weights.graph().map(facts).unwrap_or_default();
    let weights = weights
        .translated(entry.pytorch)
        .with_context(|| format!("model `{name}`"))
        .with_context(place)?;
    let (form, dialect) = (weights.description(), weights.dialect());
    let counts = Rc::new(Cell::new((0, 0, false)));
    let counting = Rc::clone(&counts);
    let weights = weights.observed(move |read| {
        let (tensors, values, graph_read) = counting.get();
        counting.set(match &read {
            Read::Tensor(_, tensor) => (tensors + 1, values + tensor.numel() as i64, graph_read),
            Read::Graph => (tensors, values, true),
        });
        observer(&read);
    });
    let model = load(entry, &parameters, weights).with_context(place)?;
    let answer = PlainAnswer::of(model.as_ref(), Device::Cpu).with_context(place)?;
    let (tensors, values, graph_read) = counts.get();
    let report = WeightsReport {
        file: file.to_owned(),
        model: name.to_owned(),
        card: model.card().clone(),
        parameters,
        form,
        dialect,
        note,
        size: file.metadata().with_context(place)?.len(),
        sha256: sha256(file).with_context(place)?,
        blake3: blake3::Hasher::new()
            .update_reader(File::open(file).with_context(place)?)
            .with_context(place)?
            .finalize()
            .to_string(),
        tensors,
        values,
        facts,
        answer,
    };
    Ok((report, graph_read))
}

fn load(entry: &ModelEntry, parameters: &Table, weights: Weights) -> Result<Box<dyn Model>> {
    entry.load(parameters, weights).map_err(|error| {
        // Users' own files mostly differ in the last layer alone: its weights and its biases.
        let text = format!("{error:#}");
        let classes = parameters.contains_key("classes")
            && !text.contains("\n  missing")
            && text.matches("\n  misshapen").count() == 2;
        if classes {
            anyhow!(
                "{text}\nA file for another number of classes is had by `--params 'classes = N'`"
            )
        } else {
            error
        }
    })
}

/// Facts about a graph beside its weights.
fn facts(graph: &Graph) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (_, node) in graph.nodes() {
        *counts.entry(&node.op).or_default() += 1;
        used.extend(node.inputs.iter().map(String::as_str));
    }
    let named = |wanted: &dyn Fn(&str, &str) -> bool| -> String {
        let names: Vec<&str> = graph
            .nodes()
            .filter(|(name, node)| wanted(name, &node.op))
            .map(|(name, _)| name)
            .take(4)
            .collect();
        names.join(", ")
    };
    let inputs = named(&|_, op| op == "Placeholder");
    let outputs = named(&|name, op| !used.contains(name) && !matches!(op, "Const" | "NoOp"));
    let mut operations: Vec<(&str, usize)> =
        counts.into_iter().filter(|(op, _)| !matches!(*op, "Const" | "Identity")).collect();
    operations.sort_by_key(|&(op, count)| (usize::MAX - count, op));
    let operations: Vec<String> = operations
        .iter()
        .take(NAMED_OPERATIONS)
        .map(|(op, count)| format!("{count} {op}"))
        .collect();
    let mut facts = vec![
        format!("from {inputs} to {outputs}"),
        format!("operations: {}", operations.join(", ")),
    ];
    for (name, node) in graph.nodes().filter(|(_, node)| node.op == "LRN") {
        let number =
            |key| node.float(key).map_or_else(|| "default".to_owned(), |value| value.to_string());
        let before =
            node.inputs.first().and_then(|input| graph.node(input)).map_or("?", |node| &node.op);
        facts.push(format!(
            "{name}: local response normalization after {before}, radius {}, α {}, β {}, bias {}",
            node.int("depth_radius").unwrap_or(5),
            number("alpha"),
            number("beta"),
            number("bias")
        ));
    }
    facts
}
