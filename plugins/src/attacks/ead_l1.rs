//! EAD with the L1 rule: Chen, Sharma, Zhang, Yi, Hsieh, "EAD: Elastic-Net Attacks to Deep Neural
//! Networks via Adversarial Examples", AAAI 2018, algorithm 1. Reference: the code of the ECCV
//! 2018 study, which descends from the authors' own.
//!
//! minimise c·max(0, margin(p′) + κ) + w‖p′ − p‖₂² + β‖p′ − p‖₁ by FISTA: a gradient step on the
//! smooth part from the slack point y, shrinkage around the image, the box, then momentum.

use super::penalty::{self, C, Habit, ORIGINAL, OWN, PenaltyOutcome, Plan, Rest, Walk};
use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Attack, Cases, Cost, Goal, Goals};
use gauntlet_core::device::upload;
use gauntlet_core::lanes::{self, Lanes, Search};
use gauntlet_core::oracle::Oracle;
use gauntlet_core::params;
use gauntlet_core::params::Preset;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// The attack.
pub struct EadL1(EadL1Params);

params! {
    /// Settings of [`EadL1`]. The defaults differ from `eccv2018` in what is minimised: without an
    /// L2 term, the optimum is that of the L1 distortion, by which the attack decides, not of a
    /// mixture. And a hair of confidence: an adversarial that wins by less than float32 noise does
    /// not survive being looked at again.
    pub struct EadL1Params {
        /// Confidence κ: how far, in logits, the goal must be overshot.
        pub kappa: f64 = 1e-3,
        /// Weight β of the L1 distortion.
        pub beta: f64 = 2e-3,
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
        /// How often a step looks whether its loss still falls: every ⌊iterations/checks⌋
        /// iterations (at least 1), first at iteration 0. With 0, all iterations run.
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

    /// How many steps the search is expected to begin with in which no case leaves its image, so
    /// that a single gradient is all they take.
    fn idle_steps(&self) -> u32 {
        let shrinkage = match self.shrinkage {
            Shrinkage::Beta => self.beta / self.learning_rate,
            Shrinkage::BetaTimesRate => self.beta,
        };
        (0..self.search_steps)
            .take_while(|&step| self.initial_c * 10f64.powi(step as i32) < IDLE * shrinkage)
            .count() as u32
    }

    fn plan(&self) -> Plan {
        let &Self { initial_c, search_steps, iterations, abort_checks, abort_tolerance, .. } = self;
        Plan { initial_c, search_steps, iterations, abort_checks, abort_tolerance }
    }
}

impl Attack for EadL1 {
    const NAME: &'static str = "ead_l1";
    const SUMMARY: &'static str =
        "small l1 distortion by FISTA with a search over c, decided by l1 (Chen et al. 2018)";
    type Params = EadL1Params;

    fn presets() -> Vec<Preset<EadL1Params>> {
        vec![Preset {
            name: "eccv2018",
            summary: "the study's commands at batch size 1: beta 1e-3, learning rate 1e-2 (the \
                      command line's never arrived)",
            params: EadL1Params::eccv2018(),
        }]
    }

    fn new(params: EadL1Params) -> Result<Self> {
        params.plan().check()?;
        ensure!(
            params.kappa >= 0.0 && params.kappa.is_finite(),
            "`kappa` is {}, expected 0 or more",
            params.kappa
        );
        ensure!(
            params.beta >= 0.0 && params.beta.is_finite(),
            "`beta` is {}, expected 0 or more",
            params.beta
        );
        ensure!(
            params.l2_weight >= 0.0 && params.l2_weight.is_finite(),
            "`l2_weight` is {}, expected 0 or more",
            params.l2_weight
        );
        ensure!(
            params.learning_rate > 0.0,
            "`learning_rate` is {}, expected a positive number",
            params.learning_rate
        );
        Ok(Self(params))
    }

    fn cost(&self, goal: Goal) -> Option<Cost> {
        let plan = self.0.plan();
        let idle = self.0.idle_steps();
        let search_steps = plan.search_steps - idle;
        let gradients = Plan { search_steps, ..plan }.gradients(goal, HABITS) + f64::from(idle);
        Some(Cost { forward: LOOKS * gradients, backward: gradients })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        Ok(self.search(oracle, cases)?.into_iter().map(Answer::from).collect())
    }
}

/// Measured on the miniatures with 6 × 300, 6 × 100 and 4 × 60 iterations, in the steps in which
/// cases leave their image.
const HABITS: [Habit; 2] = [Habit { whole: 0.0, looks: 2.6 }, Habit { whole: 0.0, looks: 2.5 }];
/// Forward passes for each gradient: two, its own and the new point's, less those whose result is
/// known.
const LOOKS: f64 = 1.65;
/// At a smaller part of the shrinkage, c moves no pixel: gradients of the margin reach 20 or so.
const IDLE: f64 = 0.1;

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
            upload(&values, device)
        };
        let per_image = [-1i64, 1, 1, 1].as_slice();
        let over_image = [1i64, 2, 3].as_slice();

        // A gradient step on the smooth part, from the slack point.
        let image = &lanes.rows[IMAGE];
        let rate = per_lane(&|walk| {
            params.learning_rate * params.decay.at(walk.iteration, params.iterations)
        })
        .view(per_image);
        let gradient = self.gradient(oracle, lanes)?;
        let smooth = if params.l2_weight == 0.0 {
            gradient.shallow_clone()
        } else {
            (&lanes.rows[SLACK] - image) * (2.0 * params.l2_weight) + &gradient
        };
        let slack = &lanes.rows[SLACK] - smooth * &rate;

        // Shrinkage around the image, which leaves the point nearest to it within the threshold of
        // the slack point; and the box.
        let threshold = match params.shrinkage {
            Shrinkage::Beta => params.beta * rate.ones_like(),
            Shrinkage::BetaTimesRate => params.beta * &rate,
        };
        let point = image
            .clamp_tensor(Some(&slack - &threshold), Some(slack + threshold))
            .clamp_(-0.5, 0.5);
        let slack = if params.momentum {
            let momentum =
                per_lane(&|walk| f64::from(walk.iteration + 1) / f64::from(walk.iteration + 4))
                    .view(per_image);
            &point + (&point - &lanes.rows[POINT]) * momentum
        } else {
            point.copy()
        };

        // The new point's distortion and answer.
        let change = &point - image;
        let l1 = change.abs().sum_dim_intlist(over_image, false, Kind::Float);
        let pixels = (&lanes.rows[ORIGINAL] + &change).clamp_(0.0, 1.0);
        let logits = self.look(oracle, lanes, &gradient, &pixels, &l1)?;

        let aborted = penalty::look(lanes, plan, |lanes| {
            let l2 = change.square().sum_dim_intlist(over_image, false, Kind::Float);
            self.hinge(&lanes.goals, &logits) * &lanes.rows[C]
                + l2 * params.l2_weight
                + &l1 * params.beta
        })?;
        let met = lanes.goals.met(&logits, params.kappa);
        penalty::keep(lanes, plan, &aborted, &pixels, &l1, &met)?;
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

/// Passes whose result is known are left out; which they are, the host must look up at every
/// iteration. On a GPU that would be to wait for it each time, so that there all are made.
impl EadL1 {
    fn hinge(&self, goals: &Goals, logits: &Tensor) -> Tensor {
        (goals.margin(logits) + self.0.kappa).clamp_min(0.0)
    }

    /// The gradients at the slack points. As long as a case has not left its image, which at a
    /// small c it never does, its gradient stays what it was.
    fn gradient(&self, oracle: &Oracle, lanes: &Lanes<Walk>) -> Result<Tensor> {
        let part = Part::new(lanes, |lane| lanes.states[lane].rest.is_none());
        let known = part.others(&lanes.rows[SLACK].size(), lanes, |rest| &rest.gradient);
        part.fill(known, || {
            let (goals, c, slack) =
                (part.goals(lanes), part.rows(&lanes.rows[C]), part.rows(&lanes.rows[SLACK]));
            Ok(oracle
                .gradient(&part.cases(lanes), &(slack + 0.5), |z| self.hinge(&goals, z) * c)?
                .pixels)
        })
    }

    /// Logits of the new points' pixels, at these L1 distortions (M). They are zero where they do
    /// not matter.
    fn look(
        &self,
        oracle: &Oracle,
        lanes: &mut Lanes<Walk>,
        gradient: &Tensor,
        pixels: &Tensor,
        l1: &Tensor,
    ) -> Result<Tensor> {
        if l1.device() != Device::Cpu {
            return oracle.logits(&lanes.cases, pixels);
        }
        let distortions = Vec::<f32>::try_from(l1)?;
        let decided = penalty::decided(lanes, self.0.plan(), &distortions)?;
        // From the image to the image: the slack point is there as well.
        let stays = |lane: usize| {
            distortions[lane] == 0.0
                && (lanes.states[lane].iteration == 0 || lanes.states[lane].rest.is_some())
        };
        let stays: Vec<bool> = (0..lanes.len()).map(stays).collect();
        let known =
            |lane: usize| decided[lane] || (stays[lane] && lanes.states[lane].rest.is_some());
        let part = Part::new(lanes, |lane| !known(lane));
        let known =
            part.others(&[lanes.len() as i64, oracle.card().classes], lanes, |rest| &rest.logits);
        let logits = part.fill(known, || oracle.logits(&part.cases(lanes), &part.rows(pixels)))?;
        for (lane, walk) in lanes.states.iter_mut().enumerate() {
            if !stays[lane] {
                walk.rest = None;
            } else if walk.rest.is_none() {
                let [gradient, logits] =
                    [gradient, &logits].map(|tensor| tensor.get(lane as i64).copy());
                walk.rest = Some(Rest { gradient, logits });
            }
        }
        Ok(logits)
    }
}

/// The lanes for which the model is asked.
struct Part {
    lanes: Vec<usize>,
    /// The same, on the device; none for all lanes.
    index: Option<Tensor>,
}

impl Part {
    fn new(lanes: &Lanes<Walk>, asked: impl Fn(usize) -> bool) -> Self {
        let chosen: Vec<usize> = (0..lanes.len()).filter(|&lane| asked(lane)).collect();
        let numbers: Vec<i64> = chosen.iter().map(|&lane| lane as i64).collect();
        let index =
            (chosen.len() < lanes.len()).then(|| upload(&numbers, lanes.rows[IMAGE].device()));
        Self { lanes: chosen, index }
    }

    fn cases(&self, lanes: &Lanes<Walk>) -> Vec<usize> {
        self.lanes.iter().map(|&lane| lanes.cases[lane]).collect()
    }

    fn rows(&self, tensor: &Tensor) -> Tensor {
        self.index
            .as_ref()
            .map_or_else(|| tensor.shallow_clone(), |index| tensor.index_select(0, index))
    }

    fn goals(&self, lanes: &Lanes<Walk>) -> Goals {
        Goals { class: self.rows(&lanes.goals.class), sign: self.rows(&lanes.goals.sign) }
    }

    /// A tensor of this shape with what is known of lanes that rest, and zeros in the others; none
    /// where all are asked for.
    fn others(
        &self,
        shape: &[i64],
        lanes: &Lanes<Walk>,
        known: impl Fn(&Rest) -> &Tensor,
    ) -> Option<Tensor> {
        let all = Tensor::zeros(shape, (Kind::Float, self.index.as_ref()?.device()));
        for (lane, rest) in lanes
            .states
            .iter()
            .enumerate()
            .filter_map(|(lane, walk)| Some((lane, walk.rest.as_ref()?)))
        {
            all.get(lane as i64).copy_(known(rest));
        }
        Some(all)
    }

    /// What is known, with what is found out about the lanes that are asked for.
    fn fill(&self, known: Option<Tensor>, find: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
        let (Some(known), Some(index)) = (known, &self.index) else { return find() };
        if self.lanes.is_empty() { Ok(known) } else { Ok(known.index_copy(0, index, &find()?)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::model::Model;
    use gauntlet_core::oracle::Settings;
    use gauntlet_core::testing::{Affine, check_attack};

    #[test]
    fn is_a_lawful_attack() {
        for base in [EadL1Params::default(), EadL1Params::eccv2018()] {
            check_attack::<EadL1>(EadL1Params { iterations: 60, search_steps: 4, ..base }).unwrap();
        }
    }

    #[test]
    fn a_case_that_does_not_leave_its_image_is_looked_at_once() {
        let model = Affine::new(5, 4, 3);
        let oracle = Oracle::new(&model, vec![0, 1], Settings::default());
        let pixels = Tensor::full([2, 3, 4, 4], 0.4, (Kind::Float, Device::Cpu));
        let class = tch::no_grad(|| model.logits(&pixels)).argmax(1, false).int64_value(&[0]);
        let params = EadL1Params {
            initial_c: 1e-9,
            search_steps: 2,
            iterations: 50,
            ..EadL1Params::default()
        };
        let attack = EadL1::new(params).unwrap();
        let found = attack
            .search(&oracle, &Cases::new(pixels, vec![Goal::Away(class); 2]).unwrap())
            .unwrap();
        for (outcome, passes) in found.iter().zip(oracle.passes()) {
            assert!(outcome.best.is_none());
            // Looked at at iterations 0 and 5, and given up.
            assert_eq!(outcome.trace.iterations, [6, 6]);
            assert_eq!((passes.forward, passes.backward), (4, 2));
        }
    }

    #[test]
    fn steps_at_a_c_that_moves_nothing_are_expected_to_cost_a_gradient() {
        let cost =
            |params: EadL1Params| EadL1::new(params).unwrap().cost(Goal::Away(0)).unwrap().backward;
        let params = || EadL1Params { search_steps: 6, iterations: 300, ..EadL1Params::default() };
        // 0.01 is below 0.1 × 0.002 / 0.01, 0.1 is not; a step is 2.6 × 30 + 1 iterations.
        assert_eq!(cost(params()), 1.0 + 5.0 * 79.0);
        assert_eq!(cost(EadL1Params { initial_c: 1.0, ..params() }), 6.0 * 79.0);
        assert_eq!(cost(EadL1Params { initial_c: 1e-9, ..params() }), 6.0);
    }

    #[test]
    fn bad_settings_are_refused() {
        let d = EadL1Params::default;
        for (params, expected) in [
            (EadL1Params { beta: -1.0, ..d() }, "`beta` is -1, expected 0 or more"),
            (EadL1Params { search_steps: 0, ..d() }, "`search_steps` is 0, expected 1 or more"),
            (
                EadL1Params { abort_tolerance: 1.5, ..d() },
                "`abort_tolerance` is 1.5, expected above 0, at most 1",
            ),
        ] {
            assert_eq!(EadL1::new(params).err().unwrap().to_string(), expected);
        }
    }
}
