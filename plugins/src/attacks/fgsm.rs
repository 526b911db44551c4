//! FGSM: Goodfellow, Shlens, Szegedy, "Explaining and Harnessing Adversarial Examples", ICLR 2015.

use super::Objective;
use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Attack, Cases, Goals};
use gauntlet_core::oracle::Oracle;
use gauntlet_core::params::Preset;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// One step of size ε against the gradient.
pub struct Fgsm(FgsmParams);

/// Settings of [`Fgsm`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FgsmParams {
    /// Length of the step in `norm`, pixels in [0, 1].
    pub epsilon: f64,
    /// What the step descends.
    pub objective: Objective,
    /// The norm that ε is measured in.
    pub norm: Norm,
}

/// The norm of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Greatest change of an element: the step is ε·sign(g).
    Linf,
    /// Sum of changes: ε·g/‖g‖₁, as the study's code has it.
    L1,
    /// Euclidean: ε·g/‖g‖₂.
    L2,
}

impl Default for FgsmParams {
    /// Cross entropy, as in the paper, at the customary ε of 8/255.
    fn default() -> Self {
        Self { epsilon: 8.0 / 255.0, objective: Objective::CrossEntropy, norm: Norm::Linf }
    }
}

impl Attack for Fgsm {
    const NAME: &'static str = "fgsm";
    const SUMMARY: &'static str = "one step of size epsilon against the sign of the gradient (Goodfellow et al. 2015)";
    type Params = FgsmParams;

    fn presets() -> Vec<Preset<FgsmParams>> {
        vec![Preset {
            name: "eccv2018",
            summary: "the study's commands: logit objective, epsilon 0.1 (0.2 and 0.3 were run too)",
            params: FgsmParams { epsilon: 0.1, objective: Objective::Logit, norm: Norm::Linf },
        }]
    }

    fn new(params: FgsmParams) -> Result<Self> {
        ensure!(params.epsilon > 0.0 && params.epsilon.is_finite(), "`epsilon` is {}, expected a positive number", params.epsilon);
        Ok(Self(params))
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(cases.len());
        let all: Vec<usize> = (0..cases.len()).collect();
        for members in all.chunks(oracle.lanes()) {
            let pixels = cases.pixels.narrow(0, members[0] as i64, members.len() as i64);
            let goals = Goals::new(&cases.goals[members[0]..][..members.len()], &pixels);
            let gradient = oracle.gradient(members, &pixels, |z| self.0.objective.cost(&goals, z))?.pixels;
            let adversarial = (&pixels - self.0.norm.unit(&gradient) * self.0.epsilon).clamp(0.0, 1.0);
            answers.extend((0..members.len() as i64).map(|n| Answer::Pixels(adversarial.get(n))));
        }
        Ok(answers)
    }
}

impl Norm {
    /// The gradient of each image, M×3×S×S, scaled to length one. A gradient of zero stays zero.
    fn unit(self, gradient: &Tensor) -> Tensor {
        let over = [1i64, 2, 3].as_slice();
        let length = match self {
            Self::Linf => return gradient.sign(),
            Self::L1 => gradient.abs().sum_dim_intlist(over, true, Kind::Float),
            Self::L2 => gradient.square().sum_dim_intlist(over, true, Kind::Float).sqrt(),
        };
        gradient / length.clamp_min(f64::from(f32::MIN_POSITIVE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for norm in [Norm::Linf, Norm::L1, Norm::L2] {
            check_attack::<Fgsm>(FgsmParams { norm, epsilon: 0.5, ..FgsmParams::default() }).unwrap();
        }
    }

    #[test]
    fn a_bad_epsilon_is_refused() {
        for epsilon in [0.0, -0.1, f64::NAN, f64::INFINITY] {
            let error = Fgsm::new(FgsmParams { epsilon, ..FgsmParams::default() }).err().unwrap().to_string();
            assert_eq!(error, format!("`epsilon` is {epsilon}, expected a positive number"));
        }
    }
}
