//! Pooling.

use super::padding::same;
use tch::{Kind, Tensor};

/// Maximum over `window`×`window` positions every `stride`, without padding.
pub fn max_pool_valid(x: &Tensor, window: i64, stride: i64) -> Tensor {
    x.max_pool2d([window; 2], [stride; 2], [0; 2], [1; 2], false)
}

/// Maximum over `window`×`window` positions every `stride`, padded with −∞ as TensorFlow's SAME. At
/// stride 1 the window is odd.
pub fn max_pool_same(x: &Tensor, window: i64, stride: i64) -> Tensor {
    x.max_pool2d([window; 2], [stride; 2], before(x, window, stride), [1; 2], true)
}

/// Maximum over 3×3 positions around every second one, padded with −∞ on both sides as PyTorch
/// does.
pub fn max_pool_around(x: &Tensor) -> Tensor {
    x.max_pool2d([3; 2], [2; 2], [1; 2], [1; 2], false)
}

/// Mean over `window`×`window` positions every `stride`, without padding.
pub fn average_pool_valid(x: &Tensor, window: i64, stride: i64) -> Tensor {
    x.avg_pool2d([window; 2], [stride; 2], [0; 2], false, true, None)
}

/// Mean over `window`×`window` positions every `stride`, padded as TensorFlow's SAME: what lies
/// outside counts neither in the sum nor in the divisor. At stride 1 the window is odd.
pub fn average_pool_same(x: &Tensor, window: i64, stride: i64) -> Tensor {
    x.avg_pool2d([window; 2], [stride; 2], before(x, window, stride), true, false, None)
}

/// As [`average_pool_same`], but the zeros beyond the edge count in the divisor.
pub fn average_pool_same_counting(x: &Tensor, window: i64, stride: i64) -> Tensor {
    let size = x.size();
    let [(top, bottom), (left, right)] = [2, 3].map(|axis: usize| same(size[axis], window, stride));
    if top == bottom && left == right {
        return x.avg_pool2d([window; 2], [stride; 2], [top, left], false, true, None);
    }
    average_pool_valid(&x.constant_pad_nd([left, right, top, bottom]), window, stride)
}

/// SAME padding before each axis, for pools that round the number of windows up. SAME adds at most
/// one position more after than before, and the last window of such a pool reaches over the edge by
/// that much, without a padded copy. At stride 1 there is no further window to round up to.
fn before(x: &Tensor, window: i64, stride: i64) -> [i64; 2] {
    debug_assert!(stride > 1 || window % 2 == 1);
    let size = x.size();
    [2, 3].map(|axis: usize| same(size[axis], window, stride).0)
}

/// Mean over all positions: N×C×H×W → N×C×1×1.
pub fn global_mean(x: &Tensor) -> Tensor {
    x.mean_dim([2i64, 3].as_slice(), true, Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// Calls `check` with an n×n map, a window and a stride of every kind.
    fn for_all(check: impl Fn(&Tensor, i64, i64)) {
        for n in 1..16 {
            let x =
                (Tensor::arange(n * n, (Kind::Float, Device::Cpu)) * 2.3).sin().view([1, 1, n, n])
                    - 5;
            for window in 1..6 {
                for stride in 1..4 {
                    if stride > 1 || window % 2 == 1 {
                        check(&x, window, stride);
                    }
                }
            }
        }
    }

    fn padded(x: &Tensor, window: i64, stride: i64, value: f64) -> Tensor {
        let (before, after) = same(x.size()[2], window, stride);
        x.pad([before, after, before, after], "constant", value)
    }

    #[test]
    fn same_max_pool_equals_padding_with_minus_infinity() {
        for_all(|x, window, stride| {
            let expected =
                max_pool_valid(&padded(x, window, stride, f64::NEG_INFINITY), window, stride);
            assert_eq!(
                max_pool_same(x, window, stride),
                expected,
                "{x:?}, window {window}, stride {stride}"
            );
        });
    }

    #[test]
    fn same_average_pool_divides_by_what_is_there() {
        for_all(|x, window, stride| {
            let sum = |x: &Tensor| {
                padded(x, window, stride, 0.0).avg_pool2d(
                    [window; 2],
                    [stride; 2],
                    [0; 2],
                    false,
                    true,
                    1,
                )
            };
            let expected = sum(x) / sum(&x.ones_like());
            let distance =
                (average_pool_same(x, window, stride) - expected).abs().max().double_value(&[]);
            assert!(distance < 1e-5, "{x:?}, window {window}, stride {stride}: {distance:.1e}");
        });
    }
}
