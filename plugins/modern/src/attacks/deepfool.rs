//! DeepFool: steps to the nearest boundary of the linearised network.
//!
//! Paper: Moosavi-Dezfooli, Fawzi and Frossard, "DeepFool: a simple and accurate method to fool
//! deep neural networks", CVPR 2016, arXiv 1511.04599, algorithm 2 and section 3.3.
//! Reference: adversarial-library, foolbox, and the authors' code.
//!
//! ```text
//! repeat at most K times, until the goal is met:
//!     for each class k of the most likely others: f_k ← z_k − z_y, w_k ← ∇f_k
//!     l ← the class with the smallest |f_l|/‖w_l‖*
//!     x ← x + (1 + η)·(|f_l|/‖w_l‖* + 10⁻⁴)·d, projected onto the box
//! ```
//!
//! ‖·‖* is the dual norm. d is w_l/‖w_l‖₂ in ℓ2 and sign(w_l) in ℓ∞. The attack leaves a class; a
//! goal towards a class is answered `NotFound`.
//!
//! Deviation: the authors' code never clips, so its answers may leave [0, 1].

use crate::parts::{in_batches, most_likely, nearest_boundary, per_image, rows_of, some, unit};
use gauntlet_core::attack::{Cost, Norm};
use gauntlet_core::prelude::*;

/// DeepFool (Moosavi-Dezfooli et al. 2016).
pub struct DeepFool(DeepFoolParams);

params! {
    /// Settings of [`DeepFool`]: those of the authors' code.
    pub struct DeepFoolParams {
        /// The norm that is made small: `l2` or `linf`.
        pub norm: Norm = Norm::L2,
        /// Steps at most.
        pub iterations: u32 = 50,
        /// How far a step passes the boundary, as a part η of the step.
        pub overshoot: f64 = 0.02,
        /// Most likely classes that are looked at, the label among them.
        pub candidates: u32 = 10,
    }
}

/// What is added to each distance, so that a step does not end on the boundary (the authors' code).
const EXTRA: f64 = 1e-4;
/// Steps that a case takes, as a mean over two miniatures.
const MEAN_STEPS: f64 = 5.5;

impl Attack for DeepFool {
    const NAME: &'static str = "deepfool";
    const SUMMARY: &'static str =
        "steps to the nearest linearised boundary in l2 or linf (Moosavi-Dezfooli et al. 2016)";
    type Params = DeepFoolParams;

    fn new(params: DeepFoolParams) -> Result<Self> {
        ensure!(
            params.norm != Norm::L1,
            "`norm` is L1, expected L2 or Linf; for l1 there are `fmn`, `pdpgd` and `fab`"
        );
        super::at_least_one("iterations", params.iterations)?;
        super::not_negative("overshoot", params.overshoot)?;
        ensure!(params.candidates > 1, "`candidates` is {}, expected 2 or more", params.candidates);
        Ok(Self(params))
    }

    fn cost(&self, goal: Goal) -> Option<Cost> {
        let boundaries = match goal {
            Goal::Away(_) => f64::from(self.0.candidates - 1),
            Goal::Towards(_) => return Some(Cost::default()),
        };
        let steps = MEAN_STEPS.min(f64::from(self.0.iterations));
        Some(Cost { forward: steps * (boundaries + 1.0) + 1.0, backward: steps * boundaries })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let mut answers: Vec<Answer> = cases.goals.iter().map(|_| Answer::NotFound).collect();
        let away: Vec<usize> =
            (0..cases.len()).filter(|&case| matches!(cases.goals[case], Goal::Away(_))).collect();
        for batch in in_batches(cases, &away, oracle.lanes()) {
            self.search(oracle, batch, &mut answers)?;
        }
        Ok(answers)
    }
}

impl DeepFool {
    /// Searches for a batch of cases, and puts what it finds among the answers. The batch shrinks
    /// as cases meet their goals.
    fn search(&self, oracle: &Oracle, mut batch: Batch, answers: &mut [Answer]) -> Result<()> {
        let mut logits = oracle.logits(&batch.cases, &batch.pixels)?;
        let mut others = most_likely(&batch.goals, &logits, i64::from(self.0.candidates) - 1);
        for _ in 0..self.0.iterations {
            let open = take_met(&batch, &logits, answers)?;
            if open.is_empty() {
                return Ok(());
            }
            if open.len() < batch.cases.len() {
                others = rows_of(&others, &open);
                batch = some(&batch, &open);
            }
            batch.pixels = self.step(oracle, &batch, &others)?;
            logits = oracle.logits(&batch.cases, &batch.pixels)?;
        }
        take_met(&batch, &logits, answers)?;
        Ok(())
    }

    /// The points after a step to the nearest of the boundaries with `others` (M×C).
    fn step(&self, oracle: &Oracle, batch: &Batch, others: &Tensor) -> Result<Tensor> {
        let (norm, x) = (self.0.norm, &batch.pixels);
        let nearest = nearest_boundary(oracle, batch, x, Some(others), norm)?;
        let direction = match norm {
            Norm::Linf => nearest.normal.sign(),
            Norm::L1 | Norm::L2 => unit(norm, &nearest.normal),
        };
        let far = (nearest.distance + EXTRA) * (1.0 + self.0.overshoot);
        Ok((x + direction * per_image(&far)).clamp_(0.0, 1.0))
    }
}

/// Puts the cases that have met their goals among the answers, and gives the rows of the others.
fn take_met(batch: &Batch, logits: &Tensor, answers: &mut [Answer]) -> Result<Vec<usize>> {
    let met = Vec::<bool>::try_from(batch.goals.met(logits, 0.0))?;
    let (done, open): (Vec<usize>, Vec<usize>) = (0..met.len()).partition(|&row| met[row]);
    for row in done {
        answers[batch.cases[row]] = Answer::Pixels(batch.pixels.get(row as i64).copy());
    }
    Ok(open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for norm in [Norm::L2, Norm::Linf] {
            check_attack::<DeepFool>(DeepFoolParams { norm, ..DeepFoolParams::default() }).unwrap();
        }
    }
}
