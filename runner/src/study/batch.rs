//! Modules that take batches of one size alone, as traces of code that has the size written down.

use anyhow::Result;
use tch::Tensor;

/// Sizes of batches that traces are made with, the likeliest first.
const SIZES: [i64; 22] =
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 3, 5, 6, 7, 9, 10, 12, 20, 24, 48, 50, 96, 100];

/// The first size of batch that works.
pub(super) fn find(works: impl Fn(i64) -> bool) -> Option<i64> {
    SIZES.into_iter().find(|&size| works(size))
}

/// Answers a batch in parts of `size` images. The last part is filled up with its last image.
///
/// # Errors
/// Those of `answer`.
pub(super) fn in_parts(
    pixels: &Tensor,
    size: i64,
    answer: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let count = pixels.size()[0];
    let mut answers = Vec::new();
    for start in (0..count).step_by(size as usize) {
        let there = size.min(count - start);
        let part = pixels.narrow(0, start, there);
        let missing = size - there;
        let part = if missing == 0 {
            part
        } else {
            let last = part.narrow(0, there - 1, 1).expand([missing, -1, -1, -1], false);
            Tensor::cat(&[part, last], 0)
        };
        answers.push(answer(&part)?.narrow(0, 0, there));
    }
    Ok(Tensor::cat(&answers, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    #[test]
    fn parts_are_full_and_answers_in_order() {
        for count in 1..8 {
            let pixels = Tensor::arange(count, (Kind::Float, Device::Cpu)).view([count, 1, 1, 1]);
            let answers = in_parts(&pixels, 3, |part| {
                assert_eq!(part.size(), [3, 1, 1, 1]);
                Ok(part.flatten(1, -1) * 2)
            });
            assert_eq!(answers.unwrap(), pixels.flatten(1, -1) * 2, "{count}");
        }
        assert_eq!(find(|size| size % 3 == 0), Some(3));
        assert_eq!(find(|_| false), None);
    }
}
