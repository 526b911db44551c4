//! A made-up study, with everything that a summary can hold.

use crate::analysis::Rate;
use crate::store::write_atomically;
use crate::summary::{EXAMPLES, FILE};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A text that would be code if it were not escaped.
pub(super) const HOSTILE: &str = "<script>alert('&')</script>";
/// The families, each with its number of models.
const FAMILIES: [(&str, usize); 7] = [
    ("AlexNet", 1),
    ("VGG", 2),
    ("Inception", 5),
    ("ResNet", 3),
    ("MobileNet", 3),
    ("DenseNet", 3),
    ("NASNet", 1),
];

const GOALS: [&str; 2] = ["untargeted", "random"];
/// The attacks, each with the metric by which it is the best.
const ATTACKS: [(&str, &str); 2] = [("cw_l2", "l2"), ("ifgsm", "linf")];

/// `study.json` of a study of `count` models, with everything that it can hold.
pub(super) fn summary(count: usize) -> Value {
    let models = Models::new(count);
    let example = json!({
        "tensor": "0", "attack": "cw_l2", "goal": "random",
        "model": models.0.first().map_or("", |model| model.0.as_str()),
        "image": HOSTILE, "label": 1, "target_class": 2, "prediction": 2, "success_8bit": false,
        "distortions": { "l2": 0.5, "linf": null },
    });
    let attack = |(attack, _)| {
        json!({
            "label": attack, "name": attack, "origin": "here 1.0.0", "parameters": "a = 1\n",
            "goals": GOALS,
        })
    };
    json!({
        "$schema": "study.schema.json", "format": 1,
        "study": {
            "name": HOSTILE, "program": "0.1.0", "seed": 1, "images": 40, "classes": 10,
            "tie_tolerance": 0.0, "transfer": "resize", "confidence": 0.95, "resamples": 1000,
            "skipped": [{ "name": HOSTILE, "reason": "no image" }], "left_out": [],
        },
        "models": models.entries(),
        "attacks": ATTACKS.map(attack),
        "metrics": [metric("l2", true), metric("linf", true), metric("clever_l2", false)],
        "campaigns": models.campaigns(),
        "robustness": models.robustness(),
        "transfer": models.transfer(),
        "scores": models.scores(),
        "laws": models.laws(),
        "depth": models.depth(),
        "families": families(),
        "verdicts": verdicts(),
        "findings": models.findings(),
        "examples": [example],
        "missing": [{ "cell": HOSTILE, "reason": null }],
    })
}

/// Labels and families of the models.
struct Models(Vec<(String, String)>);

impl Models {
    fn new(count: usize) -> Self {
        let all = FAMILIES.into_iter().flat_map(|(family, members)| {
            (0..members).map(move |n| (format!("mini_{family}_v{n}"), family.to_owned()))
        });
        let mut models: Vec<(String, String)> = all.take(count).collect();
        if let Some(last) = models.last_mut() {
            last.0 = format!("mini_{HOSTILE}");
        }
        Self(models)
    }

    /// An entry for each model, of its index, label and family.
    fn each(&self, entry: impl Fn(usize, &str, &str) -> Value) -> Vec<Value> {
        self.0.iter().enumerate().map(|(n, (label, family))| entry(n, label, family)).collect()
    }

    fn entries(&self) -> Vec<Value> {
        self.each(|n, label, family| {
            let side = 28 + 4 * (n % 2);
            json!({
                "label": label, "name": label, "family": family, "side": side, "channels": 3,
                "height": side, "width": side,
                "parameters": 1000 * n, "depth": n, "missing": 0, "top1": rate(30 + n % 9, 40),
                "top5": rate(40, 40), "published_top1": null, "published_top5": null,
                "ln_error": error(n).ln(), "source": HOSTILE,
            })
        })
    }

    fn campaigns(&self) -> Vec<Value> {
        let of_model = |n: usize| {
            campaigns(move |attack, best, goal| {
                json!({
                    "model": self.0[n].0, "attack": attack, "goal": goal, "missing": 0,
                    "attacked": 40, "found": 35, "invalid": 0, "success": rate(30 + n % 9, 40),
                    "success_8bit": rate(28, 40),
                    "distortions": [distortion(n, "l2", best), distortion(n, "linf", best)],
                    "cost": {
                        "forward_mean": 100.0 + n as f64, "forward_median": 90.0,
                        "backward_mean": 80.0, "backward_median": null,
                    },
                })
            })
        };
        (0..self.0.len()).flat_map(of_model).collect()
    }

    fn robustness(&self) -> Vec<Value> {
        let model = |n: usize, label: &str, _: &str| {
            let budget = |(k, (epsilon, text)): (usize, (f64, &str))| {
                json!({
                    "epsilon": epsilon, "text": text, "robust": rate(30 - 9 * k, 40),
                    "robust_8bit": rate(30 - 9 * k, 40),
                })
            };
            let budgets = [(0.5, "0.5"), (1.0, "1"), (2.0, "2")];
            json!({
                "model": label, "images": 40, "mean": 0.9 - 0.02 * n as f64, "median": 0.7,
                "budgets": budgets.into_iter().enumerate().map(budget).collect::<Vec<_>>(),
                "fallen": {
                    "attacked": 40,
                    "distortion": (0..30).map(|k| f64::from(k) * 0.05).collect::<Vec<_>>(),
                    "rank": (1..31).collect::<Vec<_>>(),
                },
                "nearest_by": [{ "attack": "cw_l2", "goal": "untargeted", "images": 25 }],
            })
        };
        let ranking = self.each(model);
        let pair = |n: usize| json!({ "better": self.0[0].0, "worse": self.0[n].0, "images": 40, "p": 0.01 });
        let apart = (2..self.0.len()).map(pair).collect::<Vec<_>>();
        vec![json!({ "norm": "l2", "ranking": ranking, "limit": 3.0, "apart": apart })]
    }

    fn transfer(&self) -> Vec<Value> {
        let square = |of: &dyn Fn(usize, usize) -> usize| {
            let row = |a| (0..self.0.len()).map(|b| of(a, b)).collect::<Vec<_>>();
            (0..self.0.len()).map(row).collect::<Vec<_>>()
        };
        let k = |a, b| match (a, b) {
            (a, b) if a == b => 39,
            (a, b) if a + 1 == b => 0,
            (a, b) => (a * 5 + b * 3) % 38,
        };
        let counts = json!({
            "k": square(&k), "n": square(&|a, b| if a + 1 == b { 0 } else { 40 }),
        });
        let control = json!({
            "k": square(&|a, b| usize::from(a != b) * 3),
            "n": square(&|a, b| if a + 1 == b { 0 } else { 40 }),
        });
        let square_of = |of: &dyn Fn(usize, usize) -> Value| {
            let row = |a| (0..self.0.len()).map(|b| of(a, b)).collect::<Vec<_>>();
            (0..self.0.len()).map(row).collect::<Vec<_>>()
        };
        campaigns(|attack, _, goal| {
            json!({
                "attack": attack, "goal": goal, "pixels": "float", "matching": "top1",
                "denominators": { "all": counts, "target_correct": counts },
                "published": "target_correct",
                "control": control,
                "excess": square_of(&|_, _| json!({ "value": 0.25, "interval": [0.1, 0.4] })),
                "split": { "unfooled": [], "different_mistake": [], "same_mistake": [] },
            })
        })
    }

    fn scores(&self) -> Vec<Value> {
        self.each(|n, label, _| {
            json!({
                "metric": "clever_l2", "model": label, "goal": "untargeted", "missing": 0,
                "scored": 40, "mean": estimate(0.4 * strength(n)), "quantiles": quantiles(0.4),
                "extras": {},
            })
        })
    }

    fn laws(&self) -> Vec<Value> {
        let points = self.each(|n, label, _| {
            let x = error(n).ln();
            json!({
                "model": label, "ln_error": x, "ln_error_interval": [x - 0.3, x + 0.3],
                "distortion": strength(n),
                "distortion_interval": [0.8 * strength(n), 1.2 * strength(n)],
                "on_frontier": n % 4 == 0, "membership": 0.1 * (n % 10) as f64,
            })
        });
        let fit = |subset: &str, slope: f64| {
            let point = |x: f64| {
                let line = 1.5 + slope * x;
                json!({ "ln_error": x, "line": line, "interval": [line - 0.3, line + 0.3] })
            };
            let band: Vec<Value> = (0..20).map(|k| point(-3.0 + 0.12 * f64::from(k))).collect();
            json!({
                "subset": subset, "models": self.0.len(), "slope": estimate(slope),
                "slope_interval_t": null, "intercept": estimate(1.5), "r2": estimate(0.7),
                "band": band,
            })
        };
        let fits = [fit("all", 0.2), fit("frontier", 0.3), fit("without_alexnet_and_vgg", 0.1)];
        let law = |attack: &str, goal: &str, metric: &str| {
            json!({
                "attack": attack, "goal": goal, "metric": metric, "points": points, "fits": fits,
            })
        };
        let by_metric =
            |metric: &'static str| campaigns(|attack, _, goal| law(attack, goal, metric));
        ["l2", "linf"].into_iter().flat_map(by_metric).collect()
    }

    fn depth(&self) -> Vec<Value> {
        let neighbours = (1..self.0.len()).filter(|&n| self.0[n].1 == self.0[n - 1].1);
        let effect = |n: usize| {
            json!({
                "attack": "cw_l2", "goal": "untargeted", "metric": "l2", "family": self.0[n].1,
                "shallow": self.0[n - 1].0, "shallow_depth": n, "deep": self.0[n].0,
                "deep_depth": n + 3, "images": 30, "ratio": estimate(0.9 + 0.02 * n as f64),
            })
        };
        neighbours.map(effect).collect()
    }

    fn findings(&self) -> Value {
        let flag = |severity: &str, model: &str, attack: Option<&str>| {
            json!({
                "flag": "random_beats_gradient", "severity": severity, "model": model,
                "attack": attack, "goal": attack.map(|_| "untargeted"), "against": HOSTILE,
                "found": rate(3, 40), "compared": rate(20, 40), "p": 1.23e-4, "reading": HOSTILE,
                "meaning": HOSTILE, "remedy": HOSTILE,
            })
        };
        let mut flags = Vec::new();
        for (model, _) in self.0.iter().step_by(4) {
            flags.extend([
                flag("error", model, Some("cw_l2")),
                flag("warning", model, None),
                flag("note", model, Some("ifgsm")),
            ]);
        }
        if let Some((model, _)) = self.0.last() {
            flags.extend((0..5).map(|_| flag("note", model, Some("cw_l2"))));
        }
        let check = |flag: &str, looked_at: usize, raised: usize| {
            json!({
                "flag": flag, "looked_at": looked_at, "raised": raised, "meaning": "It means.",
            })
        };
        let checks = [check("random_beats_gradient", 40, flags.len()), check("below_clever", 0, 0)];
        json!({ "flags": flags, "checks": checks })
    }
}

/// An entry for each attack, its best metric, and goal.
fn campaigns(entry: impl Fn(&str, &str, &str) -> Value) -> Vec<Value> {
    let goals = |(attack, best)| GOALS.map(|goal| entry(attack, best, goal));
    ATTACKS.into_iter().flat_map(goals).collect()
}

fn families() -> Vec<Value> {
    let pooled = |k: usize| json!({ "k": k, "n": 100, "rate": estimate(k as f64 / 100.0) });
    let sources = FAMILIES
        .map(|(family, _)| json!({ "family": family, "within": pooled(60), "across": pooled(30) }));
    campaigns(|attack, _, goal| {
        json!({
            "attack": attack, "goal": goal, "within": pooled(60), "across": pooled(25),
            "difference": estimate(0.35), "sources": sources,
        })
    })
}

fn verdicts() -> Vec<Value> {
    let verdict = |(finding, claim): (&str, u8)| {
        json!({
            "claim": claim, "statement": "A claim.", "finding": finding, "rule": "A rule.",
            "reading": "A reading.",
            "evidence": [{ "what": HOSTILE, "value": estimate(2.0), "finding": finding }],
        })
    };
    ["supported", "not_supported", "undecided"].into_iter().zip(1..).map(verdict).collect()
}

fn metric(label: &str, of_outcomes: bool) -> Value {
    json!({
        "label": label, "name": label, "origin": "here 1.0.0", "unit": "pixel range",
        "of_outcomes": of_outcomes, "higher_is_more_robust": true, "extras": [],
    })
}

fn distortion(n: usize, metric: &str, best: &str) -> Value {
    let value = strength(n) * if metric == "linf" { 0.02 } else { 1.0 };
    let distances: Vec<f64> = (1..=30).map(|k| value * f64::from(k) / 15.0).collect();
    let ranks: Vec<usize> = (1..=30).collect();
    json!({
        "metric": metric, "images": 30, "mean": estimate(value), "quantiles": quantiles(value),
        "mean_8bit": value, "median_8bit": null,
        "curve": { "attacked": 40, "distortion": distances, "rank": ranks },
        "gap": {
            "images": 30, "best": if metric == best { 29 } else { 1 }, "median_ratio": null,
            "mean_ratio": 1.2,
        },
    })
}

/// How far images must be moved to deceive the n-th model.
fn strength(n: usize) -> f64 {
    0.5 + 0.07 * (n * 7 % 18) as f64
}

/// The n-th model's error without an attack.
fn error(n: usize) -> f64 {
    (n * 11 % 18 + 4) as f64 / 82.0
}

fn quantiles(median: f64) -> Value {
    json!({
        "min": 0.3 * median, "q10": 0.5 * median, "q25": 0.7 * median, "median": median,
        "q75": 1.5 * median, "q90": 2.0 * median, "max": 3.0 * median,
    })
}

fn rate(k: usize, n: usize) -> Value {
    serde_json::to_value(Rate::new(k, n)).unwrap()
}

fn estimate(value: f64) -> Value {
    json!({ "value": value, "interval": [0.8 * value, 1.25 * value] })
}

/// A results folder with the files that the page is made from.
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
