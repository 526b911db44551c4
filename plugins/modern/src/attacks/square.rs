//! Square: a random search that changes square windows and needs no gradients.
//!
//! Paper: Andriushchenko et al., "Square Attack: a query-efficient black-box adversarial attack via
//! random search", ECCV 2020, arXiv 1912.00049, algorithms 1 to 3.
//! Reference: the authors' AutoAttack.
//!
//! ```text
//! x ← x₀ with random vertical stripes of ±ε (ℓ∞), or with a tile of noise in every fifth of each
//!     side (ℓ2)
//! repeat at most N times, until the goal is met:
//!     s ← the window's side: its area is a part p of the image, which falls step by step
//!     ℓ∞:  x′ ← x with ±2ε in each channel of a random window, in the ball and the box
//!     ℓ2:  x′ ← x with the change of a second random window moved into the first, as a tile of
//!               noise on top of what was there, scaled to length ε, in the box
//!     x ← x′ where the loss falls or the goal is met
//! ```
//!
//! A tile of noise has two halves of opposite signs, each with its peak in the middle.
//!
//! Deviations:
//! - Each case has windows of its own; the authors' code shares one among the batch.
//! - A window may lie anywhere (`whole`). The authors' code never draws the last position, so it
//!   never changes the last row and column after the start.
//! - The image itself is looked at first; one that meets its goal is the answer.

use crate::parts::{Loss, keep, noise_tile, rows_of};
use gauntlet_core::attack::{Budget, Cost, Norm};
use gauntlet_core::device::upload;
use gauntlet_core::prelude::*;
use rand_chacha::ChaCha8Rng;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The Square Attack (Andriushchenko et al. 2020).
pub struct Square(SquareParams);

params! {
    /// Settings of [`Square`]: those of AutoAttack.
    pub struct SquareParams {
        /// The norm of the ball: `linf` or `l2`.
        pub norm: Norm = Norm::Linf,
        /// Radius of the ball, pixels in [0, 1].
        pub epsilon: f64 = 8.0 / 255.0,
        /// Windows that are tried at most, N.
        pub queries: u32 = 5000,
        /// Part p of the image that a window takes at first.
        pub part: f64 = 0.8,
        /// What is made small. AutoAttack takes the margin, and cross entropy towards a class.
        pub loss: Loss = Loss::Margin,
        /// Whether p falls as if N were 10,000, whatever N is, or at the queries of the paper (10,
        /// 50, 200, …), as AutoAttack has it.
        pub rescale: bool = false,
        /// Whether a window may lie anywhere, or not at the last position, as in the authors' code.
        pub whole: bool = true,
    }
}

/// Queries of 10,000 after which p is halved once more (section 3.1 of the paper).
const HALVINGS: [u32; 9] = [10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000];
/// Queries that a case takes, as a mean over two miniatures at 8/255.
const MEAN_QUERIES: f64 = 500.0;

/// What Square did in one case.
pub struct SquareOutcome {
    /// C×H×W: the point of the lowest loss, or the first that met the goal.
    pub pixels: Tensor,
    /// Whether it meets the goal.
    pub met: bool,
    /// The lowest loss.
    pub loss: f64,
    /// Queries: the image, the start and the windows.
    pub queries: u32,
}

impl Attack for Square {
    const NAME: &'static str = "square";
    const SUMMARY: &'static str =
        "random search over square windows, without gradients (Andriushchenko et al. 2020)";
    type Params = SquareParams;

    fn presets() -> Vec<Preset<SquareParams>> {
        vec![Preset {
            name: "andriushchenko2020",
            summary: "the authors' settings by itself: 10,000 queries, p rescaled",
            params: SquareParams {
                queries: 10_000,
                rescale: true,
                whole: false,
                ..SquareParams::default()
            },
        }]
    }

    fn new(params: SquareParams) -> Result<Self> {
        ensure!(params.norm != Norm::L1, "`norm` is L1, expected L2 or Linf");
        super::positive("epsilon", params.epsilon)?;
        super::at_least_one("queries", params.queries)?;
        ensure!(
            params.part > 0.0 && params.part <= 1.0,
            "`part` is {}, expected above 0 to 1",
            params.part
        );
        Ok(Self(params))
    }

    fn budget(&self) -> Option<Budget> {
        Some(Budget { norm: self.0.norm, radius: self.0.epsilon })
    }

    fn cost(&self, _: Goal) -> Option<Cost> {
        let queries = MEAN_QUERIES.min(f64::from(self.0.queries));
        Some(Cost { forward: queries + 2.0, backward: 0.0 })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        self.0.loss.check(oracle.card().classes, &cases.goals)?;
        let mut answers: Vec<Answer> = cases.goals.iter().map(|_| Answer::NotFound).collect();
        let all: Vec<usize> = (0..cases.len()).collect();
        self.attack(oracle, cases, &all, &mut answers)?;
        Ok(answers)
    }
}

impl Square {
    /// Runs the attack and says how it went in each case.
    ///
    /// # Errors
    /// Those of the oracle.
    pub fn trace(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<SquareOutcome>> {
        self.walk(oracle, cases, &(0..cases.len()).collect::<Vec<_>>())
    }

    /// Attacks some of the cases, and puts what it finds among the answers.
    pub(super) fn attack(
        &self,
        oracle: &Oracle,
        cases: &Cases,
        members: &[usize],
        answers: &mut [Answer],
    ) -> Result<()> {
        let pixels = rows_of(&cases.pixels, members);
        let goals = members.iter().map(|&case| cases.goals[case]).collect();
        let outcomes = self.walk(oracle, &Cases::new(pixels, goals)?, members)?;
        for (&case, outcome) in members.iter().zip(outcomes) {
            if outcome.met {
                answers[case] = Answer::Pixels(outcome.pixels);
            }
        }
        Ok(())
    }

    /// Walks in cases whose numbers for the oracle are `members`.
    fn walk(
        &self,
        oracle: &Oracle,
        cases: &Cases,
        members: &[usize],
    ) -> Result<Vec<SquareOutcome>> {
        let walk = Walk { params: &self.0, members, tiles: RefCell::default() };
        lanes::drive(&walk, oracle, cases)
    }
}

impl SquareParams {
    /// The part p of the image that window `n` takes, from 0.
    fn part(&self, n: u32) -> f64 {
        let n = if self.rescale {
            (f64::from(n) / f64::from(self.queries) * 10_000.0) as u32
        } else {
            n
        };
        let halvings = HALVINGS.iter().filter(|&&bound| n > bound).count();
        self.part / f64::from(1u32 << halvings)
    }

    /// The side of window `n` in an image of this height and width.
    fn side(&self, n: u32, height: i64, width: i64) -> i64 {
        let side = (self.part(n) * (height * width) as f64).sqrt().round() as i64;
        let most = height.min(width);
        match self.norm {
            Norm::L2 => (side.max(3) | 1).min(most - (most + 1) % 2),
            Norm::L1 | Norm::Linf => side.clamp(1, most),
        }
    }
}

/// The random search in one case.
struct Steps {
    /// Queries so far: the image, the start, windows.
    queries: u32,
    /// The lowest loss.
    loss: f32,
    met: bool,
    rng: Option<ChaCha8Rng>,
}

rows! {
    /// What a lane keeps.
    struct Points {
        /// M×C×H×W.
        image: Tensor,
        /// M×C×H×W: the point of the lowest loss.
        best: Tensor,
    }
}

/// The search, with the tiles of noise of each side.
struct Walk<'a> {
    params: &'a SquareParams,
    /// What the oracle calls each case.
    members: &'a [usize],
    tiles: RefCell<BTreeMap<i64, Tensor>>,
}

impl Search for Walk<'_> {
    type State = Steps;
    type Rows = Points;
    type Output = SquareOutcome;

    fn begin(&self, image: &Tensor, _: Goal) -> (Steps, Points) {
        let steps = Steps { queries: 0, loss: f32::INFINITY, met: false, rng: None };
        (steps, Points { image: image.shallow_clone(), best: image.shallow_clone() })
    }

    fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Self>) -> Result<Vec<bool>> {
        let Lanes { cases, states, goals, rows } = lanes;
        let cases: Vec<usize> = cases.iter().map(|&case| self.members[case]).collect();
        let x = rows.best.copy();
        for (lane, (state, &case)) in states.iter_mut().zip(&cases).enumerate() {
            let (image, x) = (rows.image.get(lane as i64), x.get(lane as i64));
            let rng = state.rng.get_or_insert_with(|| oracle.rng(case));
            match state.queries {
                0 => {}
                1 => self.start(rng, &image, x),
                n => self.change(rng, &image, x, n - 2),
            }
        }
        let logits = oracle.logits(&cases, &x)?;
        let met = Vec::<bool>::try_from(goals.met(&logits, 0.0))?;
        let losses = Vec::<f32>::try_from(self.params.loss.cost(goals, &logits))?;
        let mut better = vec![false; states.len()];
        let mut done = Vec::with_capacity(states.len());
        for (lane, state) in states.iter_mut().enumerate() {
            // The start takes the image's place, whatever its loss.
            better[lane] = losses[lane] < state.loss || met[lane] || state.queries == 1;
            state.met = met[lane];
            state.loss =
                if state.queries == 1 { losses[lane] } else { state.loss.min(losses[lane]) };
            state.queries += 1;
            done.push(met[lane] || state.queries == self.params.queries + 2);
        }
        keep(&mut rows.best, &x, &upload(&better, x.device()));
        Ok(done)
    }

    fn finish(&self, state: Steps, rows: Points) -> SquareOutcome {
        let Steps { queries, loss, met, .. } = state;
        SquareOutcome { pixels: rows.best, met, loss: f64::from(loss), queries }
    }
}

impl Walk<'_> {
    /// Writes the start into `x`, C×H×W.
    fn start(&self, rng: &mut ChaCha8Rng, image: &Tensor, mut x: Tensor) {
        let SquareParams { norm, epsilon, .. } = *self.params;
        let [channels, height, width] = shape(image);
        if norm == Norm::Linf {
            let stripes = signs(rng, channels * width, image).view([channels, 1, width]);
            x.copy_(&(image + stripes * epsilon).clamp_(0.0, 1.0));
            return;
        }
        let short = height.min(width);
        let tile = (short / 5).max(1);
        let change = image.zeros_like();
        let places = |length: i64| {
            let spare = if length == short { length - 5 * tile } else { length % tile };
            let first = spare.max(0) / 2;
            (0..length / tile).map(move |n| first + n * tile).filter(move |p| p + tile <= length)
        };
        for top in places(height) {
            for left in places(width) {
                let mut window = window(&change, top, left, tile);
                window += self.tile(rng, tile) * signs(rng, channels, image).view([-1, 1, 1]);
            }
        }
        x.copy_(&scaled(image, &change, epsilon));
    }

    /// Writes the point with window `n` changed into `x`, which holds the best point, C×H×W.
    fn change(&self, rng: &mut ChaCha8Rng, image: &Tensor, mut x: Tensor, n: u32) {
        let SquareParams { norm, epsilon, whole, .. } = *self.params;
        let [channels, height, width] = shape(image);
        let side = self.params.side(n, height, width);
        let mut place = |length: i64| {
            let places = length - side + i64::from(whole);
            let place = f64::from(rng.next_u32()) / f64::from(u32::MAX) * places as f64;
            (place as i64).min(length - side)
        };
        let (top, left) = (place(height), place(width));
        if norm == Norm::Linf {
            let (mut x, image) = (window(&x, top, left, side), window(image, top, left, side));
            let moved = &x + signs(rng, channels, &image).view([-1, 1, 1]) * (2.0 * epsilon);
            let moved = moved.maximum(&(&image - epsilon)).minimum(&(&image + epsilon));
            x.copy_(&moved.clamp(0.0, 1.0));
            return;
        }
        let (from_top, from_left) = (place(height), place(width));
        let change = &x - image;
        let length = |t: &Tensor| t.square().sum(Kind::Float).sqrt();
        let of_channels = |t: &Tensor| {
            t.square().sum_dim_intlist([1i64, 2].as_slice(), true, Kind::Float).sqrt() + 1e-12
        };
        let old = window(&change, top, left, side).copy();
        let outside = change.copy();
        let _ = window(&outside, top, left, side).zero_();
        let _ = window(&outside, from_top, from_left, side).zero_();
        // What the ball leaves, and what the two windows give up, goes into the new window, channel
        // by channel.
        let spare = (epsilon * epsilon - length(&change).square()).clamp_min(0.0) / channels as f64
            + of_channels(&(&change - &outside)).square();
        let noise = self.tile(rng, side) * signs(rng, channels, image).view([-1, 1, 1]);
        let new = noise + &old / of_channels(&old);
        let new = &new / of_channels(&new) * spare.sqrt();
        let _ = window(&change, from_top, from_left, side).zero_();
        window(&change, top, left, side).copy_(&new);
        x.copy_(&scaled(image, &change, epsilon));
    }

    /// A tile of noise of length 1, upright or on its side: side×side.
    fn tile(&self, rng: &mut ChaCha8Rng, side: i64) -> Tensor {
        let mut tiles = self.tiles.borrow_mut();
        let tile = tiles.entry(side).or_insert_with(|| noise_tile(side));
        if rng.next_u32() & 1 == 0 { tile.shallow_clone() } else { tile.tr() }
    }
}

/// The image with a change scaled to length ε, in the box.
fn scaled(image: &Tensor, change: &Tensor, epsilon: f64) -> Tensor {
    let length = change.square().sum(Kind::Float).sqrt() + 1e-12;
    (change / length * epsilon + image).clamp_(0.0, 1.0)
}

/// Channels, height and width of an image.
fn shape(image: &Tensor) -> [i64; 3] {
    let size = image.size();
    [size[0], size[1], size[2]]
}

/// A view of a square window of C×H×W.
fn window(x: &Tensor, top: i64, left: i64, side: i64) -> Tensor {
    x.narrow(1, top, side).narrow(2, left, side)
}

/// `count` random signs.
fn signs(rng: &mut ChaCha8Rng, count: i64, like: &Tensor) -> Tensor {
    let signs: Vec<f32> =
        (0..count).map(|_| if rng.next_u32() & 1 == 0 { 1.0 } else { -1.0 }).collect();
    upload(&signs, like.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for (norm, epsilon) in [(Norm::Linf, 0.2), (Norm::L2, 1.0)] {
            for whole in [true, false] {
                let params =
                    SquareParams { norm, epsilon, queries: 100, whole, ..SquareParams::default() };
                check_attack::<Square>(params).unwrap();
            }
        }
    }
}
