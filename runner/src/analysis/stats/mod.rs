//! Statistics: intervals, fits and tests as pure functions. Random numbers are drawn from a seed,
//! so the same data give the same numbers.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal, StudentsT};

/// Confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;

/// The ends of an interval of [`CONFIDENCE`], the lower first.
pub type Interval = (f64, f64);

/// Quantile of the standard normal distribution that goes with [`CONFIDENCE`], two-sided.
fn z() -> f64 {
    Normal::standard().inverse_cdf(f64::midpoint(1.0, CONFIDENCE))
}

/// Wilson's score interval (1927) of a rate of `k` in `n`; none when `n` is 0.
pub fn wilson(k: usize, n: usize) -> Option<Interval> {
    (n > 0).then(|| wilson_of_rate(k as f64 / n as f64, n))
}

/// Wilson's score interval of a rate in [0, 1] that was found in `n` trials, 1 at least.
pub fn wilson_of_rate(rate: f64, n: usize) -> Interval {
    let (z, count) = (z(), n as f64);
    let centre = rate + z * z / (2.0 * count);
    let half = z * (rate * (1.0 - rate) / count + z * z / (4.0 * count * count)).sqrt();
    let scale = 1.0 + z * z / count;
    // At 0 and 1 the end is exact, but the formula leaves a rounding error.
    let low = if rate == 0.0 { 0.0 } else { (centre - half) / scale };
    let high = if rate == 1.0 { 1.0 } else { (centre + half) / scale };
    (low, high)
}

/// The interval of the difference `a` − `b` of two estimates, from their own intervals (Zou and
/// Donner 2008; for rates with Wilson's intervals it is Newcombe's tenth method, 1998). Estimates on
/// the same images depend on each other, which makes the interval too wide rather than too narrow.
pub fn of_difference(a: (f64, Interval), b: (f64, Interval)) -> Interval {
    correlated_difference(a, b, 0.0)
}

/// The same for estimates that are correlated.
fn correlated_difference(
    (a, (a_low, a_high)): (f64, Interval),
    (b, (b_low, b_high)): (f64, Interval),
    correlation: f64,
) -> Interval {
    let side = |one: f64, other: f64| {
        (one * one - 2.0 * correlation * one * other + other * other).max(0.0).sqrt()
    };
    let difference = a - b;
    (difference - side(a - a_low, b_high - b), difference + side(a_high - a, b - b_low))
}

/// Newcombe's interval (1998, method 10) of the difference between two rates on the same images,
/// the first less the second; none without images. `both`, `first` (alone), `second` (alone) and
/// `neither` count the images that are counted in these rates.
pub fn paired_difference(
    both: usize,
    first: usize,
    second: usize,
    neither: usize,
) -> Option<Interval> {
    let images = both + first + second + neither;
    let rate = |k: usize| Some((k as f64 / images as f64, wilson(k, images)?));
    let (one, other) = (rate(both + first)?, rate(both + second)?);
    let [e, f, g, h] = [both, first, second, neither].map(|count| count as f64);
    let product = (e + f) * (g + h) * (e + g) * (f + h);
    let correlation = if product == 0.0 {
        0.0
    } else {
        let concord = e * h - f * g;
        let half = images as f64 / 2.0;
        let corrected = if concord > 0.0 { (concord - half).max(0.0) } else { concord };
        corrected / product.sqrt()
    };
    let (low, high) = correlated_difference(one, other, correlation);
    Some((low.max(-1.0), high.min(1.0)))
}

/// The mean; none without values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The `q`-quantile of sorted values, linear between neighbours (Hyndman and Fan's type 7, NumPy's
/// default); none without values.
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = q.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    // Weighing two infinities would give NaN.
    Some(if low == high || place == below as f64 {
        low
    } else {
        low + (high - low) * (place - below as f64)
    })
}

/// The values in ascending order.
pub fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The interval between the outer percentiles of resampled values; none without values.
pub fn percentiles(values: Vec<f64>) -> Option<Interval> {
    let values = sorted(values);
    let outside = (1.0 - CONFIDENCE) / 2.0;
    Some((quantile(&values, outside)?, quantile(&values, 1.0 - outside)?))
}

/// Bootstrap over images: how often each image is drawn in each resample. All statistics of a study
/// use the same resamples, so comparisons are on the same images.
#[derive(Debug)]
pub struct Bootstrap {
    counts: Vec<Vec<u32>>,
}

impl Bootstrap {
    /// Draws `resamples` times as many images as there are, with replacement.
    pub fn new(seed: u64, images: usize, resamples: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut resample = || {
            let mut counts = vec![0; images];
            for _ in 0..images {
                // Lemire's multiplication: probabilities differ by at most 2⁻⁶⁴.
                counts[((u128::from(rng.next_u64()) * images as u128) >> 64) as usize] += 1;
            }
            counts
        };
        Self { counts: (0..resamples).map(|_| resample()).collect() }
    }

    /// For each resample, how often each image was drawn.
    pub fn resamples(&self) -> impl Iterator<Item = &[u32]> {
        self.counts.iter().map(Vec::as_slice)
    }

    /// The interval of a statistic. Resamples without a value are left out.
    pub fn interval(&self, statistic: impl FnMut(&[u32]) -> Option<f64>) -> Option<Interval> {
        percentiles(self.resamples().filter_map(statistic).collect())
    }
}

/// The mean over the images that have a value, each as often as it was drawn.
pub fn drawn_mean(values: &[Option<f64>], counts: &[u32]) -> Option<f64> {
    let (mut sum, mut drawn) = (0.0, 0);
    for (value, &count) in values.iter().zip(counts) {
        if let Some(value) = value {
            sum += value * f64::from(count);
            drawn += count;
        }
    }
    (drawn > 0).then(|| sum / f64::from(drawn))
}

/// A straight line through points, by ordinary least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Rise per unit of x.
    pub slope: f64,
    /// Value at x = 0.
    pub intercept: f64,
    /// Share of the variance of y that the line explains; 1 when y does not vary.
    pub r2: f64,
    /// Standard error of the slope; none with fewer than three points.
    pub slope_error: Option<f64>,
}

impl Line {
    /// The line through `(x, y)`; none with fewer than two different x.
    pub fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let n = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|p| p.0), mean(|p| p.1));
        let sum = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>();
        let xx = sum(&|p| (p.0 - x).powi(2));
        let yy = sum(&|p| (p.1 - y).powi(2));
        let xy = sum(&|p| (p.0 - x) * (p.1 - y));
        if points.len() < 2 || xx <= f64::EPSILON * sum(&|p| p.0.powi(2)) {
            return None;
        }
        let slope = xy / xx;
        let residual = (yy - slope * xy).max(0.0);
        let r2 = if yy > 0.0 { 1.0 - residual / yy } else { 1.0 };
        let slope_error = (points.len() > 2).then(|| (residual / (n - 2.0) / xx).sqrt());
        Some(Self { slope, intercept: y - slope * x, r2, slope_error })
    }

    /// Student's interval of the slope for a line through `points` points.
    pub fn slope_interval(&self, points: usize) -> Option<Interval> {
        let error = self.slope_error?;
        let t = StudentsT::new(0.0, 1.0, points as f64 - 2.0)
            .ok()?
            .inverse_cdf(f64::midpoint(1.0, CONFIDENCE));
        Some((self.slope - t * error, self.slope + t * error))
    }

    /// The line's value at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

/// Which points are on the Pareto frontier, when greater is better in both coordinates. A point is
/// on it when no other is at least as great in both and greater in one.
pub fn pareto(points: &[(f64, f64)]) -> Vec<bool> {
    let beats = |a: &(f64, f64), b: &(f64, f64)| a.0 >= b.0 && a.1 >= b.1 && a != b;
    points.iter().map(|point| !points.iter().any(|other| beats(other, point))).collect()
}

/// Adjusted R² of groups: the share of variance that they explain, minus the share that as many
/// groups would explain by chance. None when there are as many groups as values, or nothing varies.
pub fn explained_by_groups(values: &[f64], groups: &[usize]) -> Option<f64> {
    let count = groups.iter().max()? + 1;
    let centre = mean(values)?;
    let total: f64 = values.iter().map(|v| (v - centre).powi(2)).sum();
    let within: f64 = (0..count)
        .map(|group| {
            let of: Vec<f64> =
                values.iter().zip(groups).filter(|(_, g)| **g == group).map(|(v, _)| *v).collect();
            let centre = mean(&of).unwrap_or_default();
            of.iter().map(|v| (v - centre).powi(2)).sum::<f64>()
        })
        .sum();
    adjusted(within, total, values.len(), count)
}

/// Adjusted R² of a line: the share of variance that it explains, minus the share that a line would
/// explain by chance. None with fewer than three points, or when nothing varies.
pub fn explained_by_line(points: &[(f64, f64)]) -> Option<f64> {
    let line = Line::fit(points)?;
    let y: Vec<f64> = points.iter().map(|p| p.1).collect();
    let centre = mean(&y)?;
    let total: f64 = y.iter().map(|v| (v - centre).powi(2)).sum();
    adjusted((1.0 - line.r2) * total, total, points.len(), 2)
}

fn adjusted(residual: f64, total: f64, count: usize, parameters: usize) -> Option<f64> {
    let free = count.checked_sub(parameters).filter(|free| *free > 0)? as f64;
    (total > 0.0).then(|| 1.0 - (residual / free) / (total / (count as f64 - 1.0)))
}

/// McNemar's exact test (1947), two-sided. `b` pairs changed one way and `c` the other. The p-value
/// is the probability of counts at least as unequal when both ways are equally likely.
pub fn mcnemar(b: usize, c: usize) -> f64 {
    let changed = (b + c) as u64;
    if changed == 0 {
        return 1.0;
    }
    let less = b.min(c) as u64;
    let half = Binomial::new(0.5, changed).map_or(0.5, |binomial| binomial.cdf(less));
    (2.0 * half).min(1.0)
}

/// Holm's correction (1979) of the p-value `p` for a family of tests. `sorted` are the p-values of
/// all tests of the family in ascending order, `p` among them.
pub fn holm(sorted: &[f64], p: f64) -> f64 {
    let upto = sorted.iter().take_while(|other| **other <= p).enumerate();
    upto.map(|(n, other)| other * (sorted.len() - n) as f64).fold(0.0, f64::max).min(1.0)
}

/// The exact binomial test, one-sided: the probability of at least `k` successes in `n` trials that
/// succeed with probability `rate`.
pub fn at_least(k: usize, n: usize, rate: f64) -> f64 {
    let Some(below) = k.checked_sub(1) else { return 1.0 };
    Binomial::new(rate, n as u64).map_or(1.0, |binomial| binomial.sf(below as u64))
}

/// Greatest number of differences for which Wilcoxon's test is exact.
const EXACT: usize = 50;

/// Wilcoxon's signed-rank test (1945), two-sided: the probability of rank sums at least as unequal
/// when differences are symmetric around zero. Zeros are left out. The test is exact for up to 50
/// differences without ties; otherwise it uses the normal approximation, corrected for ties.
pub fn wilcoxon(differences: &[f64]) -> f64 {
    let mut kept: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let n = kept.len();
    if n == 0 {
        return 1.0;
    }
    kept.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let (mut positive, mut ties, mut start) = (0.0, 0.0, 0);
    while start < n {
        let end = start + kept[start..].iter().take_while(|d| d.abs() == kept[start].abs()).count();
        let rank = f64::midpoint((start + 1) as f64, end as f64);
        positive += rank * kept[start..end].iter().filter(|d| **d > 0.0).count() as f64;
        let equal = (end - start) as f64;
        ties += equal.powi(3) - equal;
        start = end;
    }
    let count = n as f64;
    let total = count * (count + 1.0) / 2.0;
    let less = positive.min(total - positive);
    if ties == 0.0 && n <= EXACT {
        return (2.0 * rank_sums(n).iter().take(less as usize + 1).sum::<f64>()).min(1.0);
    }
    let variance = (count * (count + 1.0) * (2.0 * count + 1.0) - ties / 2.0) / 24.0;
    2.0 * Normal::standard().cdf((less - total / 2.0) / variance.sqrt())
}

/// The probability of each sum of a random subset of the ranks 1 to n.
fn rank_sums(n: usize) -> Vec<f64> {
    let mut chances = vec![0.0; n * (n + 1) / 2 + 1];
    chances[0] = 1.0;
    for rank in 1..=n {
        for sum in (0..chances.len()).rev() {
            let with = if sum >= rank { chances[sum - rank] } else { 0.0 };
            chances[sum] = f64::midpoint(chances[sum], with);
        }
    }
    chances
}

#[cfg(test)]
mod tests;
