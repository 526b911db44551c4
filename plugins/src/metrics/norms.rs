//! The distortion norms of the study, each of the whole image.

use anyhow::Result;
use gauntlet_core::metric::{Direction, Metric, Scope};
use gauntlet_core::params::NoParams;
use tch::{Kind, Tensor};

/// Number of elements (3·H·W of them) that changed at all.
pub struct L0;
/// Sum of the changes' absolute values.
pub struct L1;
/// Euclidean length of the change.
pub struct L2;
/// Euclidean length of the change over the number of elements: the "pixel distortion" of the
/// ECCV 2018 study, with which images of different sizes compare.
pub struct L2PerPixel;
/// Greatest absolute change of an element.
pub struct Linf;

macro_rules! norm {
    ($type:ident, $name:literal, $unit:literal, $summary:literal, |$change:ident| $value:expr) => {
        impl Metric for $type {
            const NAME: &'static str = $name;
            const SUMMARY: &'static str = $summary;
            const UNIT: &'static str = $unit;
            const SCOPE: Scope = Scope::Outcome;
            const DIRECTION: Direction = Direction::HigherIsMoreRobust;
            const AT_IDENTITY: Option<f64> = Some(0.0);
            const SYMMETRIC: bool = true;
            type Params = NoParams;

            fn new(_: NoParams) -> Result<Self> {
                Ok(Self)
            }

            fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
                let $change = (adversarial - original).flatten(1, -1);
                Ok(Vec::try_from($value.to_kind(Kind::Double))?)
            }
        }
    };
}

norm!(L0, "l0", "elements", "number of elements changed", |change| change
    .not_equal(0.0)
    .sum_dim_intlist(1, false, Kind::Int64));
norm!(L1, "l1", "pixel range", "sum of absolute changes", |change| change.abs().sum_dim_intlist(
    1,
    false,
    Kind::Float
));
norm!(L2, "l2", "pixel range", "euclidean length of the change", |change| change
    .square()
    .sum_dim_intlist(1, false, Kind::Float)
    .sqrt());
norm!(
    L2PerPixel,
    "l2_per_pixel",
    "pixel range / element",
    "euclidean length of the change over 3·H·W",
    |change| {
        change.square().sum_dim_intlist(1, false, Kind::Float).sqrt() / change.size()[1] as f64
    }
);
norm!(Linf, "linf", "pixel range", "greatest absolute change", |change| change
    .abs()
    .amax(1, false));

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    #[test]
    fn norms_of_a_written_out_change() {
        let original = Tensor::from_slice(&[
            0.051f32, 0.208, 0.291, 0.011, 0.393, 0.396, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6,
        ])
        .view([1, 3, 2, 2]);
        let adversarial = original.copy();
        let _ = adversarial.view([-1]).get(1).fill_(0.458);
        let _ = adversarial.view([-1]).get(4).fill_(0.293);
        let measure = |m: &dyn Fn(&Tensor, &Tensor) -> Result<Vec<f64>>| {
            m(&original, &adversarial).unwrap()[0]
        };
        assert_eq!(measure(&|a, b| L0.outcome(a, b)), 2.0);
        assert_relative_eq!(measure(&|a, b| L1.outcome(a, b)), 0.35, epsilon = 1e-6);
        assert_relative_eq!(measure(&|a, b| L2.outcome(a, b)), 0.269_258_2, epsilon = 1e-6);
        assert_relative_eq!(
            measure(&|a, b| L2PerPixel.outcome(a, b)),
            0.269_258_2 / 12.0,
            epsilon = 1e-7
        );
        assert_relative_eq!(measure(&|a, b| Linf.outcome(a, b)), 0.25, epsilon = 1e-6);
    }
}
