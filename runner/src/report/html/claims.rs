//! The section "The study’s claims": a verdict on each, with its evidence.

use crate::report::figure::{escape, short};
use crate::report::html::page::{Page, table};
use crate::report::html::view::View;
use crate::report::html::words::counted;
use crate::summary::Finding;
use std::fmt::Write;

pub(super) fn verdicts(view: &View, page: &mut Page) {
    if view.summary.verdicts.is_empty() {
        return;
    }
    let mut body = String::from(
        "<p class=\"about\">The four claims of Su et al. (ECCV 2018), held against these results \
         alone.</p><ol class=\"verdicts\">",
    );
    for verdict in &view.summary.verdicts {
        let (class, word) = word(verdict.finding);
        let _ = write!(
            body,
            "<li><p><span class=\"finding {class}\">{word}</span> <strong>{}</strong></p><p \
             class=\"about\">{}</p>",
            escape(&verdict.statement),
            escape(&verdict.rule)
        );
        let rows: Vec<Vec<(String, Option<f64>)>> = verdict
            .evidence
            .iter()
            .map(|evidence| {
                let interval = evidence.value.interval.map_or_else(
                    || "–".into(),
                    |(low, high)| format!("{} to {}", short(low), short(high)),
                );
                let value = evidence.value.value;
                let word = self::word(evidence.finding).1;
                vec![
                    (evidence.what.clone(), None),
                    (value.map_or_else(|| "–".into(), short), value),
                    (interval, evidence.value.interval.map(|ends| ends.0)),
                    (word.to_owned(), None),
                ]
            })
            .collect();
        if rows.is_empty() {
            let _ = write!(body, "<p>{}</p>", escape(&verdict.reading));
        } else {
            let numbers = table("", &["number", "value", "interval", "by itself"], 1, &rows);
            let _ = write!(
                body,
                "<details><summary>{}</summary>{numbers}</details>",
                counted(rows.len(), "number")
            );
        }
        body.push_str("</li>\n");
    }
    page.section("claims", "The study’s claims", &format!("{body}</ol>"));
}

fn word(finding: Finding) -> (&'static str, &'static str) {
    match finding {
        Finding::Supported => ("supported", "supported"),
        Finding::NotSupported => ("not-supported", "not supported"),
        Finding::Undecided => ("undecided", "undecided"),
    }
}
