//! The section "Flags": by model, signs that numbers on the page say less than they seem to.

use crate::analysis::flags::{Check, Flag, Severity};
use crate::report::figure::escape;
use crate::report::html::page::Page;
use crate::report::html::view::View;
use crate::report::html::words::{counted, goal_words, listed};
use std::fmt::Write;

/// Greatest number of flags with which a model's list is open at first.
const OPEN: usize = 4;

pub(super) fn flags(view: &View, page: &mut Page) {
    let findings = &view.summary.findings;
    let mut body = String::new();
    if !findings.flags.is_empty() {
        body.push_str(
            "<p class=\"about\">An error: the numbers that it is about cannot be taken as the \
             model’s robustness. A warning: they may overstate \
             it. A note: good to know.</p>",
        );
    }
    let of = |model: Option<&str>| -> Vec<&Flag> {
        findings.flags.iter().filter(|flag| flag.model.as_deref() == model).collect()
    };
    body.push_str(&group("The study", &of(None)));
    for model in &view.summary.models {
        body.push_str(&group(&model.label, &of(Some(&model.label))));
    }
    body.push_str(&checked(&findings.checks, findings.flags.is_empty()));
    page.section("flags", "Flags", &body);
}

/// The flags of a model, or of the study; nothing without flags.
fn group(title: &str, flags: &[&Flag]) -> String {
    if flags.is_empty() {
        return String::new();
    }
    let count = |severity: Severity| flags.iter().filter(|flag| flag.severity == severity).count();
    let counts = [Severity::Error, Severity::Warning, Severity::Note]
        .map(|severity| (count(severity), severity.name()));
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| counted(count, name))
        .collect();
    let open = if flags.len() <= OPEN { " open=\"open\"" } else { "" };
    let mut html = format!(
        "<details{open}><summary>{}: {}</summary><ul class=\"flags\">",
        escape(title),
        counts.join(", ")
    );
    for flag in flags {
        let (severity, name) = (flag.severity.name(), flag.flag.name());
        let place = match (&flag.attack, flag.goal) {
            (Some(attack), Some(goal)) => {
                format!(" of {} ({})", escape(attack), goal_words(goal))
            }
            (Some(attack), None) => format!(" of {}", escape(attack)),
            _ => String::new(),
        };
        let p = flag.p.map_or_else(String::new, |p| format!(" (p = {p:.1e}, corrected)"));
        let _ = write!(
            html,
            "<li><p><span class=\"finding {severity}\">{severity}</span> \
             <strong>{name}</strong>{place}: {}{p}.</p>\
             <p class=\"about\">{} {}</p></li>",
            with_code(&flag.reading),
            with_code(&flag.meaning),
            with_code(&flag.remedy)
        );
    }
    html + "</ul></details>\n"
}

/// A text as HTML, with what stands between backticks as code.
fn with_code(text: &str) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return escape(text); // a backtick without a partner is a character
    }
    let code = |(n, part): (usize, &&str)| match n % 2 {
        0 => escape(part),
        _ => format!("<code>{}</code>", escape(part)),
    };
    parts.iter().enumerate().map(code).collect()
}

/// The checks that were made, and those for which the study has no data.
fn checked(checks: &[Check], none: bool) -> String {
    if checks.is_empty() {
        return "<p class=\"none\">The program that made these results did not look for signs of \
                broken models and weak attacks.</p>"
            .into();
    }
    let names = |looked_at: bool| -> Vec<String> {
        let some = checks.iter().filter(|check| (check.looked_at > 0) == looked_at);
        some.map(|check| {
            if looked_at {
                format!("{} ({})", check.flag.name(), check.looked_at)
            } else {
                check.flag.name().into()
            }
        })
        .collect()
    };
    let (seen, unseen) = (names(true), names(false));
    let start = if none {
        "<p>No sign of wrong inputs, a broken model, masked gradients or a weak attack.</p>"
    } else {
        ""
    };
    let mut html = format!(
        "{start}<p class=\"about\">Checks, each with its number of models or comparisons: {}.",
        escape(&listed(&seen))
    );
    if !unseen.is_empty() {
        let _ =
            write!(html, " The study has no data for these checks: {}.", escape(&listed(&unseen)));
    }
    html + "</p>"
}
