//! The nearest point of a hyperplane and the box. Croce and Hein, "Minimally distorted Adversarial
//! Examples with a Fast Adaptive Boundary Attack", ICML 2020, section 2.2 and appendix A.

use gauntlet_core::attack::Norm;
use gauntlet_core::prelude::{Kind, Tensor};

/// Most rounds of the search for a step length. Newton's steps end after a few.
const ROUNDS: usize = 60;

/// The shortest step d in the norm that takes each point t into the hyperplane w·(t + d) = b and
/// keeps it in [0, 1]. `points` and `normals` are M×P, `offsets` is M, the step M×P. Where the
/// hyperplane misses the box, every element goes to the end of the box that is nearest to it.
/// Elements with a weight of zero (below 1e-8 in ℓ2 and ℓ1) do not move.
pub fn to_hyperplane(norm: Norm, points: &Tensor, normals: &Tensor, offsets: &Tensor) -> Tensor {
    let signed = dot(normals, points) - offsets;
    // w·d is to fall by |w·t − b|: so each element moves against its weight's sign.
    let direction = signed.ge(0.0).to_kind(Kind::Float) * 2.0 - 1.0;
    let signs = normals.sign() * direction.unsqueeze(1);
    let least = if norm == Norm::Linf { f64::MIN_POSITIVE } else { 1e-8 };
    let moves = normals.abs().gt(least).to_kind(Kind::Float);
    let weights = normals.abs() * &moves;
    // To 0 for an element that falls, to 1 for one that rises.
    let room = (signs.lt(0.0).to_kind(Kind::Float) - points).abs() * &moves;
    let needed = signed.abs();
    let step = match norm {
        Norm::L1 => greedy(&weights, &room, &needed),
        Norm::L2 => capped(&weights, &weights, &room, &needed),
        Norm::Linf => capped(&weights, &moves, &room, &needed),
    };
    -step * signs
}

/// min(r·speed, room) with the smallest r at which Σ weight·min(r·speed, room) is what is needed.
///
/// The sum is concave in r: Newton's steps from r = 0 rise to it and end on its linear piece.
fn capped(weights: &Tensor, speeds: &Tensor, room: &Tensor, needed: &Tensor) -> Tensor {
    let gains = weights * speeds;
    let mut r = needed.zeros_like();
    for _ in 0..ROUNDS {
        let moved = (speeds * r.unsqueeze(1)).minimum(room);
        let missing = needed - dot(weights, &moved);
        let free = (speeds * r.unsqueeze(1)).lt_tensor(room).to_kind(Kind::Float);
        let slope = dot(&gains, &free);
        // Without a free element the hyperplane misses the box, and r is as great as can be.
        let rise = (&missing / slope.clamp_min(1e-30)).clamp(0.0, 1e12);
        let open = missing.gt_tensor(&(needed * 1e-7)).logical_and(&slope.gt(0.0));
        let next = &r + rise * open.to_kind(Kind::Float);
        if next == r {
            break;
        }
        r = next;
    }
    (speeds * r.unsqueeze(1)).minimum(room)
}

/// Fills the room of the elements in the order of their weights, the greatest first, until what is
/// needed is reached: the shortest step in ℓ1.
fn greedy(weights: &Tensor, room: &Tensor, needed: &Tensor) -> Tensor {
    let (descending, order) = weights.sort(1, true);
    let gains = &descending * room.gather(1, &order, false);
    let before = gains.cumsum(1, Kind::Float) - &gains;
    let used = (needed.unsqueeze(1) - before).clamp_min(0.0).minimum(&gains);
    let steps = used / descending.clamp_min(1e-30);
    weights.zeros_like().scatter(1, &order, &steps)
}

fn dot(a: &Tensor, b: &Tensor) -> Tensor {
    (a * b).sum_dim_intlist(1, false, Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_norm_has_its_own_nearest_point() {
        let point = Tensor::from_slice(&[0.5f32, 0.5]).unsqueeze(0);
        let normal = Tensor::from_slice(&[3.0f32, -1.0]).unsqueeze(0);
        let offset = Tensor::from_slice(&[0.6f32]); // w·t is 1, and is to fall by 0.4
        for (norm, expected) in
            [(Norm::Linf, [-0.1, 0.1]), (Norm::L2, [-0.12, 0.04]), (Norm::L1, [-0.4 / 3.0, 0.0])]
        {
            let found = to_hyperplane(norm, &point, &normal, &offset);
            for (n, expected) in expected.into_iter().enumerate() {
                assert!((found.double_value(&[0, n as i64]) - expected).abs() < 1e-6, "{norm:?}");
            }
        }
    }
}
