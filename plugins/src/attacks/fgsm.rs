//! FGSM, the fast gradient sign method: one step along the sign of the gradient.
//!
//! Paper: Goodfellow, Shlens and Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR
//! 2015, arXiv 1412.6572, section 4.
//! Reference: the code of the ECCV 2018 study.
//!
//! ```text
//! x′ ← x − ε·sign(∇J(x)), clamped to the box
//! ```
//!
//! J is low where the goal is met, away from a class as well as towards one. (The paper's step goes
//! up the cost of the true class, which is the same as down its negative.)
//!
//! Deviations:
//! - `objective` chooses J; the paper's is cross entropy.
//! - `norm` chooses the norm in which the step has length ε; the paper's is l∞.

use super::Objective;
use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Attack, Batch, Budget, Cases, Cost, Goal, Norm};
use gauntlet_core::oracle::Oracle;
use gauntlet_core::params;
use gauntlet_core::params::Preset;
use tch::Tensor;

/// The fast gradient sign method (Goodfellow et al. 2015): one step of length ε against the
/// gradient.
pub struct Fgsm(FgsmParams);

params! {
    /// Settings of [`Fgsm`]: by default cross entropy, as in the paper, at the customary ε of
    /// 8/255.
    pub struct FgsmParams {
        /// Length of the step in `norm`, pixels in [0, 1].
        pub epsilon: f64 = 8.0 / 255.0,
        /// What the step descends.
        pub objective: Objective = Objective::CrossEntropy,
        /// The norm that ε is measured in. With the gradient g the step is ε·sign(g), ε·g/‖g‖₁ (as
        /// the study's code has it) or ε·g/‖g‖₂.
        pub norm: Norm = Norm::Linf,
    }
}

impl FgsmParams {
    /// The settings of the preset `eccv2018`.
    pub fn eccv2018() -> Self {
        Self { epsilon: 0.1, objective: Objective::Logit, norm: Norm::Linf }
    }
}

impl Attack for Fgsm {
    const NAME: &'static str = "fgsm";
    const SUMMARY: &'static str =
        "one step of size epsilon against the sign of the gradient (Goodfellow et al. 2015)";
    type Params = FgsmParams;

    fn presets() -> Vec<Preset<FgsmParams>> {
        vec![Preset {
            name: "eccv2018",
            summary: "the study's commands: logit objective, epsilon 0.1 (0.2 and 0.3 were run \
                      too)",
            params: FgsmParams::eccv2018(),
        }]
    }

    fn new(params: FgsmParams) -> Result<Self> {
        ensure!(
            params.epsilon > 0.0 && params.epsilon.is_finite(),
            "`epsilon` is {}, expected a positive number",
            params.epsilon
        );
        Ok(Self(params))
    }

    fn budget(&self) -> Option<Budget> {
        Some(Budget { norm: self.0.norm, radius: self.0.epsilon })
    }

    fn cost(&self, _: Goal) -> Option<Cost> {
        Some(Cost::gradients(1.0))
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let FgsmParams { epsilon, objective, norm } = self.0;
        let mut answers = Vec::with_capacity(cases.len());
        for Batch { cases, pixels, goals } in cases.batches(oracle.lanes()) {
            let gradient = oracle.gradient(&cases, &pixels, |z| objective.cost(&goals, z))?.pixels;
            let adversarial = (pixels - unit(norm, &gradient) * epsilon).clamp(0.0, 1.0);
            answers.extend(Answer::rows(&adversarial));
        }
        Ok(answers)
    }
}

/// The step of length one in `norm` along the gradient of each image, M×C×H×W. A gradient of zero
/// stays zero.
fn unit(norm: Norm, gradient: &Tensor) -> Tensor {
    match norm {
        Norm::Linf => gradient.sign(),
        Norm::L1 | Norm::L2 => gradient / norm.of(gradient).clamp_min(f64::from(f32::MIN_POSITIVE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for norm in [Norm::Linf, Norm::L1, Norm::L2] {
            check_attack::<Fgsm>(FgsmParams { norm, epsilon: 0.5, ..FgsmParams::default() })
                .unwrap();
        }
    }

    #[test]
    fn a_bad_epsilon_is_refused() {
        for epsilon in [0.0, -0.1, f64::NAN, f64::INFINITY] {
            let error = Fgsm::new(FgsmParams { epsilon, ..FgsmParams::default() })
                .err()
                .unwrap()
                .to_string();
            assert_eq!(error, format!("`epsilon` is {epsilon}, expected a positive number"));
        }
    }
}
