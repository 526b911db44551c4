//! Attacks: per case, pixels that are meant to change the model's answer, or "not found".

use crate::device;
use crate::model::ImageShape;
use crate::oracle::Oracle;
use crate::params::{Params, Preset};
use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

/// An attack on classifiers.
pub trait Attack: Send + Sync + Sized + 'static {
    /// The registered name, such as `cw_l2`.
    const NAME: &'static str;

    /// One line for `runner list attacks`.
    const SUMMARY: &'static str;

    /// The settings; its `Default` is the modern default.
    type Params: Params;

    /// Further named settings, such as `eccv2018`.
    fn presets() -> Vec<Preset<Self::Params>> {
        Vec::new()
    }

    /// Checks the settings, once, before any work.
    fn new(params: Self::Params) -> Result<Self>;

    /// The ball around its image that no answer leaves, if the settings limit that.
    /// [`testing`](crate::testing) checks what is declared.
    fn budget(&self) -> Option<Budget> {
        None
    }

    /// Passes that a case with such a goal is expected to take, so that a study can be estimated
    /// before it runs. Where they depend on the image, a measured average. None: not known.
    fn cost(&self, _goal: Goal) -> Option<Cost> {
        None
    }

    /// Attacks every case; answer n belongs to case n.
    ///
    /// An answer depends on its own case alone: neither on how many cases there are nor on which.
    /// The engine verifies each answer itself, so an attack need not.
    ///
    /// # Errors
    /// Those of the oracle, handed on as they are: the model's, and the end of the time limit.
    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>>;
}

/// Passes through a model that a case is expected to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Forward passes.
    pub forward: f64,
    /// Backward passes, to the input; each comes after one of the forward passes.
    pub backward: f64,
}

impl Cost {
    /// The cost of `count` gradients: a forward and a backward pass each.
    pub fn gradients(count: f64) -> Self {
        Self { forward: count, backward: count }
    }
}

/// A ball around the image that an attack does not leave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Budget {
    /// The norm of the change of the whole image.
    pub norm: Norm,
    /// Greatest value of the norm, pixels in [0, 1].
    pub radius: f64,
}

impl Budget {
    /// Checks that an adversarial lies in the ball around its original, C×H×W float32 each. Rounding
    /// errors of float32 are let pass.
    ///
    /// # Errors
    /// When it lies outside.
    pub fn check(self, original: &Tensor, adversarial: &Tensor) -> Result<()> {
        let change = (adversarial - original).unsqueeze(0).to_kind(Kind::Double);
        let distance = self.norm.of(&change).double_value(&[0, 0, 0, 0]);
        let norm = format!("{:?}", self.norm).to_lowercase();
        ensure!(
            distance <= self.radius * (1.0 + 1e-5) + SLACK,
            "the pixels lie {distance:.6} away ({norm}), expected {:.6} at the most",
            self.radius
        );
        Ok(())
    }
}

/// A norm of the change of a whole image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Greatest change of an element.
    Linf,
    /// Sum of the absolute changes.
    L1,
    /// Euclidean.
    L2,
}

impl Norm {
    /// The norm of each row, with the dimensions kept: M×C×H×W → M×1×1×1.
    pub fn of(self, rows: &Tensor) -> Tensor {
        let over: Vec<i64> = (1..rows.dim() as i64).collect();
        match self {
            Self::Linf => rows.abs().amax(over, true),
            Self::L1 => rows.abs().sum_dim_intlist(over, true, rows.kind()),
            Self::L2 => rows.square().sum_dim_intlist(over, true, rows.kind()).sqrt(),
        }
    }
}

/// What an attack is to bring about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Goal {
    /// Untargeted: any class but this one.
    Away(i64),
    /// Targeted: this class.
    Towards(i64),
}

impl Goal {
    /// The class that the goal speaks of.
    pub fn class(self) -> i64 {
        match self {
            Self::Away(class) | Self::Towards(class) => class,
        }
    }

    /// Whether a model whose answer is `class` meets the goal.
    pub fn met_by(self, class: i64) -> bool {
        match self {
            Self::Away(label) => class != label,
            Self::Towards(target) => class == target,
        }
    }

    /// Whether logits (K) meet the goal by the rule of the ECCV 2018 study's drivers. The answer is
    /// the last of the greatest logits. A target also counts when it and some other class lie
    /// within `tolerance` of the greatest logit; the last class is left out of that comparison.
    /// Logits that are not finite meet no goal.
    pub fn met_within(self, logits: &[f32], tolerance: f64) -> bool {
        if logits.iter().any(|logit| !logit.is_finite()) {
            return false;
        }
        let Some((answer, top)) = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))
        else {
            return false;
        };
        if self.met_by(answer as i64) || tolerance == 0.0 {
            return self.met_by(answer as i64);
        }
        let near = |class: usize| (f64::from(logits[class]) - f64::from(*top)).abs() < tolerance;
        let others = logits.len() - 1;
        match self {
            Self::Away(_) => false,
            Self::Towards(target) => {
                (target as usize) < others
                    && near(target as usize)
                    && (0..others).filter(|&k| near(k)).count() > 1
            }
        }
    }
}

/// Images with a goal each.
pub struct Cases {
    /// N×C×H×W float32 in [0, 1].
    pub pixels: Tensor,
    /// N goals.
    pub goals: Vec<Goal>,
}

impl Cases {
    /// Pairs images with goals.
    ///
    /// # Errors
    /// When the pixels are not one image, grey or RGB, for each goal.
    pub fn new(pixels: Tensor, goals: Vec<Goal>) -> Result<Self> {
        let size = pixels.size();
        ensure!(
            size.len() == 4 && [1, 3].contains(&size[1]) && size[0] == goals.len() as i64,
            "{} goals need pixels {}×C×H×W with C = 1 or 3, found {size:?}",
            goals.len(),
            goals.len()
        );
        Ok(Self { pixels, goals })
    }

    /// Number of cases.
    pub fn len(&self) -> usize {
        self.goals.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.goals.is_empty()
    }

    /// The pixels of one case, C×H×W.
    pub fn image(&self, case: usize) -> Tensor {
        self.pixels.get(case as i64)
    }

    /// The cases in order, in batches of at most `lanes`: for an attack whose cases all take the
    /// same steps, with [`Oracle::lanes`]. One whose cases end at different times is driven by
    /// [`lanes`](crate::lanes).
    pub fn batches(&self, lanes: usize) -> impl Iterator<Item = Batch> {
        let lanes = lanes.max(1);
        (0..self.len()).step_by(lanes).map(move |first| {
            let cases: Vec<usize> = (first..self.len().min(first + lanes)).collect();
            let pixels = self.pixels.narrow(0, first as i64, cases.len() as i64);
            let goals = Goals::new(&self.goals[first..first + cases.len()], &pixels);
            Batch { cases, pixels, goals }
        })
    }
}

/// Some of the [`Cases`], as the [`Oracle`] takes them: M of them.
pub struct Batch {
    /// Index of each case in the [`Cases`].
    pub cases: Vec<usize>,
    /// M×C×H×W float32 in [0, 1], a view of the [`Cases`]' pixels.
    pub pixels: Tensor,
    /// M goals.
    pub goals: Goals,
}

/// An attack's answer for one case.
#[derive(Debug)]
pub enum Answer {
    /// C×H×W float32 pixels in [0, 1] that the attack stands by: an adversarial that it found or,
    /// for a one-shot attack such as FGSM, its only attempt. The engine decides whether the goal
    /// is met.
    Pixels(Tensor),
    /// The search ended without an adversarial.
    NotFound,
}

impl Answer {
    /// An answer for each row of M×C×H×W pixels.
    pub fn rows(pixels: &Tensor) -> impl Iterator<Item = Self> {
        pixels.unbind(0).into_iter().map(Self::Pixels)
    }
}

/// How far rounding may put pixels outside [0, 1]. Such pixels are clamped.
const SLACK: f64 = 1e-6;

/// Checks the pixels of an answer, and brings them to the CPU.
///
/// # Errors
/// When they are not finite float32 in [0, 1] of that shape, C×H×W.
pub fn admit(pixels: &Tensor, shape: ImageShape) -> Result<Tensor> {
    ensure!(pixels.defined(), "no tensor");
    ensure!(pixels.kind() == Kind::Float, "the pixels are {:?}, expected Float", pixels.kind());
    ensure!(
        pixels.size() == shape.batch(1)[1..],
        "the pixels have shape {:?}, expected {:?}",
        pixels.size(),
        &shape.batch(1)[1..]
    );
    let pixels = pixels.detach().to_device(Device::Cpu).contiguous();
    let broken = pixels.isfinite().logical_not().sum(Kind::Int64).int64_value(&[]);
    ensure!(broken == 0, "{broken} of the pixels are not finite numbers");
    let (low, high) = (pixels.min().double_value(&[]), pixels.max().double_value(&[]));
    ensure!(
        low >= -SLACK && high <= 1.0 + SLACK,
        "the pixels run from {low} to {high}, expected within [0, 1]"
    );
    Ok(pixels.clamp(0.0, 1.0))
}

/// The goals of a batch as tensors, for losses over mixed goals. M is the batch's size.
pub struct Goals {
    /// M int64: the class that each goal speaks of.
    pub class: Tensor,
    /// M float32: +1 away from the class, −1 towards it.
    pub sign: Tensor,
}

impl Goals {
    /// Puts the goals of a batch on the device of `like`.
    pub fn new(goals: &[Goal], like: &Tensor) -> Self {
        let class: Vec<i64> = goals.iter().map(|g| g.class()).collect();
        let sign: Vec<f32> =
            goals.iter().map(|g| if matches!(g, Goal::Away(_)) { 1.0 } else { -1.0 }).collect();
        Self {
            class: device::upload(&class, like.device()),
            sign: device::upload(&sign, like.device()),
        }
    }

    /// The goals of some rows; `index` is int64 and on the goals' device.
    #[must_use]
    pub fn select(&self, index: &Tensor) -> Self {
        Self { class: self.class.index_select(0, index), sign: self.sign.index_select(0, index) }
    }

    /// The logit of each goal's class: M×K → M.
    pub fn logit(&self, logits: &Tensor) -> Tensor {
        logits.gather(1, &self.class.unsqueeze(1), false).squeeze_dim(1)
    }

    /// The greatest logit among the other classes: M×K → M.
    pub fn best_other(&self, logits: &Tensor) -> Tensor {
        logits.scatter_value(1, &self.class.unsqueeze(1), f64::NEG_INFINITY).amax([1], false)
    }

    /// How far each goal still is, in logits: M×K → M. Away from y: z_y − max of the others;
    /// towards t: max of the others − z_t. Below zero the goal is met.
    pub fn margin(&self, logits: &Tensor) -> Tensor {
        (self.logit(logits) - self.best_other(logits)) * &self.sign
    }

    /// Whether each goal is met when the class's logit is first moved by `kappa` against the goal
    /// (the confidence of Carlini and Wagner): M×K logits → M booleans. Of equal logits the first
    /// wins. Logits that are not finite meet no goal.
    pub fn met(&self, logits: &Tensor, kappa: f64) -> Tensor {
        let index = self.class.unsqueeze(1);
        let handicapped = if kappa == 0.0 {
            logits.shallow_clone()
        } else {
            logits.scatter_add(1, &index, &(&self.sign * kappa).unsqueeze(1).to_kind(logits.kind()))
        };
        let same = handicapped.argmax(1, false).eq_tensor(&self.class);
        let met = same.not_equal_tensor(&self.sign.gt(0.0)).to_kind(Kind::Bool);
        met.logical_and(&logits.isfinite().all_dim(1, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).unsqueeze(0)
    }

    #[test]
    fn margins_cross_zero_where_the_answer_changes() {
        let logits = row(&[1.0, 3.0, 2.0]);
        for (goal, margin, met) in [
            (Goal::Away(1), 1.0, false),
            (Goal::Away(0), -2.0, true),
            (Goal::Towards(1), -1.0, true),
            (Goal::Towards(2), 1.0, false),
        ] {
            let goals = Goals::new(&[goal], &logits);
            assert_eq!(goals.margin(&logits).double_value(&[0]), margin, "{goal:?}");
            assert_eq!(goals.met(&logits, 0.0).int64_value(&[0]) == 1, met, "{goal:?}");
            assert_eq!(goal.met_by(1), met, "{goal:?}");
        }
    }

    #[test]
    fn kappa_asks_for_more_than_the_answer() {
        let logits = row(&[1.0, 3.0, 2.0]);
        for (goal, kappa, met) in [
            (Goal::Towards(1), 0.5, true),
            (Goal::Towards(1), 1.5, false),
            (Goal::Away(0), 1.5, true),
            (Goal::Away(0), 2.5, false),
        ] {
            let goals = Goals::new(&[goal], &logits);
            assert_eq!(goals.met(&logits, kappa).int64_value(&[0]) == 1, met, "{goal:?} κ {kappa}");
        }
    }

    #[test]
    fn batches_hold_every_case_once_and_in_order() {
        let pixels = Tensor::arange(5 * 3 * 2 * 2, (Kind::Float, Device::Cpu)).view([5, 3, 2, 2]);
        let cases = Cases::new(pixels, (0..5).map(Goal::Away).collect()).unwrap();
        for (lanes, sizes) in [(0, &[1; 5][..]), (2, &[2, 2, 1]), (5, &[5]), (7, &[5])] {
            let batches: Vec<Batch> = cases.batches(lanes).collect();
            assert!(batches.iter().map(|batch| batch.cases.len()).eq(sizes.iter().copied()));
            let numbers: Vec<usize> =
                batches.iter().flat_map(|batch| batch.cases.clone()).collect();
            assert_eq!(numbers, [0, 1, 2, 3, 4]);
            let join = |part: fn(&Batch) -> &Tensor| {
                Tensor::cat(&batches.iter().map(part).collect::<Vec<_>>(), 0)
            };
            assert_eq!(join(|batch| &batch.pixels), cases.pixels);
            assert_eq!(join(|batch| &batch.goals.class), Tensor::from_slice(&[0i64, 1, 2, 3, 4]));
        }
        let none = Tensor::zeros([0, 3, 2, 2], (Kind::Float, Device::Cpu));
        assert_eq!(Cases::new(none, vec![]).unwrap().batches(2).count(), 0);
    }

    #[test]
    fn cases_check_their_shape() {
        let pixels = Tensor::zeros([2, 3, 4, 4], (Kind::Float, Device::Cpu));
        let error = Cases::new(pixels, vec![Goal::Away(0)]).err().unwrap().to_string();
        assert_eq!(error, "1 goals need pixels 1×C×H×W with C = 1 or 3, found [2, 3, 4, 4]");
    }
}
