//! C&W-L2: Carlini, Wagner, "Towards Evaluating the Robustness of Neural Networks", S&P 2017,
//! §VI-A. Reference: the code of the ECCV 2018 study, which descends from the authors' own.
//!
//! minimise ‖p′ − p‖² + c·max(0, margin(p′) + κ) over m by Adam, where p′ = (tanh(t + m) + 1)/2 and
//! t is the image in tanh space, or p′ = p + m kept in the box by projection; the smallest c that
//! works is searched for.

use super::penalty::{self, C, Habit, ORIGINAL, OWN, PenaltyOutcome, Plan, Walk};
use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Attack, Cases, Cost, Goal};
use gauntlet_core::device::upload;
use gauntlet_core::lanes::{self, Lanes, Search};
use gauntlet_core::oracle::Oracle;
use gauntlet_core::params;
use gauntlet_core::params::Preset;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

/// The attack.
pub struct CwL2(CwL2Params);

params! {
    /// Settings of [`CwL2`]. The defaults differ from `eccv2018` in their space, where black and
    /// white pixels move too and the same rate gets there in fewer passes; in the rate, which falls
    /// with the image's side, so that large images are searched as finely as small ones, and grows
    /// for cases that resist, which a fine search gives up too early; in Adam's ε, which stands
    /// where Adam has it; and in a hair of confidence: an adversarial that wins by less than
    /// float32 noise does not survive being looked at again.
    pub struct CwL2Params {
        /// Confidence κ: how far, in logits, the goal must be overshot.
        pub kappa: f64 = 1e-3,
        /// The first c.
        pub initial_c: f64 = 0.01,
        /// Steps of the search over c.
        pub search_steps: u32 = 9,
        /// Adam's iterations in each step, at the most.
        pub iterations: u32 = 1000,
        /// How pixels are kept in the box.
        pub space: Space = Space::Pixels,
        /// Adam's learning rate, in that space.
        pub learning_rate: f64 = 0.1,
        /// What the learning rate is the length of.
        pub rate_of: RateOf = RateOf::Image,
        /// As long as a case has no adversarial, each step of the search has so many times the
        /// learning rate of the one before; the steps after the one that finds the first have the
        /// learning rate as given. 1 keeps it.
        pub growth: f64 = 2.0,
        /// Adam's ε.
        pub adam_epsilon: f64 = 1e-8,
        /// Whether Adam's ε stands inside the root, √(v + ε), or after it, √v + ε.
        pub epsilon_inside_root: bool = false,
        /// Which power of β the bias correction takes.
        pub bias_correction: BiasCorrection = BiasCorrection::T,
        /// Whether a step of the search goes on from where the last one ended, or starts at the
        /// image.
        pub warm_start: bool = true,
        /// In tanh space: the image, mapped to [−1, 1], is shrunk by half of this before arctanh,
        /// so that black and white stay finite.
        pub boundary: f64 = 1e-6,
        /// How often a step looks whether its loss still falls: every ⌊iterations/checks⌋
        /// iterations (at least 1), first at iteration 0. With 0, all iterations run.
        pub abort_checks: u32 = 10,
        /// A step is given up when the loss is above this fraction of the last look's.
        pub abort_tolerance: f64 = 0.9999,
    }
}

/// The space that Adam works in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Space {
    /// p′ = (tanh(t + m) + 1)/2, as published. Where a pixel is black or white the slope is next to
    /// nothing, and it hardly ever moves.
    Tanh,
    /// p′ = p + m, projected onto the box after each step, where every pixel moves alike.
    Pixels,
}

/// How far one of Adam's steps goes, at the most: the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateOf {
    /// In each pixel, as published: in l2 a step is √(3·S²) times as long.
    Pixel,
    /// In the image, in l2: in each pixel a step is 1/√(3·S²) times as long.
    Image,
}

/// Adam's bias correction at iteration t = 1, 2, …. The study's code reads its step counter in a
/// race with the increment, so both happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BiasCorrection {
    /// 1 − βᵗ: Adam's.
    T,
    /// 1 − βᵗ⁺¹: the counter was read late.
    TPlusOne,
}

impl CwL2Params {
    fn eccv2018() -> Self {
        Self {
            kappa: 0.0,
            space: Space::Tanh,
            learning_rate: 2e-3,
            rate_of: RateOf::Pixel,
            growth: 1.0,
            epsilon_inside_root: true,
            ..Self::default()
        }
    }

    fn plan(&self) -> Plan {
        let &Self { initial_c, search_steps, iterations, abort_checks, abort_tolerance, .. } = self;
        Plan { initial_c, search_steps, iterations, abort_checks, abort_tolerance }
    }
}

impl Attack for CwL2 {
    const NAME: &'static str = "cw_l2";
    const SUMMARY: &'static str =
        "smallest l2 distortion by Adam with a search over c (Carlini and Wagner 2017)";
    type Params = CwL2Params;

    fn presets() -> Vec<Preset<CwL2Params>> {
        vec![Preset {
            name: "eccv2018",
            summary: "the study's commands at batch size 1: learning rate 2e-3 (the command line's \
                      never arrived), epsilon inside the root, warm start",
            params: CwL2Params::eccv2018(),
        }]
    }

    fn new(params: CwL2Params) -> Result<Self> {
        params.plan().check()?;
        ensure!(
            params.kappa >= 0.0 && params.kappa.is_finite(),
            "`kappa` is {}, expected 0 or more",
            params.kappa
        );
        ensure!(
            params.learning_rate > 0.0,
            "`learning_rate` is {}, expected a positive number",
            params.learning_rate
        );
        ensure!(
            params.growth >= 1.0 && params.growth.is_finite(),
            "`growth` is {}, expected 1 or more",
            params.growth
        );
        ensure!(
            params.adam_epsilon > 0.0,
            "`adam_epsilon` is {}, expected a positive number",
            params.adam_epsilon
        );
        ensure!(
            params.boundary > 0.0 && params.boundary < 0.5,
            "`boundary` is {}, expected above 0 (the image would lie at infinity), below 0.5",
            params.boundary
        );
        Ok(Self(params))
    }

    fn cost(&self, goal: Goal) -> Option<Cost> {
        Some(Cost::gradients(self.0.plan().gradients(goal, HABITS)))
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        Ok(self.search(oracle, cases)?.into_iter().map(Answer::from).collect())
    }
}

impl CwL2 {
    /// Runs the attack and keeps the trace of each case.
    pub fn search(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<PenaltyOutcome>> {
        lanes::drive(self, oracle, cases)
    }
}

/// Measured on the miniatures with 6 × 300 and 6 × 100 iterations.
const HABITS: [Habit; 2] = [Habit { whole: 0.0, looks: 3.0 }, Habit { whole: 0.0, looks: 3.3 }];

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;

// The rows of a lane, after those of `penalty`.
const MODIFIER: usize = OWN; // m
const MOMENT1: usize = OWN + 1;
const MOMENT2: usize = OWN + 2;
// In tanh space alone:
const START: usize = OWN + 3; // t
const CENTRE: usize = OWN + 4; // tanh(t)/2, the image as p − 0.5

impl Search for CwL2 {
    type Lane = Walk;
    type Output = PenaltyOutcome;

    fn begin(&self, image: &Tensor, _: Goal) -> (Walk, Vec<Tensor>) {
        let mut own = vec![image.zeros_like(), image.zeros_like(), image.zeros_like()];
        if self.0.space == Space::Tanh {
            let start = ((image * 2.0 - 1.0).to_kind(Kind::Double) * (1.0 - self.0.boundary / 2.0))
                .atanh()
                .to_kind(Kind::Float);
            let centre = start.tanh() / 2.0;
            own.extend([start, centre]);
        }
        penalty::begin(self.0.plan(), image, own)
    }

    fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Walk>) -> Result<Vec<bool>> {
        let (params, plan) = (&self.0, self.0.plan());
        let per_image = [-1i64, 1, 1, 1].as_slice();
        // The pixels, how far they are from the image, and their slope over the modifier.
        let (pixels, change, slope) = match params.space {
            Space::Tanh => {
                let tanh = (&lanes.rows[START] + &lanes.rows[MODIFIER]).tanh_();
                let point = &tanh / 2.0;
                (&point + 0.5, point - &lanes.rows[CENTRE], Some((1.0 - tanh.square()) * 0.5))
            }
            Space::Pixels => (
                &lanes.rows[ORIGINAL] + &lanes.rows[MODIFIER],
                lanes.rows[MODIFIER].shallow_clone(),
                None,
            ),
        };
        let l2 = change.square().sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float);
        let answer = oracle.gradient(&lanes.cases, &pixels, |z| {
            (lanes.goals.margin(z) + params.kappa).clamp_min(0.0) * &lanes.rows[C]
        })?;

        let aborted = penalty::look(lanes, plan, |_| &answer.loss + &l2)?;
        let met = lanes.goals.met(&answer.logits, params.kappa);
        penalty::keep(lanes, plan, &aborted, &pixels, &l2, &met)?;

        // Adam's step, each lane at its own time; in place, since new memory costs more than sums.
        // The model's gradient itself may be a view of fewer numbers.
        let mut gradient = answer.pixels + change * 2.0;
        if let Some(slope) = slope {
            gradient *= slope;
        }
        lanes.rows[MOMENT1] *= BETA1;
        lanes.rows[MOMENT1] += &gradient * (1.0 - BETA1);
        lanes.rows[MOMENT2] *= BETA2;
        lanes.rows[MOMENT2] += gradient.square_() * (1.0 - BETA2);
        let late = match params.bias_correction {
            BiasCorrection::T => 1,
            BiasCorrection::TPlusOne => 2,
        };
        let times = || lanes.states.iter().map(|walk| (walk.iteration + late) as i32);
        let correct =
            |beta: f64| -> Vec<f32> { times().map(|t| (1.0 - beta.powi(t)) as f32).collect() };
        let correction1 = upload(&correct(BETA1), l2.device()).view(per_image);
        let correction2 = upload(&correct(BETA2), l2.device()).view(per_image).sqrt();
        let root = if params.epsilon_inside_root {
            (&lanes.rows[MOMENT2] + params.adam_epsilon).sqrt_().divide_(&correction2)
        } else {
            lanes.rows[MOMENT2].sqrt().divide_(&correction2).g_add_scalar_(params.adam_epsilon)
        };
        let mut step = (&lanes.rows[MOMENT1] / correction1).divide_(&root);
        let rate = match params.rate_of {
            RateOf::Pixel => params.learning_rate,
            RateOf::Image => params.learning_rate / (step.get(0).numel() as f64).sqrt(),
        };
        let rates: Vec<f32> = lanes
            .states
            .iter()
            .map(|walk| {
                (rate * params.growth.powi(walk.in_vain() as i32)).min(f32::MAX.into()) as f32
            })
            .collect();
        step *= upload(&rates, l2.device()).view(per_image);
        lanes.rows[MODIFIER] -= step;
        if params.space == Space::Pixels {
            let image = lanes.rows[ORIGINAL].shallow_clone();
            let _ = lanes.rows[MODIFIER].g_add_(&image).clamp_(0.0, 1.0).g_sub_(&image);
        }

        Ok(penalty::turn(lanes, plan, &aborted, |lanes, lane| {
            let fresh = [MOMENT1, MOMENT2, MODIFIER];
            for &row in &fresh[..if params.warm_start { 2 } else { 3 }] {
                let _ = lanes.rows[row].get(lane as i64).zero_();
            }
        }))
    }

    fn finish(&self, walk: Walk, rows: Vec<Tensor>) -> PenaltyOutcome {
        penalty::finish(self.0.plan(), walk, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::model::{Model, ModelCard};
    use gauntlet_core::oracle::Settings;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for base in [CwL2Params::default(), CwL2Params::eccv2018()] {
            check_attack::<CwL2>(CwL2Params { iterations: 60, search_steps: 4, ..base }).unwrap();
        }
    }

    /// Two classes, and the first one's margin as a function of the sum of all pixels: its gradient
    /// is one number, seen everywhere.
    struct OfSum(ModelCard, fn(&Tensor) -> Tensor);

    impl OfSum {
        fn new(margin: fn(&Tensor) -> Tensor) -> Self {
            let card = ModelCard {
                name: "of_sum".into(),
                family: "of_sum".into(),
                side: 4,
                classes: 2,
                label_offset: 0,
                top1: None,
                top5: None,
                depth: None,
                source: "for tests".into(),
            };
            Self(card, margin)
        }
    }

    impl Model for OfSum {
        fn card(&self) -> &ModelCard {
            &self.0
        }

        fn logits(&self, pixels: &Tensor) -> Tensor {
            let margin =
                self.1(&pixels.sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float));
            Tensor::stack(&[&margin, &margin.zeros_like()], 1)
        }
    }

    /// Images of 0.3 everywhere: the sum is 14.4.
    fn grey(goals: Vec<Goal>) -> Cases {
        let count = goals.len() as i64;
        Cases::new(Tensor::full([count, 3, 4, 4], 0.3, (Kind::Float, tch::Device::Cpu)), goals)
            .unwrap()
    }

    #[test]
    fn a_rate_that_grows_gets_over_what_a_small_one_cannot() {
        // Hollows whose floor is still the first class's, to either side, and ridges behind them.
        let model = OfSum::new(|sum| {
            let way: Tensor = sum - 14.4;
            let hollow: Tensor = (&way * std::f64::consts::PI + 0.5).cos() + 1.2;
            hollow.where_self(&way.abs().lt(2.0), &(way.abs() * -1.0))
        });
        let found = |growth: f64| {
            let params = CwL2Params {
                growth,
                learning_rate: 0.02,
                iterations: 20,
                search_steps: 6,
                abort_checks: 0,
                ..CwL2Params::default()
            };
            let cases = grey(vec![Goal::Away(0)]);
            let oracle = Oracle::new(&model, vec![0], Settings::default());
            CwL2::new(params).unwrap().search(&oracle, &cases).unwrap().remove(0).trace.first_found
        };
        assert_eq!(found(1.0), None);
        assert!(found(2.0).is_some_and(|(step, _)| step > 1), "{:?}", found(2.0));
    }

    #[test]
    fn a_gradient_that_is_a_view_is_taken_as_well() {
        let cases = grey(vec![Goal::Away(0), Goal::Towards(1)]);
        let model = OfSum::new(|sum| sum * 2.0 - 24.0);
        for base in [CwL2Params::default(), CwL2Params::eccv2018()] {
            let attack = CwL2::new(CwL2Params {
                iterations: 60,
                search_steps: 4,
                learning_rate: 0.02,
                ..base
            })
            .unwrap();
            let oracle = Oracle::new(&model, vec![0, 1], Settings::default());
            let answers = attack.run(&oracle, &cases).unwrap();
            assert!(
                answers.iter().all(|answer| matches!(answer, Answer::Pixels(_))),
                "{answers:?}"
            );
        }
    }

    #[test]
    fn bad_settings_are_refused() {
        let d = CwL2Params::default;
        for (params, expected) in [
            (CwL2Params { kappa: -1.0, ..d() }, "`kappa` is -1, expected 0 or more"),
            (CwL2Params { initial_c: 0.0, ..d() }, "`initial_c` is 0, expected a positive number"),
            (CwL2Params { growth: 0.5, ..d() }, "`growth` is 0.5, expected 1 or more"),
            (CwL2Params { iterations: 0, ..d() }, "`iterations` is 0, expected 1 or more"),
            (
                CwL2Params { boundary: 0.0, ..d() },
                "`boundary` is 0, expected above 0 (the image would lie at infinity), below 0.5",
            ),
        ] {
            assert_eq!(CwL2::new(params).err().unwrap().to_string(), expected);
        }
    }
}
