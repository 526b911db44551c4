//! Checks of attacks.

use super::affine::Affine;
use super::report::{Checker, Event, Report, distance, images, skip, untouched};
use crate::attack::{Answer, Cases, Cost, Goal, Goals, admit};
use crate::generator;
use crate::guard;
use crate::model::{ImageShape, Model, ModelCard};
use crate::oracle::{Oracle, Settings};
use crate::registry::{AttackEntry, DynAttack};
use anyhow::{Context, Result, anyhow, bail, ensure};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tch::{Kind, Tensor};
use toml::Table;

/// Number of classes, and side of the images, of the affine models.
const CLASSES: i64 = 4;
const SIDE: i64 = 6;
/// Number of cases with an untargeted goal, and of those with a targeted one.
const HALF: usize = 4;
/// Greatest change of a pixel that another batch may cause. Float32 sums depend on the shape of the
/// batch, and hundreds of steps add up such differences.
const TOLERANCE: f64 = 1e-4;

impl Report {
    /// Checks an attack with all its parameters. `watch` is told of the progress.
    pub fn of_attack(
        entry: &AttackEntry,
        parameters: &Table,
        watch: &mut dyn FnMut(&Event),
    ) -> Self {
        let mut checker = Checker::new("attack", &entry.entry, watch);
        checker.check_parameters(&entry.entry, |parameters| entry.make(parameters).map(drop));
        let attack =
            checker.check("it can be made with these parameters", || entry.make(parameters));
        if let Some(attack) = attack {
            check(&mut checker, attack.as_ref());
        }
        checker.end()
    }
}

/// The pixels that an attack has given for each case, if any.
type Images = Vec<Option<Tensor>>;

/// An attack on a model, for these cases.
struct Trial<'a> {
    attack: &'a dyn DynAttack,
    model: &'a dyn Model,
    pixels: &'a Tensor,
    goals: &'a [Goal],
}

impl Trial<'_> {
    /// Runs the attack on the cases with these indices, in this order.
    fn run(&self, members: &[usize], lanes: usize) -> Result<Images> {
        self.run_with(members, Settings { lanes, ..Settings::default() })
    }

    fn run_with(&self, members: &[usize], settings: Settings) -> Result<Images> {
        let index: Vec<i64> = members.iter().map(|&n| n as i64).collect();
        let cases = Cases::new(
            self.pixels.index_select(0, &Tensor::from_slice(&index)),
            members.iter().map(|&n| self.goals[n]).collect(),
        )?;
        // The random stream belongs to the case, wherever it stands in the batch.
        let oracle =
            Oracle::new(self.model, members.iter().map(|&n| n as u64 + 1).collect(), settings);
        let found =
            untouched("`cases.pixels`", &cases.pixels, || self.attack.run(&oracle, &cases))?;
        ensure!(
            found.len() == members.len(),
            "{} answers for {} cases",
            found.len(),
            members.len()
        );
        let images = members.iter().zip(found).map(|(n, answer)| match answer {
            Answer::Pixels(pixels) => {
                let shape = self.model.card().shape();
                admit(&pixels, shape).map(Some).with_context(|| format!("case {n}"))
            }
            Answer::NotFound => Ok(None),
        });
        images.collect()
    }

    /// How far each case's goal is, in logits.
    fn margins(&self, pixels: &Tensor) -> Result<Vec<f64>> {
        let logits = tch::no_grad(|| self.model.logits(pixels));
        Ok(Vec::try_from(Goals::new(self.goals, &logits).margin(&logits).to_kind(Kind::Double))?)
    }
}

/// Fails where two runs differ. `found` is that of the cases `members`, `all` that of all cases.
fn compare(members: &[usize], found: &Images, all: &Images, tolerance: f64) -> Result<()> {
    for (&n, one) in members.iter().zip(found) {
        match (one, &all[n]) {
            (Some(a), Some(b)) => {
                let apart = distance(a, b);
                ensure!(
                    apart <= tolerance,
                    "case {n}: pixels differ by {apart:.1e}, expected {tolerance:.0e} at the most"
                );
            }
            (None, None) => {}
            (one, _) => bail!(
                "case {n} has an answer {} time alone",
                if one.is_some() { "the second" } else { "the first" }
            ),
        }
    }
    Ok(())
}

fn check(checker: &mut Checker, attack: &dyn DynAttack) {
    let model = Affine::centred(CLASSES, SIDE, 11);
    let pixels = images(2 * HALF, model.card().shape());
    let order = model.logits(&pixels).argsort(1, true);
    let rank = |n: usize, place: i64| order.int64_value(&[n as i64, place]);
    let goal = |n: usize| if n < HALF { Goal::Away(rank(n, 0)) } else { Goal::Towards(rank(n, 1)) };
    let goals: Vec<Goal> = (0..2 * HALF).map(goal).collect();
    let trial = Trial { attack, model: &model, pixels: &pixels, goals: &goals };
    let all: Vec<usize> = (0..goals.len()).collect();

    let together = checker
        .check("answers one by one, with C×H×W float32 pixels in [0, 1]", || trial.run(&all, 32));
    let together = together.as_ref();
    checker.check_with("grey images that are not square are attacked too", together, |_| {
        let shape = ImageShape { channels: 1, height: SIDE, width: SIDE + 3 };
        let model = Affine::of_shape(CLASSES, shape, 11);
        let pixels = images(2 * HALF, shape);
        Trial { model: &model, pixels: &pixels, ..trial }.run(&all, 32).map(drop)
    });
    checker.check_with("answers lie within the budget", together, |found| {
        within_budget(attack, &pixels, found)
    });
    checker.check("the cost is a number of passes", || {
        let costs: Vec<Cost> = goals.iter().filter_map(|&goal| attack.cost(goal)).collect();
        ensure!(!costs.is_empty(), skip("the attack declares none"));
        let sound =
            |cost: &Cost| cost.forward.is_finite() && (0.0..=cost.forward).contains(&cost.backward);
        let fault = costs.iter().find(|cost| !sound(cost));
        fault.map_or(Ok(()), |Cost { forward, backward }| {
            bail!(
                "{forward} forward and {backward} backward passes, expected finite numbers from \
                 0, and no more backward than forward (a gradient takes one of each)"
            )
        })
    });
    checker.check_with("the same seed gives the same answers", together, |found| {
        let _generator = generator::lock();
        // Two seeds of libtorch's own generator show whether the attack draws from it.
        tch::manual_seed(1);
        let first = trial.run(&all, 32)?;
        tch::manual_seed(2);
        compare(&all, &trial.run(&all, 32)?, &first, 0.0)
            .context("two runs; draw from `oracle.rng(case)` alone")?;
        compare(&all, &first, found, 0.0).context("two runs; draw from `oracle.rng(case)` alone")
    });
    checker.check_with(
        "an answer depends neither on batch nor on order nor on neighbours",
        together,
        |found| {
            let reversed: Vec<usize> = all.iter().rev().copied().collect();
            compare(&reversed, &trial.run(&reversed, 3)?, found, TOLERANCE)
                .context("in reverse order with 3 lanes")?;
            let some = [1, HALF + 1, HALF];
            compare(&some, &trial.run(&some, 1)?, found, TOLERANCE)
                .context("three cases alone with 1 lane")
        },
    );
    checker.check_with("batches have at most `oracle.lanes()` rows", together, |_| {
        let counting = Counting { inner: Affine::centred(CLASSES, SIDE, 11), most: Cell::new(0) };
        Trial { model: &counting, ..trial }.run(&all, 3)?;
        ensure!(
            counting.most.get() <= 3,
            "a batch of {} rows where `oracle.lanes()` is 3",
            counting.most.get()
        );
        Ok(())
    });
    checker.check_with("untargeted goals come nearer", together, |found| {
        nearer(&trial, found, 0..HALF)?.with_context(|| {
            format!(
                "no answer for any of {HALF} cases with an adversarial nearby ({})",
                nearby(&model, &pixels, &goals)
            )
        })
    });
    checker.check_with("targeted goals come nearer", together, |found| {
        nearer(&trial, found, HALF..2 * HALF)?.ok_or_else(|| {
            skip("it answers no targeted case; fine for an attack that is untargeted only")
        })
    });

    checker.check("goals that are met already stay met", || {
        let goals: Vec<Goal> = (0..2 * HALF)
            .map(|n| if n < HALF { Goal::Away(rank(n, 1)) } else { Goal::Towards(rank(n, 0)) })
            .collect();
        let trial = Trial { goals: &goals, ..trial };
        for (n, answer) in trial.run(&all, 32)?.iter().enumerate() {
            let Some(pixels) = answer else { continue };
            let class = model.logits(&pixels.unsqueeze(0)).argmax(1, false).int64_value(&[0]);
            ensure!(
                goals[n].met_by(class),
                "case {n}: the image met {:?}, the answer's class is {class}",
                goals[n]
            );
        }
        Ok(())
    });
    check_without_success(checker, &trial, &model);
}

/// Checks what the attack does when it cannot succeed: no adversarial can be found, there are no
/// cases, the model fails, or the work is cancelled.
fn check_without_success(checker: &mut Checker, trial: &Trial, model: &Affine) {
    let few = [0, HALF];
    let labels = Tensor::from_slice(&[500f32, 0.0, -500.0, 0.0]);
    let hopeless = [Goal::Away(0), Goal::Towards(2)].map(|goal| vec![goal; HALF]).concat();
    for (name, gain) in [
        ("goals out of reach cost no answer its form", 1.0),
        ("a gradient of zero costs no answer its form", 0.0),
    ] {
        let model = model.stubborn(&labels, gain);
        checker.check(name, || {
            Trial { model: &model, goals: &hopeless, ..*trial }.run(&few, 32).map(drop)
        });
    }
    checker.check("no cases, no answers", || trial.run(&[], 32).map(drop));
    checker.check("an error of the model's is handed on", || {
        let failing = Failing(model.card().clone());
        match (Trial { model: &failing, ..*trial }).run(&few, 32) {
            Ok(_) => bail!(
                "the model fails, and the attack answers as if it had not: hand the oracle's error \
                 on (`?`)"
            ),
            Err(error) => handed_on(&error, NO_ANSWER),
        }
    });
    checker.check("it gives up when it is cancelled", || {
        let cancel = Arc::new(AtomicBool::new(true));
        match trial.run_with(&few, Settings { cancel, ..Settings::default() }) {
            // The engine keeps no answer of an attack that was refused a call.
            Ok(_) => Ok(()),
            Err(error) => handed_on(&error, "cancelled"),
        }
    });
}

/// Says how far the nearest adversarials of the untargeted cases are at most.
fn nearby(model: &Affine, pixels: &Tensor, goals: &[Goal]) -> String {
    let distances = |n: usize| model.distances(&pixels.get(n as i64), goals[n]);
    let farthest =
        (0..HALF).map(distances).fold([0f64; 3], |a, b| std::array::from_fn(|n| a[n].max(b[n])));
    format!("at most l∞ {:.3}, l2 {:.3}, l1 {:.3} away", farthest[0], farthest[1], farthest[2])
}

fn within_budget(attack: &dyn DynAttack, pixels: &Tensor, found: &Images) -> Result<()> {
    let budget = attack.budget().ok_or_else(|| skip("the attack declares none"))?;
    for (n, answer) in found.iter().enumerate() {
        let Some(answer) = answer else { continue };
        budget.check(&pixels.get(n as i64), answer).with_context(|| format!("case {n}"))?;
    }
    Ok(())
}

/// Fails unless the margins of the answered cases fall in the mean. `None` when no case is
/// answered.
fn nearer(trial: &Trial, found: &Images, cases: std::ops::Range<usize>) -> Result<Option<()>> {
    let moved: Vec<Tensor> = found
        .iter()
        .enumerate()
        .map(|(n, answer)| {
            answer.as_ref().map_or_else(|| trial.pixels.get(n as i64), Tensor::shallow_clone)
        })
        .collect();
    let (before, after) = (trial.margins(trial.pixels)?, trial.margins(&Tensor::stack(&moved, 0))?);
    let answered: Vec<usize> = cases.filter(|&n| found[n].is_some()).collect();
    if answered.is_empty() {
        return Ok(None);
    }
    let mean =
        |margins: &[f64]| answered.iter().map(|&n| margins[n]).sum::<f64>() / answered.len() as f64;
    let (before, after) = (mean(&before), mean(&after));
    ensure!(
        after < before,
        "the margin to the goal goes from {before:.4} to {after:.4} in the mean of {} answers, \
         expected less (an attack that cannot do such goals answers `NotFound`)",
        answered.len()
    );
    Ok(Some(()))
}

/// Fails unless `error` is the oracle's own error, in these words, and not a panic about it.
fn handed_on(error: &anyhow::Error, words: &str) -> Result<()> {
    let text = format!("{error:#}");
    ensure!(
        !text.contains("panicked"),
        "the oracle's error became a panic (`unwrap`?): {text}; hand it on (`?`)"
    );
    ensure!(
        text.contains(words),
        "the oracle said `{words}`, the attack says: {text}; hand the oracle's error on (`?`)"
    );
    Ok(())
}

/// A model that notes its greatest batch.
struct Counting {
    inner: Affine,
    most: Cell<i64>,
}

impl Model for Counting {
    fn card(&self) -> &ModelCard {
        self.inner.card()
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        self.most.set(self.most.get().max(pixels.size()[0]));
        self.inner.logits(pixels)
    }
}

const NO_ANSWER: &str = "this model gives no answer";

/// A model that gives no logits.
struct Failing(ModelCard);

impl Model for Failing {
    fn card(&self) -> &ModelCard {
        &self.0
    }

    fn logits(&self, _: &Tensor) -> Tensor {
        guard::throw(anyhow!(NO_ANSWER))
    }
}

#[cfg(test)]
mod tests {
    use crate::attack::{Budget, Cost, Norm};
    use crate::prelude::*;
    use crate::registry::AttackEntry;
    use crate::testing::{CheckOutcome, Report, check_attack};
    use toml::Table;

    /// A step along the gradient, with the mistake number `FAULT`.
    struct Step<const FAULT: usize>;

    impl<const FAULT: usize> Attack for Step<FAULT> {
        const NAME: &'static str = "step";
        const SUMMARY: &'static str = "one step";
        type Params = NoParams;

        fn new(_: NoParams) -> Result<Self> {
            Ok(Self)
        }

        fn budget(&self) -> Option<Budget> {
            Some(Budget { norm: Norm::Linf, radius: if FAULT == BUDGET { 0.05 } else { 0.1 } })
        }

        fn cost(&self, _: Goal) -> Option<Cost> {
            Some(Cost { forward: 1.0, backward: if FAULT == COST { 2.0 } else { 1.0 } })
        }

        fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
            let lanes = if FAULT == LANES { cases.len() } else { oracle.lanes() };
            let mut answers = Vec::new();
            for Batch { cases: members, pixels, goals } in cases.batches(lanes) {
                let asked = oracle.gradient(&members, &pixels, |z| {
                    if FAULT == GOALS { -goals.logit(z) } else { goals.margin(z) }
                });
                let asked = match asked {
                    Err(error) if FAULT == PANIC => panic!("{error}"),
                    Err(_) if FAULT == SWALLOW => {
                        return Ok((0..cases.len()).map(|_| Answer::NotFound).collect());
                    }
                    asked => asked?,
                };
                if FAULT == RGB {
                    ensure!(pixels.size()[1] == 3, "expected three channels");
                }
                let direction = match FAULT {
                    ZERO => &asked.pixels / asked.pixels.abs().amax([1, 2, 3], true),
                    HERD => &asked.pixels - asked.pixels.mean(Kind::Float),
                    _ => asked.pixels,
                };
                let direction = if FAULT == ZERO { direction } else { direction.sign() };
                let noise =
                    if FAULT == LUCK { Tensor::rand_like(&pixels) } else { pixels.ones_like() };
                let mut moved = &pixels - direction * noise * 0.1;
                if FAULT != BOX {
                    moved = moved.clamp(0.0, 1.0);
                }
                if FAULT == WRITES {
                    cases.pixels.shallow_clone().copy_(&(&cases.pixels * 0.5));
                }
                if FAULT == WRITES_IN_PLACE {
                    let _ = pixels.data().g_mul_scalar_(0.5); // a batch shares its cases' pixels
                }
                answers.extend(Answer::rows(&moved));
            }
            if FAULT == COUNT {
                answers.truncate(1);
            }
            Ok(answers)
        }
    }

    const SOUND: usize = 0;
    const BUDGET: usize = 1;
    const LANES: usize = 2;
    const GOALS: usize = 3;
    const PANIC: usize = 4;
    const SWALLOW: usize = 5;
    const ZERO: usize = 6;
    const HERD: usize = 7;
    const LUCK: usize = 8;
    const BOX: usize = 9;
    const WRITES: usize = 10;
    const COUNT: usize = 11;
    const WRITES_IN_PLACE: usize = 12;
    const COST: usize = 13;
    const RGB: usize = 14;

    fn report<const FAULT: usize>() -> Report {
        Report::of_attack(&AttackEntry::of::<Step<FAULT>>(""), &Table::new(), &mut |_| ())
    }

    fn failed<const FAULT: usize>() -> Vec<String> {
        let failed = report::<FAULT>()
            .checks
            .into_iter()
            .filter(|check| matches!(check.outcome, CheckOutcome::Failed(_)));
        failed.map(|check| check.name).collect()
    }

    #[test]
    fn every_fault_is_found_and_only_it() {
        check_attack::<Step<SOUND>>(NoParams {}).unwrap();
        assert_eq!(failed::<BUDGET>(), ["answers lie within the budget"]);
        assert_eq!(failed::<LANES>(), ["batches have at most `oracle.lanes()` rows"]);
        assert_eq!(
            failed::<GOALS>(),
            ["untargeted goals come nearer", "goals that are met already stay met"]
        );
        assert_eq!(
            failed::<PANIC>(),
            ["an error of the model's is handed on", "it gives up when it is cancelled"]
        );
        let said = report::<PANIC>().to_string();
        assert!(said.contains(&format!("it panicked at {}:", file!())), "{said}");
        assert_eq!(failed::<SWALLOW>(), ["an error of the model's is handed on"]);
        assert_eq!(failed::<ZERO>(), ["a gradient of zero costs no answer its form"]);
        assert_eq!(
            failed::<HERD>(),
            ["an answer depends neither on batch nor on order nor on neighbours"]
        );
        assert!(failed::<LUCK>().contains(&"the same seed gives the same answers".to_owned()));
        assert_eq!(failed::<RGB>(), ["grey images that are not square are attacked too"]);
        assert_eq!(failed::<COST>(), ["the cost is a number of passes"]);
        for first in
            [failed::<BOX>(), failed::<WRITES>(), failed::<WRITES_IN_PLACE>(), failed::<COUNT>()]
        {
            assert_eq!(
                first.first().map(String::as_str),
                Some("answers one by one, with C×H×W float32 pixels in [0, 1]")
            );
        }
        let said = report::<WRITES_IN_PLACE>().to_string();
        assert!(said.contains("`cases.pixels` were changed; work on a copy"), "{said}");
    }
}
