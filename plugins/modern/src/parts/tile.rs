//! The windows of noise of the Square Attack.

use gauntlet_core::prelude::{Kind, Tensor};

/// The tile of noise of a side (section 3.3 of the paper): two halves of opposite signs, of length
/// 1 together.
pub fn noise_tile(side: i64) -> Tensor {
    let upper = half(side / 2, side);
    let lower = half(side - side / 2, side);
    let tile = Tensor::cat(&[upper, -lower], 0);
    let length = tile.square().sum(Kind::Float).sqrt();
    tile / length
}

/// Nested rectangles around the middle, the k-th with 1/k² more, of length 1.
fn half(rows: i64, columns: i64) -> Tensor {
    let mut values = vec![0f32; (rows * columns) as usize];
    let (middle, centre) = (rows / 2, columns / 2);
    for k in 0..=(rows / 2).max(columns / 2) {
        let share = 1.0 / ((k + 1) * (k + 1)) as f32;
        for row in (middle - k).max(0)..(middle + k + 1).min(rows) {
            for column in (centre - k).max(0)..(centre + k + 1).min(columns) {
                values[(row * columns + column) as usize] += share;
            }
        }
    }
    let half = Tensor::from_slice(&values).view([rows, columns]);
    let length = half.square().sum(Kind::Float).sqrt().clamp_min(1e-12);
    half / length
}
