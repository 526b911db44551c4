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

/// What a convolution needs to pad `x`: the input, itself enlarged only where the two sides of an
/// axis differ, and the symmetric padding that the convolution adds for nothing.
pub(super) fn split(x: &Tensor, padding: Padding, kernel: [i64; 2], stride: i64) -> (Tensor, [i64; 2]) {
    let size = x.size();
    let (top, bottom) = padding.amounts(size[2], kernel[0], stride);
    let (left, right) = padding.amounts(size[3], kernel[1], stride);
    if top == bottom && left == right { (x.shallow_clone(), [top, left]) } else { (x.constant_pad_nd([left, right, top, bottom]), [0, 0]) }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(same(n, kernel, stride), (before, after), "n {n}, kernel {kernel}, stride {stride}");
        }
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
