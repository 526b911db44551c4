//! The nearest of the boundaries between classes, of a network that is taken to be linear.

use super::{keep, length};
use gauntlet_core::attack::Norm;
use gauntlet_core::prelude::*;

/// A hyperplane for each of M rows, f + w·(x′ − x) = 0, with x the row's point.
pub struct Boundary {
    /// f, M: below 0 on the label's side.
    pub value: Tensor,
    /// w, M×C×H×W.
    pub normal: Tensor,
    /// |f|/‖w‖*, M: the distance in the norm.
    pub distance: Tensor,
}

/// The norm in which a gradient bounds what a change of length 1 in `norm` can do.
pub fn dual(norm: Norm) -> Norm {
    match norm {
        Norm::Linf => Norm::L1,
        Norm::L2 => Norm::L2,
        Norm::L1 => Norm::Linf,
    }
}

/// The nearest boundary of each row among those with `classes` (M×C int64): f is the class's logit
/// less that of the goal's class. Without classes there is one boundary, where the goal is met. It
/// takes a gradient for each class.
///
/// # Errors
/// Those of the oracle.
pub fn nearest_boundary(
    oracle: &Oracle,
    batch: &Batch,
    x: &Tensor,
    classes: Option<&Tensor>,
    norm: Norm,
) -> Result<Boundary> {
    let Batch { cases, goals, .. } = batch;
    let far =
        |value: &Tensor, normal: &Tensor| value.abs() / length(dual(norm), normal).clamp_min(1e-12);
    let Some(classes) = classes else {
        let answer = oracle.gradient(cases, x, |z| -goals.margin(z))?;
        let distance = far(&answer.loss, &answer.pixels);
        return Ok(Boundary { value: answer.loss, normal: answer.pixels, distance });
    };
    let mut nearest: Option<Boundary> = None;
    for class in classes.split(1, 1) {
        let answer = oracle
            .gradient(cases, x, |z| z.gather(1, &class, false).squeeze_dim(1) - goals.logit(z))?;
        let distance = far(&answer.loss, &answer.pixels);
        if let Some(nearest) = &mut nearest {
            let nearer = distance.lt_tensor(&nearest.distance);
            nearest.value = answer.loss.where_self(&nearer, &nearest.value);
            nearest.distance = distance.where_self(&nearer, &nearest.distance);
            keep(&mut nearest.normal, &answer.pixels, &nearer);
        } else {
            nearest = Some(Boundary { value: answer.loss, normal: answer.pixels, distance });
        }
    }
    nearest.context("there is no other class")
}

/// The classes beside that of each goal, the most likely first, `count` at most: M×C int64.
pub fn most_likely(goals: &Goals, logits: &Tensor, count: i64) -> Tensor {
    let others = logits.scatter_value(1, &goals.class.unsqueeze(1), f64::NEG_INFINITY);
    others.argsort(1, true).narrow(1, 0, count.clamp(0, logits.size()[1] - 1))
}
