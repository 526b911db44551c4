//! What must hold of a study before it can run.

use crate::data::Data;
use crate::study::part::{MemberKind, Part, StudyModel};
use crate::study::refusal::{Refusal, Span};
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use toml::Spanned;

/// Every label and target must be one of the models' classes. Errors count as the labels do where
/// they were read.
pub(super) fn check_labels(data: &Data, classes: i64) -> Result<()> {
    let first_label = data.first_label;
    let fits = |class: i64| (0..classes).contains(&class);
    let range = format!("(counted from {first_label}), but the models have {classes} classes");
    for picture in &data.pictures {
        let (name, label) = (&picture.name, picture.label);
        ensure!(
            fits(label),
            "image `{name}` has the label {} {range}{}",
            label + first_label,
            if label == classes && first_label == 0 {
                "; if the label file counts from 1, say `first_label = 1`"
            } else {
                ""
            }
        );
        if let Some(target) = picture.target.filter(|&target| !fits(target)) {
            bail!("image `{name}` has the target {} {range}", target + first_label);
        }
    }
    Ok(())
}

/// Every image must have a target, for the goal `given`.
pub(super) fn check_targets(data: &Data) -> Result<()> {
    let lacking = data.pictures.iter().find(|picture| picture.target.is_none());
    lacking.map_or(Ok(()), |picture| {
        bail!(
            "the goal `given` aims at the class that a label file gives, but image `{}` has none: \
             a column `target` is needed",
            picture.name
        )
    })
}

/// Longest file name, in bytes, that usual file systems take.
const MAX_NAME: usize = 255;

/// The name must be fit for a folder.
pub(super) fn check_name(name: &Spanned<String>) -> Result<()> {
    let name = name.get_ref();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ensure!(
        !name.is_empty()
            && name.len() <= MAX_NAME
            && name.chars().all(plain)
            && !name.starts_with('.'),
        "`{name}` names a folder: use letters, digits, `-`, `_` and `.`"
    );
    Ok(())
}

/// `tie_tolerance`, 0 unless given.
pub(super) fn tie_tolerance(refusal: &Refusal, given: Option<&Spanned<f64>>) -> Result<f64> {
    let Some(given) = given else { return Ok(0.0) };
    let tolerance = *given.get_ref();
    if !tolerance.is_finite() || tolerance < 0.0 {
        return Err(refusal.at(
            &given.span(),
            anyhow::anyhow!("`tie_tolerance` is {tolerance}, expected a number from 0"),
        ));
    }
    Ok(tolerance.abs()) // the sign of -0.0 would show in the resolved study
}

/// `cell_timeout`, if given; zero is no limit.
pub(super) fn cell_timeout(
    refusal: &Refusal,
    given: Option<&Spanned<f64>>,
) -> Result<Option<Duration>> {
    let read = |given: &Spanned<f64>| {
        Duration::try_from_secs_f64(*given.get_ref()).map_err(|_| {
            let error = anyhow::anyhow!(
                "`cell_timeout` is {}, expected a number of seconds, or 0 for no limit",
                given.get_ref()
            );
            refusal.at(&given.span(), error)
        })
    };
    given.map(read).transpose()
}

/// Every label must be visible, and no two members of a kind may have the same.
pub(super) fn unique<'a>(
    refusal: &Refusal,
    kind: MemberKind,
    parts: impl Iterator<Item = (&'a Part, Span)>,
) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (part, span) in parts {
        if part.label.trim().is_empty() || part.label.chars().any(char::is_control) {
            let error = anyhow::anyhow!(
                "the label {:?} cannot be shown: at least one visible character, and no control \
                 characters",
                part.label
            );
            return Err(refusal.at(&span, error));
        }
        if !seen.insert(&part.label) {
            let error = anyhow::anyhow!(
                "two {kind}s are called `{}`: give one another `label = \"…\"`",
                part.label
            );
            return Err(refusal.at(&span, error));
        }
    }
    Ok(())
}

/// The number of real classes, background excluded, which all models must have.
pub(super) fn agree_on_classes(models: &[StudyModel]) -> Result<i64> {
    let mut by_count: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for model in models {
        by_count.entry(model.classes()).or_default().push(&model.part.label);
    }
    let counts: Vec<String> =
        by_count.iter().map(|(count, labels)| format!("{count} ({})", labels.join(", "))).collect();
    ensure!(
        counts.len() == 1,
        "the models do not have the same classes: {}; study them apart",
        counts.join("; ")
    );
    let classes = *by_count.keys().next().context("no model")?;
    ensure!(classes >= 2, "a study needs models with at least 2 classes, found {classes}");
    Ok(classes)
}
