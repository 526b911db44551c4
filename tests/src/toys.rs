//! Small models, attacks and metrics for tests of the engine. Some of them break the rules, each in
//! its own way.

use crate::golden;
use gauntlet_core::metric::{Direction, Metric, Scope};
use gauntlet_core::params::NoParams;
use gauntlet_core::prelude::*;
use gauntlet_core::registry::Registry;
use gauntlet_core::testing::{Affine, Nudge};
use gauntlet_core::weights::{NO_WEIGHTS, Role};
use gauntlet_runner::data::Picture;
use image::{Rgb, RgbImage};
use signal_hook::consts::SIGSEGV;
use signal_hook::low_level;
use std::path::Path;
use std::time::{Duration, Instant};
use tch::Device;

/// Number of classes of the toy models.
pub const CLASSES: i64 = 4;

/// Origin under which the toys are registered.
pub const ORIGIN: &str = "toys 1.0.0";

/// A model whose first three classes are the colours and whose fourth is the dark.
///
/// Noise by the formula of [`Affine`] makes models of different seeds err differently. Where
/// `OFFSET` is 1, a background class comes first.
pub struct Toy<const SIDE: i64, const OFFSET: i64> {
    noise: Tensor,
    card: ModelCard,
}

params! {
    /// Parameters of [`Toy`].
    pub struct ToyParams {
        /// Seed of the weights.
        pub seed: u64 = 5,
    }
}

impl<const SIDE: i64, const OFFSET: i64> Toy<SIDE, OFFSET> {
    /// The model with weights drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let card = <Self as Architecture>::describe(&ToyParams::default());
        Self { noise: Affine::new(CLASSES, SIDE, seed).weight().shallow_clone(), card }
    }
}

impl<const SIDE: i64, const OFFSET: i64> Model for Toy<SIDE, OFFSET> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let colours = pixels.flatten(2, -1).mean_dim([2].as_slice(), false, Kind::Float);
        let mean = colours.mean_dim([1].as_slice(), true, Kind::Float);
        let signal = Tensor::cat(&[&colours - &mean, 0.42 - mean], 1) * 2.0;
        let logits = signal + (pixels.flatten(1, -1) - 0.5).matmul(&self.noise.tr());
        // The background's logit is far below the others.
        logits.pad([OFFSET, 0], "constant", -1e3)
    }
}

impl<const SIDE: i64, const OFFSET: i64> Architecture for Toy<SIDE, OFFSET> {
    const NAME: &'static str = match (SIDE, OFFSET) {
        (8, 0) => "toy_8",
        (12, 1) => "toy_12",
        (64, _) => "large",
        _ => "toy",
    };
    type Params = ToyParams;

    fn describe(_: &ToyParams) -> ModelCard {
        ModelCard {
            name: Self::NAME.into(),
            family: "toy".into(),
            side: SIDE,
            classes: CLASSES + OFFSET,
            label_offset: OFFSET,
            source: "an affine model for tests".into(),
            ..ModelCard::default()
        }
    }

    fn load(params: ToyParams, _: &Weights) -> Result<Self> {
        Ok(Self::new(params.seed))
    }

    fn embedded_weights() -> Option<&'static [u8]> {
        Some(NO_WEIGHTS)
    }
}

/// A model that panics.
pub struct Broken(ModelCard);

impl Model for Broken {
    fn card(&self) -> &ModelCard {
        &self.0
    }

    fn logits(&self, _: &Tensor) -> Tensor {
        panic!("out of order\nand a second line")
    }
}

impl Architecture for Broken {
    const NAME: &'static str = "broken";
    type Params = NoParams;

    fn describe(_: &NoParams) -> ModelCard {
        ModelCard { name: "broken".into(), ..Toy::<8, 0>::describe(&ToyParams::default()) }
    }

    fn load(params: NoParams, _: &Weights) -> Result<Self> {
        Ok(Self(Self::describe(&params)))
    }

    fn embedded_weights() -> Option<&'static [u8]> {
        Some(NO_WEIGHTS)
    }
}

/// A model that aborts its process.
pub struct Fatal(ModelCard);

impl Model for Fatal {
    fn card(&self) -> &ModelCard {
        &self.0
    }

    fn logits(&self, _: &Tensor) -> Tensor {
        std::process::abort()
    }
}

impl Architecture for Fatal {
    const NAME: &'static str = "fatal";
    type Params = NoParams;

    fn describe(_: &NoParams) -> ModelCard {
        ModelCard { name: "fatal".into(), ..Toy::<8, 0>::describe(&ToyParams::default()) }
    }

    fn load(params: NoParams, _: &Weights) -> Result<Self> {
        Ok(Self(Self::describe(&params)))
    }

    fn embedded_weights() -> Option<&'static [u8]> {
        Some(NO_WEIGHTS)
    }
}

macro_rules! attack {
    ($(#[$about:meta])* $type:ident $name:literal, |$oracle:ident, $cases:ident| $run:expr) => {
        $(#[$about])*
        pub struct $type;

        impl Attack for $type {
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = "for tests";
            type Params = NoParams;

            fn new(_: NoParams) -> Result<Self> {
                Ok(Self)
            }

            fn run(&self, $oracle: &Oracle, $cases: &Cases) -> Result<Vec<Answer>> {
                $run
            }
        }
    };
}

attack! {
    /// One step along the gradient's sign, large enough to deceive a toy often.
    Step "step", |oracle, cases| {
        let all: Vec<usize> = (0..cases.len()).collect();
        let goals = Goals::new(&cases.goals, &cases.pixels);
        let gradient = oracle.gradient(&all, &cases.pixels, |logits| goals.margin(logits))?;
        let moved = (&cases.pixels - gradient.pixels.sign() * 0.05).clamp(0.0, 1.0);
        Ok(all.iter().map(|&n| Answer::Pixels(moved.get(n as i64))).collect())
    }
}

attack! {
    /// Returns the unchanged image as an adversarial.
    Liar "liar", |_oracle, cases| Ok((0..cases.len()).map(|n| Answer::Pixels(cases.image(n))).collect())
}

attack! {
    /// Answers in turn with NaN, a wrong shape, values out of range, a wrong type, no tensor, and
    /// "not found".
    Sloppy "sloppy", |_oracle, cases| {
        let answer = |n: usize| {
            let image = cases.image(n);
            match n % 6 {
                0 => Answer::Pixels(image * f64::NAN),
                1 => Answer::Pixels(image.narrow(1, 0, 5)),
                2 => Answer::Pixels(image + 1.5),
                3 => Answer::Pixels(image.to_kind(Kind::Double)),
                4 => Answer::Pixels(Tensor::new()),
                _ => Answer::NotFound,
            }
        };
        Ok((0..cases.len()).map(answer).collect())
    }
}

attack! {
    /// Panics when it is given fewer than ten images.
    Moody "moody", |_oracle, cases| {
        assert!(cases.len() >= 10, "only {} images", cases.len());
        Ok((0..cases.len()).map(|_| Answer::NotFound).collect())
    }
}

attack! {
    /// Gives one answer too few.
    Forgetful "forgetful", |_oracle, cases| Ok((1..cases.len()).map(|_| Answer::NotFound).collect())
}

attack! {
    /// Blackens the images that it was given, and returns them.
    Vandal "vandal", |_oracle, cases| {
        let _ = cases.pixels.shallow_clone().fill_(0.0);
        Ok((0..cases.len()).map(|n| Answer::Pixels(cases.image(n))).collect())
    }
}

attack! {
    /// Aborts the process.
    Abort "abort", |_oracle, _cases| std::process::abort()
}

attack! {
    /// Ends the process by SIGSEGV.
    Segfault "segfault", |_oracle, _cases| loop {
        // Rust's own handler, which looks for stack overflows, takes the first signal.
        low_level::raise(SIGSEGV)?;
    }
}

attack! {
    /// Ends the process as if all were well.
    Quit "quit", |_oracle, _cases| std::process::exit(0)
}

attack! {
    /// Writes the number of its process into the file `endless`, and neither returns nor looks at
    /// the time.
    Endless "endless", |_oracle, _cases| {
        std::fs::write("endless.tmp", std::process::id().to_string())?;
        std::fs::rename("endless.tmp", "endless")?;
        loop {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

attack! {
    /// Asks the model until the oracle refuses, and then answers that nothing was found.
    Stubborn "stubborn", |oracle, cases| {
        while oracle.logits(&[0], &cases.pixels.narrow(0, 0, 1)).is_ok() {}
        Ok((0..cases.len()).map(|_| Answer::NotFound).collect())
    }
}

attack! {
    /// Does what [`Step`] does after half a second, in which it looks at the time. Prints on
    /// standard output.
    Slow "slow", |oracle, cases| {
        println!("{{\"Failed\":\"a line that is not meant for you\"}}");
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(500) {
            oracle.check_time()?;
        }
        Attack::run(&Step, oracle, cases)
    }
}

attack! {
    /// Does what [`Step`] does, once there is no file `hold` in the current folder. It writes the
    /// file `held` first, and looks at the time while it waits.
    Held "held", |oracle, cases| {
        std::fs::write("held", "")?;
        while Path::new("hold").exists() {
            oracle.check_time()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Attack::run(&Step, oracle, cases)
    }
}

/// A study of two models on the images in `images/`, with the attack `step` and those in `more`.
pub fn study(more: &[&str]) -> String {
    let more: Vec<String> =
        more.iter().map(|name| format!("[[attacks]]\nname = \"{name}\"\n")).collect();
    format!(
        r#"name = "toys"
metrics = ["largest", "margin"]
[data]
folder = "images"
[[models]]
name = "toy_8"
[[models]]
name = "toy_12"
[[attacks]]
name = "step"
goals = ["untargeted", "random"]
{}[transfer]
policy = "crop_or_pad"
"#,
        more.concat()
    )
}

/// All files of a results folder that must not depend on times: tables, and where they come from.
pub const TABLES: [&str; 13] = [
    "flags.csv",
    "accuracy.csv",
    "success.csv",
    "transfer.csv",
    "scores.csv",
    "matrices.csv",
    "skipped.csv",
    "tables.tex",
    "study.json",
    "study.toml",
    "provenance.json",
    "outcomes.parquet",
    "examples.safetensors",
];

/// Noisy images of 10×10 pixels, of the four classes in turn.
pub fn pictures(count: usize) -> Vec<Picture> {
    (0..count)
        .map(|n| Picture::from_rgb(&format!("picture-{n:02}"), (n % 4) as i64, picture(n)))
        .collect()
}

/// Saves the images of [`pictures`] as PNG files, with the label in the name.
pub fn save_pictures(count: usize, folder: &Path) {
    for n in 0..count {
        picture(n)
            .save(folder.join(format!("{}.{n:02}.png", n % 4 + 1)))
            .expect("the folder can be written to");
    }
}

fn picture(n: usize) -> RgbImage {
    let noise = golden::values(&format!("picture {n}"), &[10, 10, 3], Role::Bias, 1.0);
    let sample = |x: u32, y: u32, c: u32| {
        let colour = match n % 4 {
            3 => 0.35,
            class if class as u32 == c => 0.65,
            _ => 0.45,
        };
        ((colour + 3.0 * noise[((y * 10 + x) * 3 + c) as usize]) * 255.0).clamp(0.0, 255.0) as u8
    };
    RgbImage::from_fn(10, 10, |x, y| Rgb([0, 1, 2].map(|c| sample(x, y, c))))
}

/// The largest change of a pixel.
pub struct Largest;

impl Metric for Largest {
    const NAME: &'static str = "largest";
    const SUMMARY: &'static str = "the largest change";
    const UNIT: &'static str = "pixel units";
    const SCOPE: Scope = Scope::Outcome;
    const DIRECTION: Direction = Direction::HigherIsMoreRobust;
    type Params = NoParams;

    fn new(_: NoParams) -> Result<Self> {
        Ok(Self)
    }

    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
        Ok(Vec::try_from(
            (original - adversarial).abs().flatten(1, -1).amax([1], false).to_kind(Kind::Double),
        )?)
    }
}

/// The margin of the true class.
pub struct Margin;

impl Metric for Margin {
    const NAME: &'static str = "margin";
    const SUMMARY: &'static str = "the margin of the true class";
    const UNIT: &'static str = "logits";
    const SCOPE: Scope = Scope::Model;
    const DIRECTION: Direction = Direction::HigherIsMoreRobust;
    type Params = NoParams;

    fn new(_: NoParams) -> Result<Self> {
        Ok(Self)
    }

    fn model(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<f64>> {
        let all: Vec<usize> = (0..cases.len()).collect();
        let margins =
            Goals::new(&cases.goals, &cases.pixels).margin(&oracle.logits(&all, &cases.pixels)?);
        Ok(Vec::try_from(margins.to_device(Device::Cpu).to_kind(Kind::Double))?)
    }
}

/// All toys.
pub fn registry() -> Result<Registry> {
    let mut registry = Registry::empty();
    registry.model::<Toy<8, 0>>(ORIGIN)?;
    registry.model::<Toy<12, 1>>(ORIGIN)?;
    registry.model::<Broken>(ORIGIN)?;
    registry.model::<Fatal>(ORIGIN)?;
    registry.attack::<Nudge>(ORIGIN)?;
    registry.attack::<Step>(ORIGIN)?;
    registry.attack::<Liar>(ORIGIN)?;
    registry.attack::<Sloppy>(ORIGIN)?;
    registry.attack::<Moody>(ORIGIN)?;
    registry.attack::<Forgetful>(ORIGIN)?;
    registry.attack::<Vandal>(ORIGIN)?;
    registry.attack::<Abort>(ORIGIN)?;
    registry.attack::<Segfault>(ORIGIN)?;
    registry.attack::<Quit>(ORIGIN)?;
    registry.attack::<Endless>(ORIGIN)?;
    registry.attack::<Stubborn>(ORIGIN)?;
    registry.attack::<Slow>(ORIGIN)?;
    registry.attack::<Held>(ORIGIN)?;
    registry.metric::<Largest>(ORIGIN)?;
    registry.metric::<Margin>(ORIGIN)?;
    Ok(registry)
}
