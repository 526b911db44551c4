//! PDPGD, the primal-dual proximal gradient descent attack, and PDGD, its form without a proximal
//! step.
//!
//! Paper: Matyasko and Chau, "PDPGD: Primal-Dual Proximal Gradient Descent Adversarial Attack",
//! 2021, arXiv 2106.01538, algorithm 1.
//! Reference: adversarial-library.
//!
//! It looks for a saddle point of λ₀·‖r‖ + λ₁·f(x + r), where f = softplus(margin) is low where the
//! goal is met, and (λ₀, λ₁) = softmax(0, λ):
//!
//! ```text
//! r ← 0, λ ← −ln ρ
//! repeat K times:
//!     g ← ∇f(x + r); Adam's step on r, and x + r onto the box
//!     z ← r; at most 5 times, until z moves by less than 1 %:
//!         z ← prox of μ‖·‖ at z + (r − z)·H, and x + z onto the box
//!     r ← z
//!     λ ← λ + θ·sign(margin); (λ₀, λ₁) follows as a moving average
//! ```
//!
//! H is Adam's denominator divided by its greatest element, and μ = (λ₀/λ₁)·(step length)/(that
//! element). The step length falls exponentially to a hundredth, θ linearly to a tenth.
//! PDGD descends λ₀·‖r‖₂ + λ₁·f by Adam, without the inner loop.
//!
//! Deviation: `confidence` is added to the margin, since an answer that touches the boundary can be
//! undone by the order of a sum. The published code asks for none.

use crate::parts::{Nearest, exponential, keep, length, per_image, proximal, unit};
use gauntlet_core::attack::{Cost, Norm};
use gauntlet_core::prelude::*;

/// The primal-dual proximal gradient descent attack (Matyasko and Chau 2021).
pub struct Pdpgd(PdpgdParams);

params! {
    /// Settings of [`Pdpgd`]: the published ones, with a confidence.
    pub struct PdpgdParams {
        /// The norm that is made small.
        pub norm: Norm = Norm::L1,
        /// Steps K. Below a few hundred the first step, which is long, is often the answer.
        pub iterations: u32 = 500,
        /// Length of Adam's first step; the last is a hundredth of it.
        pub step: f64 = 0.1,
        /// The first ratio ρ = λ₀/λ₁ of the weights of norm and loss.
        pub ratio: f64 = 0.01,
        /// Length of the first step θ of λ; the last is a tenth of it.
        pub dual_step: f64 = 0.1,
        /// How much of the weights' moving average stays from step to step.
        pub dual_average: f64 = 0.9,
        /// Whether the norm falls by proximal steps (PDPGD), or by its gradient (PDGD, ℓ2 only).
        pub proximal: bool = true,
        /// Margin below 0 that an adversarial must have, in logits.
        pub confidence: f64 = 0.001,
    }
}

/// Adam's decay rates and ε (Kingma and Ba 2015).
const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const TINY: f64 = 1e-8;
/// Proximal steps at most, and the relative change below which they end.
const PROXIMAL_STEPS: usize = 5;
const STILL: f64 = 0.01;
/// What the ratio of the weights does not fall below, nor its inverse.
const LEAST_RATIO: f64 = 1e-6;

impl Attack for Pdpgd {
    const NAME: &'static str = "pdpgd";
    const SUMMARY: &'static str =
        "primal-dual proximal gradient descent in l1, l2 or linf (Matyasko and Chau 2021)";
    type Params = PdpgdParams;

    fn presets() -> Vec<Preset<PdpgdParams>> {
        vec![
            Preset {
                name: "matyasko2021",
                summary: "the published code's: no confidence",
                params: PdpgdParams { confidence: 0.0, ..PdpgdParams::default() },
            },
            Preset {
                name: "pdgd",
                summary: "PDGD: l2, by the gradient of the norm instead of proximal steps",
                params: PdpgdParams { norm: Norm::L2, proximal: false, ..PdpgdParams::default() },
            },
        ]
    }

    fn new(params: PdpgdParams) -> Result<Self> {
        super::at_least_one("iterations", params.iterations)?;
        super::positive("step", params.step)?;
        super::positive("ratio", params.ratio)?;
        super::positive("dual_step", params.dual_step)?;
        ensure!(
            (0.0..1.0).contains(&params.dual_average),
            "`dual_average` is {}, expected 0 to below 1",
            params.dual_average
        );
        ensure!(
            params.proximal || params.norm == Norm::L2,
            "`proximal` is false and `norm` {:?}, expected the norm L2: only it has a gradient",
            params.norm
        );
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

impl Pdpgd {
    fn search(&self, oracle: &Oracle, batch: &Batch) -> Result<Nearest> {
        let PdpgdParams { norm, iterations, confidence, .. } = self.0;
        let Batch { cases, pixels: images, goals } = batch;
        let none = goals.sign.full_like(f64::INFINITY);
        let mut nearest = Nearest::new(images, &none);
        let mut weights = Weights::new(self.0.ratio, &none);
        let (mut r, mut m, mut v) = (images.zeros_like(), images.zeros_like(), images.zeros_like());
        for i in 0..iterations {
            let x = images + &r;
            let answer =
                oracle.gradient(cases, &x, |z| (goals.margin(z) + confidence).softplus())?;
            let margin = goals.margin(&answer.logits) + confidence;
            nearest.offer(&x, &length(norm, &r), &margin.lt(0.0));
            let mut g = answer.pixels;
            if !self.0.proximal {
                g = g * per_image(&weights.loss) + unit(Norm::L2, &r) * per_image(&weights.norm);
            }
            m = m * BETA1 + &g * (1.0 - BETA1);
            v = v * BETA2 + g.square() * (1.0 - BETA2);
            let corrected = |beta: f64| 1.0 - beta.powf(f64::from(i + 1));
            let root = v.sqrt() / corrected(BETA2).sqrt() + TINY;
            let step = exponential(self.0.step, 0.01, i, iterations);
            r -= &m / &root * (step / corrected(BETA1));
            r = (r + images).clamp_(0.0, 1.0) - images;
            if self.0.proximal {
                r = self.proximal_steps(images, r, &root, &(weights.ratio() * step));
            }
            let left = f64::from(iterations - 1 - i) / f64::from(iterations - 1).max(1.0);
            weights.step(&margin, self.0.dual_step * (left * 0.9 + 0.1), self.0.dual_average);
        }
        Ok(nearest)
    }

    /// Proximal Adam (Melchior et al. 2019): steps towards the proximal point of r in the metric of
    /// Adam's denominator `root`, both M×C×H×W. `weight` (M) is the norm's.
    fn proximal_steps(&self, images: &Tensor, r: Tensor, root: &Tensor, weight: &Tensor) -> Tensor {
        let greatest = Norm::Linf.of(root);
        let mu = weight / greatest.view([-1]);
        let metric = root / greatest;
        let mut z = r.copy();
        let mut moving = weight.ones_like().to_kind(Kind::Bool);
        for _ in 0..PROXIMAL_STEPS {
            let next = proximal(self.0.norm, &((&r - &z) * &metric + &z), &mu);
            let next = (next + images).clamp_(0.0, 1.0) - images;
            // A point that stays at zero gives 0/0, which is not above the threshold: it is still.
            let change = length(Norm::L2, &(&next - &z)) / length(Norm::L2, &next);
            keep(&mut z, &next, &moving);
            moving = moving.logical_and(&change.gt(STILL));
        }
        z
    }
}

/// The weights of norm and loss, M each.
struct Weights {
    lambda: Tensor,
    norm: Tensor,
    loss: Tensor,
}

impl Weights {
    fn new(ratio: f64, like: &Tensor) -> Self {
        let lambda = like.full_like(-ratio.ln());
        Self { norm: (-&lambda).sigmoid(), loss: lambda.sigmoid(), lambda }
    }

    fn ratio(&self) -> Tensor {
        &self.norm / &self.loss
    }

    /// Moves the loss's weight up where the goal is not met, and down where it is.
    fn step(&mut self, margin: &Tensor, length: f64, stays: f64) {
        let bound = -LEAST_RATIO.ln();
        self.lambda = (&self.lambda + margin.sign() * length).clamp(-bound, bound);
        self.norm = &self.norm * stays + (-&self.lambda).sigmoid() * (1.0 - stays);
        self.loss = &self.loss * stays + self.lambda.sigmoid() * (1.0 - stays);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for (norm, proximal) in
            [(Norm::L1, true), (Norm::L2, true), (Norm::Linf, true), (Norm::L2, false)]
        {
            let params = PdpgdParams { norm, iterations: 100, proximal, ..PdpgdParams::default() };
            check_attack::<Pdpgd>(params).unwrap();
        }
    }
}
