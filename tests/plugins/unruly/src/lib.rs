//! A plugin that misbehaves in every way that the tests need.

use gauntlet_core::attack::Cost;
use gauntlet_core::prelude::*;
use gauntlet_core::weights::NO_WEIGHTS;
use std::cell::Cell;
use std::time::Duration;

export_plugin!(attack Unruly, model Fragile, metric Miscounted);

/// An attack that misbehaves as its parameter `way` says.
pub struct Unruly(UnrulyParams);

params! {
    /// Parameters of [`Unruly`].
    pub struct UnrulyParams {
        /// How to misbehave.
        pub way: Way = Way::Error,
    }
}

choices! {
    /// Ways to misbehave.
    pub enum Way {
        /// Returns an error.
        Error,
        /// Panics, with a text.
        Panic,
        /// Panics, with a number.
        PanicWithoutWords,
        /// Calls a function of libtorch that fails.
        Torch,
        /// Returns an error that panics when it is displayed.
        SpeechlessError,
        /// Panics when it is asked for its cost.
        CostPanics,
        /// Aborts the process when it is asked for its cost.
        CostAborts,
        /// The loss panics.
        LossPanics,
        /// The loss has the wrong shape.
        LossMisshapen,
        /// Asks about a case that does not exist.
        UnknownCase,
        /// Asks for the logits of pixels of another size.
        WrongSide,
        /// Asks the oracle from another thread.
        OtherThread,
        /// Goes on when the model fails.
        Stubborn,
        /// Never returns, and looks at the clock.
        Endless,
        /// Gives one answer too few.
        Forgetful,
        /// Gives NaN, a wrong shape, values out of range, a wrong type, no tensor, and the unchanged
        /// image.
        Sloppy,
        /// Returns every unchanged image as an adversarial.
        Liar,
        /// Never returns, and never checks the time.
        Hang,
        /// Leaks 64 MiB, and finds nothing.
        Leak,
        /// Writes to an address that is not mapped.
        Segfault,
        /// Aborts the process.
        Abort,
        /// Recurses until the stack is full.
        Overflow,
        /// Aborts the process when it is made.
        Stillborn,
    }
}

/// An error that cannot be displayed.
#[derive(Debug)]
struct Speechless;

impl std::fmt::Display for Speechless {
    fn fmt(&self, _: &mut std::fmt::Formatter) -> std::fmt::Result {
        panic!("no words")
    }
}

impl std::error::Error for Speechless {}

impl Attack for Unruly {
    const NAME: &'static str = "unruly";
    const SUMMARY: &'static str = "misbehaves";
    type Params = UnrulyParams;

    fn new(params: UnrulyParams) -> Result<Self> {
        if params.way == Way::Stillborn {
            std::process::abort();
        }
        Ok(Self(params))
    }

    fn cost(&self, _: Goal) -> Option<Cost> {
        assert!(self.0.way != Way::CostPanics, "priceless");
        if self.0.way == Way::CostAborts {
            std::process::abort();
        }
        None
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let all: Vec<usize> = (0..cases.len()).collect();
        let pixels = &cases.pixels;
        match self.0.way {
            Way::Error | Way::CostPanics | Way::CostAborts => bail!("I would rather not"),
            Way::Panic => panic!("out of order\nand a second line"),
            Way::PanicWithoutWords => std::panic::panic_any(7),
            Way::Torch => {
                drop(Tensor::from_slice(&[1f32, 2.]) + Tensor::from_slice(&[1f32, 2., 3.]));
            }
            Way::SpeechlessError => return Err(Speechless.into()),
            Way::LossPanics => drop(oracle.gradient(&all, pixels, |_| panic!("no idea"))?),
            Way::LossMisshapen => drop(oracle.gradient(&all, pixels, Tensor::shallow_clone)?),
            Way::UnknownCase => drop(oracle.logits(&[cases.len()], &pixels.narrow(0, 0, 1))?),
            Way::WrongSide => drop(oracle.logits(&all, &pixels.narrow(2, 0, 2))?),
            Way::OtherThread => {
                struct Smuggled<'a>(&'a Oracle<'a>);
                // SAFETY: unsound on purpose, as C++ could do without a word.
                unsafe impl Send for Smuggled<'_> {}
                let smuggled = Smuggled(oracle);
                let elsewhere = move || {
                    let Smuggled(oracle) = { smuggled };
                    oracle.check_time()
                };
                std::thread::scope(|scope| scope.spawn(elsewhere).join().expect("no panic"))?;
            }
            Way::Stubborn => {
                let ask = || {
                    oracle
                        .logits(&all, pixels)
                        .map_or_else(|error| format!("{error:#}"), |_| "fine".to_owned())
                };
                bail!("first: {}; second: {}", ask(), ask());
            }
            Way::Endless => loop {
                oracle.check_time()?;
            },
            Way::Liar => {
                return Ok(all.into_iter().map(|n| Answer::Pixels(cases.image(n))).collect());
            }
            Way::Hang => loop {
                std::thread::sleep(Duration::from_hours(1));
            },
            Way::Leak => {
                // Without writing, the system would not give the memory.
                std::mem::forget(vec![1u8; 64 << 20]);
                return Ok(all.into_iter().map(|_| Answer::NotFound).collect());
            }
            // SAFETY: unsound on purpose.
            Way::Segfault => unsafe {
                std::ptr::without_provenance_mut::<u8>(16).write_volatile(1);
            },
            Way::Abort | Way::Stillborn => std::process::abort(),
            Way::Overflow => drop(std::hint::black_box(bottomless(1))),
            Way::Forgetful => return Ok((1..cases.len()).map(|_| Answer::NotFound).collect()),
            Way::Sloppy => {
                let answer = |n: usize| {
                    let image = cases.image(n);
                    Answer::Pixels(match n % 6 {
                        0 => image * f64::NAN,
                        1 => image.narrow(1, 0, 5),
                        2 => image + 1.5,
                        3 => image.to_kind(Kind::Double),
                        4 => Tensor::new(),
                        _ => image,
                    })
                };
                return Ok(all.into_iter().map(answer).collect());
            }
        }
        bail!("nothing has stopped me")
    }
}

#[expect(unconditional_recursion, reason = "the test needs a full stack")]
fn bottomless(depth: u64) -> u64 {
    std::hint::black_box(bottomless(std::hint::black_box(depth) + 1)) + 1
}

/// A model that breaks after some calls.
pub struct Fragile {
    card: ModelCard,
    left: Cell<u32>,
    params: FragileParams,
}

params! {
    /// Parameters of [`Fragile`].
    pub struct FragileParams {
        /// Calls until it panics.
        pub calls: u32 = 0,
        /// Whether it gives one logit too many.
        pub misshapen: bool = false,
        /// Factor of its logits.
        pub scale: f64 = 1.0,
        /// Whether it aborts the process instead of panicking.
        pub fatal: bool = false,
        /// Whether it panics while it is loaded.
        pub stillborn: bool = false,
        /// Seconds that loading takes.
        pub loading: f64 = 0.0,
        /// Number of logits.
        pub classes: i64 = 3,
    }
}

impl Model for Fragile {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let Some(left) = self.left.get().checked_sub(1) else {
            if self.params.fatal {
                std::process::abort();
            }
            panic!("worn out");
        };
        self.left.set(left);
        let logits = pixels.flatten(1, -1).narrow(
            1,
            0,
            self.card.classes + i64::from(self.params.misshapen),
        );
        logits * self.params.scale
    }
}

impl Architecture for Fragile {
    const NAME: &'static str = "fragile";
    type Params = FragileParams;

    fn describe(params: &FragileParams) -> ModelCard {
        ModelCard {
            name: "fragile".into(),
            family: "fragile".into(),
            side: 6,
            classes: params.classes,
            source: "for tests".into(),
            ..ModelCard::default()
        }
    }

    fn load(params: FragileParams, _: &Weights) -> Result<Self> {
        assert!(!params.stillborn, "cannot be loaded");
        std::thread::sleep(Duration::from_secs_f64(params.loading));
        Ok(Self { card: Self::describe(&params), left: Cell::new(params.calls), params })
    }

    fn embedded_weights() -> Option<&'static [u8]> {
        Some(NO_WEIGHTS)
    }
}

/// A metric that gives one value too few.
pub struct Miscounted;

impl Metric for Miscounted {
    const NAME: &'static str = "miscounted";
    const SUMMARY: &'static str = "one value too few";
    const UNIT: &'static str = "values";
    const SCOPE: Scope = Scope::Outcome;
    const DIRECTION: Direction = Direction::LowerIsMoreRobust;
    type Params = NoParams;

    fn new(_: NoParams) -> Result<Self> {
        Ok(Self)
    }

    fn outcome(&self, original: &Tensor, _: &Tensor) -> Result<Vec<f64>> {
        Ok(vec![0.0; original.size()[0] as usize - 1])
    }
}
