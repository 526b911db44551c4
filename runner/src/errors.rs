//! How an error is put into one line.

/// The first line of an error with its causes. If it ends with a colon, a list follows: then its
/// first items are added.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_items_of_a_list_are_in_its_first_line() {
        let line = |text: &str| first_line(&anyhow::anyhow!("{text}").context("weights w"));
        assert_eq!(line("broken\nand a second line"), "weights w: broken");
        assert_eq!(
            line("2 do not fit:\n  missing     a [1]\n  unexpected  b"),
            "weights w: 2 do not fit: missing a [1]; unexpected b"
        );
        assert_eq!(
            line("4 do not fit:\n  a\n  b\n  c\n  d"),
            "weights w: 4 do not fit: a; b; c; …"
        );
    }
}
