//! The text of a study, before it is parsed.

use crate::study::built_in::{BUILT_IN, BuiltIn};
use crate::text;
use anyhow::{Context, Result};
use gauntlet_core::params::suggestion;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// A study's text and where it comes from.
pub(super) struct StudyText {
    pub text: String,
    /// What errors call the text.
    pub place: String,
    /// Paths in the text are relative to this folder.
    pub folder: PathBuf,
    /// Whether the study is part of the program.
    pub built_in: bool,
}

impl StudyText {
    /// Fetches the built-in study of that name, or else reads the file of that name.
    pub fn fetch(name: &str) -> Result<Self> {
        if let Some(study) = BuiltIn::find(name) {
            return Ok(Self {
                text: study.text.to_owned(),
                place: format!("study `{name}`"),
                folder: PathBuf::from("."),
                built_in: true,
            });
        }
        let path = Path::new(name);
        let text = text::read(path).with_context(|| {
            let known: Vec<&str> = BUILT_IN.iter().map(|study| study.name).collect();
            let hint = suggestion(name, &known);
            format!(
                "study {name} cannot be read{hint}; give a TOML file or the name of a built-in \
                 study: `{}`",
                known.join("`, `")
            )
        })?;
        let folder =
            path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Self { text, place: name.to_owned(), folder: folder.to_owned(), built_in: false })
    }
}

/// What errors call a text: with `--set`, lines and columns are those of the changed text, so
/// errors say so.
pub(super) fn with_set<'a>(place: &'a str, set: &[String]) -> Cow<'a, str> {
    if set.is_empty() { place.into() } else { format!("{place} with --set").into() }
}
