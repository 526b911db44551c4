//! EAD with the L1 rule: Chen, Sharma, Zhang, Yi, Hsieh, "EAD: Elastic-Net Attacks to Deep Neural
//! Networks via Adversarial Examples", AAAI 2018, algorithm 1. Reference: the code of the ECCV
//! 2018 study, which descends from the authors' own.
//!
//! minimise c·max(0, margin(p′) + κ) + w‖p′ − p‖₂² + β‖p′ − p‖₁ by FISTA: a gradient step on the
//! smooth part from the slack point y, shrinkage around the image, the box, then momentum.

use super::penalty::{self, C, Habit, ORIGINAL, OWN, PenaltyOutcome, Plan, Walk};
use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Attack, Cases, Cost, Goal};
use gauntlet_core::lanes::{self, Lanes, Search};
use gauntlet_core::oracle::Oracle;
use gauntlet_core::params;
use gauntlet_core::params::Preset;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// The attack.
pub struct EadL1(EadL1Params);

params! {
    /// Settings of [`EadL1`]. The defaults differ from `eccv2018` in what is minimised: with ten times
    /// the shrinkage and no L2 term, the optimum is that of the L1 distortion, by which the attack
    /// decides, not of a mixture. And a hair of confidence: an adversarial that wins by less than
    /// float32 noise does not survive being looked at again.
    pub struct EadL1Params {
        /// Confidence κ: how far, in logits, the goal must be overshot.
        pub kappa: f64 = 1e-3,
        /// Weight β of the L1 distortion.
        pub beta: f64 = 1e-2,
        /// Weight w of the squared L2 distortion.
        pub l2_weight: f64 = 0.0,
        /// The first c.
        pub initial_c: f64 = 0.01,
        /// Steps of the search over c.
        pub search_steps: u32 = 9,
        /// FISTA's iterations in each step, at the most.
        pub iterations: u32 = 1000,
        /// Learning rate at the first iteration.
        pub learning_rate: f64 = 1e-2,
        /// How the learning rate falls.
        pub decay: Decay = Decay::SquareRoot,
        /// What an element is shrunk by.
        pub shrinkage: Shrinkage = Shrinkage::Beta,
        /// FISTA's momentum k/(k + 3). Without it, the study's code having read the iterate after
        /// overwriting it (a race), the method is ISTA.
        pub momentum: bool = true,
        /// How often a step looks whether its loss still falls: every ⌊iterations/checks⌋ iterations
        /// (at least 1), first at iteration 0. With 0, all iterations run.
        pub abort_checks: u32 = 10,
        /// A step is given up when the loss is above this fraction of the last look's.
        pub abort_tolerance: f64 = 0.9999,
    }
}

/// The learning rate at iteration k of n, as a part of the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// 1.
    Constant,
    /// √(1 − k/n).
    SquareRoot,
}

impl Decay {
    /// The part at iteration `k` of `n`.
    fn at(self, k: u32, n: u32) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::SquareRoot => (1.0 - f64::from(k) / f64::from(n)).sqrt(),
        }
    }
}

/// The threshold of the soft shrinkage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shrinkage {
    /// β at every iteration, as published.
    Beta,
    /// β × learning rate: the proximal step of β‖·‖₁, which keeps pace with the gradient step.
    BetaTimesRate,
}

impl EadL1Params {
    fn eccv2018() -> Self {
        Self { kappa: 0.0, beta: 1e-3, l2_weight: 1.0, ..Self::default() }
    }

    fn plan(&self) -> Plan {
        let &Self { initial_c, search_steps, iterations, abort_checks, abort_tolerance, .. } = self;
        Plan { initial_c, search_steps, iterations, abort_checks, abort_tolerance }
    }
}

impl Attack for EadL1 {
    const NAME: &'static str = "ead_l1";
    const SUMMARY: &'static str = "small l1 distortion by FISTA with a search over c, decided by l1 (Chen et al. 2018)";
    type Params = EadL1Params;

    fn presets() -> Vec<Preset<EadL1Params>> {
        vec![Preset {
            name: "eccv2018",
            summary: "the study's commands at batch size 1: beta 1e-3, learning rate 1e-2 (the command line's never arrived)",
            params: EadL1Params::eccv2018(),
        }]
    }

    fn new(params: EadL1Params) -> Result<Self> {
        params.plan().check()?;
        ensure!(params.kappa >= 0.0 && params.kappa.is_finite(), "`kappa` is {}, expected 0 or more", params.kappa);
        ensure!(params.beta >= 0.0 && params.beta.is_finite(), "`beta` is {}, expected 0 or more", params.beta);
        ensure!(params.l2_weight >= 0.0 && params.l2_weight.is_finite(), "`l2_weight` is {}, expected 0 or more", params.l2_weight);
        ensure!(params.learning_rate > 0.0, "`learning_rate` is {}, expected a positive number", params.learning_rate);
        Ok(Self(params))
    }

    fn cost(&self, goal: Goal) -> Option<Cost> {
        let gradients = self.0.plan().gradients(goal, HABITS);
        // Each iteration looks at its iterate, too, besides the slack point.
        Some(Cost { forward: 2.0 * gradients, backward: gradients })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        Ok(self.search(oracle, cases)?.into_iter().map(Answer::from).collect())
    }
}

/// Measured on the miniatures with 6 × 100 iterations, and on the golden values with 9 × 1000.
const HABITS: [Habit; 2] = [Habit { whole: 0.0, looks: 1.8 }, Habit { whole: 0.05, looks: 1.7 }];

impl EadL1 {
    /// Runs the attack and keeps the trace of each case.
    pub fn search(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<PenaltyOutcome>> {
        lanes::drive(self, oracle, cases)
    }
}

// The rows of a lane, after those of `penalty`. They are kept as p − 0.5, as in the published code:
// around 0 float32 is finer than around 1, and rounding errors add up over the iterations.
const IMAGE: usize = OWN;
const POINT: usize = OWN + 1; // p′, the iterate
const SLACK: usize = OWN + 2; // y, where the gradient is taken; may leave the box

impl Search for EadL1 {
    type Lane = Walk;
    type Output = PenaltyOutcome;

    fn begin(&self, image: &Tensor, _: Goal) -> (Walk, Vec<Tensor>) {
        penalty::begin(self.0.plan(), image, vec![image - 0.5, image - 0.5, image - 0.5])
    }

    fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Walk>) -> Result<Vec<bool>> {
        let (params, plan) = (&self.0, self.0.plan());
        let device = lanes.rows[IMAGE].device();
        let per_lane = |value: &dyn Fn(&Walk) -> f64| -> Tensor {
            let values: Vec<f32> = lanes.states.iter().map(|walk| value(walk) as f32).collect();
            Tensor::from_slice(&values).to_device(device)
        };
        let per_image = [-1i64, 1, 1, 1].as_slice();
        let over_image = [1i64, 2, 3].as_slice();
        let hinge = |lanes: &Lanes<Walk>, logits: &Tensor| (lanes.goals.margin(logits) + params.kappa).clamp_min(0.0) * &lanes.rows[C];

        // A gradient step on the smooth part, from the slack point.
        let image = &lanes.rows[IMAGE];
        let rate = per_lane(&|walk| params.learning_rate * params.decay.at(walk.iteration, params.iterations)).view(per_image);
        let gradient = oracle.gradient(&lanes.cases, &(&lanes.rows[SLACK] + 0.5), |z| hinge(lanes, z))?.pixels;
        let slack = &lanes.rows[SLACK] - (gradient + (&lanes.rows[SLACK] - image) * (2.0 * params.l2_weight)) * &rate;

        // Shrinkage around the image, and the box.
        let threshold = match params.shrinkage {
            Shrinkage::Beta => params.beta * rate.ones_like(),
            Shrinkage::BetaTimesRate => params.beta * &rate,
        };
        let difference = &slack - image;
        let up = (&slack - &threshold).clamp_max(0.5);
        let down = (&slack + &threshold).clamp_min(-0.5);
        let inside = image.where_self(&difference.abs().le_tensor(&threshold), &down);
        let point = up.where_self(&difference.gt_tensor(&threshold), &inside);
        let slack = if params.momentum {
            let momentum = per_lane(&|walk| f64::from(walk.iteration + 1) / f64::from(walk.iteration + 4)).view(per_image);
            &point + (&point - &lanes.rows[POINT]) * momentum
        } else {
            point.copy()
        };

        // The new point's distortion and answer.
        let change = &point - image;
        let l1 = change.abs().sum_dim_intlist(over_image, false, Kind::Float);
        let pixels = lanes.rows[ORIGINAL].where_self(&point.eq_tensor(image), &(&point + 0.5));
        let logits = look(oracle, lanes, &pixels, &undecided(lanes, plan, &l1)?)?;

        let aborted = penalty::look(lanes, plan, |lanes| {
            let l2 = change.square().sum_dim_intlist(over_image, false, Kind::Float);
            hinge(lanes, &logits) + l2 * params.l2_weight + &l1 * params.beta
        })?;
        let met = lanes.goals.met(&logits, params.kappa);
        penalty::keep(lanes, plan, &aborted, &pixels, &l1, &met);
        lanes.rows[POINT] = point;
        lanes.rows[SLACK] = slack;

        // A step of the search starts at the image again.
        Ok(penalty::turn(lanes, plan, &aborted, |lanes, lane| {
            let image = lanes.rows[IMAGE].get(lane as i64);
            lanes.set(POINT, lane, &image);
            lanes.set(SLACK, lane, &image);
        }))
    }

    fn finish(&self, walk: Walk, rows: Vec<Tensor>) -> PenaltyOutcome {
        penalty::finish(self.0.plan(), walk, &rows)
    }
}

/// The lanes whose new point is shown to the model. On a GPU these are all, since to ask which they are would be
/// to wait for it at every iteration.
fn undecided(lanes: &Lanes<Walk>, plan: Plan, distortion: &Tensor) -> Result<Vec<usize>> {
    if distortion.device() == Device::Cpu { penalty::undecided(lanes, plan, distortion) } else { Ok((0..lanes.len()).collect()) }
}

/// Logits of some lanes' pixels; zero in the others, in which they do not matter.
fn look(oracle: &Oracle, lanes: &Lanes<Walk>, pixels: &Tensor, some: &[usize]) -> Result<Tensor> {
    if some.len() == lanes.len() {
        return oracle.logits(&lanes.cases, pixels);
    }
    let logits = Tensor::zeros([lanes.len() as i64, oracle.card().classes], (Kind::Float, pixels.device()));
    if some.is_empty() {
        return Ok(logits);
    }
    let cases: Vec<usize> = some.iter().map(|&lane| lanes.cases[lane]).collect();
    let index = Tensor::from_slice(&some.iter().map(|&lane| lane as i64).collect::<Vec<_>>());
    let found = oracle.logits(&cases, &pixels.index_select(0, &index))?;
    Ok(logits.index_copy(0, &index, &found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for base in [EadL1Params::default(), EadL1Params::eccv2018()] {
            check_attack::<EadL1>(EadL1Params { iterations: 60, search_steps: 4, ..base }).unwrap();
        }
    }

    #[test]
    fn bad_settings_are_refused() {
        let d = EadL1Params::default;
        for (params, expected) in [
            (EadL1Params { beta: -1.0, ..d() }, "`beta` is -1, expected 0 or more"),
            (EadL1Params { search_steps: 0, ..d() }, "`search_steps` is 0, expected 1 or more"),
            (EadL1Params { abort_tolerance: 1.5, ..d() }, "`abort_tolerance` is 1.5, expected above 0, at most 1"),
        ] {
            assert_eq!(EadL1::new(params).err().unwrap().to_string(), expected);
        }
    }
}
