//! One run of APGD over a batch.

use crate::parts::{
    Checkpoints, Loss, keep, l1_ball_in_box, length, per_image, rows_of, some, toward, unit,
};
use gauntlet_core::attack::Norm;
use gauntlet_core::lanes::Rows;
use gauntlet_core::prelude::*;
use std::mem;

/// What a run of APGD came across in one case.
pub struct ApgdOutcome {
    /// C×H×W: the latest point that met the goal, if any did.
    pub adversarial: Option<Tensor>,
    /// C×H×W: the point of the highest loss.
    pub best: Tensor,
    /// The highest loss.
    pub best_loss: f64,
    /// Step lengths η, each with the first step that it was for (from 0).
    pub steps: Vec<(u32, f64)>,
}

/// Where a batch starts.
pub struct Start {
    /// M×C×H×W.
    pub x: Tensor,
    /// In ℓ1, whether the first steps change a fifth of the values, or as many as the start's
    /// change suggests.
    pub dense: bool,
}

/// The settings of a run.
pub struct Ascent {
    /// What is ascended, with its sign turned, where a row has no target.
    pub loss: Loss,
    pub norm: Norm,
    pub epsilon: f64,
    pub iterations: u32,
    pub rho: f64,
    pub stop_early: bool,
    pub first_rise_above_zero: bool,
}

rows! {
    /// What a run keeps of each case.
    struct Climb {
        /// M×C×H×W: the point, the one before, and the best, with the gradients of first and last.
        x: Tensor,
        before: Tensor,
        best: Tensor,
        gradient: Tensor,
        best_gradient: Tensor,
        /// M×C×H×W: the latest point that met the goal.
        adversarial: Tensor,
        /// M booleans: whether there is one.
        found: Tensor,
        /// M: the latest loss, the best one, and the best one at the last checkpoint.
        loss: Tensor,
        best_loss: Tensor,
        checked_loss: Tensor,
        /// M: rises of the loss since the last checkpoint.
        rises: Tensor,
        /// M booleans: whether the last checkpoint halved the step.
        halved: Tensor,
        /// M: step length η.
        step: Tensor,
        /// M: in ℓ1 the part of the values that a step changes, and the number of changed values of
        /// the best point at the last checkpoint.
        part: Tensor,
        changed: Tensor,
        /// M int64: the target, if there is one.
        target: Option<Tensor>,
    }
}

impl Ascent {
    /// Runs over a batch, with an outcome for each case. With targets (M int64) the targeted ratio
    /// takes the place of the loss.
    pub fn run(
        &self,
        oracle: &Oracle,
        batch: &Batch,
        start: Start,
        target: Option<&Tensor>,
    ) -> Result<Vec<ApgdOutcome>> {
        let mut batch = some(batch, &(0..batch.cases.len()).collect::<Vec<_>>());
        let mut climb = self.begin(oracle, &batch, start, target)?;
        let mut rows: Vec<usize> = (0..batch.cases.len()).collect();
        let mut steps: Vec<Vec<(u32, f64)>> = vec![Vec::new(); rows.len()];
        let mut outcomes: Vec<Option<ApgdOutcome>> = rows.iter().map(|_| None).collect();
        let mut checkpoints = match self.norm {
            Norm::L1 => Checkpoints::equal(self.iterations),
            Norm::L2 | Norm::Linf => Checkpoints::shrinking(self.iterations),
        };
        for i in 0..=self.iterations {
            let found = Vec::<bool>::try_from(&climb.found)?;
            let ended = |row: usize| i == self.iterations || self.stop_early && found[row];
            let (done, open): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|&r| ended(r));
            for &lane in &done {
                let at = |t: &Tensor| t.get(lane as i64).copy();
                outcomes[rows[lane]] = Some(ApgdOutcome {
                    adversarial: found[lane].then(|| at(&climb.adversarial)),
                    best: at(&climb.best),
                    best_loss: climb.best_loss.double_value(&[lane as i64]),
                    steps: mem::take(&mut steps[rows[lane]]),
                });
            }
            if open.is_empty() {
                break;
            }
            if !done.is_empty() {
                batch = some(&batch, &open);
                climb = Rows::combine(&[&climb], &mut |all| rows_of(all[0], &open));
                rows = open.iter().map(|&lane| rows[lane]).collect();
            }
            let lengths = Vec::<f64>::try_from(climb.step.to_kind(Kind::Double))?;
            for (&row, length) in rows.iter().zip(lengths) {
                if steps[row].last().is_none_or(|(_, last)| *last != length) {
                    steps[row].push((i, length));
                }
            }
            self.step(oracle, &batch, &mut climb, i)?;
            if let Some(interval) = checkpoints.passed() {
                match self.norm {
                    Norm::L1 => self.check_l1(&batch.pixels, &mut climb),
                    Norm::L2 | Norm::Linf => self.check(&mut climb, interval),
                }
            }
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Losses and gradients at points, with the loss's sign turned, and whether goals are met.
    fn look(
        &self,
        oracle: &Oracle,
        batch: &Batch,
        x: &Tensor,
        target: Option<&Tensor>,
    ) -> Result<(Tensor, Tensor, Tensor)> {
        let Batch { cases, goals, .. } = batch;
        let answer = oracle.gradient(cases, x, |z| match target {
            Some(target) => -toward(goals, target, z),
            None => -self.loss.cost(goals, z),
        })?;
        Ok((answer.loss, answer.pixels, goals.met(&answer.logits, 0.0)))
    }

    fn begin(
        &self,
        oracle: &Oracle,
        batch: &Batch,
        start: Start,
        target: Option<&Tensor>,
    ) -> Result<Climb> {
        let x = start.x;
        let (loss, gradient, found) = self.look(oracle, batch, &x, target)?;
        let values = x.numel() as f64 / batch.cases.len() as f64;
        let (part, changed) = if start.dense {
            (loss.full_like(0.2), loss.full_like(values))
        } else {
            let changed = changes(&batch.pixels, &x);
            (&changed / values / 1.5, changed)
        };
        let first = if self.norm == Norm::L1 { 1.0 } else { 2.0 };
        Ok(Climb {
            before: x.copy(),
            best: x.copy(),
            best_gradient: gradient.copy(),
            gradient,
            adversarial: x.copy(),
            x,
            found: found.copy(),
            best_loss: loss.copy(),
            checked_loss: loss.copy(),
            rises: loss.zeros_like(),
            halved: found.ones_like(),
            step: loss.full_like(first * self.epsilon),
            part,
            changed,
            loss: if self.first_rise_above_zero { loss.zeros_like() } else { loss },
            target: target.map(Tensor::copy),
        })
    }

    /// Step i, and a look at the point that it leads to.
    fn step(&self, oracle: &Oracle, batch: &Batch, climb: &mut Climb, i: u32) -> Result<()> {
        let images = &batch.pixels;
        let step = per_image(&climb.step);
        let x = match self.norm {
            Norm::L1 => {
                self.project(images, &(&climb.x + sparse(&climb.gradient, &climb.part) * step))
            }
            Norm::L2 | Norm::Linf => {
                let direction = match self.norm {
                    Norm::Linf => climb.gradient.sign(),
                    _ => unit(Norm::L2, &climb.gradient),
                };
                let ahead = self.project(images, &(&climb.x + direction * step));
                // No momentum at first.
                let a = if i == 0 { 1.0 } else { 0.75 };
                let momentum = (&climb.x - &climb.before) * (1.0 - a);
                self.project(images, &(&climb.x + (ahead - &climb.x) * a + momentum))
            }
        };
        climb.before = mem::replace(&mut climb.x, x);
        let target = climb.target.as_ref();
        let (loss, gradient, met) = self.look(oracle, batch, &climb.x, target)?;
        climb.gradient = gradient;
        keep(&mut climb.adversarial, &climb.x, &met);
        climb.found = climb.found.logical_or(&met);
        climb.rises += loss.gt_tensor(&climb.loss).to_kind(Kind::Float);
        let better = loss.gt_tensor(&climb.best_loss);
        keep(&mut climb.best, &climb.x, &better);
        keep(&mut climb.best_gradient, &climb.gradient, &better);
        climb.best_loss = climb.best_loss.maximum(&loss);
        climb.loss = loss;
        Ok(())
    }

    /// A checkpoint in ℓ∞ or ℓ2, `interval` steps after the one before.
    fn check(&self, climb: &mut Climb, interval: u32) {
        let oscillates = climb.rises.le(f64::from(interval) * self.rho);
        let stands =
            climb.checked_loss.ge_tensor(&climb.best_loss).logical_and(&climb.halved.logical_not());
        let halve = oscillates.logical_or(&stands);
        climb.step *= halve.to_kind(Kind::Float) * -0.5 + 1.0;
        Self::back_to_best(climb, &halve);
        climb.halved = halve;
        climb.checked_loss = climb.best_loss.copy();
        climb.rises = climb.rises.zeros_like();
    }

    /// A checkpoint in ℓ1.
    fn check_l1(&self, images: &Tensor, climb: &mut Climb) {
        let changed = changes(images, &climb.best);
        let sparser = (&changed / &climb.changed).lt(0.95);
        let values = images.numel() as f64 / images.size()[0] as f64;
        climb.part = &changed / values / 1.5;
        let shorter = (&climb.step / 1.5).clamp(self.epsilon / 10.0, self.epsilon);
        climb.step = shorter.full_like(self.epsilon).where_self(&sparser, &shorter);
        climb.changed = changed;
        Self::back_to_best(climb, &sparser);
    }

    fn back_to_best(climb: &mut Climb, rows: &Tensor) {
        keep(&mut climb.x, &climb.best, rows);
        keep(&mut climb.gradient, &climb.best_gradient, rows);
    }

    /// Points projected onto the ball around the images, and onto the box: M×C×H×W.
    fn project(&self, images: &Tensor, x: &Tensor) -> Tensor {
        let epsilon = self.epsilon;
        let x = match self.norm {
            Norm::Linf => x.maximum(&(images - epsilon)).minimum(&(images + epsilon)),
            Norm::L2 => {
                let change = x - images;
                let length = Norm::L2.of(&change);
                change / (&length + 1e-12) * length.clamp_max(epsilon) + images
            }
            Norm::L1 => {
                let radius = images.new_full([x.size()[0]], epsilon, (Kind::Float, x.device()));
                let change = x - images;
                // In the authors' order of sums: what rounding leaves counts as a changed value.
                l1_ball_in_box(images, &change, &radius) - &change + (images + &change)
            }
        };
        x.clamp(0.0, 1.0)
    }
}

/// Number of changed values in each row, M.
fn changes(images: &Tensor, x: &Tensor) -> Tensor {
    x.not_equal_tensor(images).to_kind(Kind::Bool).flatten(1, -1).sum_dim_intlist(
        1,
        false,
        Kind::Float,
    )
}

/// The signs of the greatest elements of each gradient, divided by their number. `part` (M) says
/// how many they are; ties are all taken, and at least one is.
fn sparse(gradient: &Tensor, part: &Tensor) -> Tensor {
    let magnitudes = gradient.abs().flatten(1, -1);
    let values = magnitudes.size()[1];
    let kept: Tensor = 1.0 - part;
    let place = (kept * values as f64).clamp(0.0, (values - 1) as f64).to_kind(Kind::Int64);
    let least = magnitudes.sort(1, false).0.gather(1, &place.unsqueeze(1), false);
    let signs = gradient.sign() * magnitudes.ge_tensor(&least).view_as(gradient);
    let number = length(Norm::L1, &signs) + 1e-10;
    signs / per_image(&number)
}
