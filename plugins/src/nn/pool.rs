//! Pooling.

use super::padding::same;
use tch::{Kind, Tensor};

/// Maximum over `window`×`window` positions every `stride`, without padding.
pub fn max_pool_valid(x: &Tensor, window: i64, stride: i64) -> Tensor {
    x.max_pool2d([window; 2], [stride; 2], [0; 2], [1; 2], false)
}

/// Maximum over `window`×`window` positions every `stride` ≥ 2, padded with −∞ as TensorFlow's SAME.
pub fn max_pool_same(x: &Tensor, window: i64, stride: i64) -> Tensor {
    let size = x.size();
    let before = [2, 3].map(|axis: usize| same(size[axis], window, stride).0);
    // SAME adds at most one position more after than before; rounding the number of windows up
    // lets the last one reach over the edge by that much, without a padded copy.
    x.max_pool2d([window; 2], [stride; 2], before, [1; 2], true)
}

/// Mean over all positions: N×C×H×W → N×C×1×1.
pub fn global_mean(x: &Tensor) -> Tensor {
    x.mean_dim([2i64, 3].as_slice(), true, Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn same_max_pool_equals_padding_with_minus_infinity() {
        for n in 1..16 {
            for window in 1..6 {
                for stride in 2..4 {
                    let x = (Tensor::arange(n * n, (Kind::Float, Device::Cpu)) * 2.3).sin().view([1, 1, n, n]) - 5;
                    let (before, after) = same(n, window, stride);
                    let padded = x.pad([before, after, before, after], "constant", f64::NEG_INFINITY);
                    let expected = max_pool_valid(&padded, window, stride);
                    assert_eq!(max_pool_same(&x, window, stride), expected, "n {n}, window {window}, stride {stride}");
                }
            }
        }
    }
}
