//! CLEVER: an estimate of how far the nearest adversarial is, from the steepest slopes found around
//! an image.
//!
//! Paper: Weng, Zhang, Chen, Yi, Su, Gao, Hsieh and Daniel, "Evaluating the Robustness of Neural
//! Networks: An Extreme Value Theory Approach", ICLR 2018, arXiv 1801.10578.
//! Reference: huanzhang12/CLEVER, of the same authors.
//!
//! The score is the margin g = z_true − z_other of the image, divided by an estimate of g's
//! Lipschitz constant in the ball around it. That estimate is the end point of a reverse Weibull
//! distribution ([`fit`]), fitted to maxima of the gradients' dual norms, one per batch of random
//! points. Towards a class, `other` is that class; away from the true one, the smallest score over
//! all others counts. A score is an estimate, not a certificate.
//!
//! Deviations:
//! - `rivals` can limit the classes that "away" looks at.
//! - Points are drawn afresh for each image instead of from a pool.
//! - A bootstrap over the maxima gives an interval. It does not contain the bias that comes from
//!   their number.

use super::fit;
use gauntlet_core::attack::{Cost, Norm};
use gauntlet_core::device::upload;
use gauntlet_core::params::Preset;
use gauntlet_core::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};

/// Stands for the norm of the greatest absolute value in [`Clever`].
pub const INFINITY: usize = usize::MAX;

/// The CLEVER score in the norm of index `P`: 1, 2 or [`INFINITY`].
pub struct Clever<const P: usize>(CleverParams<P>);

params! {
    /// Parameters of [`Clever`].
    pub struct CleverParams<const P: usize> {
        /// Radius of the ball that points are drawn from, pixels in [0, 1].
        pub radius: f64 = Clever::<P>::RADIUS,
        /// Maxima per image and class.
        pub batches: usize = 50,
        /// Points behind each maximum.
        pub samples: usize = 64,
        /// Other classes that are looked at when the goal is away from the true one, the most
        /// likely first; 0 for all.
        pub rivals: usize = 3,
        /// Bootstrap resamples of the maxima, for the interval.
        pub resamples: usize = 200,
    }
}

impl<const P: usize> Metric for Clever<P> {
    const NAME: &'static str = match Self::NORM {
        Norm::L1 => "clever_l1",
        Norm::L2 => "clever_l2",
        Norm::Linf => "clever_linf",
    };
    const SUMMARY: &'static str =
        "CLEVER: estimated distance of the nearest adversarial (Weng et al. 2018)";
    const UNIT: &'static str = "pixel range";
    const SCOPE: Scope = Scope::Model;
    const DIRECTION: Direction = Direction::HigherIsMoreRobust;
    const EXTRAS: &'static [&'static str] = &["low", "high", "lipschitz", "ks_p", "good_fit"];
    type Params = CleverParams<P>;

    fn presets() -> Vec<Preset<Self::Params>> {
        let params =
            CleverParams { batches: 500, samples: 1024, rivals: 0, ..CleverParams::default() };
        vec![Preset {
            name: "eccv2018",
            summary: "as published: 500 maxima of 1,024 points, all other classes",
            params,
        }]
    }

    fn new(params: Self::Params) -> Result<Self> {
        let CleverParams { radius, batches, samples, .. } = params;
        ensure!(
            radius > 0.0 && radius.is_finite(),
            "`radius` is {radius}, expected a positive number"
        );
        ensure!(
            batches >= 3,
            "`batches` is {batches}, expected at least 3: a distribution with three parameters is \
             fitted to them"
        );
        ensure!(samples >= 1, "`samples` is 0, expected at least 1");
        Ok(Self(params))
    }

    fn cost(&self, goal: Goal, classes: i64) -> Option<Cost> {
        let others = (classes - 1) as usize;
        let rivals = match (goal, self.0.rivals) {
            (Goal::Towards(_), _) => 1,
            (Goal::Away(_), 0) => others,
            (Goal::Away(_), rivals) => rivals.min(others),
        };
        let gradients = (rivals * self.0.batches * self.0.samples) as f64;
        Some(Cost { forward: gradients + 1.0, backward: gradients })
    }

    fn model(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<f64>> {
        let mut values = Vec::with_capacity(cases.len() * (1 + Self::EXTRAS.len()));
        for case in 0..cases.len() {
            let CleverEstimate { score, low, high, lipschitz, p, good } =
                self.estimate(oracle, cases, case)?;
            values.extend([score, low, high, lipschitz, p, f64::from(u8::from(good))]);
        }
        Ok(values)
    }
}

impl<const P: usize> Clever<P> {
    const NORM: Norm = match P {
        1 => Norm::L1,
        2 => Norm::L2,
        INFINITY => Norm::Linf,
        _ => panic!("the norm is 1, 2 or INFINITY"),
    };
    /// The norm of gradients: the dual of [`NORM`](Self::NORM).
    const DUAL: Norm = match Self::NORM {
        Norm::L1 => Norm::Linf,
        Norm::L2 => Norm::L2,
        Norm::Linf => Norm::L1,
    };
    /// Radius of the ball, as published.
    const RADIUS: f64 = match Self::NORM {
        Norm::L1 => 30.0,
        Norm::L2 => 3.0,
        Norm::Linf => 0.1,
    };

    /// The class that a case is to leave, and the others that it may come to, with the margin to
    /// each.
    fn rivals(&self, goal: Goal, logits: &[f32]) -> (usize, Vec<(usize, f64)>) {
        let best = || {
            (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap_or_default()
        };
        let (label, mut rivals) = match goal {
            Goal::Towards(class) => (best(), vec![class as usize]),
            Goal::Away(label) => (
                label as usize,
                (0..logits.len()).filter(|&class| class != label as usize).collect(),
            ),
        };
        rivals.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        if self.0.rivals > 0 {
            rivals.truncate(self.0.rivals);
        }
        let margin = |rival: usize| f64::from(logits[label]) - f64::from(logits[rival]);
        (label, rivals.into_iter().map(|rival| (rival, margin(rival))).collect())
    }

    /// One maximum of the gradients' dual norms per batch of points.
    fn maxima(
        &self,
        oracle: &Oracle,
        cases: &Cases,
        case: usize,
        classes: [usize; 2],
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<f64>> {
        let CleverParams { radius, batches, samples, .. } = self.0;
        let image = cases.image(case);
        let (size, elements) = (image.size(), image.numel());
        let mut norms = Vec::with_capacity(batches * samples);
        while norms.len() < batches * samples {
            let count = oracle.lanes().min(batches * samples - norms.len());
            let mut points = vec![0f32; count * elements];
            points
                .chunks_exact_mut(elements)
                .for_each(|point| draw(Self::NORM, rng, radius, point));
            let moved =
                upload(&points, image.device()).view([count as i64, size[0], size[1], size[2]]);
            let pixels = (moved + &image).clamp(0.0, 1.0);
            let margin = |logits: &Tensor| {
                logits.select(1, classes[0] as i64) - logits.select(1, classes[1] as i64)
            };
            let gradients = oracle.gradient(&vec![case; count], &pixels, margin)?.pixels;
            norms.extend(Vec::<f64>::try_from(
                Self::DUAL.of(&gradients).flatten(0, -1).to_kind(Kind::Double),
            )?);
        }
        Ok(norms
            .chunks_exact(samples)
            .map(|batch| batch.iter().copied().fold(0.0, f64::max))
            .collect())
    }

    fn estimate(&self, oracle: &Oracle, cases: &Cases, case: usize) -> Result<CleverEstimate> {
        let logits = Vec::<f32>::try_from(
            oracle.logits(&[case], &cases.pixels.narrow(0, case as i64, 1))?.squeeze_dim(0),
        )?;
        let (label, rivals) = self.rivals(cases.goals[case], &logits);
        let mut least: Option<CleverEstimate> = None;
        for (rival, margin) in rivals {
            let mut rng = oracle.rng(case); // every class sees the same points
            let maxima = self.maxima(oracle, cases, case, [label, rival], &mut rng)?;
            let estimate = CleverEstimate::new(margin, &maxima, self.0.resamples, &mut rng);
            if least.as_ref().is_none_or(|least| estimate.score < least.score) {
                least = Some(estimate);
            }
        }
        least.context("a model with one class has no other to be moved to")
    }
}

/// Smallest p of a good fit.
const GOOD: f64 = 0.05;

/// What the points around an image say about one class.
struct CleverEstimate {
    score: f64,
    low: f64,
    high: f64,
    lipschitz: f64,
    p: f64,
    good: bool,
}

impl CleverEstimate {
    /// `margin` over the Lipschitz constant that `maxima` point to.
    fn new(margin: f64, maxima: &[f64], resamples: usize, rng: &mut ChaCha8Rng) -> Self {
        let margin = margin.max(0.0);
        let greatest = maxima.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let end = |maxima: &[f64]| fit(maxima).map(|fit| fit.end);
        let Some(found) = fit(maxima) else {
            // Equal maxima are the Lipschitz constant itself. Where nothing fits, the greatest one
            // stands in, without an interval.
            let least = maxima.iter().copied().fold(f64::INFINITY, f64::min);
            let exact = greatest - least <= 1e-5 * greatest;
            let bound = if exact { margin / greatest } else { f64::NAN };
            return Self {
                score: margin / greatest,
                low: bound,
                high: bound,
                lipschitz: greatest,
                p: if exact { 1.0 } else { f64::NAN },
                good: exact,
            };
        };
        let mut scores: Vec<f64> = (0..resamples)
            .filter_map(|_| {
                let drawn: Vec<f64> = maxima
                    .iter()
                    .map(|_| maxima[(uniform(rng) * maxima.len() as f64) as usize])
                    .collect();
                end(&drawn).map(|end| margin / end)
            })
            .collect();
        scores.sort_by(f64::total_cmp);
        let quantile = |q: f64| match scores.len() {
            0 => f64::NAN,
            count => scores[((count - 1) as f64 * q).round() as usize],
        };
        let good = found.p >= GOOD;
        Self {
            score: margin / found.end,
            low: quantile(0.025),
            high: quantile(0.975),
            lipschitz: found.end,
            p: found.p,
            good,
        }
    }
}

/// Uniform in [0, 1).
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / 2f64.powi(53)
}

/// Fills `point` with a random point of the ball of radius `radius` around 0, drawn as in the
/// reference: in l1 and l2 its distance from the centre has a uniform factor, so that points lie
/// nearer to the centre than in a uniform draw.
fn draw(norm: Norm, rng: &mut ChaCha8Rng, radius: f64, point: &mut [f32]) {
    let scale = match norm {
        Norm::L1 => {
            let mut sum = 0f64;
            for x in &mut *point {
                let length: f32 = Exp1.sample(rng);
                sum += f64::from(length);
                *x = if rng.next_u32() & 1 == 0 { length } else { -length };
            }
            radius * uniform(rng) / sum
        }
        Norm::L2 => {
            let mut squares = 0f64;
            for x in &mut *point {
                *x = StandardNormal.sample(rng);
                squares += f64::from(*x * *x);
            }
            let inside = uniform(rng).powf(1.0 / point.len() as f64);
            radius * uniform(rng) * inside / squares.sqrt()
        }
        Norm::Linf => {
            for x in &mut *point {
                *x = (2.0 * uniform(rng) - 1.0) as f32;
            }
            radius
        }
    };
    for x in point {
        *x *= scale as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;
    use gauntlet_core::model::Model;
    use gauntlet_core::oracle::Settings;
    use gauntlet_core::testing::Affine;
    use rand_chacha::rand_core::SeedableRng;
    use tch::Device;

    fn score<const P: usize>(model: &Affine, image: &Tensor, goal: Goal) -> Vec<f64> {
        let params =
            CleverParams { batches: 5, samples: 7, rivals: 0, ..CleverParams::<P>::default() };
        let cases = Cases::new(image.unsqueeze(0), vec![goal]).unwrap();
        let oracle = Oracle::new(model, vec![3], Settings { lanes: 4, ..Settings::default() });
        let values = Clever::new(params).unwrap().model(&oracle, &cases).unwrap();
        let classes =
            if matches!(goal, Goal::Away(_)) { model.card().classes as u64 - 1 } else { 1 };
        assert_eq!(oracle.passes()[0].backward, classes * 35);
        values
    }

    #[test]
    fn exact_on_an_affine_model() {
        for seed in 0..3 {
            for classes in [2, 5] {
                let model = Affine::new(classes, 4, seed);
                let image = Tensor::full([3, 4, 4], 0.4, (Kind::Float, Device::Cpu));
                let label = model.logits(&image.unsqueeze(0)).argmax(1, false).int64_value(&[0]);
                let goals = [Goal::Away(label), Goal::Towards((label + 1) % classes)];
                // Towards one of many classes only the true one is left behind: known for two.
                for goal in goals.into_iter().take(if classes == 2 { 2 } else { 1 }) {
                    let [linf, l2, l1] = model.distances(&image, goal);
                    for (found, exact) in [
                        (score::<INFINITY>(&model, &image, goal), linf),
                        (score::<2>(&model, &image, goal), l2),
                        (score::<1>(&model, &image, goal), l1),
                    ] {
                        assert_relative_eq!(found[0], exact, max_relative = 1e-5);
                        assert_eq!(
                            (found[1], found[2], found[4], found[5]),
                            (found[0], found[0], 1.0, 1.0),
                            "exact, so the interval is empty"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn points_lie_in_the_ball_and_fill_its_radius() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut point = vec![0f32; 300];
        for norm in [Norm::L1, Norm::L2, Norm::Linf] {
            let mut length = || {
                draw(norm, &mut rng, 2.0, &mut point);
                norm.of(&Tensor::from_slice(&point).view([1, 3, 10, 10]))
                    .double_value(&[0, 0, 0, 0])
            };
            let greatest = (0..200).map(|_| length()).fold(0.0, f64::max);
            assert!((1.9..=2.0 + 1e-5).contains(&greatest), "{norm:?}: {greatest}");
        }
    }

    #[test]
    fn an_interval_surrounds_the_estimate() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let maxima: Vec<f64> =
            (0..100).map(|_| 5.0 - (-uniform(&mut rng).ln()).powf(0.25)).collect();
        let estimate = CleverEstimate::new(10.0, &maxima, 100, &mut rng);
        assert!(estimate.good && estimate.p > GOOD);
        assert!(
            estimate.low < estimate.score && estimate.score < estimate.high,
            "{} {} {}",
            estimate.low,
            estimate.score,
            estimate.high
        );
        assert_relative_eq!(estimate.lipschitz, 5.0, epsilon = 0.3);
    }
}
