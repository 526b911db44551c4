//! EAD with the L1 rule: a nearby adversarial in l1, by FISTA on an elastic-net penalty.
//!
//! Paper: Chen, Sharma, Zhang, Yi and Hsieh, "EAD: Elastic-Net Attacks to Deep Neural Networks via
//! Adversarial Examples", AAAI 2018, arXiv 1709.04114, algorithm 1.
//! Reference: the code of the ECCV 2018 study, which descends from the authors' own
//! (`l1_attack.py`).
//!
//! It minimises c·f(x) + w·‖x − x₀‖₂² + β·‖x − x₀‖₁ over the images x in [0, 1], where x₀ is the
//! image, f(x) = max(margin(x) + κ, 0), and the margin is below 0 where the goal is met. FISTA
//! takes gradient steps on the smooth part, g(x) = c·f(x) + w·‖x − x₀‖₂²; the shrinkage S_β takes
//! care of the rest, and gives many pixels back the value that they had:
//!
//! ```text
//! x ← x₀,  y ← x₀
//! for k = 1, 2, …:
//!     x′ ← S_β(y − α_k·∇g(y))        the nearest to x₀ of all points within β, in the box
//!     y  ← x′ + k/(k + 3)·(x′ − x)
//!     x  ← x′
//!     keep x if it meets the goal at the smallest ‖x − x₀‖₁ so far
//! ```
//!
//! The search over c is that of [`penalty`](super::penalty).
//!
//! Deviations:
//! - `l2_weight` is the weight w of the squared l2 distortion; in the paper it is 1.
//! - `momentum` can be left out, as a race in the reference may do.
//! - `decay` and `shrinkage` choose what α_k and the threshold of S are; the paper's are the square
//!   root and β.
//! - The momentum's k counts from 1 as in the reference; in the paper it counts from 0.
//!
//! With momentum, 9 steps of the search and 1000 iterations, the attack amplifies float32 noise. On
//! values of the reference that were not used to build it, at κ = 5, single l1 distortions deviate
//! by −5.1 to +9.2 %, and success may differ. Which cases deviate changes with the number of lanes.
//! With up to 100 iterations, or without momentum, lanes have no such effect.

use super::at_image::{Asked, AtImage};
use super::penalty::{
    self, ConstantSearch, ExpectedSteps, PenaltyOutcome, SearchRows, SearchSettings,
};
use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Attack, Cases, Cost, Goal, Goals};
use gauntlet_core::choices;
use gauntlet_core::lanes::{self, Lanes, Search};
use gauntlet_core::oracle::Oracle;
use gauntlet_core::params;
use gauntlet_core::params::Preset;
use gauntlet_core::rows;
use tch::{Device, Kind, Tensor};

/// Elastic-net attack with the L1 rule (Chen et al. 2018): FISTA with a search over c.
pub struct EadL1(EadL1Params);

params! {
    /// Settings of [`EadL1`]. The defaults differ from `eccv2018` in two things. Without an l2
    /// term, the optimum is that of the l1 distortion, by which the attack decides, and not that of
    /// a mixture. And κ is a little above 0: an adversarial that wins by less than float32 noise
    /// may lose when it is looked at again.
    pub struct EadL1Params {
        /// Confidence κ: how far, in logits, the goal must be overshot.
        pub kappa: f64 = 1e-3,
        /// Weight β of the l1 distortion.
        pub beta: f64 = 2e-3,
        /// Weight w of the squared l2 distortion.
        pub l2_weight: f64 = 0.0,
        /// The first c.
        pub initial_c: f64 = 0.01,
        /// Steps of the search over c.
        pub search_steps: u32 = 9,
        /// Greatest number of FISTA's iterations in each step.
        pub iterations: u32 = 1000,
        /// Learning rate α at the first iteration.
        pub learning_rate: f64 = 1e-2,
        /// How the learning rate falls.
        pub decay: Decay = Decay::SquareRoot,
        /// The threshold of the shrinkage.
        pub shrinkage: Shrinkage = Shrinkage::Beta,
        /// Whether there is FISTA's momentum, k/(k + 3) at iteration k. Without it the method is
        /// ISTA, which the study's code becomes when it reads the iterate after overwriting it (a
        /// race).
        pub momentum: bool = true,
        /// Looks at the loss in each step, to give it up if the loss no longer falls: every
        /// ⌊iterations/checks⌋ iterations (at least 1), first at iteration 0. With 0, all
        /// iterations run.
        pub abort_checks: u32 = 10,
        /// A step is given up when the loss is above this fraction of the last look's.
        pub abort_tolerance: f64 = 0.9999,
    }
}

choices! {
    /// The learning rate at iteration k (from 0) of n, as a part of the first.
    pub enum Decay {
        /// 1.
        Constant,
        /// √(1 − k/n).
        SquareRoot,
    }
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

choices! {
    /// The threshold of the shrinkage.
    pub enum Shrinkage {
        /// β at every iteration, as published.
        Beta,
        /// β × learning rate: the proximal step of β‖·‖₁, which keeps pace with the gradient step.
        BetaTimesRate,
    }
}

impl Shrinkage {
    /// The threshold at these learning rates, M×1×1×1.
    fn threshold(self, beta: f64, rate: &Tensor) -> Tensor {
        match self {
            Self::Beta => beta * rate.ones_like(),
            Self::BetaTimesRate => beta * rate,
        }
    }
}

impl EadL1Params {
    /// The settings of the preset `eccv2018`.
    pub fn eccv2018() -> Self {
        Self { kappa: 0.0, beta: 1e-3, l2_weight: 1.0, ..Self::default() }
    }

    /// Steps at the beginning of the search in which no case is expected to leave its image, so
    /// that each takes a single gradient.
    fn idle_steps(&self) -> u32 {
        let shrinkage = match self.shrinkage {
            Shrinkage::Beta => self.beta / self.learning_rate,
            Shrinkage::BetaTimesRate => self.beta,
        };
        (0..self.search_steps)
            .take_while(|&step| self.initial_c * 10f64.powi(step as i32) < IDLE * shrinkage)
            .count() as u32
    }

    /// α at an iteration of a step, from 0.
    fn rate(&self, iteration: u32) -> f64 {
        self.learning_rate * self.decay.at(iteration, self.iterations)
    }

    fn search(&self) -> SearchSettings {
        let &Self { initial_c, search_steps, iterations, abort_checks, abort_tolerance, .. } = self;
        SearchSettings { initial_c, search_steps, iterations, abort_checks, abort_tolerance }
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
        params.search().check()?;
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
        let search = self.0.search();
        let idle = self.0.idle_steps();
        let moving = SearchSettings { search_steps: search.search_steps - idle, ..search };
        let gradients = moving.expected_iterations(expected_steps(goal)) + f64::from(idle);
        Some(Cost { forward: FORWARDS_PER_GRADIENT * gradients, backward: gradients })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        Ok(self.search(oracle, cases)?.into_iter().map(Answer::from).collect())
    }
}

/// Measured on the miniatures with 6 × 300, 6 × 100 and 4 × 60 iterations, in the steps in which
/// cases leave their image.
fn expected_steps(goal: Goal) -> ExpectedSteps {
    match goal {
        Goal::Away(_) => ExpectedSteps { whole: 0.0, looks: 2.6 },
        Goal::Towards(_) => ExpectedSteps { whole: 0.0, looks: 2.5 },
    }
}

/// Measured as [`expected_steps`]. An iteration has two, the gradient's own and the new point's,
/// less those whose result is known.
const FORWARDS_PER_GRADIENT: f64 = 1.65;
/// A c below this part of the shrinkage moves no pixel: gradients of the margin reach about 20.
const IDLE: f64 = 0.1;

impl EadL1 {
    /// Runs the attack and keeps the trace of each case.
    pub fn search(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<PenaltyOutcome>> {
        lanes::drive(self, oracle, cases)
    }
}

rows! {
    /// Rows of a lane. The images of this attack are kept as p − 0.5, as in the reference: around 0
    /// float32 is finer than around 1, and rounding errors add up over the iterations.
    pub struct EadRows {
        search: SearchRows,
        fista: Fista,
        /// x₀ − 0.5, M×C×H×W.
        x0: Tensor,
    }
}

rows! {
    /// FISTA's two points, each M×C×H×W.
    struct Fista {
        /// The iterate.
        x: Tensor,
        /// The slack point, where the gradient is taken; it may leave the box.
        y: Tensor,
    }
}

impl Fista {
    fn new(start: &Tensor) -> Self {
        Self { x: start.copy(), y: start.copy() }
    }

    /// One iteration, where `descent` is α·∇g(y), `shrink` is S_β, and `momentum` is k/(k + 3),
    /// M×1×1×1, or none for ISTA.
    fn step(
        &mut self,
        descent: &Tensor,
        shrink: impl FnOnce(Tensor) -> Tensor,
        momentum: Option<Tensor>,
    ) {
        let x = shrink(&self.y - descent);
        self.y = match momentum {
            Some(momentum) => &x + (&x - &self.x) * momentum,
            None => x.copy(),
        };
        self.x = x;
    }

    /// Puts one lane back to its row of `start`.
    fn restart(&self, start: &Tensor, lane: i64) {
        for point in [&self.x, &self.y] {
            point.get(lane).copy_(&start.get(lane));
        }
    }
}

/// FISTA's k/(k + 3), with k one ahead of the iteration, which counts from 0.
fn momentum(iteration: u32) -> f64 {
    f64::from(iteration + 1) / f64::from(iteration + 4)
}

/// S: of the points within `threshold` of z, the one nearest to x₀, brought into the box.
fn shrink(z: Tensor, x0: &Tensor, threshold: &Tensor) -> Tensor {
    x0.clamp_tensor(Some(&z - threshold), Some(z + threshold)).clamp_(-0.5, 0.5)
}

/// The sum over each image: M×C×H×W → M.
fn sum(values: &Tensor) -> Tensor {
    values.sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float)
}

impl Search for EadL1 {
    type State = ConstantSearch;
    type Rows = EadRows;
    type Output = PenaltyOutcome;

    fn begin(&self, image: &Tensor, _: Goal) -> (ConstantSearch, EadRows) {
        let (search, rows) = penalty::begin(self.0.search(), image);
        let x0 = image - 0.5;
        (search, EadRows { search: rows, fista: Fista::new(&x0), x0 })
    }

    fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Self>) -> Result<Vec<bool>> {
        let (kappa, beta, l2_weight) = (self.0.kappa, self.0.beta, self.0.l2_weight);
        let gradient = self.gradient(oracle, lanes)?;
        self.iterate(lanes, &gradient);

        let EadRows { fista, x0, search } = &lanes.rows;
        let change = &fista.x - x0;
        let l1 = sum(&change.abs());
        let pixels = (&search.image + &change).clamp_(0.0, 1.0);
        let logits = Self::logits(oracle, lanes, &gradient, &pixels, &l1)?;
        let met = lanes.goals.met(&logits, kappa);

        let Lanes { states, goals, rows: EadRows { fista, x0, search }, .. } = lanes;
        let given_up = penalty::given_up(states, || {
            self.f(goals, &logits) * &search.c + sum(&change.square()) * l2_weight + &l1 * beta
        })?;
        search.keep(states, &given_up, &pixels, &l1, &met)?;
        Ok(search.turn(states, &given_up, |lane| fista.restart(x0, lane)))
    }

    fn finish(&self, search: ConstantSearch, rows: EadRows) -> PenaltyOutcome {
        rows.search.finish(search)
    }
}

impl EadL1 {
    /// f of the logits: M×K → M.
    fn f(&self, goals: &Goals, logits: &Tensor) -> Tensor {
        (goals.margin(logits) + self.0.kappa).clamp_min(0.0)
    }

    /// FISTA's iteration, with ∇(c·f) at the slack points (M×C×H×W).
    fn iterate(&self, lanes: &mut Lanes<Self>, gradient: &Tensor) {
        let params = &self.0;
        let rate = lanes.per_image(|search| params.rate(search.iteration));
        let momentum =
            params.momentum.then(|| lanes.per_image(|search| momentum(search.iteration)));
        let threshold = params.shrinkage.threshold(params.beta, &rate);
        let EadRows { fista, x0, .. } = &mut lanes.rows;
        let smooth = if params.l2_weight == 0.0 {
            gradient.shallow_clone()
        } else {
            (&fista.y - &*x0) * (2.0 * params.l2_weight) + gradient
        };
        fista.step(&(smooth * rate), |z| shrink(z, x0, &threshold), momentum);
    }

    /// ∇(c·f) at the slack points, M×C×H×W. Where a case has not left its image, it is known.
    fn gradient(&self, oracle: &Oracle, lanes: &Lanes<Self>) -> Result<Tensor> {
        let y = &lanes.rows.fista.y;
        let asked =
            Asked::new(lanes.len(), y.device(), |lane| lanes.states[lane].at_image.is_none());
        asked.complete(
            &y.size(),
            lanes.states.iter().map(|search| search.at_image.as_ref()),
            |at_image| &at_image.gradient,
            || {
                let (goals, c) = (asked.goals(lanes), asked.rows(&lanes.rows.search.c));
                let pixels = asked.rows(y) + 0.5;
                Ok(oracle.gradient(&asked.cases(lanes), &pixels, |z| self.f(&goals, z) * c)?.pixels)
            },
        )
    }

    /// Logits of the new points' pixels, at these l1 distortions (M): M×K. They are zero where they
    /// do not matter.
    fn logits(
        oracle: &Oracle,
        lanes: &mut Lanes<Self>,
        gradient: &Tensor,
        pixels: &Tensor,
        l1: &Tensor,
    ) -> Result<Tensor> {
        if l1.device() != Device::Cpu {
            return oracle.logits(&lanes.cases, pixels);
        }
        let distortions = Vec::<f32>::try_from(l1)?;
        let decided = lanes.rows.search.decided(&lanes.states, &distortions)?;
        // From the image to the image: so the slack point is there as well.
        let stays = |lane: usize| {
            let search = &lanes.states[lane];
            distortions[lane] == 0.0 && (search.iteration == 0 || search.at_image.is_some())
        };
        let stays: Vec<bool> = (0..lanes.len()).map(stays).collect();
        let known =
            |lane: usize| decided[lane] || (stays[lane] && lanes.states[lane].at_image.is_some());
        let asked = Asked::new(lanes.len(), l1.device(), |lane| !known(lane));
        let shape = [lanes.len() as i64, oracle.card().classes];
        let logits = asked.complete(
            &shape,
            lanes.states.iter().map(|search| search.at_image.as_ref()),
            |at_image| &at_image.logits,
            || oracle.logits(&asked.cases(lanes), &asked.rows(pixels)),
        )?;
        for (lane, search) in lanes.states.iter_mut().enumerate() {
            if !stays[lane] {
                search.at_image = None;
            } else if search.at_image.is_none() {
                let [gradient, logits] =
                    [gradient, &logits].map(|tensor| tensor.get(lane as i64).copy());
                search.at_image = Some(AtImage { gradient, logits });
            }
        }
        Ok(logits)
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
