//! From values to pixels, and where the ticks stand.

/// Linear or logarithmic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Values are spread evenly.
    Linear,
    /// The logarithms of values are spread evenly; values are positive.
    Log,
}

/// A map from values to pixels.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    kind: Kind,
    domain: (f64, f64),
    range: (f64, f64),
}

/// A place on an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// The value.
    pub value: f64,
    /// What is written there; nothing at small ticks between.
    pub text: String,
}

impl Scale {
    /// Maps the values of `domain` to the pixels of `range`; each may run in either direction.
    /// A domain of no width is widened.
    pub fn new(kind: Kind, domain: (f64, f64), range: (f64, f64)) -> Self {
        let (low, high) = domain;
        let domain = match kind {
            Kind::Linear if low == high => {
                (low - low.abs().max(1.0) / 2.0, high + high.abs().max(1.0) / 2.0)
            }
            Kind::Log if low == high => (low / 2.0, high * 2.0),
            _ => domain,
        };
        Self { kind, domain, range }
    }

    /// A scale that shows all `values`, with some room around them.
    pub fn around(kind: Kind, values: impl Iterator<Item = f64>, range: (f64, f64)) -> Self {
        let usable =
            values.filter(|value| value.is_finite() && (kind == Kind::Linear || *value > 0.0));
        let ends = usable.fold(None, |ends: Option<(f64, f64)>, value| {
            Some(ends.map_or((value, value), |(a, b)| (a.min(value), b.max(value))))
        });
        let (low, high) = ends.unwrap_or((1.0, 1.0));
        let bare = Self::new(kind, (low, high), range);
        let room = 0.06;
        let (a, b) = (bare.along(bare.domain.0), bare.along(bare.domain.1));
        let (from, to) = (bare.back(a - room * (b - a)), bare.back(b + room * (b - a)));
        // An axis of distances begins at 0 unless that takes much room.
        let from =
            if kind == Kind::Linear && low >= 0.0 && low < 0.4 * (high - low) { 0.0 } else { from };
        Self { domain: (from, to), ..bare }
    }

    fn along(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Linear => value,
            Kind::Log => value.ln(),
        }
    }

    fn back(&self, place: f64) -> f64 {
        match self.kind {
            Kind::Linear => place,
            Kind::Log => place.exp(),
        }
    }

    /// Where a value stands, in pixels.
    pub fn at(&self, value: f64) -> f64 {
        let (a, b) = (self.along(self.domain.0), self.along(self.domain.1));
        let part = (self.along(value) - a) / (b - a);
        self.range.0 + part * (self.range.1 - self.range.0)
    }

    /// Where a value stands, kept within the range.
    pub fn within(&self, value: f64) -> f64 {
        let (a, b) = (self.range.0.min(self.range.1), self.range.0.max(self.range.1));
        let at = self.at(value);
        // What has no logarithm stands at the low end.
        if at.is_finite() { at.clamp(a, b) } else { self.range.0 }
    }

    /// About `count` round values; with `percent`, values are fractions that are written as per
    /// cent.
    pub fn ticks(&self, count: usize, percent: bool) -> Vec<Tick> {
        let (low, high) = (self.domain.0.min(self.domain.1), self.domain.0.max(self.domain.1));
        let times = if percent { 100.0 } else { 1.0 };
        match self.kind {
            Kind::Linear => even(low * times, high * times, count)
                .into_iter()
                .map(|(v, text)| Tick { value: v / times, text })
                .collect(),
            Kind::Log => logarithmic(low * times, high * times, count)
                .into_iter()
                .map(|(v, text)| Tick { value: v / times, text })
                .collect(),
        }
    }
}

/// Ticks at multiples of 1, 2 or 5 times a power of ten.
fn even(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let rough = (high - low) / count.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(10.0 * power);
    let (first, last) = ((low / step - 1e-9).ceil() as i64, (high / step + 1e-9).floor() as i64);
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    let largest = low.abs().max(high.abs());
    (first..=last)
        .map(|n| {
            let value = n as f64 * step;
            let text = if (1e-3..1e5).contains(&largest) {
                minus(format!("{value:.decimals$}"))
            } else {
                short(value)
            };
            (value, text)
        })
        .collect()
}

/// Ticks at every digit of each decade. Text stands at all of them within a decade, at 1, 2 and 5 in
/// few decades, else at powers of ten.
fn logarithmic(low: f64, high: f64, count: usize) -> Vec<(f64, String)> {
    let decades = (high / low).log10();
    let named: &[u32] = if decades < 0.7 {
        &[1, 2, 3, 4, 5, 6, 7, 8, 9]
    } else if decades * 3.0 <= count as f64 + 2.0 {
        &[1, 2, 5]
    } else {
        &[1]
    };
    let apart = (decades / count.max(1) as f64).ceil().max(1.0) as i32;
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let mut ticks = Vec::new();
    for power in first..=last {
        for digit in 1..=9u32 {
            let value = f64::from(digit) * 10f64.powi(power);
            if value < low * (1.0 - 1e-9) || value > high * (1.0 + 1e-9) {
                continue;
            }
            let text = named.contains(&digit) && (named.len() > 1 || power.rem_euclid(apart) == 0);
            ticks.push((value, if text { short(value) } else { String::new() }));
        }
    }
    ticks
}

fn minus(text: String) -> String {
    text.strip_prefix('-').map_or_else(|| text.clone(), |rest| format!("−{rest}"))
}

/// A number with at most three significant digits; far from 1 with a power of ten.
pub fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return minus(format!("{value}"));
    }
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    let power = rounded.abs().log10().floor() as i32;
    if (-3..5).contains(&power) {
        return minus(format!("{rounded}"));
    }
    let digits = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    let raised: String = power
        .to_string()
        .chars()
        .map(|c| c.to_digit(10).and_then(|d| digits.chars().nth(d as usize)).unwrap_or('⁻'))
        .collect();
    let leading: f64 = format!("{:.2}", rounded / 10f64.powi(power)).parse().unwrap_or(1.0);
    if leading == 1.0 { format!("10{raised}") } else { minus(format!("{leading}·10{raised}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: Scale, count: usize, percent: bool) -> Vec<String> {
        scale
            .ticks(count, percent)
            .into_iter()
            .map(|tick| tick.text)
            .filter(|text| !text.is_empty())
            .collect()
    }

    #[test]
    fn ticks_are_round() {
        let linear = |a, b| Scale::new(Kind::Linear, (a, b), (0.0, 100.0));
        assert_eq!(texts(linear(0.0, 0.93), 5, false), ["0.0", "0.2", "0.4", "0.6", "0.8"]);
        assert_eq!(texts(linear(0.0, 1.0), 4, true), ["0", "50", "100"]);
        assert_eq!(texts(linear(-3.0, 7.0), 5, false), ["−2", "0", "2", "4", "6"]);
        assert_eq!(texts(linear(0.0, 3.2e-5), 3, false), ["0", "2·10⁻⁵"]);
        let log = |a, b| Scale::new(Kind::Log, (a, b), (0.0, 100.0));
        assert_eq!(texts(log(0.05, 0.5), 6, true), ["5", "10", "20", "50"]);
        assert_eq!(
            texts(log(0.001, 1000.0), 6, false),
            ["0.001", "0.01", "0.1", "1", "10", "100", "1000"]
        );
        assert_eq!(texts(log(0.011, 0.023), 6, true), ["2"]);
    }

    #[test]
    fn values_go_where_they_belong() {
        let log = Scale::new(Kind::Log, (1.0, 100.0), (0.0, 200.0));
        assert!((log.at(10.0) - 100.0).abs() < 1e-9);
        assert_eq!((log.within(1e9), log.within(0.0)), (200.0, 0.0));
        let same = Scale::new(Kind::Linear, (3.0, 3.0), (0.0, 10.0));
        assert!((same.at(3.0) - 5.0).abs() < 1e-9, "a domain of no width");
        let around = Scale::around(Kind::Linear, [0.01, 0.5, f64::NAN].into_iter(), (0.0, 1.0));
        assert_eq!(around.domain.0, 0.0);
        assert!(around.domain.1 > 0.5 && around.domain.1 < 0.6);
    }

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.012345, "0.0123"),
            (-2.5, "−2.5"),
            (1234567.0, "1.23·10⁶"),
            (1e-5, "10⁻⁵"),
        ];
        for (value, text) in cases {
            assert_eq!(short(value), text);
        }
    }
}
