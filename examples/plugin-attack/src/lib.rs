//! MI-FGSM: steps along the sign of a gradient with momentum. Dong et al., "Boosting Adversarial
//! Attacks with Momentum", CVPR 2018, algorithm 1; the defaults are those of its section 4.

use gauntlet_core::attack::{Budget, Norm};
use gauntlet_core::prelude::*;

export_plugin!(attack MiFgsm);

/// Steps along the sign of a gradient with momentum, inside an ℓ∞ ball.
pub struct MiFgsm(MiFgsmParams);

params! {
    /// Settings of [`MiFgsm`].
    pub struct MiFgsmParams {
        /// Radius of the ball around the image, pixels in [0, 1].
        pub epsilon: f64 = 16.0 / 255.0,
        /// Number of steps, each of length ε/iterations.
        pub iterations: u32 = 10,
        /// How much of the momentum stays from step to step (the paper's μ), from 0.
        pub decay: f64 = 1.0,
    }
}

impl Attack for MiFgsm {
    const NAME: &'static str = "mi_fgsm";
    const SUMMARY: &'static str =
        "iterated FGSM with momentum, made to transfer (Dong et al. 2018)";
    type Params = MiFgsmParams;

    fn new(params: MiFgsmParams) -> Result<Self> {
        ensure!(
            params.epsilon > 0.0,
            "`epsilon` is {}, expected a positive number",
            params.epsilon
        );
        ensure!(params.iterations > 0, "`iterations` is 0, expected 1 or more");
        ensure!(params.decay >= 0.0, "`decay` is {}, expected 0 or more", params.decay);
        Ok(Self(params))
    }

    fn budget(&self) -> Option<Budget> {
        Some(Budget { norm: Norm::Linf, radius: self.0.epsilon })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for batch in cases.batches(oracle.lanes()) {
            answers.extend(Answer::rows(&self.adversarials(oracle, &batch)?));
        }
        Ok(answers)
    }
}

impl MiFgsm {
    /// The adversarials of a batch, M×C×H×W.
    fn adversarials(&self, oracle: &Oracle, batch: &Batch) -> Result<Tensor> {
        let MiFgsmParams { epsilon, iterations, decay } = self.0;
        let Batch { cases, pixels: images, goals } = batch;
        let (lowest, highest) =
            ((images - epsilon).clamp_min(0.0), (images + epsilon).clamp_max(1.0));
        let (mut pixels, mut momentum) = (images.copy(), images.zeros_like());
        for _ in 0..iterations {
            // The margin is below zero where the goal is met, whether away from a class or towards
            // one.
            let gradient = oracle.gradient(cases, &pixels, |logits| goals.margin(logits))?.pixels;
            let length = gradient
                .abs()
                .mean_dim([1i64, 2, 3].as_slice(), true, Kind::Float)
                .clamp_min(1e-30);
            momentum = momentum * decay + gradient / length;
            pixels = (pixels - momentum.sign() * (epsilon / f64::from(iterations)))
                .maximum(&lowest)
                .minimum(&highest);
        }
        Ok(pixels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn it_conforms() {
        check_attack::<MiFgsm>(MiFgsmParams::default()).unwrap();
        check_attack::<MiFgsm>(MiFgsmParams { epsilon: 0.1, iterations: 3, decay: 0.5 }).unwrap();
    }
}
