//! Models that answer at random, asked many times: expectation over transformation.
//!
//! Paper: Athalye, Engstrom, Ilyas and Kwok, "Synthesizing Robust Adversarial Examples", ICML 2018;
//! for defences that answer at random: Athalye, Carlini and Wagner, "Obfuscated Gradients Give a
//! False Sense of Security", ICML 2018, section 4.2.

use crate::generator;
use crate::model::Model;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use tch::Tensor;

/// How a model that answers at random is asked: logits are the mean of several draws.
///
/// Each draw is a pass of one image by itself, with libtorch's generator seeded anew from the
/// case's random stream. So a draw depends neither on the batch nor on what other threads do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draws {
    /// Number of draws of each answer, at least 1.
    pub count: usize,
    /// What the draws are for.
    pub purpose: Purpose,
}

/// What draws are for: those of one purpose are independent of those of the other. An oracle draws
/// anew for each answer, and another oracle of the same purpose draws the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To attack the model.
    Attack,
    /// To judge what an attack gives.
    Judgement,
}

impl Draws {
    /// Seed of draw number `n` of a case whose random stream is `stream`.
    fn seed(self, mut stream: ChaCha8Rng, n: u64) -> u64 {
        /// Where draws begin in a stream, in words: far beyond what an attack draws itself.
        const START: u128 = 1 << 64;
        let start = match self.purpose {
            Purpose::Attack => START,
            Purpose::Judgement => 2 * START,
        };
        stream.set_word_pos(start + 2 * u128::from(n));
        stream.next_u64()
    }

    /// The draws of one image (1×C×H×W), from number `first` on: count×K logits.
    pub(super) fn of(
        self,
        model: &dyn Model,
        stream: &ChaCha8Rng,
        first: u64,
        image: &Tensor,
    ) -> Tensor {
        let draw = |n: u64| generator::seeded(self.seed(stream.clone(), n), || model.logits(image));
        let draws: Vec<Tensor> = (first..first + self.count as u64).map(draw).collect();
        Tensor::cat(&draws, 0)
    }
}
