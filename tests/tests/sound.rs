//! Inputs that would give a wrong number in silence: each is computed rightly, invalid with its
//! reason, or flagged.

use anyhow::Result;
use gauntlet_core::attack::{Budget, Norm};
use gauntlet_core::device::Device;
use gauntlet_core::metric::{Direction, Metric, Scope};
use gauntlet_core::params::NoParams;
use gauntlet_core::prelude::*;
use gauntlet_core::registry::Registry;
use gauntlet_runner::analysis::flags::{Flag, Sign};
use gauntlet_runner::analysis::{Denominator, Tables, Transfer};
use gauntlet_runner::engine::{RunOptions, Silent};
use gauntlet_runner::report::outcomes::{self, Outcome};
use gauntlet_runner::study::{Member, Policy, StudyBuilder, StudyOptions};
use gauntlet_runner::{Failure, Session, Study};
use gauntlet_tests::toys::{self, Toy, ToyParams};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// Side of the images, and of most models: nothing is resized, and all pixels are 8-bit levels.
const SIDE: i64 = 10;

/// A model of the toys with a habit.
struct Odd {
    toy: Toy<SIDE, 0>,
    card: ModelCard,
    habit: Habit,
    asked: AtomicU32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Habit {
    /// None.
    Plain,
    /// Clamps the tensor that it is given, in place.
    Clamps,
    /// Gives the same tensor each time, and writes its answers into it.
    Reuses,
    /// Gives an infinite logit where the image is redder than 0.55.
    Overflows,
    /// The gradient of such images is not finite, the logits are.
    Steep,
    /// Gives other answers from the fourth call on.
    Turns,
}

/// N×1: infinite where an image is redder than 0.55, otherwise 0.
fn infinite_where_red(pixels: &Tensor) -> Tensor {
    let red = pixels.select(1, 0).mean_dim([1i64, 2].as_slice(), false, Kind::Float);
    red.gt(0.55).to_kind(Kind::Float).unsqueeze(1) * f64::INFINITY
}

thread_local! {
    static REUSED: Tensor = Tensor::zeros([32, toys::CLASSES], (Kind::Float, Device::Cpu));
}

impl Model for Odd {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let logits = |pixels: &Tensor| self.toy.logits(pixels);
        match self.habit {
            Habit::Plain => logits(pixels),
            Habit::Clamps => {
                let _ = tch::no_grad(|| pixels.detach().clamp_(0.2, 0.8));
                logits(pixels)
            }
            Habit::Reuses => {
                let answers = logits(pixels);
                if tch::no_grad(|| answers.requires_grad()) {
                    return answers;
                }
                REUSED.with(|reused| {
                    let rows = reused.narrow(0, 0, answers.size()[0]);
                    rows.shallow_clone().copy_(&answers);
                    rows
                })
            }
            Habit::Overflows => {
                let broken = infinite_where_red(pixels);
                let broken = broken.where_self(&broken.isinf(), &Tensor::zeros_like(&broken));
                logits(pixels) + broken
            }
            Habit::Steep => {
                let red = infinite_where_red(&pixels.detach()).isinf().view([-1, 1, 1, 1]);
                let flat = (pixels - pixels.detach()).abs().sqrt();
                logits(&(pixels + flat.where_self(&red, &Tensor::zeros_like(&flat))))
            }
            Habit::Turns => logits(pixels) * if asked < 3 { 1.0 } else { -1.0 },
        }
    }
}

/// Moves every pixel by `step` along the sign of the gradient, and declares `budget`.
struct Stride(StrideParams);

params! {
    /// Settings of [`Stride`].
    pub struct StrideParams {
        /// Length of the step, pixels in [0, 1].
        pub step: f64 = 0.1,
        /// The radius that it declares; none where it is 0.
        pub budget: f64 = 0.0,
    }
}

impl Attack for Stride {
    const NAME: &'static str = "stride";
    const SUMMARY: &'static str = "for tests";
    type Params = StrideParams;

    fn new(params: StrideParams) -> Result<Self> {
        Ok(Self(params))
    }

    fn budget(&self) -> Option<Budget> {
        (self.0.budget > 0.0).then_some(Budget { norm: Norm::Linf, radius: self.0.budget })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let all: Vec<usize> = (0..cases.len()).collect();
        let goals = Goals::new(&cases.goals, &cases.pixels);
        let slope = oracle.gradient(&all, &cases.pixels, |z| goals.margin(z))?.pixels;
        let step = slope.nan_to_num(0.0, 0.0, 0.0).sign() * self.0.step;
        let moved = (&cases.pixels - step).clamp(0.0, 1.0);
        Ok(Answer::rows(&moved).collect())
    }
}

/// Finds no number for every third image, and infinity for the next.
struct Patchy;

impl Metric for Patchy {
    const NAME: &'static str = "patchy";
    const SUMMARY: &'static str = "for tests";
    const UNIT: &'static str = "units";
    const SCOPE: Scope = Scope::Model;
    const DIRECTION: Direction = Direction::HigherIsMoreRobust;
    type Params = NoParams;

    fn new(_: NoParams) -> Result<Self> {
        Ok(Self)
    }

    fn model(&self, _: &Oracle, cases: &Cases) -> Result<Vec<f64>> {
        Ok((0..cases.len()).map(|n| [f64::NAN, f64::INFINITY, 2.0][n % 3]).collect())
    }
}

fn registry() -> Registry {
    let mut registry = toys::registry().unwrap();
    registry.attack::<Stride>(toys::ORIGIN).unwrap();
    registry.metric::<Patchy>(toys::ORIGIN).unwrap();
    for habit in
        [Habit::Plain, Habit::Clamps, Habit::Reuses, Habit::Overflows, Habit::Steep, Habit::Turns]
    {
        let name = format!("{habit:?}").to_lowercase();
        let card = <Toy<SIDE, 0> as Architecture>::describe(&ToyParams::default());
        let card = ModelCard { name, ..card };
        let make = card.clone();
        registry
            .model_with(card, toys::ORIGIN, move |_| {
                let (toy, card) = (Toy::new(5), make.clone());
                Ok(Box::new(Odd { toy, card, habit, asked: AtomicU32::new(0) }))
            })
            .unwrap();
    }
    registry
}

/// What came of a study.
struct Found {
    out: TempDir,
    tables: Tables,
}

fn run(builder: StudyBuilder) -> Found {
    let (found, failures) = run_with_failures(builder);
    assert!(failures.is_empty(), "{failures:?}");
    found
}

fn run_with_failures(builder: StudyBuilder) -> (Found, Vec<Failure>) {
    let registry = registry();
    let options = StudyOptions { pictures: Some(toys::pictures(64)), ..StudyOptions::default() };
    let study = builder.open(&registry, options).unwrap();
    let out = tempfile::tempdir().unwrap();
    // One thread, since `Turns` counts calls.
    let options = RunOptions { workers: 1, ..RunOptions::on(Device::Cpu) };
    let session = Session::open(&study, &registry, out.path(), options, &Silent).unwrap();
    let failures = session.run().unwrap().failures;
    let tables = session.report().unwrap();
    drop(session);
    (Found { out, tables }, failures)
}

fn study(models: &[&str], params: StrideParams) -> StudyBuilder {
    let builder = Study::builder("sound").set("probe", HashMap::from([("images", 0)]));
    let builder = models.iter().fold(builder, |builder, model| builder.model(*model));
    builder.attack(Member::new("stride").params(&params)).metric("largest")
}

fn stride(step: f64, budget: f64) -> StrideParams {
    StrideParams { step, budget }
}

impl Found {
    fn outcomes(&self) -> Vec<Outcome> {
        let mut all = Vec::new();
        outcomes::read(self.out.path(), |_, outcome| {
            all.push(outcome);
            Ok(())
        })
        .unwrap();
        all
    }

    fn flags(&self, sign: Sign) -> Vec<&Flag> {
        self.tables.findings.flags.iter().filter(|flag| flag.flag == sign).collect()
    }
}

fn changes(outcomes: &[Outcome], column: &str) -> Vec<f64> {
    outcomes.iter().filter_map(|outcome| outcome.distortions.get(column).copied()).collect()
}

#[test]
fn transfer_stands_beside_what_bringing_an_image_does_by_itself() {
    // A step that changes nothing: all that happens is cropping and padding.
    let text = study(&["toy_8", "toy_12"], stride(1e-6, 0.0)).transfer(Policy::CropOrPad);
    let found = run(text);
    for pair in &found.tables.transfer {
        assert_eq!(pair.control.attack_alone + pair.control.control_alone, 0, "{pair:?}");
        assert_eq!(pair.control.excess().value, Some(0.0));
    }
    let across: usize = found.tables.transfer.iter().map(|pair| pair.control.both).sum();
    assert!(across > 0, "cropping and padding change some answers");
    let flags = found.flags(Sign::TransferIsControl);
    assert!(!flags.is_empty());
    for flag in flags {
        assert_eq!(flag.found, flag.compared.unwrap(), "{}", flag.reading);
    }

    for Outcome { row, .. } in found.outcomes() {
        assert_eq!(row.control_correct, row.control_prediction == Some(row.label));
        if row.source == row.target {
            assert_eq!(row.control_prediction, row.source_clean);
        } else if row.source_prediction.is_some() {
            assert_eq!(row.control_prediction, row.prediction, "{row:?}");
        }
    }
    let table = |name: &str| fs::read_to_string(found.out.path().join(name)).unwrap();
    let head = table("transfer.csv").lines().next().unwrap().to_owned();
    assert!(head.contains(",images_control,"), "{head}");
    assert!(
        head.ends_with(",control_k,control_rate,excess_over_control,excess_low,excess_high"),
        "{head}"
    );
    let matrices = table("matrices.csv");
    let kinds = ["rate", "control", "excess_over_control"];
    assert!(kinds.iter().all(|kind| matrices.contains(&format!(",{kind},toy_8,"))), "{matrices}");

    // Models of one side are given what is there: without the attack their answers are right.
    let same = run(study(&["plain", "clamps"], stride(0.1, 0.0)).transfer(Policy::CropOrPad));
    for pair in &same.tables.transfer {
        assert_eq!(pair.control.control().k, 0);
        assert_eq!(pair.control.excess().value, pair.control.attack().rate);
    }
    assert!(same.flags(Sign::TransferIsControl).is_empty());
}

#[test]
fn a_model_that_writes_to_its_input_or_keeps_its_output_changes_no_number() {
    let found = run(study(&["clamps"], stride(0.1, 0.1)));
    let outcomes = found.outcomes();
    let far = changes(&outcomes, "distortion_largest");
    assert!(far.len() > 10 && far.iter().all(|far| *far <= 0.1 + 1e-6), "{far:?}");
    assert_eq!(found.tables.success[0].invalid, 0);

    let answers = |model: &str| {
        let outcomes = run(study(&[model], stride(0.1, 0.1))).outcomes();
        let answer = |o: Outcome| (o.row.source_clean, o.row.prediction, o.row.prediction_8bit);
        outcomes.into_iter().map(answer).collect::<Vec<_>>()
    };
    assert_eq!(answers("reuses"), answers("plain"));
}

#[test]
fn an_8_bit_image_stays_inside_the_budget() {
    let radius = 1.504 / 255.0;
    let found = run(study(&["plain"], stride(radius, radius)));
    let far = changes(&found.outcomes(), "distortion_largest_8bit");
    assert!(far.len() > 10);
    assert!(far.iter().all(|far| (far - 1.0 / 255.0).abs() < 1e-6), "{far:?}");
    // Without a budget pixels go to the nearest level.
    let free = run(study(&["plain"], stride(radius, 0.0)));
    let far = changes(&free.outcomes(), "distortion_largest_8bit");
    assert!(far.iter().all(|far| (far - 2.0 / 255.0).abs() < 1e-6), "{far:?}");
}

#[test]
fn an_answer_outside_the_budget_is_invalid() {
    let found = run(study(&["plain"], stride(0.2, 0.1)));
    let success = &found.tables.success[0];
    assert_eq!((success.success, success.invalid), (0, success.source_correct));
    let attacked: Vec<Outcome> =
        found.outcomes().into_iter().filter(|outcome| outcome.row.status.attempted()).collect();
    for Outcome { row, .. } in attacked {
        let expected =
            "invalid: the pixels lie 0.200000 away (linf), expected 0.100000 at the most";
        assert_eq!(row.status.to_string(), expected);
        assert_eq!((row.prediction, row.success, row.success_8bit), (None, false, false));
    }
}

#[test]
fn logits_that_are_not_finite_cost_their_images_alone() {
    let plain = run(study(&["plain"], stride(0.1, 0.0))).outcomes();
    let found = run(study(&["overflows"], stride(0.1, 0.0)));
    let outcomes = found.outcomes();
    let broken = outcomes.iter().filter(|outcome| outcome.row.source_clean.is_none()).count();
    assert!((8..30).contains(&broken), "{broken} of 64");
    assert_eq!(found.tables.accuracy[0].invalid, broken);
    assert_eq!(found.tables.accuracy[0].images, 64);
    for (Outcome { row, .. }, without) in outcomes.iter().zip(&plain) {
        if row.source_clean.is_none() {
            let expected = "invalid: the logits of the original are not finite";
            assert_eq!((row.status.to_string().as_str(), row.success), (expected, false));
        } else if !row.status.logits_not_finite() {
            assert_eq!(
                (&row.status, row.prediction),
                (&without.row.status, without.row.prediction)
            );
        }
    }
    let flag = found.flags(Sign::NonfiniteLogits)[0];
    let said = format!("logits are not finite at {broken} of 64 unperturbed images");
    assert!(flag.reading.starts_with(&said), "{}", flag.reading);
    assert!(run(study(&["plain"], stride(0.1, 0.0))).flags(Sign::NonfiniteLogits).is_empty());
}

#[test]
fn a_gradient_that_is_not_finite_makes_failures_invalid() {
    let found = run(study(&["steep"], stride(0.001, 0.0)));
    let mut invalid = 0;
    for Outcome { row, .. } in found.outcomes() {
        let text = row.status.to_string();
        if text.starts_with("invalid") {
            assert_eq!(text, "invalid: the gradient is not finite in 1 of 1 passes");
            invalid += 1;
        }
    }
    assert!(invalid > 5, "{invalid}");
    assert_eq!(found.tables.success[0].invalid, invalid);
}

#[test]
fn success_by_answers_that_change_is_invalid() {
    let found = run(study(&["turns"], stride(0.0, 0.0)));
    let success = &found.tables.success[0];
    assert!(success.source_correct > 10);
    assert_eq!((success.success, success.success_8bit), (0, 0), "the pixels are the originals");
    assert!(success.invalid > 0);
    let flag = found.flags(Sign::NondeterministicLogits)[0];
    let said = "the answer to the original changed during the attack on ";
    assert!(flag.reading.starts_with(said), "{}", flag.reading);
    let reason = found.outcomes().iter().find_map(|outcome| {
        let text = outcome.row.status.to_string();
        text.strip_prefix("invalid: the model's answer to the original changed during the attack, ")
            .map(str::to_owned)
    });
    assert!(reason.unwrap().starts_with("from class "));
}

#[test]
fn a_target_whose_answers_change_has_no_transfer() {
    let study = study(&["plain", "turns"], stride(1e-6, 0.0)).transfer(Policy::CropOrPad);
    let (found, failures) = run_with_failures(study);
    let expected = "the answers of model `turns` do not repeat: to `picture-";
    let of_transfer: Vec<&Failure> =
        failures.iter().filter(|failure| failure.what.contains("given to turns")).collect();
    assert!(!of_transfer.is_empty(), "{failures:?}");
    for failure in of_transfer {
        assert!(failure.reason.starts_with(expected), "{}", failure.reason);
    }
    let to_turns = |pair: &&Transfer| pair.target == 1;
    let pairs: Vec<&Transfer> = found.tables.transfer.iter().filter(to_turns).collect();
    assert!(pairs.iter().all(|pair| pair.missing > 0 && pair.transferred[Denominator::All] == 0));
}

#[test]
fn scores_that_are_no_number_are_null() {
    let found = run(study(&["plain"], stride(0.1, 0.0)).metric("patchy"));
    let score = &found.tables.scores[0];
    let values: Vec<f64> = score.cases.iter().flatten().copied().collect();
    assert!(!values.is_empty() && values.iter().all(|value| *value == 2.0), "{values:?}");
    assert_eq!(score.summary.mean, Some(2.0));
    let table = fs::read_to_string(Path::new(found.out.path()).join("scores.csv")).unwrap();
    assert!(!table.contains("inf") && !table.to_lowercase().contains("nan"), "{table}");
}
