//! Batches of images as rows: parts of batches, lengths, and the best row so far.

use gauntlet_core::attack::{Batch, Cases, Norm};
use gauntlet_core::device::upload;
use gauntlet_core::prelude::tch::Device;
use gauntlet_core::prelude::*;

/// The cases with these indices, in batches of at most `lanes`.
pub fn in_batches<'a>(
    cases: &'a Cases,
    members: &'a [usize],
    lanes: usize,
) -> impl Iterator<Item = Batch> + 'a {
    members.chunks(lanes.max(1)).map(|members| {
        let pixels = rows_of(&cases.pixels, members);
        let goals: Vec<Goal> = members.iter().map(|&case| cases.goals[case]).collect();
        Batch { cases: members.to_vec(), goals: Goals::new(&goals, &pixels), pixels }
    })
}

/// The rows of a batch with these indices.
pub fn some(batch: &Batch, rows: &[usize]) -> Batch {
    let index = index_of(rows, &batch.pixels);
    Batch {
        cases: rows.iter().map(|&row| batch.cases[row]).collect(),
        pixels: batch.pixels.index_select(0, &index),
        goals: batch.goals.select(&index),
    }
}

/// The rows of a tensor with these indices.
pub fn rows_of(tensor: &Tensor, rows: &[usize]) -> Tensor {
    tensor.index_select(0, &index_of(rows, tensor))
}

/// Numbers of rows as a tensor on the device of `like`.
pub(super) fn index_of(rows: &[usize], like: &Tensor) -> Tensor {
    let index: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
    upload(&index, like.device())
}

/// One value for each image, M or M×1, as M×1×1×1: so it combines with M×C×H×W.
pub fn per_image(values: &Tensor) -> Tensor {
    values.view([-1, 1, 1, 1])
}

/// The length of each row in a norm: M×… → M.
pub fn length(norm: Norm, rows: &Tensor) -> Tensor {
    norm.of(&rows.flatten(1, -1)).squeeze_dim(1)
}

/// The rows divided by their lengths, M×C×H×W; a row of zeros stays one.
pub fn unit(norm: Norm, rows: &Tensor) -> Tensor {
    rows / norm.of(rows).clamp_min(1e-12)
}

/// The products of rows, summed: M×… and M×… → M.
pub fn dot(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).flatten(1, -1).sum_dim_intlist(1, false, Kind::Float)
}

/// Copies the rows of `candidates` into `best` that are better (M booleans).
///
/// On the CPU looking costs nothing, and only those rows are copied; elsewhere a mask keeps the
/// device at work.
pub fn keep(best: &mut Tensor, candidates: &Tensor, better: &Tensor) {
    if best.device() == Device::Cpu {
        let index = better.nonzero().squeeze_dim(1);
        if index.numel() > 0 {
            let _ = best.index_copy_(0, &index, &candidates.index_select(0, &index));
        }
    } else {
        let mut shape = vec![1; candidates.dim()];
        shape[0] = -1;
        *best = candidates.where_self(&better.view(shape.as_slice()), best);
    }
}
