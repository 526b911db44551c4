//! Rates, intervals, goals and lists in words.

use crate::analysis::Rate;
use crate::report::figure::short;
use crate::study::GoalKind;

/// A fraction as per cent.
pub(super) fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{:.1} %", 100.0 * value))
}

/// Several rates as one: their counts, added up.
pub(super) fn pool(rates: impl Iterator<Item = Rate>) -> Rate {
    let (k, n) = rates.fold((0, 0), |(k, n), rate| (k + rate.k, n + rate.n));
    Rate::new(k, n)
}

/// A rate in words: per cent, counts, interval.
pub(super) fn rate(rate: &Rate) -> String {
    match (rate.rate, rate.interval) {
        (Some(_), Some((low, high))) => {
            format!(
                "{} ({} of {}; 95 % interval {:.1} to {:.1} %)",
                percent(rate.rate),
                rate.k,
                rate.n,
                100.0 * low,
                100.0 * high
            )
        }
        _ => "none (0 of 0)".to_owned(),
    }
}

/// The ends of an interval, in parentheses and after a space; nothing without one.
pub(super) fn interval_words(interval: Option<(f64, f64)>) -> String {
    interval.map_or_else(String::new, |(low, high)| {
        format!(" (95 % interval {} to {})", short(low), short(high))
    })
}

/// A goal's name with spaces.
pub(super) fn goal_words(goal: GoalKind) -> String {
    goal.name().replace('_', " ")
}

/// A quantity with its unit in parentheses, if it has one.
pub(super) fn with_unit(what: &str, unit: &str) -> String {
    if unit.is_empty() { what.to_owned() } else { format!("{what} ({unit})") }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn listed<S: AsRef<str>>(items: &[S]) -> String {
    match items {
        [] => "none".to_owned(),
        [one] => one.as_ref().to_owned(),
        [first @ .., last] => format!(
            "{} and {}",
            first.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", "),
            last.as_ref()
        ),
    }
}

/// `1 image`, `2 images`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
