//! Step schedules.

/// From `first` towards `last` along half a cosine, at step `i` of `steps` (Loshchilov and Hutter
/// 2017).
pub fn cosine(first: f64, last: f64, i: u32, steps: u32) -> f64 {
    let part = f64::from(i) / f64::from(steps);
    last + (first - last) * (1.0 + (std::f64::consts::PI * part).cos()) / 2.0
}

/// From `first` towards `first`·`decrease` by a constant factor, at step `i` of `steps`.
pub fn exponential(first: f64, decrease: f64, i: u32, steps: u32) -> f64 {
    first * decrease.powf(f64::from(i) / f64::from(steps))
}

/// When APGD looks whether to halve its step: after 0.22·N steps, then after intervals that shrink
/// by 0.03·N down to 0.06·N (Croce and Hein 2020, section 3.1). In ℓ1, every 0.04·N steps (2021).
pub struct Checkpoints {
    interval: u32,
    since: u32,
    shrink: u32,
    least: u32,
}

impl Checkpoints {
    /// Shrinking intervals for N steps.
    pub fn shrinking(steps: u32) -> Self {
        let part = |of: f64| ((of * f64::from(steps)) as u32).max(1);
        Self { interval: part(0.22), since: 0, shrink: part(0.03), least: part(0.06) }
    }

    /// Equal intervals for N steps.
    pub fn equal(steps: u32) -> Self {
        let interval = ((0.04 * f64::from(steps)) as u32).max(1);
        Self { interval, since: 0, shrink: 0, least: interval }
    }

    /// Counts a step. At a checkpoint it gives the number of steps since the one before.
    pub fn passed(&mut self) -> Option<u32> {
        self.since += 1;
        if self.since < self.interval {
            return None;
        }
        let steps = std::mem::take(&mut self.since);
        self.interval = self.interval.saturating_sub(self.shrink).max(self.least);
        Some(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_those_of_the_authors_code() {
        let mut checkpoints = Checkpoints::shrinking(100);
        let found: Vec<u32> = (1..=100).filter(|_| checkpoints.passed().is_some()).collect();
        assert_eq!(found, [22, 41, 57, 70, 80, 87, 93, 99]);
    }
}
