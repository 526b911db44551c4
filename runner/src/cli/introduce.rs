//! The lines that introduce a study.

use crate::analysis::flags;
use crate::cli::text::counted;
use crate::study::{MemberKind, Study};
use anyhow::Result;
use std::collections::BTreeMap;
use std::io::Write;

/// Prints what a study consists of, and what was left out or skipped.
pub(super) fn introduce(study: &Study, out: &mut dyn Write) -> Result<()> {
    let transfer = study
        .transfer
        .map_or_else(|| "no transfer".to_owned(), |policy| format!("transfer {}", policy.name()));
    let parts = [
        counted(study.data.pictures.len(), "image"),
        counted(study.models.len(), "model"),
        counted(study.attacks.len(), "attack"),
        transfer,
    ];
    writeln!(out, "{}: {}", study.name, parts.join(", "))?;
    if !study.plugins.is_empty() {
        let plugins: Vec<String> =
            study.plugins.iter().map(|library| library.stamp.to_string()).collect();
        writeln!(out, "plugins {}", plugins.join(", "))?;
    }
    if !study.joined.is_empty() {
        let joined: Vec<String> = study
            .joined
            .iter()
            .map(|(kind, label)| format!("{kind} {label}{}", goals(study, *kind, label)))
            .collect();
        writeln!(out, "joined by {}", joined.join(", "))?;
    }
    let mut left_out: BTreeMap<(MemberKind, &str), Vec<&str>> = BTreeMap::new();
    for out in &study.left_out {
        left_out.entry((out.kind, &out.reason)).or_default().push(&out.name);
    }
    for ((kind, reason), names) in left_out {
        writeln!(out, "left out: {kind} {}: {reason}", names.join(", "))?;
    }
    if let Some(asked) = study.data.asked.filter(|&asked| asked > study.data.pictures.len()) {
        writeln!(out, "{asked} images were asked for, but there are no more")?;
    }
    for note in &study.data.notes {
        writeln!(out, "note: {note}")?;
    }
    for model in &study.models {
        if let Some(done) = model.conversion() {
            writeln!(out, "note: the weights of model `{}` are {done}", model.part.label)?;
        }
    }
    for flag in flags::of_inputs(study) {
        let severity = flag.severity.name();
        writeln!(out, "{severity}: {}: {}. {}", flag.place(), flag.reading, flag.remedy)?;
    }
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for skipped in &study.data.skipped {
        let reason = skipped.reason.split(':').next().unwrap_or_default();
        *reasons.entry(reason).or_default() += 1;
    }
    if !reasons.is_empty() {
        let reasons: Vec<String> =
            reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        writeln!(
            out,
            "{} skipped ({}), see skipped.csv",
            counted(study.data.skipped.len(), "file"),
            reasons.join("; ")
        )?;
    }
    Ok(())
}

/// The goals of a member, in brackets; nothing for members that have none.
fn goals(study: &Study, kind: MemberKind, label: &str) -> String {
    let goals = match kind {
        MemberKind::Model => None,
        MemberKind::Attack => study
            .attacks
            .iter()
            .find(|attack| attack.part.label == label)
            .map(|attack| &attack.goals),
        MemberKind::Metric => study
            .metrics
            .iter()
            .find(|metric| metric.part.label == label)
            .map(|metric| &metric.goals),
    };
    let names: Vec<&str> = goals.into_iter().flatten().map(|goal| goal.name()).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}
