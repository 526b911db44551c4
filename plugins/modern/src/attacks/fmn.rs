//! FMN, the fast minimum-norm attack.
//!
//! Paper: Pintor et al., "Fast Minimum-norm Adversarial Attacks through Adaptive Norm Constraints",
//! NeurIPS 2021, arXiv 2102.12827, algorithm 1.
//! Reference: adversarial-library.
//!
//! ```text
//! δ ← 0, ε ← ∞ (1 in ℓ0)
//! repeat K times:
//!     L ← the margin at x + δ, below 0 where the goal is met; g ← ∇L
//!     goal met:                        ε ← min(ε·(1 − γ), ‖nearest adversarial − x‖)
//!     else, if it was met before:      ε ← ε·(1 + γ)
//!     else, the linearised boundary:   ε ← max(‖δ‖ + |L|/‖g‖*, ε·(1 + γ) from the second step on)
//!     δ ← δ − α·g/‖g‖₂, projected onto the ball of radius ε, and x + δ onto the box
//! ```
//!
//! α and γ fall along a cosine. ‖·‖* is the dual norm. In ℓ0 the radius is a whole number: it moves
//! by γ, but at least by 1.
//!
//! Deviations:
//! - Before anything is found, ε grows by γ at least (`growing`). In the published code the
//!   estimate counts what the box holds back, so that ε may stand still in front of the boundary:
//!   on Fashion-MNIST, whose background is black, it finds nothing for one image in ten in ℓ2.
//! - `confidence` asks for a margin below 0, since an answer that touches the boundary can be
//!   undone by the order of a sum. The published code asks for none.
//! - A radius below 1 in ℓ0, where the published code fails, keeps the greatest change.

use crate::parts::{Nearest, clip, cosine, l0_ball, l1_ball, length, per_image, unit};
use gauntlet_core::attack::{Cost, Norm};
use gauntlet_core::choices;
use gauntlet_core::prelude::*;

/// The fast minimum-norm attack (Pintor et al. 2021).
pub struct Fmn(FmnParams);

choices! {
    /// The norm that is made small.
    pub enum FmnNorm {
        /// Number of changed values.
        L0,
        /// Sum of the absolute changes.
        L1,
        /// Euclidean.
        L2,
        /// Greatest change of a value.
        Linf,
    }
}

params! {
    /// Settings of [`Fmn`]: the published ones, with a growing ε and a confidence.
    pub struct FmnParams {
        /// The norm that is made small.
        pub norm: FmnNorm = FmnNorm::L2,
        /// Steps K (100 to 1000 in the paper). A hundred do for untargeted goals, far targets want
        /// more.
        pub iterations: u32 = 300,
        /// Length α of the first step in ℓ2; the last is a hundredth of it.
        pub step: f64 = 1.0,
        /// Part γ by which ε moves at first.
        pub gamma: f64 = 0.05,
        /// Part γ by which ε moves at last.
        pub gamma_last: f64 = 0.001,
        /// Whether ε grows by γ at least before anything is found.
        pub growing: bool = true,
        /// Margin below 0 that an adversarial must have, in logits.
        pub confidence: f64 = 0.001,
    }
}

impl Attack for Fmn {
    const NAME: &'static str = "fmn";
    const SUMMARY: &'static str =
        "fast minimum-norm attack in l0, l1, l2 or linf (Pintor et al. 2021)";
    type Params = FmnParams;

    fn presets() -> Vec<Preset<FmnParams>> {
        vec![
            Preset {
                name: "pintor2021",
                summary: "the paper's longest runs: 1000 steps, estimated radius, no confidence",
                params: FmnParams {
                    iterations: 1000,
                    growing: false,
                    confidence: 0.0,
                    ..FmnParams::default()
                },
            },
            Preset {
                name: "quick",
                summary: "100 steps, enough for untargeted goals",
                params: FmnParams { iterations: 100, ..FmnParams::default() },
            },
        ]
    }

    fn new(params: FmnParams) -> Result<Self> {
        super::at_least_one("iterations", params.iterations)?;
        super::positive("step", params.step)?;
        for (name, gamma) in [("gamma", params.gamma), ("gamma_last", params.gamma_last)] {
            ensure!((0.0..1.0).contains(&gamma), "`{name}` is {gamma}, expected 0 to below 1");
        }
        super::not_negative("confidence", params.confidence)?;
        Ok(Self(params))
    }

    fn cost(&self, _: Goal) -> Option<Cost> {
        Some(Cost::gradients(f64::from(self.0.iterations)))
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        super::nearest(oracle, cases, |batch| self.search(oracle, batch))
    }
}

impl Fmn {
    fn search(&self, oracle: &Oracle, batch: &Batch) -> Result<Nearest> {
        let FmnParams { norm, iterations, step, gamma, gamma_last, growing, confidence } = self.0;
        let Batch { cases, pixels: images, goals } = batch;
        let opposite: Tensor = 1.0 - images;
        // No change in the box is longer.
        let longest = norm.length(&images.maximum(&opposite));
        let mut nearest = Nearest::new(images, &longest);
        let mut delta = images.zeros_like();
        let mut epsilon = if norm == FmnNorm::L0 { longest.ones_like() } else { &longest / 0.0 };
        for i in 0..iterations {
            let alpha = cosine(step, step / 100.0, i, iterations);
            let gamma = cosine(gamma, gamma_last, i, iterations);
            let x = images + &delta;
            let answer = oracle.gradient(cases, &x, |z| goals.margin(z))?;
            let distance = norm.length(&delta);
            let met = goals.met(&answer.logits, confidence);
            nearest.offer(&x, &distance, &met);
            let (inwards, outwards) = if norm == FmnNorm::L0 {
                let inwards = (&epsilon - 1.0).minimum(&(&epsilon * (1.0 - gamma)).floor());
                (inwards, (&epsilon + 1.0).maximum(&(&epsilon * (1.0 + gamma)).floor()))
            } else {
                let slope = length(norm.dual(), &answer.pixels).clamp_min(1e-12);
                let mut boundary = distance + (answer.loss + confidence).abs() / slope;
                if growing && i > 0 {
                    boundary = boundary.maximum(&(&epsilon * (1.0 + gamma)));
                }
                let farther = &epsilon * (1.0 + gamma);
                (&epsilon * (1.0 - gamma), farther.where_self(&nearest.seen, &boundary))
            };
            epsilon = inwards
                .minimum(&nearest.distance)
                .where_self(&met, &outwards)
                .minimum(&longest)
                .clamp_min(0.0);
            delta -= unit(Norm::L2, &answer.pixels) * alpha;
            delta = (norm.project(&delta, &epsilon) + images).clamp_(0.0, 1.0) - images;
        }
        Ok(nearest)
    }
}

impl FmnNorm {
    /// The length of each row, M×C×H×W → M.
    fn length(self, rows: &Tensor) -> Tensor {
        match self {
            Self::L0 => rows.not_equal(0.0).flatten(1, -1).sum_dim_intlist(1, false, Kind::Float),
            Self::L1 => length(Norm::L1, rows),
            Self::L2 => length(Norm::L2, rows),
            Self::Linf => length(Norm::Linf, rows),
        }
    }

    /// The norm in which a gradient bounds what a change of length 1 can do.
    fn dual(self) -> Norm {
        match self {
            Self::L0 | Self::L1 => Norm::Linf,
            Self::L2 => Norm::L2,
            Self::Linf => Norm::L1,
        }
    }

    /// The changes (M×C×H×W) projected onto balls of radius ε (M). In ℓ2 they are put onto the
    /// sphere, as the reference does it.
    fn project(self, delta: &Tensor, epsilon: &Tensor) -> Tensor {
        match self {
            Self::L0 => l0_ball(delta, epsilon),
            Self::L1 => l1_ball(delta, epsilon),
            Self::L2 => unit(Norm::L2, delta) * per_image(epsilon),
            Self::Linf => clip(Norm::Linf, delta, epsilon),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for norm in [FmnNorm::L0, FmnNorm::L1, FmnNorm::L2, FmnNorm::Linf] {
            let params = FmnParams { norm, iterations: 50, ..FmnParams::default() };
            check_attack::<Fmn>(params).unwrap();
        }
    }
}
