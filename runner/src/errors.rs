//! What all rooms say of errors.

use std::fmt;

/// The object store behind a results' folder cannot be asked.
#[derive(Debug)]
pub struct OutOfReach(pub(crate) String);

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OutOfReach {}

/// The first line of an error with its causes; where it announces a list, with the first items.
pub(crate) fn first_line(error: &anyhow::Error) -> String {
    const ITEMS: usize = 3;
    let text = format!("{error:#}");
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default().to_owned();
    if !first.ends_with(':') {
        return first;
    }
    let mut items: Vec<String> =
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    if items.len() > ITEMS {
        items.truncate(ITEMS);
        items.push("…".to_owned());
    }
    format!("{first} {}", items.join("; ")).trim_end().to_owned()
}
