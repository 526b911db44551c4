//! A made-up study, with everything that a summary can hold.

use crate::analysis::Rate;
use crate::store::write_atomically;
use crate::summary::{EXAMPLES, FILE};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(super) const HOSTILE: &str = "<script>alert('&')</script>";
const FAMILIES: [(&str, usize); 7] = [
    ("AlexNet", 1),
    ("VGG", 2),
    ("Inception", 5),
    ("ResNet", 3),
    ("MobileNet", 3),
    ("DenseNet", 3),
    ("NASNet", 1),
];

fn labels(count: usize) -> Vec<(String, String)> {
    let all = FAMILIES.into_iter().flat_map(|(family, members)| {
        (0..members).map(move |n| (format!("mini_{family}_v{n}"), family.to_owned()))
    });
    let mut labels: Vec<(String, String)> = all.take(count).collect();
    if let Some(last) = labels.last_mut() {
        last.0 = format!("mini_{HOSTILE}");
    }
    labels
}

fn rate(k: usize, n: usize) -> Value {
    serde_json::to_value(Rate::new(k, n)).unwrap()
}

fn estimate(value: f64) -> Value {
    json!({ "value": value, "interval": [0.8 * value, 1.25 * value] })
}

/// A study of `count` models with all that a summary can hold.
#[expect(clippy::too_many_lines, reason = "one document")]
pub(super) fn summary(count: usize) -> Value {
    let labels = labels(count);
    let names: Vec<&str> = labels.iter().map(|label| label.0.as_str()).collect();
    let goals = ["untargeted", "random"];
    let attacks = [("cw_l2", "l2"), ("ifgsm", "linf")];
    let each = || attacks.iter().flat_map(|&(attack, best)| goals.map(|goal| (attack, best, goal)));
    let strength = |n: usize| 0.5 + 0.07 * (n * 7 % 18) as f64;
    let error = |n: usize| (n * 11 % 18 + 4) as f64 / 82.0;
    let quantiles = |v: f64| json!({ "min": 0.3 * v, "q10": 0.5 * v, "q25": 0.7 * v, "median": v, "q75": 1.5 * v, "q90": 2.0 * v, "max": 3.0 * v });
    let distortion = |n: usize, metric: &str, best: &str| {
        let value = strength(n) * if metric == "linf" { 0.02 } else { 1.0 };
        json!({
            "metric": metric, "mean": estimate(value), "quantiles": quantiles(value), "mean_8bit": value, "median_8bit": null,
            "curve": { "attacked": 40, "distortion": (1..=30).map(|k| value * f64::from(k) / 15.0).collect::<Vec<_>>(), "rank": (1..=30).collect::<Vec<_>>() },
            "gap": { "images": 30, "best": if metric == best { 29 } else { 1 }, "median_ratio": null, "mean_ratio": 1.2 },
        })
    };
    let campaigns: Vec<Value> = (0..count)
        .flat_map(|n| each().map(move |campaign| (n, campaign)))
        .map(|(n, (attack, best, goal))| {
            json!({
                    "model": labels[n].0, "attack": attack, "goal": goal, "missing": 0, "attacked": 40, "found": 35, "invalid": 0,
                    "success": rate(30 + n % 9, 40), "success_8bit": rate(28, 40), "distortions": [distortion(n, "l2", best), distortion(n, "linf", best)],
                    "cost": { "forward_mean": 100.0 + n as f64, "forward_median": 90.0, "backward_mean": 80.0, "backward_median": null },
            })
        })
        .collect();
    let square = |f: &dyn Fn(usize, usize) -> usize| {
        (0..count).map(|a| (0..count).map(|b| f(a, b)).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let counts = || json!({ "k": square(&|a, b| if a == b { 39 } else { (a * 5 + b * 3) % 38 }), "n": square(&|a, b| if a + 1 == b { 0 } else { 40 }) });
    let matrices: Vec<Value> = each()
        .map(|(attack, _, goal)| {
            let mut counts = counts();
            for a in 0..count.saturating_sub(1) {
                counts["k"][a][a + 1] = 0.into();
            }
            json!({
                "attack": attack, "goal": goal, "pixels": "float", "matching": "top1", "denominators": { "all": counts, "target_correct": counts },
                "published": "target_correct", "split": { "unfooled": [], "different_mistake": [], "same_mistake": [] },
            })
        })
        .collect();
    let laws: Vec<Value> = each()
        .flat_map(|(attack, _, goal)| ["l2", "linf"].map(|metric| (attack, goal, metric)))
        .map(|(attack, goal, metric)| {
            let points: Vec<Value> = (0..count)
                .map(|n| {
                    let x = error(n).ln();
                    json!({
                        "model": labels[n].0, "ln_error": x, "ln_error_interval": [x - 0.3, x + 0.3], "distortion": strength(n),
                        "distortion_interval": [0.8 * strength(n), 1.2 * strength(n)], "on_frontier": n % 4 == 0, "membership": 0.1 * (n % 10) as f64,
                    })
                })
                .collect();
            let fit = |subset: &str, slope: f64| {
                let band: Vec<Value> = (0..20)
                    .map(|k| -3.0 + 0.12 * f64::from(k))
                    .map(|x| json!({ "ln_error": x, "line": 1.5 + slope * x, "interval": [1.2 + slope * x, 1.8 + slope * x] }))
                    .collect();
                json!({ "subset": subset, "models": count, "slope": estimate(slope), "slope_interval_t": null, "intercept": estimate(1.5), "r2": estimate(0.7), "band": band })
            };
            json!({ "attack": attack, "goal": goal, "metric": metric, "points": points,
                "fits": [fit("all", 0.2), fit("frontier", 0.3), fit("without_alexnet_and_vgg", 0.1)] })
        })
        .collect();
    let depth: Vec<Value> = (1..count)
        .filter(|&n| labels[n].1 == labels[n - 1].1)
        .map(|n| {
            json!({ "attack": "cw_l2", "goal": "untargeted", "metric": "l2", "family": labels[n].1, "shallow": labels[n - 1].0, "shallow_depth": n,
                "deep": labels[n].0, "deep_depth": n + 3, "images": 30, "ratio": estimate(0.9 + 0.02 * n as f64) })
        })
        .collect();
    let pooled = |k: usize| json!({ "k": k, "n": 100, "rate": estimate(k as f64 / 100.0) });
    let families: Vec<Value> = each()
        .map(|(attack, _, goal)| {
            let sources: Vec<Value> = FAMILIES.iter().map(|(family, _)| json!({ "family": family, "within": pooled(60), "across": pooled(30) })).collect();
            json!({ "attack": attack, "goal": goal, "within": pooled(60), "across": pooled(25), "difference": estimate(0.35), "sources": sources })
        })
        .collect();
    let verdicts: Vec<Value> = ["supported", "not_supported", "undecided"]
        .iter()
        .zip(1..)
        .map(|(finding, claim)| {
            json!({ "claim": claim, "statement": "A claim.", "finding": finding, "rule": "A rule.", "reading": "A reading.",
                "evidence": [{ "what": HOSTILE, "value": estimate(2.0), "finding": finding }] })
        })
        .collect();
    let metric = |label: &str, of_outcomes: bool| json!({ "label": label, "name": label, "origin": "here 1.0.0", "unit": "pixel range", "of_outcomes": of_outcomes, "higher_is_more_robust": true, "extras": [] });
    let models: Vec<Value> = (0..count)
        .map(|n| {
            json!({ "label": names[n], "name": names[n], "family": labels[n].1, "side": 28, "parameters": 1000 * n, "depth": n, "missing": 0,
                "top1": rate(30 + n % 9, 40), "top5": rate(40, 40), "published_top1": null, "published_top5": null, "ln_error": error(n).ln(), "source": HOSTILE })
        })
        .collect();
    let scores: Vec<Value> = (0..count)
        .map(|n| {
            json!({ "metric": "clever_l2", "model": names[n], "goal": "untargeted", "missing": 0, "scored": 40,
                "mean": estimate(0.4 * strength(n)), "quantiles": quantiles(0.4), "extras": {} })
        })
        .collect();
    let flag = |severity: &str, model: &str, attack: Option<&str>| {
        json!({ "flag": "random_beats_gradient", "severity": severity, "model": model, "attack": attack, "goal": attack.map(|_| "untargeted"),
            "against": HOSTILE, "found": rate(3, 40), "compared": rate(20, 40), "p": 1.23e-4, "reading": HOSTILE, "meaning": HOSTILE, "remedy": HOSTILE })
    };
    let flags: Vec<Value> = names
        .iter()
        .step_by(4)
        .flat_map(|name| {
            [
                flag("error", name, Some("cw_l2")),
                flag("warning", name, None),
                flag("note", name, Some("ifgsm")),
            ]
        })
        .chain(
            names
                .last()
                .into_iter()
                .flat_map(|name| (0..5).map(|_| flag("note", name, Some("cw_l2")))),
        )
        .collect();
    let check = |flag: &str, looked_at: usize, raised: usize| json!({ "flag": flag, "looked_at": looked_at, "raised": raised, "meaning": "It means." });
    let findings = json!({ "flags": flags, "checks": [check("random_beats_gradient", 40, flags.len()), check("below_clever", 0, 0)] });
    let example = json!({ "tensor": "0", "attack": "cw_l2", "goal": "random", "model": names.first().copied().unwrap_or_default(), "image": HOSTILE, "label": 1,
        "target_class": 2, "prediction": 2, "success_8bit": false, "distortions": { "l2": 0.5, "linf": null } });
    json!({
        "$schema": "study.schema.json", "format": 1,
        "study": { "name": HOSTILE, "program": "0.1.0", "seed": 1, "images": 40, "classes": 10, "tie_tolerance": 0.0, "transfer": "resize",
            "confidence": 0.95, "resamples": 1000, "skipped": [{ "name": HOSTILE, "reason": "no \
                image" }], "left_out": [] },
        "models": models,
        "attacks": attacks.map(|(attack, _)| json!({ "label": attack, "name": attack, "origin": "here 1.0.0", "parameters": "a = 1\n", "goals": goals })),
        "metrics": [metric("l2", true), metric("linf", true), metric("clever_l2", false)],
        "campaigns": campaigns, "transfer": matrices, "scores": scores, "laws": laws, "depth": depth, "families": families, "verdicts": verdicts,
        "findings": findings, "examples": [example], "missing": [{ "cell": HOSTILE, "reason": null }],
    })
}

pub(super) fn folder(summary: &Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_atomically(&folder.path().join(FILE), summary.to_string().as_bytes()).unwrap();
    let bytes: Vec<u8> = (0..3 * 8 * 8).flat_map(|n| (n as f32 / 192.0).to_le_bytes()).collect();
    let view = || {
        safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![3, 8, 8], &bytes)
            .unwrap()
    };
    let pixels =
        safetensors::serialize([("0.original", view()), ("0.adversarial", view())], None).unwrap();
    write_atomically(&folder.path().join(EXAMPLES), &pixels).unwrap();
    folder
}
