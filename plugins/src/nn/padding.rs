//! Where zeros go around an input.

use tch::Tensor;

/// How many rows and columns are added around the input of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// None.
    Valid,
    /// TensorFlow's SAME, see [`same`]: the output has ⌈n/stride⌉ positions.
    Same,
    /// k − 1 in all, half of it before, whatever the stride and the input's size.
    Symmetric,
}

impl Padding {
    /// Positions added before and after an axis of `n` positions under a window of `kernel`.
    pub fn amounts(self, n: i64, kernel: i64, stride: i64) -> (i64, i64) {
        match self {
            Self::Valid => (0, 0),
            Self::Same => same(n, kernel, stride),
            Self::Symmetric => ((kernel - 1) / 2, kernel / 2),
        }
    }
}

/// TensorFlow's SAME padding of an axis: max((⌈n/s⌉ − 1)·s + k − n, 0) in all, the smaller half
/// before and the larger after.
pub fn same(n: i64, kernel: i64, stride: i64) -> (i64, i64) {
    let outputs = (n + stride - 1) / stride;
    let total = ((outputs - 1) * stride + kernel - n).max(0);
    (total / 2, total - total / 2)
}

/// A convolution along one axis, without the ends of its kernel that see zeros at every position.
/// On small maps these ends are most of a large kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axis {
    /// First position of the kernel that is used, and how many positions are.
    kernel: (i64, i64),
    before: i64,
    after: i64,
}

impl Axis {
    fn new(n: i64, kernel: i64, padding: Padding, stride: i64) -> Self {
        let (before, after) = padding.amounts(n, kernel, stride);
        let last = (n + before + after - kernel) / stride * stride; // how far the kernel moves
        let first_unused = (before - last).max(0);
        let last_unused = (kernel - before - n).max(0);
        Self {
            kernel: (first_unused, kernel - first_unused - last_unused),
            before: before - first_unused,
            after: after - last_unused,
        }
    }
}

/// Input, kernel and symmetric padding of the convolution of `x` with `kernel`, out×in×H×W. The
/// input is copied, with zeros around it, only where the two sides of an axis differ: libtorch adds
/// symmetric padding without a copy. The kernel is the part that ever meets the input.
pub(super) fn split(
    x: &Tensor,
    kernel: &Tensor,
    padding: Padding,
    stride: i64,
) -> (Tensor, Tensor, [i64; 2]) {
    let (size, window) = (x.size(), kernel.size());
    let [rows, columns] =
        [2, 3].map(|axis: usize| Axis::new(size[axis], window[axis], padding, stride));
    let used = [(2, rows), (3, columns)].into_iter().fold(
        kernel.shallow_clone(),
        |kernel, (axis, Axis { kernel: (first, count), .. })| {
            if count == window[axis as usize] { kernel } else { kernel.narrow(axis, first, count) }
        },
    );
    if rows.before == rows.after && columns.before == columns.after {
        (x.shallow_clone(), used, [rows.before, columns.before])
    } else {
        (x.constant_pad_nd([columns.before, columns.after, rows.before, rows.after]), used, [0, 0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn same_padding_follows_tensorflow() {
        // n, kernel, stride, before, after
        let table = [
            (224, 3, 1, 1, 1),
            (224, 3, 2, 0, 1),
            (299, 3, 2, 1, 1),
            (224, 7, 2, 2, 3),
            (299, 7, 2, 3, 3),
            (150, 3, 2, 0, 1),
            (75, 3, 2, 1, 1),
            (7, 2, 2, 0, 1),
            (8, 2, 2, 0, 0),
            (5, 1, 2, 0, 0),
            (6, 1, 2, 0, 0),
            (11, 5, 3, 1, 2),
            (4, 4, 1, 1, 2),
            (1, 3, 2, 1, 1),
        ];
        for (n, kernel, stride, before, after) in table {
            assert_eq!(
                same(n, kernel, stride),
                (before, after),
                "n {n}, kernel {kernel}, stride {stride}"
            );
        }
    }

    #[test]
    fn leaving_out_what_sees_only_zeros_changes_nothing() {
        let wave = |size: &[i64]| {
            (Tensor::arange(size.iter().product::<i64>(), (Kind::Float, Device::Cpu)) * 1.7)
                .sin()
                .view(size)
        };
        let mut left_out = 0;
        for n in 1..8 {
            for k in 1..8 {
                for stride in 1..4 {
                    for padding in [Padding::Same, Padding::Symmetric] {
                        let (x, kernel) = (wave(&[1, 2, n, n + 3]), wave(&[3, 2, k, k]));
                        let (top, bottom) = padding.amounts(n, k, stride);
                        let (left, right) = padding.amounts(n + 3, k, stride);
                        let padded = x.constant_pad_nd([left, right, top, bottom]);
                        let expected =
                            padded.conv2d::<Tensor>(&kernel, None, [stride; 2], [0; 2], [1; 2], 1);
                        let (x, used, symmetric) = split(&x, &kernel, padding, stride);
                        let found =
                            x.conv2d::<Tensor>(&used, None, [stride; 2], symmetric, [1; 2], 1);
                        assert_eq!(
                            found.size(),
                            expected.size(),
                            "n {n}, kernel {k}, stride {stride}, {padding:?}"
                        );
                        let distance = (found - expected).abs().max().double_value(&[]);
                        assert!(
                            distance < 1e-5,
                            "n {n}, kernel {k}, stride {stride}, {padding:?}: {distance:.1e}"
                        );
                        left_out += i64::from(used.size() != kernel.size());
                    }
                }
            }
        }
        assert!(left_out > 50, "{left_out}");
    }

    #[test]
    fn symmetric_padding_ignores_the_input() {
        for n in [150, 299] {
            assert_eq!(Padding::Symmetric.amounts(n, 7, 2), (3, 3));
            assert_eq!(Padding::Symmetric.amounts(n, 4, 2), (1, 2));
            assert_eq!(Padding::Valid.amounts(n, 7, 2), (0, 0));
        }
    }
}
