//! A well-behaved plugin. The tests link it in, load it as a library, and compare the two.

use gauntlet_core::attack::{Budget, Norm};
use gauntlet_core::prelude::*;
use gauntlet_core::weights::{NO_WEIGHTS, Role};

export_plugin!(attack Noisy, model Patch, model Bands, metric Mean, metric Margin);

/// One step along the sign of the gradient, with a random length for every pixel.
pub struct Noisy(NoisyParams);

params! {
    /// Parameters of [`Noisy`].
    pub struct NoisyParams {
        /// Greatest length, pixels in [0, 1].
        pub epsilon: f64 = 0.1,
        /// How long the steps are.
        pub lengths: Lengths = Lengths::Random,
        /// Whether to give up on the first case.
        pub shy: bool = false,
        /// A text of any content.
        pub note: Option<String> = None,
    }
}

choices! {
    /// Lengths of the steps of [`Noisy`].
    pub enum Lengths {
        /// Drawn for every pixel, from 0 to epsilon.
        Random,
        /// Epsilon for every pixel.
        AllAlike,
    }
}

impl Attack for Noisy {
    const NAME: &'static str = "noisy";
    const SUMMARY: &'static str = "one step of random lengths";
    type Params = NoisyParams;

    fn presets() -> Vec<Preset<NoisyParams>> {
        vec![Preset {
            name: "gentle",
            summary: "hardly visible",
            params: NoisyParams { epsilon: 0.01, ..NoisyParams::default() },
        }]
    }

    fn new(params: NoisyParams) -> Result<Self> {
        ensure!(
            params.epsilon > 0.0,
            "`epsilon` is {}, expected a positive number",
            params.epsilon
        );
        Ok(Self(params))
    }

    fn budget(&self) -> Option<Budget> {
        Some(Budget { norm: Norm::Linf, radius: self.0.epsilon })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let all: Vec<usize> = (0..cases.len()).collect();
        let goals = Goals::new(&cases.goals, &cases.pixels);
        let gradient = oracle.gradient(&all, &cases.pixels, |logits| goals.margin(logits))?;
        let answers = all.iter().map(|&case| {
            if self.0.shy && case == 0 {
                return Answer::NotFound;
            }
            let image = cases.image(case);
            let lengths = match self.0.lengths {
                Lengths::Random => oracle.uniform(case, &image),
                Lengths::AllAlike => image.ones_like(),
            };
            let step = gradient.pixels.get(case as i64).sign() * lengths * self.0.epsilon;
            Answer::Pixels((image - step).clamp(0.0, 1.0))
        });
        Ok(answers.collect())
    }
}

/// An affine function of the image's four quarters.
pub struct Patch {
    card: ModelCard,
    kernel: Tensor,
    bias: Tensor,
}

params! {
    /// Parameters of [`Patch`].
    pub struct PatchParams {
        /// Number of logits.
        pub classes: i64 = 3,
    }
}

impl Model for Patch {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        pixels.adaptive_avg_pool2d([2, 2]).flatten(1, -1).matmul(&self.kernel) + &self.bias
    }
}

impl Architecture for Patch {
    const NAME: &'static str = "patch";
    type Params = PatchParams;

    fn describe(params: &PatchParams) -> ModelCard {
        ModelCard {
            name: "patch".into(),
            family: "patch".into(),
            side: 6,
            classes: params.classes,
            top1: Some(12.5),
            source: "quarters of the image".into(),
            ..ModelCard::default()
        }
    }

    fn load(params: PatchParams, weights: &Weights) -> Result<Self> {
        let place = weights.root().at("patch");
        weights.root().at("training").spare();
        Ok(Self {
            kernel: place.tensor("weights", &[12, params.classes], Role::Kernel),
            bias: place.tensor("biases", &[params.classes], Role::Bias),
            card: Self::describe(&params),
        })
    }
}

/// A model of ten classes for small images that needs no weights: the means of ten bands.
pub struct Bands(ModelCard);

impl Model for Bands {
    fn card(&self) -> &ModelCard {
        &self.0
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        pixels
            .mean_dim([1].as_slice(), true, Kind::Float)
            .adaptive_avg_pool2d([10, 1])
            .flatten(1, -1)
            * 8.0
    }
}

impl Architecture for Bands {
    const NAME: &'static str = "bands";
    type Params = NoParams;

    fn describe(_: &NoParams) -> ModelCard {
        ModelCard {
            name: "bands".into(),
            family: "bands".into(),
            side: 28,
            classes: 10,
            source: "means of horizontal bands".into(),
            ..ModelCard::default()
        }
    }

    fn load(params: NoParams, _: &Weights) -> Result<Self> {
        Ok(Self(Self::describe(&params)))
    }

    fn embedded_weights() -> Option<&'static [u8]> {
        Some(NO_WEIGHTS)
    }
}

/// The mean absolute change of a pixel.
pub struct Mean;

impl Metric for Mean {
    const NAME: &'static str = "mean_change";
    const SUMMARY: &'static str = "mean of the absolute changes";
    const UNIT: &'static str = "pixel range";
    const SCOPE: Scope = Scope::Outcome;
    const DIRECTION: Direction = Direction::HigherIsMoreRobust;
    const AT_IDENTITY: Option<f64> = Some(0.0);
    const SYMMETRIC: bool = true;
    type Params = NoParams;

    fn new(_: NoParams) -> Result<Self> {
        Ok(Self)
    }

    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
        let change = (original - adversarial).abs().flatten(1, -1).mean_dim(
            [1].as_slice(),
            false,
            Kind::Double,
        );
        Ok(Vec::try_from(change)?)
    }
}

/// The margin of the goal, and the logit of its class.
pub struct Margin;

impl Metric for Margin {
    const NAME: &'static str = "goal_margin";
    const SUMMARY: &'static str = "how far the goal is";
    const UNIT: &'static str = "logits";
    const SCOPE: Scope = Scope::Model;
    const DIRECTION: Direction = Direction::HigherIsMoreRobust;
    const EXTRAS: &'static [&'static str] = &["logit"];
    type Params = NoParams;

    fn new(_: NoParams) -> Result<Self> {
        Ok(Self)
    }

    fn model(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<f64>> {
        let all: Vec<usize> = (0..cases.len()).collect();
        let logits = oracle.logits(&all, &cases.pixels)?;
        ensure!(
            oracle.passes().iter().all(|passes| (passes.forward, passes.backward) == (1, 0)),
            "passes are not counted"
        );
        let goals = Goals::new(&cases.goals, &logits);
        let numbers =
            Tensor::stack(&[goals.margin(&logits), goals.logit(&logits)], 1).flatten(0, 1);
        Ok(Vec::try_from(numbers.to_device(tch::Device::Cpu).to_kind(Kind::Double))?)
    }
}
