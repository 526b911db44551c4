//! Times as Slurm writes them.

use anyhow::{Context, Result, bail, ensure};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A limit on a task's time, in whole minutes as Slurm counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeLimit(Duration);

impl TimeLimit {
    /// The limit, rounded up to full minutes; at least one.
    pub fn new(limit: Duration) -> Self {
        Self(Duration::from_mins((limit.as_secs_f64() / 60.0).ceil().max(1.0) as u64))
    }

    /// The limit itself.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl FromStr for TimeLimit {
    type Err = anyhow::Error;

    /// Reads what `sbatch --time` takes, except that there must be a limit.
    fn from_str(text: &str) -> Result<Self> {
        let limit = clock(text).with_context(|| {
            format!(
                "found `{text}`, expected a time such as 90 (minutes), 1:30:00 (hours) or 2-12 \
                 (days and hours), as sbatch takes it"
            )
        })?;
        ensure!(!limit.is_zero(), "found `{text}`: a task needs some time");
        Ok(Self::new(limit))
    }
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let minutes = self.0.as_secs() / 60;
        let (days, hours) = (minutes / (24 * 60), minutes / 60 % 24);
        if days > 0 {
            write!(f, "{days}-")?;
        }
        write!(f, "{hours:02}:{:02}:00", minutes % 60)
    }
}

/// Reads `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours`, `days-hours:minutes`
/// or `days-hours:minutes:seconds`.
///
/// # Errors
/// When it is none of these, or longer than Slurm can count.
pub fn clock(text: &str) -> Result<Duration> {
    let number = |text: &str| -> Result<u64> {
        ensure!(
            !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()),
            "`{text}` is not a number"
        );
        Ok(u64::from(text.parse::<u32>().with_context(|| format!("`{text}` is too long"))?))
    };
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(number(days)?), rest),
        None => (None, text),
    };
    let parts = rest.split(':').map(number).collect::<Result<Vec<_>>>()?;
    let (hours, minutes, seconds) = match (days, parts.as_slice()) {
        (None, &[minutes]) => (0, minutes, 0),
        (None, &[minutes, seconds]) => (0, minutes, seconds),
        (_, &[hours, minutes, seconds]) => (hours, minutes, seconds),
        (Some(_), &[hours]) => (hours, 0, 0),
        (Some(_), &[hours, minutes]) => (hours, minutes, 0),
        _ => bail!("too many colons"),
    };
    Ok(Duration::from_secs(((days.unwrap_or_default() * 24 + hours) * 60 + minutes) * 60 + seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_sbatch_reads_them() {
        for (text, seconds) in [
            ("90", 90 * 60),
            ("1:30", 90),
            ("2:00:00", 2 * 3600),
            ("1-0", 24 * 3600),
            ("2-12:30", (2 * 24 + 12) * 3600 + 30 * 60),
            ("1-02:03:04", 26 * 3600 + 3 * 60 + 4),
        ] {
            assert_eq!(clock(text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in [
            "",
            "1h",
            "-1",
            "1:2:3:4",
            "1-1:2:3:4",
            "1.5",
            "UNLIMITED",
            "1-",
            ":",
            "99999999999",
            "１",
        ] {
            assert!(clock(text).is_err(), "{text}");
        }
        let error = format!("{:#}", "1h".parse::<TimeLimit>().unwrap_err());
        assert!(error.starts_with("found `1h`, expected a time such as 90 (minutes)"), "{error}");
        assert!("0:00".parse::<TimeLimit>().is_err());
    }

    #[test]
    fn limits_are_whole_minutes_and_come_back() {
        for (text, shown) in
            [("61", "01:01:00"), ("0:01", "00:01:00"), ("1:01", "00:02:00"), ("3-4", "3-04:00:00")]
        {
            let limit: TimeLimit = text.parse().unwrap();
            assert_eq!(limit.to_string(), shown);
            assert_eq!(shown.parse::<TimeLimit>().unwrap(), limit);
        }
    }
}
