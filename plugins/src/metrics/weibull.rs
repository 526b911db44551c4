//! The end point of a distribution from maxima of samples: a reverse Weibull distribution fitted
//! by maximum likelihood.
//!
//! Reference: huanzhang12/CLEVER, `clever.py` with method `mle_reg`, whose choices are kept: the
//! maxima are brought to [−1, 0] first. A hundredth of the scale's square is added to the negative
//! log-likelihood, which may have no minimum without it (there the scale has another name). Of the
//! stationary points that different starts lead to, the one with the smallest Kolmogorov–Smirnov
//! distance is taken. Deviation: Newton's method with exact second derivatives instead of a
//! simplex.

/// Starting shapes.
const SHAPES: [f64; 7] = [0.1, 1.0, 5.0, 10.0, 20.0, 50.0, 100.0];
/// Weight of the scale's square in the loss.
const PENALTY: f64 = 0.01;
/// Greatest number of steps of Newton's method, taken or refused.
const STEPS: usize = 300;
/// Maxima whose relative differences are below this count as equal: float32 has no more digits.
const EQUAL: f64 = 1e-5;
/// A fit with a smaller p is discarded.
const HOPELESS: f64 = 1e-3;

/// A reverse Weibull distribution that fits some maxima.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The end point: no value is greater.
    pub end: f64,
    /// The shape.
    pub shape: f64,
    /// The scale.
    pub scale: f64,
    /// The Kolmogorov–Smirnov distance between the maxima and the distribution.
    pub distance: f64,
    /// The probability that maxima of this distribution lie at least as far from it. The
    /// distribution was fitted to these maxima, so the true probability is smaller.
    pub p: f64,
}

/// Fits a distribution to maxima. None when there are fewer than 3, when they are all equal, or
/// when no fit explains them.
pub fn fit(maxima: &[f64]) -> Option<Fit> {
    SHAPES
        .iter()
        .filter_map(|&shape| Problem::new(maxima)?.solve(shape))
        .min_by(|a, b| a.distance.total_cmp(&b.distance))
        .filter(|fit| fit.p >= HOPELESS)
}

/// The maxima, mirrored and scaled to [0, 1], sorted.
struct Problem {
    values: Vec<f64>,
    top: f64,
    range: f64,
}

/// Logarithms of shape, scale, and how far the end point lies beyond the greatest maximum.
type Point = [f64; 3];

impl Problem {
    fn new(maxima: &[f64]) -> Option<Self> {
        let top = maxima.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let range = top - maxima.iter().copied().fold(f64::INFINITY, f64::min);
        if maxima.len() < 3 || !range.is_finite() || range <= EQUAL * top.abs() {
            return None;
        }
        let mut values: Vec<f64> = maxima.iter().map(|value| (top - value) / range).collect();
        values.sort_by(f64::total_cmp);
        Some(Self { values, top, range })
    }

    /// The negative log-likelihood with its penalty.
    fn loss(&self, [a, b, h]: Point) -> f64 {
        let (shape, scale, gap) = (a.exp(), b.exp(), h.exp());
        let each = |y: &f64| {
            let u = (y + gap).ln() - b;
            b - a - (shape - 1.0) * u + (shape * u).exp()
        };
        self.values.iter().map(each).sum::<f64>() + PENALTY * scale * scale
    }

    /// First and second derivatives of [`loss`](Self::loss).
    fn derivatives(&self, [a, b, h]: Point) -> (Point, [Point; 3]) {
        let (c, scale, gap) = (a.exp(), b.exp(), h.exp());
        let n = self.values.len() as f64;
        let [mut u1, mut t1, mut tu, mut tuu, mut q1, mut tq, mut tuq, mut tqq, mut r1, mut tr] =
            [0.0; 10];
        for y in &self.values {
            let u = (y + gap).ln() - b;
            let t = (c * u).exp();
            let q = gap / (y + gap); // du/dh
            let r = q * (1.0 - q); // dq/dh
            u1 += u;
            t1 += t;
            tu += t * u;
            tuu += t * u * u;
            q1 += q;
            tq += t * q;
            tuq += t * u * q;
            tqq += t * q * q;
            r1 += r;
            tr += t * r;
        }
        let penalty = 2.0 * PENALTY * scale * scale;
        let first = [-n + c * (tu - u1), c * (n - t1) + penalty, c * tq - (c - 1.0) * q1];
        let ab = c * (n - t1) - c * c * tu;
        let ah = c * (tq - q1) + c * c * tuq;
        let bh = -c * c * tq;
        let second = [
            [c * (tu - u1) + c * c * tuu, ab, ah],
            [ab, c * c * t1 + 2.0 * penalty, bh],
            [ah, bh, c * c * tqq + c * tr - (c - 1.0) * r1],
        ];
        (first, second)
    }

    /// The point of this shape at which the quantiles 0.5 and 0.9 are those of the values.
    fn start(&self, shape: f64) -> Point {
        let quantile = |q: f64| self.values[((self.values.len() - 1) as f64 * q).round() as usize];
        let (half, most) = (2f64.ln().powf(1.0 / shape), 10f64.ln().powf(1.0 / shape));
        let scale = ((quantile(0.9) - quantile(0.5)) / (most - half)).max(1e-3);
        let gap = (scale * half - quantile(0.5)).max(1e-2);
        [shape.ln(), scale.ln(), gap.ln()]
    }

    /// Newton's method, damped until each step goes down.
    fn solve(&self, shape: f64) -> Option<Fit> {
        let mut point = self.start(shape);
        let mut loss = self.loss(point);
        let mut damping = 1.0;
        for _ in 0..STEPS {
            let (first, mut second) = self.derivatives(point);
            if first.iter().all(|d| d.abs() < 1e-9 * self.values.len() as f64) {
                return Some(self.judge(point));
            }
            (0..3).for_each(|n| second[n][n] += damping);
            let next = solve3(second, first)
                .map(|step| [0, 1, 2].map(|n| point[n] - step[n].clamp(-1.0, 1.0)));
            match next.map(|next| (next, self.loss(next))).filter(|(_, value)| *value <= loss) {
                Some((next, value)) => {
                    (point, loss) = (next, value);
                    damping *= 0.1;
                }
                None if damping > 1e12 => return None,
                None => damping = (damping * 10.0).max(1e-9),
            }
        }
        None
    }

    fn judge(&self, [a, b, h]: Point) -> Fit {
        let (shape, scale, gap) = (a.exp(), b.exp(), h.exp());
        let n = self.values.len() as f64;
        let step = |(rank, y): (usize, &f64)| {
            let below = -(-((y + gap) / scale).powf(shape)).exp_m1();
            (below - rank as f64 / n).max((rank + 1) as f64 / n - below)
        };
        let distance = self.values.iter().enumerate().map(step).fold(0.0, f64::max);
        Fit {
            end: self.top + gap * self.range,
            shape,
            scale: scale * self.range,
            distance,
            p: kolmogorov(distance, self.values.len()),
        }
    }
}

/// Solves m·x = v, m symmetric; none when m is not positive definite.
fn solve3(m: [Point; 3], v: Point) -> Option<Point> {
    let mut l = [[0f64; 3]; 3];
    for i in 0..3 {
        for j in 0..=i {
            let rest = m[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
            l[i][j] = if i == j { (rest > 0.0).then(|| rest.sqrt())? } else { rest / l[j][j] };
        }
    }
    let mut x = v;
    for i in 0..3 {
        x[i] = (x[i] - (0..i).map(|k| l[i][k] * x[k]).sum::<f64>()) / l[i][i];
    }
    for i in (0..3).rev() {
        x[i] = (x[i] - (i + 1..3).map(|k| l[k][i] * x[k]).sum::<f64>()) / l[i][i];
    }
    Some(x)
}

/// The probability that the Kolmogorov–Smirnov distance of n values is at least this great: the
/// limiting distribution with the correction for n of Vrbik, Pioneer Journal of Theoretical and
/// Applied Statistics 15, 2018.
fn kolmogorov(distance: f64, n: usize) -> f64 {
    let n = n as f64;
    let x = distance * n.sqrt();
    let x = x + 1.0 / (6.0 * n.sqrt()) + (x - 1.0) / (4.0 * n);
    if x < 0.3 {
        return 1.0; // above 1 − 1e-5, where the series below converges badly
    }
    let term =
        |k: i32| if k % 2 == 0 { -1.0 } else { 1.0 } * (-2.0 * f64::from(k * k) * x * x).exp();
    (2.0 * (1..20).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use approx::assert_relative_eq;

    /// Evenly spread quantiles of a reverse Weibull distribution.
    fn quantiles(end: f64, shape: f64, scale: f64, count: usize) -> Vec<f64> {
        let at = |n: usize| -((n as f64 + 0.5) / count as f64).ln();
        (0..count).map(|n| end - scale * at(n).powf(1.0 / shape)).collect()
    }

    #[test]
    fn a_distribution_is_found_again() {
        for shape in [2.5, 4.0, 9.0] {
            let fit = fit(&quantiles(10.0, shape, 1.5, 400)).unwrap();
            assert_relative_eq!(fit.end, 10.0, epsilon = 0.15);
            assert!(fit.p > 0.9 && fit.distance < 0.02, "{fit:?}");
        }
    }

    #[test]
    fn derivatives_are_those_of_the_loss() {
        let problem = Problem::new(&quantiles(5.0, 3.0, 1.0, 50)).unwrap();
        let point = [0.7, -0.2, -1.5];
        let (first, second) = problem.derivatives(point);
        let moved = |n: usize, by: f64| {
            let mut point = point;
            point[n] += by;
            point
        };
        for n in 0..3 {
            let slope = (problem.loss(moved(n, 1e-5)) - problem.loss(moved(n, -1e-5))) / 2e-5;
            assert_relative_eq!(first[n], slope, max_relative = 1e-6);
            let (up, down) =
                (problem.derivatives(moved(n, 1e-5)).0, problem.derivatives(moved(n, -1e-5)).0);
            for k in 0..3 {
                assert_relative_eq!(second[n][k], (up[k] - down[k]) / 2e-5, max_relative = 1e-5);
            }
        }
    }

    #[test]
    fn what_is_no_sample_has_no_fit() {
        assert_eq!(fit(&[3.0, 2.0]), None);
        assert_eq!(fit(&[2.0; 40]), None);
        assert_eq!(fit(&[1.0, 2.0, f64::NAN, 3.0, f64::INFINITY]), None);
        // Two heaps far apart.
        let heaps: Vec<f64> =
            (0..200).map(|n| f64::from(n % 2) * 100.0 + f64::from(n) * 1e-4).collect();
        assert_eq!(fit(&heaps), None);
    }
}
