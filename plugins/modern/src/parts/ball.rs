//! Projections onto balls, and onto a ball and the box at once.

use super::per_image;
use gauntlet_core::attack::Norm;
use gauntlet_core::prelude::{Kind, Tensor};

/// Most rounds of the search for a threshold. Newton's steps end after a few; each round that they
/// cannot take halves an interval.
const ROUNDS: usize = 60;

/// Shortens changes δ (M×C×H×W) that are longer than their radius (M): in ℓ∞ each element is
/// clamped, in ℓ2 and ℓ1 the change is scaled. In ℓ1 that is not the nearest point of the ball.
pub fn clip(norm: Norm, delta: &Tensor, radius: &Tensor) -> Tensor {
    let radius = per_image(radius);
    match norm {
        Norm::Linf => delta.minimum(&radius).maximum(&-radius),
        Norm::L1 | Norm::L2 => delta * (radius / norm.of(delta).clamp_min(1e-12)).clamp_max(1.0),
    }
}

/// Keeps the greatest |δ| of each row, as many as `count` (M, at least 1), and puts zero in place
/// of the others. Of equal ones at the threshold all are kept.
pub fn l0_ball(delta: &Tensor, count: &Tensor) -> Tensor {
    let magnitudes = delta.abs().flatten(1, -1);
    let (descending, _) = magnitudes.sort(1, true);
    let last = (count.to_kind(Kind::Int64) - 1).clamp(0, magnitudes.size()[1] - 1);
    let threshold = descending.gather(1, &last.unsqueeze(1), false);
    delta * magnitudes.ge_tensor(&threshold).view_as(delta)
}

/// The nearest point (ℓ2) of the ℓ1 ball with this radius (M) to each change δ (M×C×H×W).
///
/// Duchi et al., "Efficient Projections onto the ℓ1-Ball", ICML 2008: δᵢ moves towards 0 by the one
/// threshold τ at which the sum of what is left is the radius.
pub fn l1_ball(delta: &Tensor, radius: &Tensor) -> Tensor {
    let magnitudes = delta.abs().flatten(1, -1);
    let tau = threshold(&magnitudes, &magnitudes, radius);
    let tau = per_image(&tau);
    delta - delta.minimum(&tau).maximum(&-tau)
}

/// The nearest change (ℓ2) to δ (M×C×H×W) that lies in the ℓ1 ball with this radius (M) and keeps
/// the image (M×C×H×W) in [0, 1].
///
/// Croce and Hein, "Mind the box: l1-APGD for sparse adversarial attacks on image classifiers",
/// ICML 2021, section 2.2: |δᵢ| falls by one threshold τ, but not below 0, and is then cut to the
/// room that the box leaves.
pub fn l1_ball_in_box(images: &Tensor, delta: &Tensor, radius: &Tensor) -> Tensor {
    // To 1 for a change upwards, to 0 for one downwards.
    let room = (delta.ge(0.0).to_kind(Kind::Float) - images).abs();
    let magnitudes = delta.abs();
    let tau = threshold(&magnitudes.flatten(1, -1), &room.flatten(1, -1), radius);
    delta.sign() * (magnitudes - per_image(&tau)).clamp_min(0.0).minimum(&room)
}

/// The threshold τ ≥ 0 (M) at which Σᵢ min(max(aᵢ − τ, 0), capᵢ) is the radius (M), or 0 where the
/// sum is smaller at once. `a` and `caps` are M×P, from 0.
///
/// The sum falls with τ and is linear between breakpoints. Newton's steps find its piece, and an
/// interval that holds τ catches those that leave it. That takes a few sums, where sorting the
/// breakpoints takes many times as long.
fn threshold(a: &Tensor, caps: &Tensor, radius: &Tensor) -> Tensor {
    let (mut low, mut high) = (radius.zeros_like(), a.amax([1], false));
    let mut tau = low.copy();
    let mut open = tau.ones_like();
    for _ in 0..ROUNDS {
        let left = (a - tau.unsqueeze(1)).clamp_min(0.0);
        let inner = left.gt(0.0).logical_and(&left.lt_tensor(caps)).to_kind(Kind::Float);
        let capped = left.minimum(caps);
        let excess = capped.sum_dim_intlist(1, false, Kind::Float) - radius;
        let slope = inner.sum_dim_intlist(1, false, Kind::Float);
        // A ball that is wide enough keeps τ = 0; otherwise a sum to float32 noise is exact.
        let done = excess
            .le_tensor(&(radius * 1e-6))
            .logical_and(&tau.eq(0.0).logical_or(&excess.ge_tensor(&(radius * -1e-6))));
        open *= done.logical_not().to_kind(Kind::Float);
        if open.sum(Kind::Float).double_value(&[]) == 0.0 {
            break;
        }
        let above = excess.gt(0.0);
        low = tau.where_self(&above.logical_and(&open.gt(0.0)), &low);
        high = high.where_self(&above.logical_or(&open.le(0.0)), &tau);
        let newton = &tau + &excess / slope.clamp_min(1.0);
        let middle = (&low + &high) * 0.5;
        let inside = newton
            .ge_tensor(&low)
            .logical_and(&newton.le_tensor(&high))
            .logical_and(&slope.gt(0.0));
        let next = newton.where_self(&inside, &middle);
        let still = open.gt(0.0).logical_and(&next.not_equal_tensor(&tau).to_kind(Kind::Bool));
        open = still.to_kind(Kind::Float);
        tau = next.where_self(&still, &tau);
    }
    tau
}

#[cfg(test)]
mod tests {
    use super::*;
    use gauntlet_core::prelude::tch::Device;

    fn rows(values: &[f32], count: i64) -> Tensor {
        Tensor::from_slice(values).view([count, -1, 1, 1])
    }

    #[test]
    fn the_l1_ball_takes_one_threshold_off_every_element() {
        let found = l1_ball(&rows(&[0.5, -0.3, 0.1, 0.0], 1), &Tensor::from_slice(&[0.5f32]));
        let expected = rows(&[0.35, -0.15, 0.0, 0.0], 1);
        assert!((found - expected).abs().max().double_value(&[]) < 1e-6);
    }

    #[test]
    fn a_point_of_ball_and_box_stays() {
        let (images, delta) = (rows(&[0.2, 0.9], 1), rows(&[0.1, -0.2], 1));
        let found = l1_ball_in_box(&images, &delta, &Tensor::from_slice(&[1f32]));
        assert_eq!(found, delta);
    }

    #[test]
    fn no_row_of_a_projection_depends_on_another() {
        let delta = (Tensor::arange(40, (Kind::Float, Device::Cpu)) * 0.7).sin();
        let delta = delta.view([4, 10, 1, 1]);
        let images = delta.abs() * 0.5;
        let radius = Tensor::from_slice(&[0.1f32, 1.0, 3.0, 50.0]);
        for project in [|_: &Tensor, d: &Tensor, r: &Tensor| l1_ball(d, r), l1_ball_in_box] {
            let together = project(&images, &delta, &radius);
            for row in 0..4 {
                let one = |t: &Tensor| t.narrow(0, row, 1);
                let alone = project(&one(&images), &one(&delta), &one(&radius));
                assert_eq!(alone, one(&together));
            }
        }
    }
}
