//! What `attacks.json` holds: settings, and what the authors' code gave with them.

use crate::goal;
use gauntlet_core::attack::Cases;
use gauntlet_tests::golden::tiny_images;
use serde::Deserialize;
use std::fmt::Debug;

#[derive(Deserialize)]
pub struct Golden {
    pub meta: Meta,
    pub network: Network,
    #[serde(flatten)]
    pub main: Section,
    pub cw_alt_order: Vec<Run>,
    pub ead_alt_order: Vec<Run>,
    pub orig_constants: OtherConstants,
    pub quirks: Quirks,
    pub norms: NormPairs,
}

#[derive(Deserialize)]
pub struct NormPairs {
    pub pairs: Vec<Pair>,
}

/// Two arrays and the norms of their difference.
///
/// Arrays are written with seven digits. Pairs that differ by less cannot be compared.
#[derive(Deserialize)]
pub struct Pair {
    pub name: String,
    pub a: Option<serde_json::Value>,
    pub b: Option<serde_json::Value>,
    pub l0: f64,
    pub l1: f64,
    pub l2: f64,
    pub linf: f64,
}

#[derive(Deserialize)]
pub struct Meta {
    pub seed: String,
}

#[derive(Deserialize)]
pub struct Network {
    pub kernel_constant: f64,
    pub logit_multiplier: f64,
    pub logits: Vec<Vec<f64>>,
    pub labels: Vec<i64>,
    pub input_gradient_of_true_logit: Norms,
}

#[derive(Deserialize)]
pub struct Norms {
    pub l1: Vec<f64>,
    pub l2: Vec<f64>,
    pub linf: Vec<f64>,
}

#[derive(Deserialize)]
pub struct OtherConstants {
    pub network: Network,
    #[serde(flatten)]
    pub section: Section,
}

#[derive(Deserialize)]
pub struct Section {
    pub fgsm: Vec<Run>,
    pub ifgsm: IfgsmRuns,
    pub cw: Vec<Run>,
    pub ead: Vec<Run>,
}

#[derive(Deserialize)]
pub struct IfgsmRuns {
    pub fixed: Vec<Run>,
    pub search: Vec<Run>,
    pub fixed_via_attack: Vec<ViaAttack>,
}

#[derive(Deserialize)]
pub struct ViaAttack {
    pub mode: String,
    pub nan: Vec<bool>,
    pub eps_val: Vec<Vec<f64>>,
}

/// One setting of an attack, and what it gave for six images.
#[derive(Deserialize)]
pub struct Run {
    pub mode: String,
    pub images: Vec<Image>,
    pub objective: Option<String>,
    pub ord: Option<serde_json::Value>,
    pub eps: Option<f64>,
    pub initial_eps: Option<f64>,
    pub max_attempts: Option<u32>,
    pub iters: Option<u32>,
    pub steps: Option<u32>,
    pub kappa: Option<f64>,
    pub c0: Option<f64>,
    pub order: Option<String>,
}

/// What an attack gave for one image.
#[derive(Deserialize)]
pub struct Image {
    pub target: i64,
    pub nan: bool,
    pub success: bool,
    pub pred: Option<i64>,
    pub logits: Option<Vec<f64>>,
    pub l1: Option<f64>,
    pub l2: Option<f64>,
    pub linf: Option<f64>,
    pub x12: Option<Vec<f64>>,
    pub n_tiny_grad: Option<u32>,
    pub eps_trace: Option<Vec<f64>>,
    pub best_eps: Option<f64>,
    pub const_trace: Option<Vec<f64>>,
    pub iters_run: Option<Vec<u32>>,
    pub first_found: Option<(u32, u32)>,
    pub best_const: Option<f64>,
}

#[derive(Deserialize)]
pub struct Quirks {
    pub tie_rule: Vec<Tie>,
}

#[derive(Deserialize)]
pub struct Tie {
    pub logits: Vec<f32>,
    pub target: i64,
    pub success: bool,
}

impl Run {
    pub fn cases(&self) -> Cases {
        let goals = self.images.iter().map(|image| goal(&self.mode, image.target)).collect();
        Cases::new(tiny_images(), goals).unwrap()
    }

    pub fn name(&self) -> String {
        let Self { mode, objective, ord, eps, iters, steps, kappa, c0, order, .. } = self;
        let parts: [(&str, Option<&dyn Debug>); 8] = [
            ("objective", objective.as_ref().map(|v| v as _)),
            ("ord", ord.as_ref().map(|v| v as _)),
            ("eps", eps.as_ref().map(|v| v as _)),
            ("iters", iters.as_ref().map(|v| v as _)),
            ("steps", steps.as_ref().map(|v| v as _)),
            ("kappa", kappa.as_ref().map(|v| v as _)),
            ("c0", c0.as_ref().map(|v| v as _)),
            ("order", order.as_ref().map(|v| v as _)),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter_map(|(name, value)| value.map(|v| format!("{name} {v:?}")))
            .collect();
        format!("{mode}, {}", parts.join(", "))
    }
}
