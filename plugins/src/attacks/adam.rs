//! Adam: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, arXiv 1412.6980,
//! algorithm 1.
//!
//! ```text
//! m ← β₁·m + (1 − β₁)·g
//! v ← β₂·v + (1 − β₂)·g²
//! m̂ ← m/(1 − β₁ᵗ),  v̂ ← v/(1 − β₂ᵗ)
//! θ ← θ − α·m̂/(√v̂ + ε)
//! ```

use gauntlet_core::device::upload;
use gauntlet_core::lanes::per_image;
use gauntlet_core::rows;
use tch::{Device, Tensor};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;

rows! {
    /// The moments of each lane.
    pub struct Adam {
        /// First moment, M×C×H×W.
        m: Tensor,
        /// Second moment, M×C×H×W.
        v: Tensor,
    }
}

/// Adam's ε, and where it stands.
#[derive(Clone, Copy)]
pub struct Epsilon {
    pub value: f64,
    /// √(v + ε) with the v before its correction, instead of √v̂ + ε.
    pub inside_root: bool,
}

impl Adam {
    /// Moments of zero for a parameter of this shape.
    pub fn new(like: &Tensor) -> Self {
        Self { m: like.zeros_like(), v: like.zeros_like() }
    }

    /// Takes the gradients g (M×C×H×W, overwritten) of iteration t, one t per lane, and gives the
    /// directions m̂/(√v̂ + ε).
    pub fn step(&mut self, mut g: Tensor, t: &[u32], epsilon: Epsilon) -> Tensor {
        let correction = |beta: f64| correction(beta, t, g.device());
        let (correction1, correction2) = (correction(BETA1), correction(BETA2).sqrt());
        // In place: new memory costs more than the sums.
        self.m *= BETA1;
        self.m += &g * (1.0 - BETA1);
        self.v *= BETA2;
        self.v += g.square_() * (1.0 - BETA2);
        let mut root =
            if epsilon.inside_root { (&self.v + epsilon.value).sqrt_() } else { self.v.sqrt() };
        let _ = root.divide_(&correction2);
        if !epsilon.inside_root {
            root += epsilon.value;
        }
        (&self.m / correction1).divide_(&root)
    }

    /// Sets the moments of one lane to zero.
    pub fn reset(&mut self, lane: i64) {
        for moment in [&self.m, &self.v] {
            let _ = moment.get(lane).zero_();
        }
    }
}

/// 1 − βᵗ for each lane, M×1×1×1.
fn correction(beta: f64, t: &[u32], device: Device) -> Tensor {
    let values: Vec<f32> = t.iter().map(|&t| (1.0 - beta.powi(t as i32)) as f32).collect();
    per_image(&upload(&values, device))
}
