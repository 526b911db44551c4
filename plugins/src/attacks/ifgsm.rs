//! I-FGSM, the basic iterative method: steps along the sign of the gradient in an l∞ ball, and a
//! search for the smallest ball in which they succeed.
//!
//! Paper: Kurakin, Goodfellow and Bengio, "Adversarial Examples in the Physical World", 2016, arXiv
//! 1607.02533, section 2.2.
//! Reference: the code of the ECCV 2018 study, whose search for the smallest ε this is.
//!
//! ```text
//! X₀ ← X
//! for N = 0, 1, … iterations − 1:
//!     X_{N+1} ← Clip_{X,ε}(X_N − α·sign(∇J(X_N)))
//! ```
//!
//! J is low where the goal is met, away from a class as well as towards one, and Clip keeps to the
//! box and to the ball of radius ε around X. The search tries one ε after another, each from X:
//!
//! ```text
//! ε ← epsilon
//! for each of search_tries tries:
//!     if the try with ε meets the goal:  success ← ε, and its image is the answer
//!     else:                              failure ← ε
//!     ε ← (success + failure)/2 once there are both, else success/2 or 2ε
//! ```
//!
//! Deviations:
//! - `objective` chooses J; the paper's is cross entropy.
//! - `step` and `anneal` choose α; in the paper it is fixed, here by default it shrinks.
//! - `stop_early` ends a try at its first adversarial, and `tighten` counts that with the
//!   distortion that it really has.

use super::Objective;
use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Attack, Budget, Cases, Cost, Goal, Norm};
use gauntlet_core::device::upload;
use gauntlet_core::lanes::{self, Lanes, Search};
use gauntlet_core::oracle::Oracle;
use gauntlet_core::params;
use gauntlet_core::params::Preset;
use gauntlet_core::rows;
use tch::{Kind, Tensor};

/// The basic iterative method (Kurakin et al. 2016): steps against the sign of the gradient inside
/// an l∞ ball.
pub struct Ifgsm(IfgsmParams);

params! {
    /// Settings of [`Ifgsm`]. The defaults differ from `eccv2018` where that gives farther
    /// adversarials than need be. Cross entropy sees the other classes too. Long steps that shrink
    /// to nothing reach the corners of the ball and settle there. A try stops at its first
    /// adversarial, which counts with the distortion that it really has.
    pub struct IfgsmParams {
        /// Radius of the ball, pixels in [0, 1]. With a search, where the search starts.
        pub epsilon: f64 = 0.02,
        /// Steps per try.
        pub iterations: u32 = 50,
        /// Length of the first step as a multiple of ε/iterations.
        pub step: f64 = 4.0,
        /// Whether steps shrink linearly to nothing, from the first to after the last.
        pub anneal: bool = true,
        /// What a step descends.
        pub objective: Objective = Objective::CrossEntropy,
        /// Whether a try ends as soon as the goal is met, or after all iterations.
        pub stop_early: bool = true,
        /// Tries of the search for the smallest ε. It is doubled until a try succeeds or halved
        /// until one fails; then it is the midpoint of the last success and the last failure. With
        /// 0 there is no search: the one try at `epsilon` gives the answer, even where the goal is
        /// not met.
        pub search_tries: u32 = 9,
        /// Whether a success counts with the l∞ distortion that it really has, which may be below
        /// the try's ε, or with ε as published.
        pub tighten: bool = true,
    }
}

impl IfgsmParams {
    /// The settings of the preset `eccv2018`.
    pub fn eccv2018() -> Self {
        Self {
            step: 1.0,
            anneal: false,
            objective: Objective::Logit,
            stop_early: false,
            tighten: false,
            ..Self::default()
        }
    }

    /// The length α of the step that a case takes now.
    fn length(&self, tries: &Tries) -> f64 {
        let first = tries.epsilon() / f64::from(self.iterations) * self.step;
        if self.anneal {
            first * (1.0 - f64::from(tries.iteration) / f64::from(self.iterations))
        } else {
            first
        }
    }
}

/// Part of the iterations that are run where tries end at the first adversarial and the goal is
/// away from a class. Most of a search's tries succeed late or not at all. Measured on the
/// miniatures.
const SHARE_AWAY: f64 = 0.80;
/// The same part where the goal is towards a class.
const SHARE_TOWARDS: f64 = 0.83;

/// What I-FGSM did in one case.
#[derive(Debug)]
pub struct IfgsmOutcome {
    /// C×H×W in [0, 1]: the adversarial that was kept, or without a search the only try.
    pub pixels: Option<Tensor>,
    /// ε of each try.
    pub epsilons: Vec<f64>,
    /// ε of the adversarial that was kept.
    pub best_epsilon: Option<f64>,
}

impl Attack for Ifgsm {
    const NAME: &'static str = "ifgsm";
    const SUMMARY: &'static str =
        "iterated FGSM at a fixed epsilon or at the smallest that works (Kurakin et al. 2016)";
    type Params = IfgsmParams;

    fn presets() -> Vec<Preset<IfgsmParams>> {
        vec![
            Preset {
                name: "eccv2018",
                summary: "the study's search: logit objective, from 0.02, 9 tries of 50 \
                          iterations, the latest success",
                params: IfgsmParams::eccv2018(),
            },
            Preset {
                name: "eccv2018_transfer",
                summary: "the study's transfer runs: logit objective, epsilon 0.1 in 10 iterations \
                          (0.2 and 0.3, 30 and 50 were run too)",
                params: IfgsmParams {
                    epsilon: 0.1,
                    iterations: 10,
                    search_tries: 0,
                    ..IfgsmParams::eccv2018()
                },
            },
            Preset {
                name: "fixed",
                summary: "the modern default at a fixed epsilon, 8/255 in 10 iterations",
                params: IfgsmParams {
                    epsilon: 8.0 / 255.0,
                    iterations: 10,
                    stop_early: false,
                    search_tries: 0,
                    ..IfgsmParams::default()
                },
            },
        ]
    }

    fn new(params: IfgsmParams) -> Result<Self> {
        ensure!(
            params.epsilon > 0.0 && params.epsilon.is_finite(),
            "`epsilon` is {}, expected a positive number",
            params.epsilon
        );
        ensure!(params.iterations > 0, "`iterations` is 0, expected 1 or more");
        ensure!(
            params.step > 0.0 && params.step.is_finite(),
            "`step` is {}, expected a positive number",
            params.step
        );
        Ok(Self(params))
    }

    fn budget(&self) -> Option<Budget> {
        (self.0.search_tries == 0).then_some(Budget { norm: Norm::Linf, radius: self.0.epsilon })
    }

    fn cost(&self, goal: Goal) -> Option<Cost> {
        let share = match goal {
            _ if !self.0.stop_early => 1.0,
            Goal::Away(_) => SHARE_AWAY,
            Goal::Towards(_) => SHARE_TOWARDS,
        };
        let tries = f64::from(self.0.search_tries);
        let iterations = f64::from(self.0.iterations);
        // Tries after the first have their first gradient from it.
        let known = if iterations > 1.0 { (tries - 1.0).max(0.0) } else { 0.0 };
        let gradients = tries.max(1.0) * iterations * share - known;
        Some(Cost { forward: gradients + tries, backward: gradients })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        Ok(self
            .trace(oracle, cases)?
            .into_iter()
            .map(|o| o.pixels.map_or(Answer::NotFound, Answer::Pixels))
            .collect())
    }
}

impl Ifgsm {
    /// Runs the attack and keeps the ε of each try.
    pub fn trace(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<IfgsmOutcome>> {
        lanes::drive(self, oracle, cases)
    }
}

/// The tries of one case.
pub struct Tries {
    /// ε of each try; the last one is running.
    epsilons: Vec<f64>,
    /// Iteration within the try.
    iteration: u32,
    /// ε of the latest success, and of the latest failure: the next ε lies between.
    success: Option<f64>,
    failure: Option<f64>,
}

impl Tries {
    fn new(epsilon: f64) -> Self {
        Self { epsilons: vec![epsilon], iteration: 0, success: None, failure: None }
    }

    fn epsilon(&self) -> f64 {
        self.epsilons[self.epsilons.len() - 1]
    }

    /// Whether the first try is at its first iteration.
    fn at_start(&self) -> bool {
        self.epsilons.len() == 1 && self.iteration == 0
    }

    /// Notes how a try ended: a success with the ε that it counts with, or a failure.
    fn note(&mut self, success: Option<f64>) {
        match success {
            Some(epsilon) => self.success = Some(epsilon),
            None => self.failure = Some(self.epsilon()),
        }
    }

    /// Begins the next try.
    fn next(&mut self) {
        self.iteration = 0;
        self.epsilons.push(match (self.success, self.failure) {
            (Some(success), Some(failure)) => f64::midpoint(success, failure),
            (Some(success), None) => success * 0.5,
            (None, _) => self.epsilon() * 2.0,
        });
    }
}

rows! {
    /// Rows of a lane. Steps are taken on p − 0.5, as in the reference: around 0 float32 is finer
    /// than around 1, and rounding errors add up over the iterations.
    pub struct IfgsmRows {
        /// M×C×H×W: the image X, to the bit, for the pixels that do not move.
        original: Tensor,
        /// M×C×H×W: X − 0.5.
        image: Tensor,
        /// M×C×H×W: the perturbation η = X_N − X.
        eta: Tensor,
        /// M×C×H×W: the gradient's sign at X, where every try begins.
        sign_at_image: Tensor,
        /// M×C×H×W: the pixels that are kept.
        best: Tensor,
    }
}

/// The perturbation of Clip_{X,ε}(x): the box first, then the ball.
fn clip(x: Tensor, image: &Tensor, epsilon: &Tensor) -> Tensor {
    (x.clamp(-0.5, 0.5) - image).maximum(&-epsilon).minimum(epsilon)
}

impl Search for Ifgsm {
    type State = Tries;
    type Rows = IfgsmRows;
    type Output = IfgsmOutcome;

    fn begin(&self, image: &Tensor, _: Goal) -> (Tries, IfgsmRows) {
        let rows = IfgsmRows {
            original: image.shallow_clone(),
            image: image - 0.5,
            eta: image.zeros_like(),
            sign_at_image: image.zeros_like(),
            best: image.zeros_like(),
        };
        (Tries::new(self.0.epsilon), rows)
    }

    fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Self>) -> Result<Vec<bool>> {
        let params = &self.0;
        let alpha = lanes.per_image(|tries| params.length(tries));
        let epsilon = lanes.per_image(Tries::epsilon);
        let Lanes { cases, goals, rows, .. } = &*lanes;
        let x = &rows.image + &rows.eta;
        let answer = oracle.gradient(cases, &(&x + 0.5), |z| params.objective.cost(goals, z))?;
        let sign = answer.pixels.sign();
        let eta = clip(x - &sign * alpha, &rows.image, &epsilon);
        let ended = self.advance(lanes, &answer.logits, &sign, eta)?;
        self.conclude(oracle, lanes, &ended)
    }

    fn finish(&self, tries: Tries, rows: IfgsmRows) -> IfgsmOutcome {
        let best_epsilon =
            if self.0.search_tries == 0 { Some(self.0.epsilon) } else { tries.success };
        IfgsmOutcome {
            pixels: best_epsilon.map(|_| rows.best),
            epsilons: tries.epsilons,
            best_epsilon,
        }
    }
}

impl Ifgsm {
    /// Moves each lane on to its new perturbation, and says whose try has ended: after its last
    /// iteration, or where the goal was met before this step, which is then not taken.
    fn advance(
        &self,
        lanes: &mut Lanes<Self>,
        logits: &Tensor,
        sign: &Tensor,
        eta: Tensor,
    ) -> Result<Vec<usize>> {
        let params = &self.0;
        let Lanes { states, goals, rows, .. } = lanes;
        let met = if params.stop_early {
            Vec::<bool>::try_from(goals.met(logits, 0.0))?
        } else {
            vec![false; states.len()]
        };
        let mut ended = Vec::new();
        for (lane, tries) in states.iter_mut().enumerate() {
            let row = lane as i64;
            if met[lane] {
                eta.get(row).copy_(&rows.eta.get(row));
            } else if tries.at_start() && params.search_tries > 1 {
                rows.sign_at_image.get(row).copy_(&sign.get(row));
            }
            tries.iteration += 1;
            if met[lane] || tries.iteration == params.iterations {
                ended.push(lane);
            }
        }
        rows.eta = eta;
        Ok(ended)
    }

    /// Judges the tries that ended, begins the next in each lane that has one left, and says which
    /// cases are done.
    fn conclude(
        &self,
        oracle: &Oracle,
        lanes: &mut Lanes<Self>,
        ended: &[usize],
    ) -> Result<Vec<bool>> {
        let mut done = vec![false; lanes.len()];
        if ended.is_empty() {
            return Ok(done);
        }
        let Lanes { cases, states, goals, rows } = lanes;
        let index: Vec<i64> = ended.iter().map(|&lane| lane as i64).collect();
        let index = upload(&index, rows.image.device());
        let [original, image, eta] =
            [&rows.original, &rows.image, &rows.eta].map(|rows| rows.index_select(0, &index));
        let x = (&image + &eta).clamp(-0.5, 0.5);
        let pixels = original.where_self(&eta.eq(0.0), &(&x + 0.5));
        let keep = |n: usize, lane: usize| {
            rows.best.get(lane as i64).copy_(&pixels.get(n as i64));
        };
        if self.0.search_tries == 0 {
            for (n, &lane) in ended.iter().enumerate() {
                keep(n, lane);
                done[lane] = true;
            }
            return Ok(done);
        }

        let cases: Vec<usize> = ended.iter().map(|&lane| cases[lane]).collect();
        let logits = oracle.logits(&cases, &pixels)?;
        let met = Vec::<bool>::try_from(goals.select(&index).met(&logits, 0.0))?;
        let distortions = (x - image).abs().amax([1, 2, 3].as_slice(), false);
        let distortions = Vec::<f64>::try_from(distortions.to_kind(Kind::Double))?;
        for (n, &lane) in ended.iter().enumerate() {
            let tries = &mut states[lane];
            let distortion = if self.0.tighten { distortions[n] } else { f64::INFINITY };
            tries.note(met[n].then(|| tries.epsilon().min(distortion)));
            if met[n] {
                keep(n, lane);
            }
            if tries.epsilons.len() == self.0.search_tries as usize {
                done[lane] = true;
            } else {
                tries.next();
                self.start(rows, lane as i64, tries);
            }
        }
        Ok(done)
    }

    /// Puts a lane's perturbation to where a further try begins: after its first step, which needs
    /// no pass, since it is the first try's at another length.
    fn start(&self, rows: &IfgsmRows, lane: i64, tries: &mut Tries) {
        let mut eta = rows.eta.get(lane);
        if self.0.iterations == 1 {
            let _ = eta.zero_();
            return;
        }
        let (image, sign) = (rows.image.get(lane), rows.sign_at_image.get(lane));
        let epsilon = Tensor::full_like(&image, tries.epsilon());
        eta.copy_(&clip(&image - sign * self.0.length(tries), &image, &epsilon));
        tries.iteration = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::testing::check_attack;

    #[test]
    fn is_a_lawful_attack() {
        for params in [
            IfgsmParams::default(),
            IfgsmParams::eccv2018(),
            IfgsmParams { search_tries: 0, epsilon: 0.3, ..IfgsmParams::default() },
        ] {
            check_attack::<Ifgsm>(params).unwrap();
        }
    }

    #[test]
    fn the_published_search_follows_the_latest_success_and_failure() {
        let mut tries = Tries::new(0.02);
        for met in [false, false, true, true, true, false] {
            tries.note(met.then_some(tries.epsilon()));
            tries.next();
        }
        let expected = [0.02, 0.04, 0.08, 0.06, 0.05, 0.045, 0.0475];
        assert!(
            tries.epsilons.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
            "{:?}",
            tries.epsilons
        );
    }
}
