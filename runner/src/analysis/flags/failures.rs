//! Signs in the failures of an attack: answers that are no images, a margin that is out of reach,
//! and a rate below what an attack without a bound should reach.

use crate::analysis::flags::sign::{Flag, Severity, Sign, Signal, beyond_chance};
use crate::analysis::rate::Rate;
use crate::analysis::stats;
use crate::analysis::tables::{Success, Tables};
use crate::store::status::CHANGED;
use crate::study::{Study, StudyAttack};
use toml::Value;

/// Share of the images on which an attack without a bound should succeed.
const NEARLY_ALL: f64 = 0.95;

/// What reasons of invalid answers contain if the model is at fault.
const OF_MODELS: [&str; 3] = [CHANGED, "not finite in", "the logits of"];

/// Looks at the failures of every attack on every model.
pub(super) fn signs(study: &Study, tables: &Tables) -> Vec<Signal> {
    let attacked: Vec<&Success> =
        tables.success.iter().filter(|row| row.source_correct > 0).collect();
    let mut signals: Vec<Signal> = attacked.iter().map(|row| invalid(study, row)).collect();
    let (asking, mut unreachable): (Vec<&Success>, Vec<Signal>) =
        attacked.iter().filter_map(|row| Some((*row, out_of_reach(study, tables, row)?))).unzip();
    beyond_chance(&mut unreachable);
    let is_explained = |row: &Success| {
        let mut out_of_reach = asking.iter().zip(&unreachable).filter(|(_, signal)| signal.raised);
        out_of_reach.any(|(asking, _)| std::ptr::eq(*asking, row))
    };
    let mut unbounded: Vec<Signal> = attacked
        .iter()
        .filter(|row| row.source_correct > row.invalid)
        .filter(|row| study.attacks[row.attack].budget().is_none() && !is_explained(row))
        .map(|row| unbounded(study, row))
        .collect();
    beyond_chance(&mut unbounded);
    signals.extend(unreachable);
    signals.extend(unbounded);
    signals
}

/// Answers that are not images of the model's.
fn invalid(study: &Study, row: &Success) -> Signal {
    let (k, n) = (row.invalid, row.source_correct);
    let first = row.first_invalid.as_ref().map_or_else(String::new, |(image, reason)| {
        format!("; the first, on `{}`: {reason}", study.data.pictures[*image].name)
    });
    let reading = format!("{k} of {n} answers are invalid{first}");
    let severity = if 2 * k >= n { Severity::Error } else { Severity::Warning };
    let mut flag =
        Flag { severity, ..of(study, Sign::InvalidAnswers, row, Rate::new(k, n), reading) };
    if row
        .first_invalid
        .as_ref()
        .is_some_and(|(_, reason)| OF_MODELS.iter().any(|of| reason.contains(of)))
    {
        flag.remedy = "Mend the model: its answers must repeat, and its logits and gradients must \
                       be finite."
            .into();
    }
    Signal { model: Some(row.model), flag, raised: k > 0 }
}

/// The margin that an attack asks for, against the range of the model's outputs. None for an attack
/// without such a margin, or a model without a probe.
fn out_of_reach(study: &Study, tables: &Tables, row: &Success) -> Option<Signal> {
    let kappa = margin(&study.attacks[row.attack])?;
    let probe = tables.probes.iter().find(|probe| probe.model == row.model)?;
    let outputs = || probe.cases.iter().flatten().map(|case| &case.outputs);
    let images = outputs().filter(|ends| !ends.is_empty()).count();
    let low = outputs().flatten().copied().reduce(f64::min)?;
    let high = outputs().flatten().copied().reduce(f64::max)?;
    let (k, n) = (row.success, row.source_correct);
    let reading = format!(
        "kappa = {kappa} is out of reach: the model's outputs are between {low:.3} and {high:.3} \
         on {images} images, so margins are at most {:.3}; the attack succeeds on {k} of {n} images",
        high - low
    );
    let flag = Flag {
        severity: Severity::Error,
        p: Some(stats::at_least(n - k, n, 1.0 - NEARLY_ALL)),
        ..of(study, Sign::ConfidenceOutOfReach, row, Rate::new(k, n), reading)
    };
    Some(Signal { model: Some(row.model), flag, raised: kappa > high - low })
}

/// The margin between outputs that an attack asks for (its parameter `kappa`), if it has one.
fn margin(attack: &StudyAttack) -> Option<f64> {
    match attack.part.parameters.get("kappa")? {
        Value::Float(kappa) => Some(*kappa),
        Value::Integer(kappa) => Some(*kappa as f64),
        _ => None,
    }
}

/// An attack without a bound, against the rate that its valid answers should reach.
fn unbounded(study: &Study, row: &Success) -> Signal {
    let (k, n) = (row.success, row.source_correct - row.invalid);
    let valid = if row.invalid > 0 { " with a valid answer" } else { "" };
    let reading = format!("the attack, which nothing bounds, succeeds on {k} of {n} images{valid}");
    let mut flag = Flag {
        severity: if 2 * k < n { Severity::Warning } else { Severity::Note },
        p: Some(stats::at_least(n - k, n, 1.0 - NEARLY_ALL)),
        ..of(study, Sign::UnboundedAttackFails, row, Rate::new(k, n), reading)
    };
    if let Some(kappa) = margin(&study.attacks[row.attack]).filter(|kappa| *kappa > 0.0) {
        flag.remedy = format!(
            "Try kappa = 0 first: a margin of {kappa} that the model's outputs cannot have is \
             never found (the probe shows their range). {}",
            flag.remedy
        );
    }
    Signal { model: Some(row.model), flag, raised: true }
}

/// A warning about an attack on a model.
fn of(study: &Study, sign: Sign, row: &Success, found: Rate, reading: String) -> Flag {
    let attack = Some(study.attacks[row.attack].part.label.clone());
    let goal = Some(row.goal);
    Flag { attack, goal, ..Flag::new(study, sign, Some(row.model), found, reading) }
}
