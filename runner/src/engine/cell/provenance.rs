//! Where a cell comes from: what is stored beside its rows for people.

use crate::engine::plan::{ENGINE, Work};
use crate::store::canonical;
use crate::study::{Part, Study, StudyModel};
use gauntlet_core::LIBTORCH;
use gauntlet_core::device::Device;
use serde_json::json;

/// What a cell was made from, as JSON, in words that a reader of one file understands. `origin` is
/// the work of the craft cell whose pixels the cell is about; for any other cell its own work.
pub(super) fn provenance(
    study: &Study,
    device: Device,
    model: usize,
    work: Work,
    origin: Work,
) -> String {
    let model = &study.models[model];
    let part = |part: &Part| {
        json!({
            "name": part.name,
            "origin": part.origin,
            "plugin": part.plugin,
            "parameters": part.parameters,
        })
    };
    let (attack, goal) = match origin {
        Work::Craft { attack, goal, .. } => (Some(&study.attacks[attack]), Some(goal)),
        Work::Score { goal, .. } => (None, Some(goal)),
        _ => (None, None),
    };
    let (metric, target) = match work {
        Work::Score { metric, .. } | Work::Measure { metric, .. } => {
            (Some(&study.metrics[metric]), None)
        }
        Work::Transfer { target, .. } => (None, Some(&study.models[target])),
        Work::Clean { .. } | Work::Control { .. } | Work::Craft { .. } | Work::Probe { .. } => {
            (None, None)
        }
    };
    let who = |model: &StudyModel| {
        json!({
            "card": model.card,
            "weights": model.weights_hash,
            "model": part(&model.part),
        })
    };
    canonical(&json!({
        "program": concat!("gauntlet ", env!("CARGO_PKG_VERSION")),
        "engine": ENGINE,
        "libtorch": LIBTORCH,
        "device": format!("{device:?}"),
        "machine": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        "seed": study.seed,
        "model": who(model),
        "attack": attack.map(|attack| part(&attack.part)),
        "goal": goal,
        "metric": metric.map(|metric| part(&metric.part)),
        "target": target.map(who),
        "policy": study.transfer,
    }))
}
