//! What can be told of logits by looking at them: the conformance kit and the engine's probe ask
//! the same.

use tch::{Kind, Tensor};

/// How far a logit may move with its batch, of the logits' spread: float32 sums differ with the
/// shape.
pub const TOLERANCE: f64 = 1e-4;

/// How far probabilities may be from a sum of 1.
const SUM: f64 = 1e-3;

/// Per row of N×K, whether it could be probabilities instead of logits: all within [0, 1], with a
/// sum of 1 within 0.001.
pub fn are_probabilities(logits: &Tensor) -> Vec<bool> {
    let logits = logits.to_kind(Kind::Double);
    let sum = (logits.sum_dim_intlist(1, false, Kind::Double) - 1.0).abs().le(SUM);
    let within = logits.ge(0.0).logical_and(&logits.le(1.0)).all_dim(1, false);
    let both = sum.logical_and(&within).to_kind(Kind::Int64).to_device(tch::Device::Cpu);
    (0..both.size()[0]).map(|row| both.int64_value(&[row]) == 1).collect()
}

/// Per row of N×K, the greatest difference between `this` and `other`, of the spread of `this`: 0
/// where they are the same, NaN where one is not a number, infinite where equal logits have come
/// apart.
pub fn apart(this: &Tensor, other: &Tensor) -> Vec<f64> {
    let (this, other) = (this.to_kind(Kind::Double), other.to_kind(Kind::Double));
    let rows = |values: Tensor| -> Vec<f64> {
        let values = values.to_device(tch::Device::Cpu);
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
        let some = rows(&[
            0.2,
            0.3,
            0.5,
            0.0,
            0.0,
            1.0,
            0.2,
            0.3,
            0.6,
            1.5,
            -0.5,
            0.0,
            f32::NAN,
            0.0,
            1.0,
        ]);
        assert_eq!(are_probabilities(&some), [true, true, false, false, false]);
        assert_eq!(are_probabilities(&(rows(&[5.0, -3.0, 0.1]).softmax(1, Kind::Float))), [true]);
    }

    #[test]
    fn differences_are_measured_by_the_spread() {
        let this = rows(&[1.0, 3.0, 5.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.0, 1.0, 2.0]);
        let other = rows(&[1.0, 3.0, 4.0, 2.0, 2.0, 2.0, 2.0, 2.5, 2.0, f32::NAN, 1.0, 2.0]);
        let found = apart(&this, &other);
        assert_eq!(found[..3], [0.25, 0.0, f64::INFINITY]);
        assert!(found[3].is_nan());
    }
}
