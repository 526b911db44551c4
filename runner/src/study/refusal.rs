//! Errors that point into the text of a study.

use anyhow::{Result, anyhow};
use gauntlet_core::params::suggestion;
use serde::de::DeserializeOwned;
use std::ops::Range;

/// A part of a study's text, in bytes.
pub(super) type Span = Range<usize>;

/// The text of a study, to point at in errors.
pub(super) struct Refusal<'a> {
    pub text: &'a str,
    /// What errors call the text.
    pub place: &'a str,
}

impl Refusal<'_> {
    /// Parses the text as TOML.
    ///
    /// # Errors
    /// When it is not valid; the error points at the mistake.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        toml::from_str(self.text).map_err(|error| {
            let message = anyhow!("{}", suggested(error.message()));
            error.span().map_or_else(
                || anyhow!("{}: {}", self.place, suggested(error.message())),
                |span| self.at(&span, message),
            )
        })
    }

    /// The error with its place: `place, line 3, column 8: what is wrong`, the line, and carets
    /// below the span.
    pub fn at(&self, span: &Span, error: anyhow::Error) -> anyhow::Error {
        let start = span.start.min(self.text.len());
        let (before, after) = self.text.split_at(self.text.floor_char_boundary(start));
        let number = before.matches('\n').count() + 1;
        let head = before.rsplit('\n').next().unwrap_or_default();
        let line = format!("{head}{}", after.split('\n').next().unwrap_or_default());
        let width = self
            .text
            .get(span.clone())
            .map_or(1, |s| s.split('\n').next().unwrap_or_default().chars().count())
            .max(1);
        let column = head.chars().count();
        let gutter = number.to_string();
        let blank = " ".repeat(gutter.len());
        anyhow!(
            "{}, line {number}, column {}: {error:#}\n{blank} |\n{gutter} | {}\n{blank} | {}{}",
            self.place,
            column + 1,
            line.trim_end(),
            " ".repeat(column),
            "^".repeat(width)
        )
    }
}

/// Adds to toml's message on an unknown key the key that was probably meant.
fn suggested(message: &str) -> String {
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match names.as_slice() {
        [unknown, known @ ..] if message.starts_with("unknown field ") => {
            let at = "unknown field ``".len() + unknown.len();
            format!(
                "{}{}{}",
                &message[..at],
                suggestion(unknown, known).trim_end_matches('?'),
                &message[at..]
            )
        }
        _ => message.to_owned(),
    }
}
