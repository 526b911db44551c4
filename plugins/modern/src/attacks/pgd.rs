//! PGD, projected gradient descent from a random start.
//!
//! Paper: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018,
//! arXiv 1706.06083, section 2.1.
//! Reference: adversarial-library (ℓ∞) and foolbox (ℓ2, ℓ1).
//!
//! ```text
//! repeat `restarts` times, with the cases that have not met their goals:
//!     x ← a random point of the ball, in the box
//!     repeat `iterations` times:
//!         x ← x − α·d, d the steepest direction: sign(g) in ℓ∞, g/‖g‖ in ℓ2 and ℓ1
//!         x ← x₀ + the change x − x₀, clipped to the ball, and then to the box
//! ```
//!
//! g is the gradient of a loss that is low where the goal is met. In ℓ2 and ℓ1 a change that is too
//! long is scaled, as foolbox does it.

use crate::parts::{Loss, Streams, clip, in_batches, keep, unit};
use gauntlet_core::attack::{Batch, Budget, Cost, Norm};
use gauntlet_core::choices;
use gauntlet_core::prelude::*;

/// Projected gradient descent (Madry et al. 2018).
pub struct Pgd(PgdParams);

choices! {
    /// Which point of a run is its answer.
    pub enum Kept {
        /// The last, whether it meets the goal or not (foolbox).
        Last,
        /// The latest that met its goal when a gradient was taken there, or none
        /// (adversarial-library). The point after the last step is not looked at.
        Met,
    }
}

params! {
    /// Settings of [`Pgd`]: by default those of Madry et al. with their 40 steps, at the customary
    /// ε of 8/255.
    pub struct PgdParams {
        /// The norm of the ball.
        pub norm: Norm = Norm::Linf,
        /// Radius of the ball, pixels in [0, 1].
        pub epsilon: f64 = 8.0 / 255.0,
        /// Steps of a run.
        pub iterations: u32 = 40,
        /// Length of a step as a multiple of ε/iterations (2.5: Madry et al., appendix).
        pub step: f64 = 2.5,
        /// What a step descends.
        pub loss: Loss = Loss::CrossEntropy,
        /// Whether a run starts at a random point of the ball, or at the image.
        pub random_start: bool = true,
        /// Runs at most. A case that has met its goal is not run again.
        pub restarts: u32 = 1,
        /// Which point of a run is its answer.
        pub kept: Kept = Kept::Last,
    }
}

impl Attack for Pgd {
    const NAME: &'static str = "pgd";
    const SUMMARY: &'static str =
        "projected gradient descent from random starts in a ball (Madry et al. 2018)";
    type Params = PgdParams;

    fn presets() -> Vec<Preset<PgdParams>> {
        vec![
            Preset {
                name: "madry2018_mnist",
                summary: "the paper's attack on MNIST: epsilon 0.3, 40 steps of 0.01",
                params: PgdParams { epsilon: 0.3, step: 4.0 / 3.0, ..PgdParams::default() },
            },
            Preset {
                name: "madry2018_cifar10",
                summary: "the paper's attack on CIFAR-10: epsilon 8/255, 20 steps of 2/255",
                params: PgdParams { iterations: 20, step: 5.0, ..PgdParams::default() },
            },
        ]
    }

    fn new(params: PgdParams) -> Result<Self> {
        super::positive("epsilon", params.epsilon)?;
        super::positive("step", params.step)?;
        super::at_least_one("iterations", params.iterations)?;
        super::at_least_one("restarts", params.restarts)?;
        Ok(Self(params))
    }

    fn budget(&self) -> Option<Budget> {
        Some(Budget { norm: self.0.norm, radius: self.0.epsilon })
    }

    fn cost(&self, _: Goal) -> Option<Cost> {
        // Where the goal can be met, the first run mostly meets it.
        let gradients = f64::from(self.0.iterations);
        let looks = if self.0.restarts > 1 { 1.0 } else { 0.0 };
        Some(Cost { forward: gradients + looks, backward: gradients })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        self.0.loss.check(oracle.card().classes, &cases.goals)?;
        let mut answers: Vec<Answer> = cases.goals.iter().map(|_| Answer::NotFound).collect();
        let mut open: Vec<usize> = (0..cases.len()).collect();
        for restart in 0..self.0.restarts {
            let mut missed = Vec::new();
            for batch in in_batches(cases, &open, oracle.lanes()) {
                let (pixels, met) = self.descend(oracle, &batch, restart)?;
                for (row, &case) in batch.cases.iter().enumerate() {
                    if met[row] || self.0.kept == Kept::Last {
                        answers[case] = Answer::Pixels(pixels.get(row as i64));
                    }
                    if !met[row] {
                        missed.push(case);
                    }
                }
            }
            open = missed;
        }
        Ok(answers)
    }
}

impl Pgd {
    /// One run over a batch: points M×C×H×W, and whether each is known to have met its goal.
    fn descend(&self, oracle: &Oracle, batch: &Batch, run: u32) -> Result<(Tensor, Vec<bool>)> {
        let PgdParams { norm, epsilon, iterations, step, loss, kept, restarts, .. } = self.0;
        let Batch { cases, pixels: images, goals } = batch;
        let alpha = step * epsilon / f64::from(iterations);
        let radius = images.new_full([cases.len() as i64], epsilon, (Kind::Float, images.device()));
        let mut x = images.copy();
        if self.0.random_start {
            let mut streams = Streams::of_part(oracle, cases, u64::from(run));
            x = (images + streams.in_ball(norm, images) * epsilon).clamp_(0.0, 1.0);
        }
        let mut best = images.copy();
        let mut found = goals.sign.zeros_like().to_kind(Kind::Bool);
        for _ in 0..iterations {
            let answer = oracle.gradient(cases, &x, |z| loss.cost(goals, z))?;
            if kept == Kept::Met {
                let met = goals.met(&answer.logits, 0.0);
                keep(&mut best, &x, &met);
                found = found.logical_or(&met);
            }
            let direction = match norm {
                Norm::Linf => answer.pixels.sign(),
                Norm::L1 | Norm::L2 => unit(norm, &answer.pixels),
            };
            let change = clip(norm, &(x - direction * alpha - images), &radius);
            x = (change + images).clamp_(0.0, 1.0);
        }
        if kept == Kept::Last && run + 1 < restarts {
            found = goals.met(&oracle.logits(cases, &x)?, 0.0);
        }
        let pixels = if kept == Kept::Met { best } else { x };
        Ok((pixels, Vec::try_from(found)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for norm in [Norm::Linf, Norm::L2, Norm::L1] {
            for (kept, restarts) in [(Kept::Last, 1), (Kept::Met, 3)] {
                let epsilon = if norm == Norm::L1 { 4.0 } else { 0.3 };
                let params = PgdParams { norm, epsilon, restarts, kept, ..PgdParams::default() };
                check_attack::<Pgd>(params).unwrap();
            }
        }
        check_attack::<Pgd>(PgdParams { loss: Loss::Dlr, ..PgdParams::default() }).unwrap();
        check_attack::<Pgd>(PgdParams { loss: Loss::Margin, ..PgdParams::default() }).unwrap();
    }
}
