//! Rates and estimates with their intervals.

use crate::analysis::stats::{self, Interval};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `k` of `n` with Wilson's interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many are counted.
    pub k: usize,
    /// How many there are in all.
    pub n: usize,
    /// `k / n`; null when `n` is 0.
    pub rate: Option<f64>,
    /// Ends of the interval.
    pub interval: Option<Interval>,
}

impl Rate {
    /// `k` of `n`.
    pub fn new(k: usize, n: usize) -> Self {
        Self {
            k,
            n,
            rate: rate(k, n).and_then(number),
            interval: stats::wilson(k, n).and_then(interval),
        }
    }
}

/// A number that was estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// The number.
    pub value: Option<f64>,
    /// Ends of its interval, from a bootstrap over images.
    pub interval: Option<Interval>,
}

/// `part` of `whole` as a fraction; none when `whole` is 0.
pub fn rate(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// A number rounded to six significant digits; none for infinities and NaN, which JSON lacks.
pub(crate) fn number(value: f64) -> Option<f64> {
    value.is_finite().then(|| format!("{value:.5e}").parse().unwrap_or(value))
}

/// An interval with both ends rounded by [`number`].
pub(crate) fn interval(ends: Interval) -> Option<Interval> {
    Some((number(ends.0)?, number(ends.1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_six_digits_and_are_json() {
        assert_eq!(number(1.0 / 3.0), Some(0.333333));
        assert_eq!((number(f64::NAN), number(f64::INFINITY)), (None, None));
        assert_eq!(Rate::new(0, 0), Rate { k: 0, n: 0, rate: None, interval: None });
    }
}
