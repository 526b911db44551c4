//! C&W-L2: the nearest adversarial in l2, by Adam on a penalty.
//!
//! Paper: Carlini and Wagner, "Towards Evaluating the Robustness of Neural Networks", S&P 2017,
//! arXiv 1608.04644, section VI-A.
//! Reference: the code of the ECCV 2018 study, which descends from the authors' own
//! (`l2_attack.py`).
//!
//! It minimises ‖x′ − x‖₂² + c·f(x′) over images x′ in [0, 1], where x is the image,
//! f(x′) = max(margin(x′) + κ, 0), and the margin is below 0 where the goal is met: towards t it is
//! max{Z(x′)ᵢ : i ≠ t} − Z(x′)ₜ, of the logits Z. The box is kept by a change of variables,
//! x′ = ½(tanh(w) + 1), and Adam moves w:
//!
//! ```text
//! w ← arctanh(2x − 1)
//! for t = 1, 2, …:
//!     x′ ← ½(tanh(w) + 1)
//!     keep x′ if it meets the goal at the smallest ‖x′ − x‖₂ so far
//!     g  ← ∇_w (‖x′ − x‖₂² + c·f(x′))
//!     w  ← w − α·Adam(g, t)
//! ```
//!
//! The search over c is that of [`penalty`](super::penalty). The code moves the modifier
//! m = w − arctanh(2x − 1), from 0.
//!
//! Deviations:
//! - The paper's f is max(margin, −κ), which is lower by κ and has the same gradient.
//! - `space` can keep the box by projection instead: x′ = x + m, clamped after each step.
//! - `boundary` shrinks the image before arctanh, so that black and white stay finite.
//! - `rate_of` and `growth` choose what α is.
//! - `epsilon_inside_root`, `bias_correction` and `warm_start` are what the study's code does to
//!   Adam.

use super::adam::{Adam, Epsilon};
use super::penalty::{
    self, ConstantSearch, ExpectedSteps, PenaltyOutcome, SearchRows, SearchSettings,
};
use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Attack, Cases, Cost, Goal};
use gauntlet_core::choices;
use gauntlet_core::lanes::{self, Lanes, Search};
use gauntlet_core::oracle::Oracle;
use gauntlet_core::params;
use gauntlet_core::params::Preset;
use gauntlet_core::rows;
use tch::{Kind, Tensor};

/// The l2 attack of Carlini and Wagner (2017): Adam with a search over c.
pub struct CwL2(CwL2Params);

params! {
    /// Settings of [`CwL2`]. The defaults differ from `eccv2018` as follows.
    ///
    /// - The space is the pixels', where black and white move too, and the same rate gets there in
    ///   fewer passes.
    /// - The rate falls with the image's side, so that large images are searched as finely as small
    ///   ones. It grows for cases that resist, which a fine search gives up too early.
    /// - Adam's ε stands where Adam has it.
    /// - κ is a little above 0: an adversarial that wins by less than float32 noise may lose when
    ///   it is looked at again.
    pub struct CwL2Params {
        /// Confidence κ: how far, in logits, the goal must be overshot.
        pub kappa: f64 = 1e-3,
        /// The first c.
        pub initial_c: f64 = 0.01,
        /// Steps of the search over c.
        pub search_steps: u32 = 9,
        /// Greatest number of Adam's iterations in each step.
        pub iterations: u32 = 1000,
        /// How pixels are kept in the box.
        pub space: Space = Space::Pixels,
        /// Adam's learning rate, in that space.
        pub learning_rate: f64 = 0.1,
        /// Whether the learning rate is the length of a step in each pixel or in the whole image.
        pub rate_of: RateOf = RateOf::Image,
        /// Factor of the learning rate from one step of the search to the next, as long as a case
        /// has no adversarial; the steps after the first that finds one have the learning rate as
        /// given. 1 keeps it.
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
        /// Looks at the loss in each step, to give it up if the loss no longer falls: every
        /// ⌊iterations/checks⌋ iterations (at least 1), first at iteration 0. With 0, all
        /// iterations run.
        pub abort_checks: u32 = 10,
        /// A step is given up when the loss is above this fraction of the last look's.
        pub abort_tolerance: f64 = 0.9999,
    }
}

choices! {
    /// The space that Adam works in.
    pub enum Space {
        /// x′ = ½(tanh(w) + 1), as published. Where a pixel is black or white the slope is almost 0,
        /// and the pixel hardly ever moves.
        Tanh,
        /// x′ = x + m, projected onto the box after each step, where every pixel moves alike.
        Pixels,
    }
}

choices! {
    /// What the learning rate limits: how far one of Adam's steps goes.
    pub enum RateOf {
        /// The step in each element, as published: the step's l2 norm is √(3·S²) times as long.
        Pixel,
        /// The step's l2 norm in the whole image: in each element it is 1/√(3·S²) times as long.
        Image,
    }
}

choices! {
    /// Adam's bias correction at iteration t = 1, 2, …. The study's code reads its step counter in a
    /// race with the increment, so both happened.
    pub enum BiasCorrection {
        /// 1 − βᵗ: Adam's.
        T,
        /// 1 − βᵗ⁺¹: the counter was read late.
        TPlusOne,
    }
}

impl BiasCorrection {
    /// The t that the correction takes, at an iteration that counts from 0.
    fn time(self, iteration: u32) -> u32 {
        match self {
            Self::T => iteration + 1,
            Self::TPlusOne => iteration + 2,
        }
    }
}

impl CwL2Params {
    /// The settings of the preset `eccv2018`.
    pub fn eccv2018() -> Self {
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

    fn search(&self) -> SearchSettings {
        let &Self { initial_c, search_steps, iterations, abort_checks, abort_tolerance, .. } = self;
        SearchSettings { initial_c, search_steps, iterations, abort_checks, abort_tolerance }
    }

    fn epsilon(&self) -> Epsilon {
        Epsilon { value: self.adam_epsilon, inside_root: self.epsilon_inside_root }
    }

    /// The learning rate of each element, for images of so many elements.
    fn rate(&self, elements: i64, search: &ConstantSearch) -> f64 {
        let rate = match self.rate_of {
            RateOf::Pixel => self.learning_rate,
            RateOf::Image => self.learning_rate / (elements as f64).sqrt(),
        };
        (rate * self.growth.powi(search.steps_in_vain() as i32)).min(f32::MAX.into())
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
        params.search().check()?;
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
        Some(Cost::gradients(self.0.search().expected_iterations(expected_steps(goal))))
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

    /// Takes Adam's step along the gradient with respect to m (M×C×H×W).
    fn descend(&self, lanes: &mut Lanes<Self>, gradient: Tensor) {
        let params = &self.0;
        let elements = (gradient.numel() / lanes.len()) as i64;
        let rate = lanes.per_image(|search| params.rate(elements, search));
        let Lanes { states, rows, .. } = lanes;
        let times: Vec<u32> =
            states.iter().map(|search| params.bias_correction.time(search.iteration)).collect();
        let mut step = rows.adam.step(gradient, &times, params.epsilon());
        step *= rate;
        rows.m -= step;
        if params.space == Space::Pixels {
            rows.project();
        }
    }
}

/// Measured on the miniatures with 6 × 300 and 6 × 100 iterations.
fn expected_steps(goal: Goal) -> ExpectedSteps {
    match goal {
        Goal::Away(_) => ExpectedSteps { whole: 0.0, looks: 3.0 },
        Goal::Towards(_) => ExpectedSteps { whole: 0.0, looks: 3.3 },
    }
}

rows! {
    /// Rows of a lane.
    pub struct CwRows {
        search: SearchRows,
        /// The modifier, M×C×H×W.
        m: Tensor,
        adam: Adam,
        /// With [`Space::Tanh`] alone.
        tanh: Option<Tanh>,
    }
}

rows! {
    /// The image in tanh space, M×C×H×W each.
    struct Tanh {
        /// arctanh(2x − 1), where m is 0.
        start: Tensor,
        /// ½·tanh(start): x − ½, but for the boundary.
        centre: Tensor,
    }
}

/// The images that the modifiers stand for, M×C×H×W each.
struct Iterate {
    /// x′.
    pixels: Tensor,
    /// x′ − x.
    change: Tensor,
    /// ∂x′/∂m; none where it is 1.
    slope: Option<Tensor>,
}

impl Tanh {
    fn new(image: &Tensor, boundary: f64) -> Self {
        let start = ((image * 2.0 - 1.0).to_kind(Kind::Double) * (1.0 - boundary / 2.0))
            .atanh()
            .to_kind(Kind::Float);
        Self { centre: start.tanh() / 2.0, start }
    }

    fn iterate(&self, m: &Tensor) -> Iterate {
        let tanh = (&self.start + m).tanh_();
        let half = &tanh / 2.0;
        Iterate {
            pixels: &half + 0.5,
            change: half - &self.centre,
            slope: Some((1.0 - tanh.square()) * 0.5),
        }
    }
}

impl CwRows {
    fn iterate(&self) -> Iterate {
        self.tanh.as_ref().map_or_else(
            || Iterate {
                pixels: &self.search.image + &self.m,
                change: self.m.shallow_clone(),
                slope: None,
            },
            |tanh| tanh.iterate(&self.m),
        )
    }

    /// Moves the modifiers so that x + m lies in the box.
    fn project(&mut self) {
        let image = &self.search.image;
        let _ = self.m.g_add_(image).clamp_(0.0, 1.0).g_sub_(image);
    }
}

impl Search for CwL2 {
    type State = ConstantSearch;
    type Rows = CwRows;
    type Output = PenaltyOutcome;

    fn begin(&self, image: &Tensor, _: Goal) -> (ConstantSearch, CwRows) {
        let (search, rows) = penalty::begin(self.0.search(), image);
        let tanh = (self.0.space == Space::Tanh).then(|| Tanh::new(image, self.0.boundary));
        (search, CwRows { search: rows, m: image.zeros_like(), adam: Adam::new(image), tanh })
    }

    fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Self>) -> Result<Vec<bool>> {
        let kappa = self.0.kappa;
        let Iterate { pixels, change, slope } = lanes.rows.iterate();
        let l2 = change.square().sum_dim_intlist([1i64, 2, 3].as_slice(), false, Kind::Float);

        let Lanes { cases, goals, rows, .. } = &*lanes;
        let f = |z: &Tensor| (goals.margin(z) + kappa).clamp_min(0.0);
        let answer = oracle.gradient(cases, &pixels, |z| f(z) * &rows.search.c)?;
        let met = goals.met(&answer.logits, kappa);

        // A tensor of its own, to work on in place: the model's gradient may be a view.
        let mut gradient = answer.pixels + change * 2.0;
        if let Some(slope) = slope {
            gradient *= slope;
        }
        self.descend(lanes, gradient);

        let Lanes { states, rows: CwRows { search, m, adam, .. }, .. } = lanes;
        let given_up = penalty::given_up(states, || &answer.loss + &l2)?;
        search.keep(states, &given_up, &pixels, &l2, &met)?;
        Ok(search.turn(states, &given_up, |lane| {
            adam.reset(lane);
            if !self.0.warm_start {
                let _ = m.get(lane).zero_();
            }
        }))
    }

    fn finish(&self, search: ConstantSearch, rows: CwRows) -> PenaltyOutcome {
        rows.search.finish(search)
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
                source: "for tests".into(),
                ..ModelCard::default()
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
