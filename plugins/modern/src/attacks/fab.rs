//! FAB, the fast adaptive boundary attack, and FAB-T, its form that tries the most likely classes
//! in turn.
//!
//! Paper: Croce and Hein, "Minimally distorted Adversarial Examples with a Fast Adaptive Boundary
//! Attack", ICML 2020, arXiv 1907.02044, algorithm 1.
//! Reference: the authors' AutoAttack.
//!
//! ```text
//! x ← x₀, at a restart a random point near it
//! repeat N times:
//!     π ← the nearest boundary of the network linearised at x
//!     d₁, d₂ ← the shortest steps from x and from x₀ onto π, within the box
//!     α ← min(‖d₁‖/(‖d₁‖ + ‖d₂‖), α_max)
//!     x ← (1 − α)·(x + η·d₁) + α·(x₀ + η·d₂), projected onto the box
//!     where x meets the goal: note it if it is nearer than what there is; x ← x₀ + β·(x − x₀)
//! ```
//!
//! FAB looks at the boundaries of all classes, a gradient for each. FAB-T (`targets`) runs once for
//! each of the most likely classes beside the label, and looks at that class's boundary alone; any
//! class that meets the goal counts. Towards a class there is one boundary, where that class passes
//! the greatest other, and that class alone counts.
//!
//! Deviation: a case has random numbers of its own; the authors' depend on its place in the batch.

use crate::parts::{
    Nearest, Streams, dot, in_batches, keep, length, most_likely, nearest_boundary, per_image,
    rows_of, some, to_hyperplane, unit,
};
use gauntlet_core::attack::{Budget, Cost, Norm};
use gauntlet_core::device::upload;
use gauntlet_core::prelude::*;

/// The fast adaptive boundary attack (Croce and Hein 2020).
pub struct Fab(FabParams);

params! {
    /// Settings of [`Fab`]: the published ones.
    pub struct FabParams {
        /// The norm that is made small.
        pub norm: Norm = Norm::Linf,
        /// Steps N of a run.
        pub iterations: u32 = 100,
        /// Runs, for each target: the first from the image, the others from random points.
        pub restarts: u32 = 1,
        /// How many of the most likely other classes are tried in turn (FAB-T); 0 looks at all
        /// classes at once (FAB). AutoAttack tries 9.
        pub targets: u32 = 0,
        /// Radius of a ball around the image, pixels in [0, 1]. A case is done with its first
        /// adversarial in it, and has no answer without one. 0: the nearest adversarial, at any
        /// distance.
        pub epsilon: f64 = 0.0,
        /// Greatest weight α_max of the image in a step.
        pub alpha: f64 = 0.1,
        /// How far a step passes the boundary, as a multiple η of the step.
        pub eta: f64 = 1.05,
        /// Part β of its change that an adversarial keeps for the next step.
        pub beta: f64 = 0.9,
    }
}

impl Attack for Fab {
    const NAME: &'static str = "fab";
    const SUMMARY: &'static str =
        "fast adaptive boundary attack in linf, l2 or l1 (Croce and Hein 2020)";
    type Params = FabParams;

    fn presets() -> Vec<Preset<FabParams>> {
        vec![Preset {
            name: "targeted",
            summary: "AutoAttack's FAB-T without its bound: nine classes, 100 steps each",
            params: FabParams { targets: 9, ..FabParams::default() },
        }]
    }

    fn new(params: FabParams) -> Result<Self> {
        super::at_least_one("iterations", params.iterations)?;
        super::at_least_one("restarts", params.restarts)?;
        super::not_negative("epsilon", params.epsilon)?;
        super::positive("eta", params.eta)?;
        for (name, part) in [("alpha", params.alpha), ("beta", params.beta)] {
            ensure!((0.0..=1.0).contains(&part), "`{name}` is {part}, expected 0 to 1");
        }
        Ok(Self(params))
    }

    fn budget(&self) -> Option<Budget> {
        let Self(FabParams { norm, epsilon, .. }) = *self;
        (epsilon > 0.0).then_some(Budget { norm, radius: epsilon })
    }

    fn cost(&self, goal: Goal) -> Option<Cost> {
        // FAB's gradients depend on the number of classes.
        if self.0.targets == 0 && matches!(goal, Goal::Away(_)) {
            return None;
        }
        let runs = self.0.restarts * if matches!(goal, Goal::Away(_)) { self.0.targets } else { 1 };
        let steps = f64::from(self.0.iterations) * f64::from(runs);
        Some(Cost { forward: 2.0 * steps + 1.0, backward: steps })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let mut answers: Vec<Answer> = cases.goals.iter().map(|_| Answer::NotFound).collect();
        let all: Vec<usize> = (0..cases.len()).collect();
        self.attack(oracle, cases, &all, &mut answers)?;
        Ok(answers)
    }
}

impl Fab {
    /// Attacks some of the cases, and puts what it finds among the answers.
    pub(super) fn attack(
        &self,
        oracle: &Oracle,
        cases: &Cases,
        members: &[usize],
        answers: &mut [Answer],
    ) -> Result<()> {
        // Mixed goals have different boundaries.
        let away = |case: &usize| matches!(cases.goals[*case], Goal::Away(_));
        let (away, towards): (Vec<usize>, Vec<usize>) = members.iter().copied().partition(away);
        for members in [away, towards] {
            for batch in in_batches(cases, &members, oracle.lanes()) {
                let found = self.search(oracle, &batch)?.answers()?;
                for (&case, answer) in batch.cases.iter().zip(found) {
                    answers[case] = answer;
                }
            }
        }
        Ok(())
    }

    /// One run for each case towards the boundary of a class, whatever class is found beyond it:
    /// what FAB-T does for one target.
    ///
    /// # Errors
    /// Those of the oracle.
    pub fn toward(&self, oracle: &Oracle, cases: &Cases, targets: &[i64]) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(cases.len());
        for batch in cases.batches(oracle.lanes()) {
            let classes: Vec<i64> = batch.cases.iter().map(|&case| targets[case]).collect();
            let classes = upload(&classes, batch.pixels.device()).unsqueeze(1);
            let bound = self.bound(&batch);
            answers.extend(self.descend(oracle, &batch, Some(&classes), &bound, 0)?.answers()?);
        }
        Ok(answers)
    }

    /// All runs over a batch whose goals are of one kind.
    fn search(&self, oracle: &Oracle, batch: &Batch) -> Result<Nearest> {
        let logits = oracle.logits(&batch.cases, &batch.pixels)?;
        let others = most_likely(&batch.goals, &logits, logits.size()[1]);
        // The classes whose boundaries each run looks at.
        let runs: Vec<Option<Tensor>> = match self.0.targets {
            _ if batch.goals.sign.double_value(&[0]) < 0.0 => vec![None],
            0 => vec![Some(others)],
            count => others.split(1, 1).into_iter().take(count as usize).map(Some).collect(),
        };
        let mut nearest = Nearest::new(&batch.pixels, &self.bound(batch));
        let met = batch.goals.met(&logits, 0.0);
        nearest.offer(&batch.pixels, &met.zeros_like().to_kind(Kind::Float), &met);
        let restarts = self.0.restarts as usize;
        for run in 0..runs.len() * restarts {
            let done = if self.0.epsilon > 0.0 { nearest.taken() } else { &met };
            let done = Vec::<bool>::try_from(done)?;
            let open: Vec<usize> = (0..done.len()).filter(|&row| !done[row]).collect();
            if open.is_empty() {
                break;
            }
            let classes = runs[run / restarts].as_ref().map(|classes| rows_of(classes, &open));
            let bound = rows_of(&nearest.distance, &open);
            let found = self.descend(oracle, &some(batch, &open), classes.as_ref(), &bound, run)?;
            nearest.absorb(&open, &found);
        }
        Ok(nearest)
    }

    /// A distance that no adversarial may have, M.
    fn bound(&self, batch: &Batch) -> Tensor {
        let epsilon = self.0.epsilon;
        batch.goals.sign.full_like(if epsilon > 0.0 { epsilon } else { f64::INFINITY })
    }

    /// One run over a batch, for adversarials nearer than `bound` (M).
    fn descend(
        &self,
        oracle: &Oracle,
        batch: &Batch,
        classes: Option<&Tensor>,
        bound: &Tensor,
        run: usize,
    ) -> Result<Nearest> {
        let FabParams { norm, iterations, alpha, eta, beta, .. } = self.0;
        let Batch { cases, pixels: images, goals } = batch;
        let mut nearest = Nearest::new(images, bound);
        let mut x = images.copy();
        if !run.is_multiple_of(self.0.restarts as usize) {
            x = self.random_start(&mut Streams::of_part(oracle, cases, run as u64), images, bound);
        }
        for _ in 0..iterations {
            let boundary = nearest_boundary(oracle, batch, &x, classes, norm)?;
            let normal = boundary.normal.flatten(1, -1);
            let offset = dot(&normal, &x.flatten(1, -1)) - boundary.value;
            let onto = |points: &Tensor| {
                to_hyperplane(norm, &points.flatten(1, -1), &normal, &offset).view_as(images)
            };
            let (from_x, from_image) = (onto(&x), onto(images));
            let near = length(norm, &from_x).clamp_min(1e-8);
            let far = length(norm, &from_image).clamp_min(1e-8);
            let weight = per_image(&(&near / (&near + far)).clamp_max(alpha));
            let ahead = x + from_x * eta;
            let image = images + from_image * eta;
            x = (&ahead + (image - &ahead) * weight).clamp(0.0, 1.0);
            let met = goals.met(&oracle.logits(cases, &x)?, 0.0);
            nearest.offer(&x, &length(norm, &(&x - images)), &met);
            let back = images + (&x - images) * beta;
            keep(&mut x, &back, &met);
        }
        Ok(nearest)
    }

    /// Random points half as far away as the nearest adversarials, or as the usual radius.
    fn random_start(&self, streams: &mut Streams, images: &Tensor, bound: &Tensor) -> Tensor {
        let norm = self.0.norm;
        // As in the authors' code where no ε is set.
        let usual = match norm {
            Norm::Linf => 0.3,
            Norm::L2 => 1.0,
            Norm::L1 => 5.0,
        };
        let noise = match norm {
            Norm::Linf => streams.uniform(images),
            Norm::L1 | Norm::L2 => streams.normal(images),
        };
        let radius = per_image(&(bound.clamp_max(usual) * 0.5));
        (unit(norm, &noise) * radius + images).clamp_(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for norm in [Norm::Linf, Norm::L2, Norm::L1] {
            let params = FabParams { norm, iterations: 10, ..FabParams::default() };
            check_attack::<Fab>(FabParams { restarts: 2, ..params.clone() }).unwrap();
            check_attack::<Fab>(FabParams { targets: 2, epsilon: 1.0, ..params }).unwrap();
        }
    }
}
