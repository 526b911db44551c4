//! Counts, figures and hashes as commands print them.

/// Greatest number of failed cells that a command names.
pub(super) const SHOWN: usize = 20;

/// Number of characters of a hash where room is short.
pub(super) const SHORT_HASH: usize = 12;

/// A count with its noun: `1 cell`, `2 cells`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A count, rounded, in groups of three digits; from 10¹⁰ on as `3.1e12`.
pub(super) fn number(value: f64) -> String {
    if value >= 1e10 {
        return format!("{value:.1e}");
    }
    let digits = format!("{value:.0}");
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

/// Seconds with the fitting unit.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{s:.2} s"),
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 100.0 * 60.0 => format!("{:.0} min", s / 60.0),
        s if s < 100.0 * 3600.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{} days", number(s / 86400.0)),
    }
}

/// Bytes with the fitting unit.
pub(super) fn size(bytes: f64) -> String {
    match bytes {
        b if b < 1e6 => format!("{:.0} kB", b / 1e3),
        b if b < 1e9 => format!("{:.1} MB", b / 1e6),
        b if b < 1e12 => format!("{:.1} GB", b / 1e9),
        b => format!("{:.1} TB", b / 1e12),
    }
}

/// Width of the terminal, in characters; that of a page where the output is no terminal.
pub(super) fn width() -> usize {
    const PAGE: usize = 100;
    terminal_size::terminal_size().map_or(PAGE, |(width, _)| usize::from(width.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [0.4, 999.6, 1234567.0, 3.14e12].map(number),
            ["0", "1,000", "1,234,567", "3.1e12"]
        );
        assert_eq!(
            [0.5, 42.0, 600.0, 36000.0, 1e8].map(duration),
            ["0.50 s", "42 s", "10 min", "10.0 h", "1,157 days"]
        );
        assert_eq!([2e3, 2.5e6, 6.66e9, 1e13].map(size), ["2 kB", "2.5 MB", "6.7 GB", "10.0 TB"]);
    }
}
