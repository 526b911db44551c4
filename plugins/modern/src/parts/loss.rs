//! What bounded attacks descend.

use gauntlet_core::choices;
use gauntlet_core::prelude::*;

/// Keeps a ratio finite where all logits are equal.
const TINY: f64 = 1e-12;

choices! {
    /// A cost of the logits that is low where the goal is met.
    pub enum Loss {
        /// Cross entropy.
        CrossEntropy,
        /// The difference of logits ratio (Croce and Hein 2020): the margin divided by the
        /// difference of the greatest logit and the third, or for a target by the difference of
        /// the greatest and the mean of third and fourth. It does not change with the scale of the
        /// logits. It is flat where the label is third.
        Dlr,
        /// The logit of the goal's class against the greatest of the others.
        Margin,
    }
}

impl Loss {
    /// The cost of each row: M×K logits → M.
    pub fn cost(self, goals: &Goals, logits: &Tensor) -> Tensor {
        match self {
            Self::CrossEntropy => goals.logit(&logits.log_softmax(1, Kind::Float)) * &goals.sign,
            Self::Dlr => goals.margin(logits) / scale(goals, logits),
            Self::Margin => goals.margin(logits),
        }
    }

    /// Checks that the loss exists for this number of classes.
    ///
    /// # Errors
    /// For the ratio, with fewer than three classes, or four where a goal is a target.
    pub fn check(self, classes: i64, goals: &[Goal]) -> Result<()> {
        let targeted = goals.iter().any(|goal| matches!(goal, Goal::Towards(_)));
        let (least, what) =
            if targeted { (4, "towards a class") } else { (3, "away from a class") };
        ensure!(
            self != Self::Dlr || classes >= least,
            "the loss `dlr` {what} needs {least} classes or more, the model has {classes}; choose \
             the loss `margin`"
        );
        Ok(())
    }
}

/// The targeted ratio of APGD-T: how far each goal's label is ahead of `targets` (M int64), M×K →
/// M. With fewer than four classes the ratio does not exist, and the difference alone is taken.
pub fn toward(goals: &Goals, targets: &Tensor, logits: &Tensor) -> Tensor {
    let target = logits.gather(1, &targets.unsqueeze(1), false).squeeze_dim(1);
    let ahead = goals.logit(logits) - target;
    if logits.size()[1] < 4 { ahead } else { ahead / four(logits) }
}

/// What the margin of each row is divided by: M×K → M.
fn scale(goals: &Goals, logits: &Tensor) -> Tensor {
    let towards = goals.sign.lt(0.0);
    if logits.size()[1] < 4 {
        return three(logits);
    }
    // Goals of one kind are the rule: then only that kind's scale is in the gradient.
    let count = towards.sum(Kind::Int64).int64_value(&[]);
    if count == 0 {
        three(logits)
    } else if count == towards.numel() as i64 {
        four(logits)
    } else {
        four(logits).where_self(&towards, &three(logits))
    }
}

fn three(logits: &Tensor) -> Tensor {
    let (top, _) = logits.topk(3, 1, true, true);
    top.select(1, 0) - top.select(1, 2) + TINY
}

fn four(logits: &Tensor) -> Tensor {
    let (top, _) = logits.topk(4, 1, true, true);
    top.select(1, 0) - (top.select(1, 2) + top.select(1, 3)) * 0.5 + TINY
}
