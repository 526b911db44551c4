//! Where a cell comes from: what is stored beside its rows for people.

use crate::engine::plan::Work;
use crate::study::Study;
use gauntlet_core::device::Device;

/// What a cell was made from, in words that a reader of one file understands; as JSON.
/// `origin` is the work that the pixels come from, if they come from another.
pub(super) fn provenance(
    study: &Study,
    device: Device,
    model: usize,
    work: Work,
    origin: Work,
) -> String {
    use serde_json::json;
    let model = &study.models[model];
    let part = |part: &crate::study::Part| json!({ "name": part.name, "origin": part.origin, "plugin": part.plugin, "parameters": part.parameters });
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
        Work::Clean { .. } | Work::Craft { .. } | Work::Probe { .. } => (None, None),
    };
    let who = |model: &crate::study::StudyModel| json!({ "card": model.card, "weights": model.weights_hash, "model": part(&model.part) });
    crate::store::canonical(&json!({
        "program": concat!("gauntlet ", env!("CARGO_PKG_VERSION")),
        "engine": crate::engine::plan::ENGINE,
        "libtorch": gauntlet_core::LIBTORCH,
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
