//! AutoAttack: several attacks without free parameters, one after the other on what is still
//! robust.
//!
//! Paper: Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
//! diverse parameter-free attacks", ICML 2020, arXiv 2003.01690, section 4.
//! Reference: the authors' AutoAttack.
//!
//! ```text
//! for each of APGD on cross entropy, APGD-T, FAB-T, Square:
//!     run it on the cases that have not met their goals, inside the ball
//! ```
//!
//! A case's answer is what the first attack that meets its goal found.
//!
//! Deviations:
//! - Towards a class, which the authors' code does not know, APGD ascends the ratio for that class
//!   in place of APGD-T, and FAB is left out: it hardly ever reaches a far target.
//! - In ℓ1 there is no Square.
//! - With fewer than four classes, where the ratio does not exist, the margin takes its place.

use super::{Apgd, ApgdParams, Fab, FabParams, Square, SquareParams};
use crate::parts::Loss;
use gauntlet_core::attack::{Budget, Cost, Norm};
use gauntlet_core::prelude::*;

/// AutoAttack (Croce and Hein 2020).
pub struct AutoAttack(AutoAttackParams);

params! {
    /// Settings of [`AutoAttack`]: those of its standard version, at the customary ε of 8/255.
    pub struct AutoAttackParams {
        /// The norm of the ball.
        pub norm: Norm = Norm::Linf,
        /// Radius of the ball, pixels in [0, 1].
        pub epsilon: f64 = 8.0 / 255.0,
        /// Steps of each run of APGD and FAB.
        pub iterations: u32 = 100,
        /// Runs of APGD on cross entropy at most.
        pub restarts: u32 = 1,
        /// Classes that APGD-T tries; 0 leaves it out.
        pub targets: u32 = 9,
        /// Classes that FAB-T tries; 0 leaves it out.
        pub fab_targets: u32 = 9,
        /// Windows that Square tries; 0 leaves it out.
        pub queries: u32 = 5000,
        /// Whether APGD in l1 begins in balls three times and twice as large.
        pub larger_radii: bool = false,
    }
}

impl AutoAttackParams {
    /// The standard version in a norm: in l1 with larger radii, five restarts and five targets.
    fn standard(norm: Norm, epsilon: f64) -> Self {
        let standard = Self { norm, epsilon, ..Self::default() };
        if norm == Norm::L1 {
            Self { restarts: 5, targets: 5, larger_radii: true, ..standard }
        } else {
            standard
        }
    }

    /// APGD alone, with three targets: most of what the standard version finds.
    fn fast(norm: Norm, epsilon: f64) -> Self {
        let standard = Self::standard(norm, epsilon);
        Self { restarts: 1, targets: 3, fab_targets: 0, queries: 0, ..standard }
    }
}

impl Attack for AutoAttack {
    const NAME: &'static str = "autoattack";
    const SUMMARY: &'static str =
        "APGD-CE, APGD-T, FAB-T and Square in turn on what is still robust (Croce and Hein 2020)";
    type Params = AutoAttackParams;

    fn presets() -> Vec<Preset<AutoAttackParams>> {
        let preset = |name, summary, params| Preset { name, summary, params };
        let standard = AutoAttackParams::standard;
        let fast = AutoAttackParams::fast;
        vec![
            preset("standard", "linf at 8/255", standard(Norm::Linf, 8.0 / 255.0)),
            preset("standard_l2", "l2 at 0.5", standard(Norm::L2, 0.5)),
            preset("standard_l1", "l1 at 12, without Square", standard(Norm::L1, 12.0)),
            preset(
                "fast",
                "linf at 8/255: APGD-CE, and APGD-T with three targets",
                fast(Norm::Linf, 8.0 / 255.0),
            ),
            preset(
                "fast_l2",
                "l2 at 0.5: APGD-CE, and APGD-T with three targets",
                fast(Norm::L2, 0.5),
            ),
            preset(
                "fast_l1",
                "l1 at 12: APGD-CE, and APGD-T with three targets",
                fast(Norm::L1, 12.0),
            ),
        ]
    }

    fn new(params: AutoAttackParams) -> Result<Self> {
        // Each attack checks its own settings.
        let attack = Self(params);
        attack.apgd_ce()?;
        attack.apgd_t(Loss::Dlr)?;
        attack.fab_t()?;
        attack.square()?;
        Ok(attack)
    }

    fn budget(&self) -> Option<Budget> {
        Some(Budget { norm: self.0.norm, radius: self.0.epsilon })
    }

    fn cost(&self, goal: Goal) -> Option<Cost> {
        // Where a goal can be met, the first attack meets it.
        self.apgd_ce().ok()?.cost(goal)
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let loss = if oracle.card().classes < 4 { Loss::Margin } else { Loss::Dlr };
        let mut answers: Vec<Answer> = cases.goals.iter().map(|_| Answer::NotFound).collect();
        let open = |answers: &[Answer]| -> Vec<usize> {
            (0..answers.len()).filter(|&n| matches!(answers[n], Answer::NotFound)).collect()
        };
        self.apgd_ce()?.attack(oracle, cases, &open(&answers), &mut answers)?;
        if self.0.targets > 0 {
            self.apgd_t(loss)?.attack(oracle, cases, &open(&answers), &mut answers)?;
        }
        if let Some(fab) = self.fab_t()? {
            let away = |case: &usize| matches!(cases.goals[*case], Goal::Away(_));
            let open: Vec<usize> = open(&answers).into_iter().filter(away).collect();
            fab.attack(oracle, cases, &open, &mut answers)?;
        }
        if let Some(square) = self.square()? {
            square.attack(oracle, cases, &open(&answers), &mut answers)?;
        }
        Ok(answers)
    }
}

impl AutoAttack {
    fn apgd_ce(&self) -> Result<Apgd> {
        let AutoAttackParams { norm, epsilon, iterations, restarts, larger_radii, .. } = self.0;
        Apgd::new(ApgdParams {
            norm,
            epsilon,
            iterations,
            restarts,
            larger_radii,
            ..ApgdParams::default()
        })
    }

    /// APGD-T; towards a class it ascends the loss.
    fn apgd_t(&self, loss: Loss) -> Result<Apgd> {
        let AutoAttackParams { norm, epsilon, iterations, targets, larger_radii, .. } = self.0;
        Apgd::new(ApgdParams {
            norm,
            epsilon,
            iterations,
            loss,
            targets,
            larger_radii,
            ..ApgdParams::default()
        })
    }

    fn fab_t(&self) -> Result<Option<Fab>> {
        let AutoAttackParams { norm, epsilon, iterations, fab_targets: targets, .. } = self.0;
        let fab = FabParams { norm, iterations, targets, epsilon, ..FabParams::default() };
        (targets > 0).then(|| Fab::new(fab)).transpose()
    }

    fn square(&self) -> Result<Option<Square>> {
        let AutoAttackParams { norm, epsilon, queries, .. } = self.0;
        let square = SquareParams { norm, epsilon, queries, ..SquareParams::default() };
        (queries > 0 && norm != Norm::L1).then(|| Square::new(square)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for (norm, epsilon) in [(Norm::Linf, 0.1), (Norm::L2, 1.0), (Norm::L1, 6.0)] {
            check_attack::<AutoAttack>(AutoAttackParams {
                iterations: 10,
                targets: 2,
                fab_targets: 2,
                queries: 20,
                ..AutoAttackParams::standard(norm, epsilon)
            })
            .unwrap();
        }
    }
}
