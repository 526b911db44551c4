//! I-FGSM, the basic iterative method: Kurakin, Goodfellow, Bengio, "Adversarial Examples in the
//! Physical World", 2016; with the ECCV 2018 study's search for the smallest ε per image.

use super::Objective;
use anyhow::{Result, ensure};
use gauntlet_core::attack::{Answer, Attack, Budget, Cases, Cost, Goal, Norm};
use gauntlet_core::device::upload;
use gauntlet_core::lanes::{self, Lanes, Search};
use gauntlet_core::oracle::Oracle;
use gauntlet_core::params;
use gauntlet_core::params::Preset;
use tch::{Kind, Tensor};

/// Steps against the sign of the gradient inside an ℓ∞ ball.
pub struct Ifgsm(IfgsmParams);

params! {
    /// Settings of [`Ifgsm`]. The defaults differ from `eccv2018` where that leaves distortion on
    /// the table: cross entropy sees the other classes too, long steps that shrink to nothing reach
    /// the corners of the ball and settle there, and a try stops at its first adversarial, which
    /// counts with the distortion that it really has.
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
        /// Whether a try ends as soon as the goal is met, or always after all iterations.
        pub stop_early: bool = true,
        /// Tries of the search for the smallest ε: doubled until a try succeeds or halved until one
        /// fails, then the midpoint of the last success and the last failure. With 0 there is no
        /// search but one try at `epsilon`, whose image is the answer even where the goal is not
        /// met.
        pub search_tries: u32 = 9,
        /// Whether a success counts with the ℓ∞ distortion that it really has, which may be below
        /// the try's ε, or as published with ε.
        pub tighten: bool = true,
    }
}

impl IfgsmParams {
    fn eccv2018() -> Self {
        Self {
            step: 1.0,
            anneal: false,
            objective: Objective::Logit,
            stop_early: false,
            tighten: false,
            ..Self::default()
        }
    }
}

/// Part of the iterations that are run where tries end at the first adversarial: most of a search's
/// tries succeed late or not at all. Measured on the miniatures, away from a class and towards one.
const SHARE_AWAY: f64 = 0.80;
const SHARE_TOWARDS: f64 = 0.83;

/// What I-FGSM did in one case.
#[derive(Debug)]
pub struct IfgsmOutcome {
    /// 3×S×S in [0, 1]: the adversarial that was kept, or without a search the only try.
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

/// Where one case stands.
pub struct Tries {
    epsilons: Vec<f64>,
    /// Iteration within the try.
    iteration: u32,
    /// The success and the failure that the next ε lies between.
    success: Option<f64>,
    failure: Option<f64>,
}

impl Tries {
    fn epsilon(&self) -> f64 {
        self.epsilons[self.epsilons.len() - 1]
    }

    /// Notes how a try ended, `met` with the distortion that counts, and chooses the next ε.
    fn judge(&mut self, met: Option<f64>) {
        match met {
            Some(distortion) => self.success = Some(distortion),
            None => self.failure = Some(self.epsilon()),
        }
        self.epsilons.push(match (self.success, self.failure) {
            (Some(success), Some(failure)) => f64::midpoint(success, failure),
            (Some(success), None) => success * 0.5,
            (None, _) => self.epsilon() * 2.0,
        });
    }
}

// The rows of a lane. Steps are taken on p − 0.5, as in the published code: around 0 float32 is
// finer than around 1, and rounding errors add up over the iterations.
const IMAGE: usize = 0; // p − 0.5
const ETA: usize = 1; // the perturbation
const BEST: usize = 2; // the pixels that are kept
const EPSILON: usize = 3;
const ORIGINAL: usize = 4; // p itself, for the pixels that do not move
const AT_IMAGE: usize = 5; // the gradient's sign at the image, where every try begins

impl Search for Ifgsm {
    type Lane = Tries;
    type Output = IfgsmOutcome;

    fn begin(&self, image: &Tensor, _: Goal) -> (Tries, Vec<Tensor>) {
        let epsilon = self.0.epsilon;
        let tries = Tries { epsilons: vec![epsilon], iteration: 0, success: None, failure: None };
        let scalar = Tensor::full([0i64; 0].as_slice(), epsilon, (Kind::Float, image.device()));
        (
            tries,
            vec![
                image - 0.5,
                image.zeros_like(),
                image.zeros_like(),
                scalar,
                image.shallow_clone(),
                image.zeros_like(),
            ],
        )
    }

    fn step(&self, oracle: &Oracle, lanes: &mut Lanes<Tries>) -> Result<Vec<bool>> {
        let params = &self.0;
        let per_image = [-1i64, 1, 1, 1].as_slice();
        let lengths: Vec<f32> =
            lanes.states.iter().map(|tries| params.length(tries) as f32).collect();
        let lengths = upload(&lengths, lanes.rows[IMAGE].device()).view(per_image);
        let image = &lanes.rows[IMAGE];
        let epsilon = lanes.rows[EPSILON].view(per_image);

        let point = image + &lanes.rows[ETA];
        let answer = oracle
            .gradient(&lanes.cases, &(&point + 0.5), |z| params.objective.cost(&lanes.goals, z))?;
        let sign = answer.pixels.sign();
        let eta = step(image, point, &sign * lengths, &epsilon);

        // A try ends after its last iteration, or where the goal was met before this step, which
        // then is not taken.
        let met = if params.stop_early {
            Vec::<bool>::try_from(lanes.goals.met(&answer.logits, 0.0))?
        } else {
            vec![false; lanes.len()]
        };
        for lane in (0..).zip(&met).filter_map(|(lane, &met)| met.then_some(lane)) {
            eta.get(lane).copy_(&lanes.rows[ETA].get(lane));
        }
        lanes.rows[ETA] = eta;
        let mut ended = Vec::new();
        for (lane, tries) in lanes.states.iter_mut().enumerate() {
            if params.search_tries > 1
                && tries.epsilons.len() == 1
                && tries.iteration == 0
                && !met[lane]
            {
                lanes.rows[AT_IMAGE].get(lane as i64).copy_(&sign.get(lane as i64));
            }
            tries.iteration += 1;
            if met[lane] || tries.iteration == params.iterations {
                ended.push(lane);
            }
        }
        let mut done = vec![false; lanes.len()];
        if !ended.is_empty() {
            self.conclude(oracle, lanes, &ended, &mut done)?;
        }
        Ok(done)
    }

    fn finish(&self, tries: Tries, rows: Vec<Tensor>) -> IfgsmOutcome {
        let best_epsilon =
            if self.0.search_tries == 0 { Some(self.0.epsilon) } else { tries.success };
        IfgsmOutcome {
            pixels: best_epsilon.map(|_| rows[BEST].shallow_clone()),
            epsilons: tries.epsilons,
            best_epsilon,
        }
    }
}

impl Ifgsm {
    /// Judges the tries that ended, and starts the next in each lane that has one left.
    fn conclude(
        &self,
        oracle: &Oracle,
        lanes: &mut Lanes<Tries>,
        ended: &[usize],
        done: &mut [bool],
    ) -> Result<()> {
        let index = upload(
            &ended.iter().map(|&lane| lane as i64).collect::<Vec<_>>(),
            lanes.rows[IMAGE].device(),
        );
        let [image, eta, original] =
            [IMAGE, ETA, ORIGINAL].map(|row| lanes.rows[row].index_select(0, &index));
        let point = (&image + &eta).clamp(-0.5, 0.5);
        let pixels = original.where_self(&eta.eq(0.0), &(&point + 0.5));
        if self.0.search_tries == 0 {
            for (n, &lane) in ended.iter().enumerate() {
                lanes.set(BEST, lane, &pixels.get(n as i64));
                done[lane] = true;
            }
            return Ok(());
        }
        let cases: Vec<usize> = ended.iter().map(|&lane| lanes.cases[lane]).collect();
        let logits = oracle.logits(&cases, &pixels)?;
        let met = Vec::<bool>::try_from(lanes.goals.select(&index).met(&logits, 0.0))?;
        let distortions = (point - image).abs().amax([1, 2, 3].as_slice(), false);
        let distortions = Vec::<f64>::try_from(distortions.to_kind(Kind::Double))?;
        for (n, &lane) in ended.iter().enumerate() {
            if met[n] {
                lanes.set(BEST, lane, &pixels.get(n as i64));
            }
            let tries = &mut lanes.states[lane];
            let counted =
                if self.0.tighten { distortions[n].min(tries.epsilon()) } else { tries.epsilon() };
            if tries.epsilons.len() == self.0.search_tries as usize {
                tries.success = if met[n] { Some(counted) } else { tries.success };
                done[lane] = true;
                continue;
            }
            tries.judge(met[n].then_some(counted));
            tries.iteration = 0;
            let length = self.0.length(tries);
            let _ = lanes.rows[EPSILON].get(lane as i64).fill_(tries.epsilon());
            let [image, mut eta, sign, epsilon] =
                [IMAGE, ETA, AT_IMAGE, EPSILON].map(|row| lanes.rows[row].get(lane as i64));
            if self.0.iterations > 1 {
                // The first step needs no pass: it is the first try's, at another length.
                eta.copy_(&step(&image, image.shallow_clone(), sign * length, &epsilon));
                tries.iteration = 1;
            } else {
                let _ = eta.zero_();
            }
        }
        Ok(())
    }
}

/// The perturbation after a step from `point`, then the box, then the ball.
fn step(image: &Tensor, point: Tensor, step: Tensor, epsilon: &Tensor) -> Tensor {
    let moved = (point - step).clamp(-0.5, 0.5);
    (moved - image).maximum(&-epsilon).minimum(epsilon)
}

impl IfgsmParams {
    /// The length of the step that a case takes now.
    fn length(&self, tries: &Tries) -> f64 {
        let first = tries.epsilon() / f64::from(self.iterations) * self.step;
        if self.anneal {
            first * (1.0 - f64::from(tries.iteration) / f64::from(self.iterations))
        } else {
            first
        }
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
        let mut tries = Tries { epsilons: vec![0.02], iteration: 0, success: None, failure: None };
        for met in [false, false, true, true, true, false] {
            let epsilon = tries.epsilon();
            tries.judge(met.then_some(epsilon));
        }
        let expected = [0.02, 0.04, 0.08, 0.06, 0.05, 0.045, 0.0475];
        assert!(
            tries.epsilons.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
            "{:?}",
            tries.epsilons
        );
    }
}
