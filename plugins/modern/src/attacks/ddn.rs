//! DDN, the decoupled direction and norm attack.
//!
//! Paper: Rony et al., "Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial
//! Attacks and Defenses", CVPR 2019, arXiv 1811.09600, algorithm 1.
//! Reference: adversarial-library.
//!
//! ```text
//! δ ← 0, ε ← 1
//! repeat K times:
//!     g ← the gradient of the cross entropy at x + δ, so that −g leads to the goal
//!     δ ← δ − α·g/‖g‖₂
//!     ε ← ε·(1 − γ) where the goal was met at x + δ, else ε·(1 + γ)
//!     δ ← ε·δ/‖δ‖₂, and x + δ projected onto the box and rounded to grey levels
//! ```
//!
//! α falls along a cosine from 1 to 0.01. Where g is 0, a random direction takes its place. The
//! norm moves by γ a step, so K steps reach nothing below (1 − γ)ᴷ.
//!
//! Deviations:
//! - `levels` rounds to grey levels as the published code does with 256, which reaches no distance
//!   below the rounding of an image off that grid. By default there is no rounding: the engine
//!   measures the 8-bit image itself.
//! - `confidence` asks for a margin below 0, since an answer that touches the boundary can be
//!   undone by the order of a sum. The published code asks for none.

use crate::parts::{Loss, Nearest, Streams, cosine, keep, length, per_image};
use gauntlet_core::attack::{Cost, Norm};
use gauntlet_core::prelude::*;

/// The decoupled direction and norm attack (Rony et al. 2019).
pub struct Ddn(DdnParams);

params! {
    /// Settings of [`Ddn`]: the published ones without rounding, with a confidence.
    pub struct DdnParams {
        /// Steps K (100, 300 and 1000 in the paper).
        pub iterations: u32 = 300,
        /// Part γ by which the norm ε moves.
        pub gamma: f64 = 0.05,
        /// The first norm ε, pixels in [0, 1].
        pub epsilon: f64 = 1.0,
        /// Grey levels that points are rounded to, such as 256; 0 rounds nothing.
        pub levels: u32 = 0,
        /// Margin below 0 that an adversarial must have, in logits.
        pub confidence: f64 = 0.001,
    }
}

impl Attack for Ddn {
    const NAME: &'static str = "ddn";
    const SUMMARY: &'static str =
        "decoupled direction and norm, a small l2 distortion (Rony et al. 2019)";
    type Params = DdnParams;

    fn presets() -> Vec<Preset<DdnParams>> {
        vec![Preset {
            name: "rony2019",
            summary: "the published code's: 100 steps, 256 grey levels, no confidence",
            params: DdnParams {
                iterations: 100,
                levels: 256,
                confidence: 0.0,
                ..DdnParams::default()
            },
        }]
    }

    fn new(params: DdnParams) -> Result<Self> {
        super::at_least_one("iterations", params.iterations)?;
        ensure!(
            params.gamma > 0.0 && params.gamma < 1.0,
            "`gamma` is {}, expected a number between 0 and 1",
            params.gamma
        );
        super::positive("epsilon", params.epsilon)?;
        ensure!(params.levels != 1, "`levels` is 1, expected 0 (no rounding) or 2 or more");
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

impl Ddn {
    fn search(&self, oracle: &Oracle, batch: &Batch) -> Result<Nearest> {
        let DdnParams { iterations, gamma, levels, confidence, .. } = self.0;
        let Batch { cases, pixels: images, goals } = batch;
        let mut streams = Streams::new(oracle, cases);
        let opposite: Tensor = 1.0 - images;
        // No change in the box is longer.
        let longest = length(Norm::L2, &images.maximum(&opposite));
        let mut nearest = Nearest::new(images, &longest);
        let mut delta = images.zeros_like();
        let mut epsilon = longest.full_like(self.0.epsilon);
        for i in 0..iterations {
            let alpha = cosine(1.0, 0.01, i, iterations);
            let x = images + &delta;
            let answer = oracle.gradient(cases, &x, |z| Loss::CrossEntropy.cost(goals, z))?;
            let met = goals.met(&answer.logits, confidence);
            nearest.offer(&x, &length(Norm::L2, &delta), &met);
            let slope = length(Norm::L2, &answer.pixels);
            let mut direction = answer.pixels / per_image(&slope.clamp_min(1e-30));
            let flat = slope.lt(1e-12);
            if flat.any().int64_value(&[]) == 1 {
                keep(&mut direction, &streams.normal(images), &flat);
            }
            delta -= direction * alpha;
            // +1 where the goal is met, −1 elsewhere.
            let side = met.to_kind(Kind::Float) * 2.0 - 1.0;
            epsilon = (epsilon * (side * -gamma + 1.0)).minimum(&longest);
            let scale = &epsilon / length(Norm::L2, &delta).clamp_min(1e-30);
            let mut x = (delta * per_image(&scale) + images).clamp_(0.0, 1.0);
            if levels > 1 {
                let steps = f64::from(levels - 1);
                x = (x * steps).round() / steps;
            }
            delta = x - images;
        }
        Ok(nearest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        check_attack::<Ddn>(DdnParams { iterations: 100, ..DdnParams::default() }).unwrap();
        check_attack::<Ddn>(DdnParams { iterations: 50, levels: 256, ..DdnParams::default() })
            .unwrap();
    }
}
