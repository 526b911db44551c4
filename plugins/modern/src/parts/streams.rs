//! Random numbers: a stream for each case, so that none depends on the company of a case.

use gauntlet_core::attack::Norm;
use gauntlet_core::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};

/// The random streams of a batch's cases.
pub struct Streams(Vec<ChaCha8Rng>);

impl Streams {
    /// The streams from their beginnings.
    pub fn new(oracle: &Oracle, cases: &[usize]) -> Self {
        Self(cases.iter().map(|&case| oracle.rng(case)).collect())
    }

    /// The streams of a part of a work that has `part` parts before it: each part draws other
    /// numbers, however many the others take.
    pub fn of_part(oracle: &Oracle, cases: &[usize], part: u64) -> Self {
        let mut streams = Self::new(oracle, cases);
        for rng in &mut streams.0 {
            rng.set_word_pos(u128::from(part) << 40);
        }
        streams
    }

    /// The streams of the rows with these indices.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        Self(rows.iter().map(|&row| self.0[row].clone()).collect())
    }

    /// A number in [0, 1) of each stream.
    pub fn numbers(&mut self) -> Vec<f64> {
        self.0.iter_mut().map(|rng| f64::from(unit(rng))).collect()
    }

    /// Uniform in [−1, 1), float32, M×C×H×W in the shape of `like`.
    pub fn uniform(&mut self, like: &Tensor) -> Tensor {
        self.draw(like, |rng| unit(rng) * 2.0 - 1.0)
    }

    /// Standard normal, float32, M×C×H×W in the shape of `like`.
    pub fn normal(&mut self, like: &Tensor) -> Tensor {
        self.draw(like, |rng| StandardNormal.sample(rng))
    }

    /// Uniform in the ball of radius 1, M×C×H×W in the shape of `like`.
    pub fn in_ball(&mut self, norm: Norm, like: &Tensor) -> Tensor {
        match norm {
            Norm::Linf => self.uniform(like),
            // The first P of a uniform point of the sphere in P + 2 dimensions.
            Norm::L2 => {
                let x = self.normal(like);
                let two = self
                    .draw(&like.flatten(1, -1).narrow(1, 0, 2), |rng| StandardNormal.sample(rng));
                let square =
                    |t: &Tensor| t.flatten(1, -1).square().sum_dim_intlist(1, false, Kind::Float);
                let length = (square(&x) + square(&two)).sqrt();
                x / super::per_image(&length)
            }
            // Exponential numbers divided by the sum of one more of them, with random signs.
            Norm::L1 => {
                let x = self.draw(like, |rng| Exp1.sample(rng));
                let signs = self.uniform(like).sign();
                let one = self.draw(&like.flatten(1, -1).narrow(1, 0, 1), |rng| Exp1.sample(rng));
                let sum = x.flatten(1, -1).sum_dim_intlist(1, true, Kind::Float) + one;
                x * signs / super::per_image(&sum)
            }
        }
    }

    fn draw(&mut self, like: &Tensor, mut number: impl FnMut(&mut ChaCha8Rng) -> f32) -> Tensor {
        let row = like.numel() / self.0.len().max(1);
        let mut numbers = Vec::with_capacity(like.numel());
        for rng in &mut self.0 {
            numbers.extend((0..row).map(|_| number(rng)));
        }
        Tensor::from_slice(&numbers).view_as(like).to_device(like.device())
    }
}

/// 24 bits are what a float32 holds.
fn unit(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}
