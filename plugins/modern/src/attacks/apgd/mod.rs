//! APGD, projected gradient ascent that chooses its own step lengths, and APGD-T, its form that
//! tries the most likely classes in turn.
//!
//! Papers: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
//! diverse parameter-free attacks", ICML 2020, arXiv 2003.01690, algorithm 1 (ℓ∞, ℓ2); "Mind the
//! box: l1-APGD for sparse adversarial attacks on image classifiers", ICML 2021, arXiv 2103.01208,
//! algorithm 1 (ℓ1).
//! Reference: the authors' AutoAttack.
//!
//! ```text
//! x ← a random point of the ball, in the box; η ← 2ε, in ℓ1 ε
//! repeat N times, ascending the loss f by its gradient g at x:
//!     ℓ∞, ℓ2:  z ← P(x + η·d), d = sign(g) or g/‖g‖₂, P onto the ball and then the box
//!              x ← P(x + 0.75·(z − x) + 0.25·(x − the point before))
//!     ℓ1:      x ← P(x + η·s/‖s‖₁), s the sign of the k greatest |gᵢ|, P onto ball and box at once
//!     at a checkpoint:
//!     ℓ∞, ℓ2:  where f rose in fewer than ρ of the steps since the last checkpoint, or neither the
//!              best f nor η has changed since then: η ← η/2, and go on from the best point
//!     ℓ1:      k ← (changed values of the best point)/1.5; where they fell by 5 %: η ← ε, and
//!              go on from the best point; else η ← max(η/1.5, ε/10)
//! ```
//!
//! The answer is the latest point that meets the goal. With `targets`, a run for each of the most
//! likely classes beside the label ascends the targeted ratio (`toward`); any class that meets the
//! goal counts. Towards a class the goal itself is the target. With `larger_radii` (ℓ1), the steps
//! are divided among balls of radius 3ε, 2ε and ε, each from the best point of the one before.
//!
//! Deviations:
//! - A case has random numbers of its own; the authors' depend on its place in the batch.
//! - A run ends where the goal is met (`stop_early`), since only that counts.
//! - The published code compares the first step's loss with 0, not with the start's
//!   (`first_rise_above_zero`).

mod ascent;

pub use ascent::ApgdOutcome;

use crate::parts::{Loss, Streams, in_batches, l1_ball_in_box, most_likely, rows_of, unit};
use ascent::{Ascent, Start};
use gauntlet_core::attack::{Budget, Cost, Norm};
use gauntlet_core::device::upload;
use gauntlet_core::prelude::*;

/// Auto-PGD (Croce and Hein 2020, 2021).
pub struct Apgd(ApgdParams);

params! {
    /// Settings of [`Apgd`]: the published ones, at the customary ε of 8/255.
    pub struct ApgdParams {
        /// The norm of the ball.
        pub norm: Norm = Norm::Linf,
        /// Radius of the ball, pixels in [0, 1].
        pub epsilon: f64 = 8.0 / 255.0,
        /// Steps N of a run.
        pub iterations: u32 = 100,
        /// Runs at most, for each target. A case that has met its goal is not run again.
        pub restarts: u32 = 1,
        /// What is ascended, with its sign turned.
        pub loss: Loss = Loss::CrossEntropy,
        /// How many of the most likely other classes are tried in turn, by the targeted ratio; 0
        /// ascends `loss`. AutoAttack tries 9, in l1 5.
        pub targets: u32 = 0,
        /// Part ρ of the steps in which the loss must rise, or else the step is halved.
        pub rho: f64 = 0.75,
        /// Whether a run in l1 begins in balls three times and twice as large.
        pub larger_radii: bool = false,
        /// Whether a run starts at a random point of the ball, or at the image.
        pub random_start: bool = true,
        /// Whether a run ends as soon as the goal is met, or after all steps.
        pub stop_early: bool = true,
        /// Whether the first step counts as a rise where its loss is above 0, as in the authors'
        /// code, or where it is above the start's.
        pub first_rise_above_zero: bool = true,
    }
}

/// Part of a run's steps that a case takes where it ends when the goal is met, away from a class
/// and towards one. Measured on two miniatures with ε of 8/255 and 0.5 (ℓ2).
const SHARE_AWAY: f64 = 0.05;
const SHARE_TOWARDS: f64 = 0.3;
/// Part of the steps that are taken in larger balls, where no goal counts.
const LARGER: f64 = 0.6;

impl Attack for Apgd {
    const NAME: &'static str = "apgd";
    const SUMMARY: &'static str =
        "auto-PGD: gradient ascent in a ball that adapts its steps (Croce and Hein 2020, 2021)";
    type Params = ApgdParams;

    fn presets() -> Vec<Preset<ApgdParams>> {
        let preset = |name, summary, params| Preset { name, summary, params };
        vec![
            preset("ce", "AutoAttack's APGD-CE: cross entropy, 100 steps", ApgdParams::default()),
            preset(
                "dlr",
                "AutoAttack's APGD-DLR: the difference of logits ratio, 100 steps",
                ApgdParams { loss: Loss::Dlr, ..ApgdParams::default() },
            ),
            preset(
                "targeted",
                "AutoAttack's APGD-T: the targeted ratio for nine classes, 100 steps each",
                ApgdParams { loss: Loss::Dlr, targets: 9, ..ApgdParams::default() },
            ),
            preset(
                "l1",
                "AutoAttack's APGD-CE in l1: epsilon 12, larger radii first, five restarts",
                ApgdParams {
                    norm: Norm::L1,
                    epsilon: 12.0,
                    restarts: 5,
                    larger_radii: true,
                    ..ApgdParams::default()
                },
            ),
        ]
    }

    fn new(params: ApgdParams) -> Result<Self> {
        super::positive("epsilon", params.epsilon)?;
        super::at_least_one("iterations", params.iterations)?;
        super::at_least_one("restarts", params.restarts)?;
        ensure!((0.0..=1.0).contains(&params.rho), "`rho` is {}, expected 0 to 1", params.rho);
        ensure!(
            !params.larger_radii || params.norm == Norm::L1,
            "`larger_radii` is true and `norm` {:?}, expected the norm L1",
            params.norm
        );
        ensure!(
            !params.larger_radii || params.iterations >= 3,
            "`larger_radii` divides {} iterations among three radii, expected 3 or more",
            params.iterations
        );
        Ok(Self(params))
    }

    fn budget(&self) -> Option<Budget> {
        Some(Budget { norm: self.0.norm, radius: self.0.epsilon })
    }

    fn cost(&self, goal: Goal) -> Option<Cost> {
        let share = match goal {
            _ if !self.0.stop_early => 1.0,
            Goal::Away(_) => SHARE_AWAY,
            Goal::Towards(_) => SHARE_TOWARDS,
        };
        let share = if self.0.larger_radii { LARGER + (1.0 - LARGER) * share } else { share };
        let starts = if self.0.larger_radii { 3.0 } else { 1.0 };
        let gradients = f64::from(self.0.iterations) * share + starts;
        Some(Cost { forward: gradients + 1.0, backward: gradients })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        self.0.loss.check(oracle.card().classes, &cases.goals)?;
        let mut answers: Vec<Answer> = cases.goals.iter().map(|_| Answer::NotFound).collect();
        let all: Vec<usize> = (0..cases.len()).collect();
        self.attack(oracle, cases, &all, &mut answers)?;
        Ok(answers)
    }
}

impl Apgd {
    /// Attacks some of the cases, and puts what it finds among the answers.
    pub(super) fn attack(
        &self,
        oracle: &Oracle,
        cases: &Cases,
        members: &[usize],
        answers: &mut [Answer],
    ) -> Result<()> {
        let mut open = Vec::new();
        // The most likely other classes of every case; of the members alone they are known.
        let count = i64::from(self.0.targets).min(oracle.card().classes - 1);
        let mut order =
            Tensor::zeros([cases.len() as i64, count], (Kind::Int64, cases.pixels.device()));
        for batch in in_batches(cases, members, oracle.lanes()) {
            let logits = oracle.logits(&batch.cases, &batch.pixels)?;
            let met = Vec::<bool>::try_from(batch.goals.met(&logits, 0.0))?;
            for (row, &case) in batch.cases.iter().enumerate() {
                if met[row] {
                    answers[case] = Answer::Pixels(cases.image(case).copy());
                } else {
                    open.push(case);
                }
            }
            let index: Vec<i64> = batch.cases.iter().map(|&case| case as i64).collect();
            let index = upload(&index, order.device());
            let _ = order.index_copy_(0, &index, &most_likely(&batch.goals, &logits, count));
        }
        let tried =
            |case: &usize| self.0.targets > 0 && matches!(cases.goals[*case], Goal::Away(_));
        let (by_target, by_loss): (Vec<usize>, Vec<usize>) = open.into_iter().partition(tried);
        self.runs(oracle, cases, by_target, Some(&order), answers)?;
        self.runs(oracle, cases, by_loss, None, answers)
    }

    /// Runs for the cases `open` until each has an answer. `order` has the other classes of every
    /// case, the most likely first, where they are to be tried.
    fn runs(
        &self,
        oracle: &Oracle,
        cases: &Cases,
        mut open: Vec<usize>,
        order: Option<&Tensor>,
        answers: &mut [Answer],
    ) -> Result<()> {
        let ranks = order.map_or(1, |order| order.size()[1]);
        for run in 0..ranks * i64::from(self.0.restarts) {
            let rank = run / i64::from(self.0.restarts);
            let mut missed = Vec::new();
            for batch in in_batches(cases, &open, oracle.lanes()) {
                let target = order.map(|order| rows_of(order, &batch.cases).select(1, rank));
                let outcomes = self.attempt(oracle, &batch, target.as_ref(), run as u64)?;
                for (&case, outcome) in batch.cases.iter().zip(outcomes) {
                    match outcome.adversarial {
                        Some(pixels) => answers[case] = Answer::Pixels(pixels),
                        None => missed.push(case),
                    }
                }
            }
            open = missed;
        }
        Ok(())
    }

    /// One run for each case, with all that it came across; with `targets` by the targeted ratio,
    /// towards a class for each case. Restarts, the choice of targets, and images that meet their
    /// goals already are `run`'s business.
    ///
    /// # Errors
    /// Those of the oracle.
    pub fn trace(
        &self,
        oracle: &Oracle,
        cases: &Cases,
        targets: Option<&[i64]>,
    ) -> Result<Vec<ApgdOutcome>> {
        let mut outcomes = Vec::with_capacity(cases.len());
        for batch in cases.batches(oracle.lanes()) {
            let target = targets.map(|targets| {
                let targets: Vec<i64> = batch.cases.iter().map(|&case| targets[case]).collect();
                upload(&targets, batch.pixels.device())
            });
            outcomes.extend(self.attempt(oracle, &batch, target.as_ref(), 0)?);
        }
        Ok(outcomes)
    }

    /// One run over a batch, towards the class `target` (M int64) of each row if there is one.
    fn attempt(
        &self,
        oracle: &Oracle,
        batch: &Batch,
        target: Option<&Tensor>,
        run: u64,
    ) -> Result<Vec<ApgdOutcome>> {
        let params = &self.0;
        let mut streams = Streams::of_part(oracle, &batch.cases, run);
        let images = &batch.pixels;
        if !params.larger_radii {
            let start = Start { x: self.start(images, &mut streams, params.epsilon), dense: true };
            let ascent = self.ascent(params.epsilon, params.iterations, params.stop_early);
            return ascent.run(oracle, batch, start, target);
        }
        let third = (0.3 * f64::from(params.iterations)).ceil() as u32;
        let mut x = self.start(images, &mut streams, 3.0 * params.epsilon);
        for radius in [3.0, 2.0] {
            let epsilon = radius * params.epsilon;
            let start = Start { x: project_l1(images, &x, epsilon), dense: false };
            let outcomes = self.ascent(epsilon, third, false).run(oracle, batch, start, target)?;
            x = Tensor::stack(&outcomes.iter().map(|o| &o.best).collect::<Vec<_>>(), 0);
        }
        let start = Start { x: project_l1(images, &x, params.epsilon), dense: false };
        let last = params.iterations.saturating_sub(2 * third).max(1);
        self.ascent(params.epsilon, last, params.stop_early).run(oracle, batch, start, target)
    }

    fn ascent(&self, epsilon: f64, iterations: u32, stop_early: bool) -> Ascent {
        let ApgdParams { norm, loss, rho, first_rise_above_zero, .. } = self.0;
        Ascent { loss, norm, epsilon, iterations, rho, stop_early, first_rise_above_zero }
    }

    /// Where a run begins: a point of the ball with this radius, M×C×H×W.
    fn start(&self, images: &Tensor, streams: &mut Streams, epsilon: f64) -> Tensor {
        if !self.0.random_start {
            return images.copy();
        }
        match self.0.norm {
            Norm::Linf | Norm::L2 => {
                let noise = match self.0.norm {
                    Norm::Linf => streams.uniform(images),
                    _ => streams.normal(images),
                };
                (images + unit(self.0.norm, &noise) * epsilon).clamp_(0.0, 1.0)
            }
            Norm::L1 => project_l1(images, &(images + streams.normal(images)), epsilon),
        }
    }
}

/// The nearest point to x of the ℓ1 ball around the image, in the box. In this order of sums,
/// values that hardly change count as changed for the sparsity of steps, as they do in the authors'
/// code.
fn project_l1(images: &Tensor, x: &Tensor, epsilon: f64) -> Tensor {
    let radius = x.new_full([x.size()[0]], epsilon, (Kind::Float, x.device()));
    let change = x - images;
    (x + (l1_ball_in_box(images, &change, &radius) - &change)).clamp_(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for (norm, epsilon) in [(Norm::Linf, 0.1), (Norm::L2, 1.0), (Norm::L1, 6.0)] {
            let params = ApgdParams { norm, epsilon, iterations: 30, ..ApgdParams::default() };
            for params in [
                ApgdParams { loss: Loss::Dlr, stop_early: false, ..params.clone() },
                ApgdParams { targets: 2, restarts: 2, ..params.clone() },
                ApgdParams {
                    loss: Loss::Margin,
                    larger_radii: norm == Norm::L1,
                    first_rise_above_zero: false,
                    ..params
                },
            ] {
                check_attack::<Apgd>(params).unwrap();
            }
        }
    }
}
