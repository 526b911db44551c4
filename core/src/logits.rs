//! Checks of logits that the conformance kit and the engine's probe share.

use tch::{Device, Kind, Tensor};

/// Greatest change of a logit that another batch may cause, as a fraction of the logits' spread.
/// Float32 sums depend on the shape of the batch.
pub const TOLERANCE: f64 = 1e-4;

/// Greatest distance of a sum of probabilities from 1.
const SUM_TOLERANCE: f64 = 1e-3;

/// Says for each row of N×K logits whether it could be probabilities instead: all within [0, 1],
/// and a sum within 0.001 of 1.
pub fn are_probabilities(logits: &Tensor) -> Vec<bool> {
    let logits = logits.to_kind(Kind::Double);
    let sum = (logits.sum_dim_intlist(1, false, Kind::Double) - 1.0).abs().le(SUM_TOLERANCE);
    let within = logits.ge(0.0).logical_and(&logits.le(1.0)).all_dim(1, false);
    let both = sum.logical_and(&within).to_kind(Kind::Int64).to_device(Device::Cpu);
    (0..both.size()[0]).map(|row| both.int64_value(&[row]) == 1).collect()
}

/// The greatest difference between `this` and `other` in each row of N×K, as a fraction of the
/// spread (greatest minus least) of `this`.
///
/// It is 0 where both are the same, NaN where either has a NaN, and infinite where all logits of
/// `this` are equal and those of `other` differ from them.
pub fn relative_difference(this: &Tensor, other: &Tensor) -> Vec<f64> {
    let (this, other) = (this.to_kind(Kind::Double), other.to_kind(Kind::Double));
    let rows = |values: Tensor| -> Vec<f64> {
        let values = values.to_device(Device::Cpu);
        (0..values.size()[0]).map(|row| values.double_value(&[row])).collect()
    };
    let spreads = rows(this.amax([1], false) - this.amin([1], false));
    let differences = rows((this - other).abs().amax([1], false));
    differences
        .iter()
        .zip(spreads)
        .map(|(&difference, spread)| if difference == 0.0 { 0.0 } else { difference / spread })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[f32]) -> Tensor {
        Tensor::from_slice(values).view([-1, 3])
    }

    #[test]
    fn probabilities_are_told_from_logits() {
        let some = Tensor::from_slice2(&[
            [0.2, 0.3, 0.5],
            [0.0, 0.0, 1.0],
            [0.2, 0.3, 0.6],
            [1.5, -0.5, 0.0],
            [f32::NAN, 0.0, 1.0],
        ]);
        assert_eq!(are_probabilities(&some), [true, true, false, false, false]);
        assert_eq!(are_probabilities(&rows(&[5.0, -3.0, 0.1]).softmax(1, Kind::Float)), [true]);
    }

    #[test]
    fn differences_are_measured_by_the_spread() {
        let this = rows(&[1.0, 3.0, 5.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.0, 1.0, 2.0]);
        let other = rows(&[1.0, 3.0, 4.0, 2.0, 2.0, 2.0, 2.0, 2.5, 2.0, f32::NAN, 1.0, 2.0]);
        let found = relative_difference(&this, &other);
        assert_eq!(found[..3], [0.25, 0.0, f64::INFINITY]);
        assert!(found[3].is_nan());
    }
}
