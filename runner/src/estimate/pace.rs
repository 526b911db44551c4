//! How quick models are, and how many passes an attack makes: what measurements give and rates use.

use crate::study::GoalKind;
use gauntlet_core::attack::{Cost, Goal};
use gauntlet_core::oracle::{Oracle, Passes};
use serde::Serialize;

/// How quick a model is. Times are in seconds.
#[derive(Clone, Debug, Serialize)]
pub struct Pace {
    /// The label.
    pub model: String,
    /// Whether its weights were made up for the measurement.
    pub made_up: bool,
    /// Share of the images that are attacked, within [0, 1]: as counted where they are few, as
    /// published, or a guess.
    pub accuracy: f64,
    /// Forward pass of a batch.
    pub forward: Batch,
    /// Forward and backward pass of a batch.
    pub gradient: Batch,
}

impl Pace {
    /// Seconds that the passes of `cases` images take that are attacked side by side.
    pub(super) fn passes(&self, cases: f64, Effort { each, longest }: Effort) -> f64 {
        let alone = |cost: Cost| (cost.forward - cost.backward).max(0.0);
        let batches = |batch: Batch, longest: f64, each: f64| {
            if cases > 0.0 { batch.fixed * longest + batch.each * cases * each } else { 0.0 }
        };
        batches(self.gradient, longest.backward, each.backward)
            + batches(self.forward, alone(longest), alone(each))
    }
}

/// What a batch takes: a fixed amount, and an amount for each image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Batch {
    /// Whatever its size.
    pub fixed: f64,
    /// For each image.
    pub each: f64,
}

impl Batch {
    /// What a batch of this size takes: 0 without images.
    pub(super) fn of(self, images: f64) -> f64 {
        if images > 0.0 { self.fixed + self.each * images } else { 0.0 }
    }

    /// Fits both amounts to what one image takes (`one`) and what a batch of `images` takes.
    pub(super) fn fit(one: f64, batch: f64, images: usize) -> Self {
        let each = if images > 1 { ((batch - one) / (images - 1) as f64).max(0.0) } else { one };
        let each = each.min(batch / images as f64);
        Self { fixed: (one - each).max(0.0), each }
    }
}

/// The passes of images that are attacked side by side.
#[derive(Clone, Copy, Default)]
pub(super) struct Effort {
    /// Average cost of an image.
    pub each: Cost,
    /// Cost of the image that needs most. It sets the number of batches.
    pub longest: Cost,
}

impl Effort {
    /// The passes that an oracle has made.
    pub fn made(oracle: &Oracle) -> Self {
        let passes = oracle.passes();
        let [forward, backward] = [|made: &Passes| made.forward, |made: &Passes| made.backward]
            .map(|of| passes.iter().map(|made| of(made) as f64).collect::<Vec<_>>());
        let mean = |counts: &[f64]| counts.iter().sum::<f64>() / counts.len() as f64;
        let most = |counts: &[f64]| counts.iter().copied().fold(0.0, f64::max);
        Self {
            each: Cost { forward: mean(&forward), backward: mean(&backward) },
            longest: Cost { forward: most(&forward), backward: most(&backward) },
        }
    }
}

impl From<Cost> for Effort {
    fn from(each: Cost) -> Self {
        Self { each, longest: each }
    }
}

/// An attack with one of its goals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AttackGoal {
    /// Index of the attack in the study.
    pub attack: usize,
    pub goal: GoalKind,
}

/// A goal of this kind, to ask attacks and metrics what they cost: its class means nothing.
pub(super) fn any_goal(kind: GoalKind) -> Goal {
    if kind == GoalKind::Untargeted { Goal::Away(0) } else { Goal::Towards(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_case_is_waited_for() {
        let pace = Pace {
            model: "any".into(),
            made_up: false,
            accuracy: 1.0,
            forward: Batch { fixed: 0.5, each: 0.25 },
            gradient: Batch { fixed: 1.0, each: 2.0 },
        };
        let each = Cost { forward: 5.0, backward: 3.0 };
        // Three batches of four images forward and back, and two forward alone.
        assert_eq!(pace.passes(4.0, each.into()), 3.0 * 9.0 + 2.0 * 1.5);
        // Seven more passes, for a part of the images.
        let longest = Cost { forward: 12.0, backward: 10.0 };
        assert_eq!(pace.passes(4.0, Effort { each, longest }), 3.0 * 9.0 + 2.0 * 1.5 + 7.0);
        assert_eq!(pace.passes(0.0, Effort { each, longest }), 0.0);
    }

    #[test]
    fn a_batch_is_fitted_to_one_image_and_to_many() {
        let batch = Batch::fit(3.0, 13.0, 11);
        assert_eq!((batch.fixed, batch.each), (2.0, 1.0));
        assert_eq!((batch.of(11.0), batch.of(0.0)), (13.0, 0.0));
        // One image that took longer than its share, or a batch no longer than it.
        assert_eq!(Batch::fit(4.0, 4.0, 4), Batch { fixed: 4.0, each: 0.0 });
        assert_eq!(Batch::fit(4.0, 4.0, 1), Batch { fixed: 0.0, each: 4.0 });
    }
}
