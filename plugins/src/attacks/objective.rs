//! What a gradient-sign attack descends.

use gauntlet_core::attack::Goals;
use gauntlet_core::choices;
use tch::{Kind, Tensor};

choices! {
    /// A cost that is low where the goal is met.
    pub enum Objective {
        /// The logit of the goal's class alone: lowered when going away from it, raised when going
        /// towards it. What the ECCV 2018 study's commands ran.
        Logit,
        /// Cross entropy, as in Goodfellow et al. 2015.
        CrossEntropy,
        /// Cross entropy of a softmax taken twice: the study's code without its logit switch, where
        /// the model already gave probabilities. Its gradient vanishes when the model is sure.
        CrossEntropyOfProbabilities,
        /// The logit of the goal's class against the best of the others. Unlike cross entropy it
        /// neither saturates nor depends on the scale of the logits.
        Margin,
    }
}

impl Objective {
    /// The cost of each row: M×K logits → M.
    pub fn cost(self, goals: &Goals, logits: &Tensor) -> Tensor {
        match self {
            Self::Logit => goals.logit(logits) * &goals.sign,
            Self::CrossEntropy => goals.logit(&logits.log_softmax(1, Kind::Float)) * &goals.sign,
            Self::CrossEntropyOfProbabilities => {
                Self::CrossEntropy.cost(goals, &logits.softmax(1, Kind::Float))
            }
            Self::Margin => goals.margin(logits),
        }
    }
}
