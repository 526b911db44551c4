//! From counts to the document.

use crate::analysis::Tables;
use crate::analysis::stats::CONFIDENCE;
use crate::engine::Failure;
use crate::engine::plan::Plan;
use crate::study::Study;
use crate::summary::document::{Attack, Facts, Left, Metric, MissingCell, Model, Summary};
use crate::summary::resampled::{RESAMPLES, Resampler};
use crate::summary::{FORMAT, SCHEMA, claims};
use gauntlet_core::metric::{Direction, Scope};

/// Writes the document, but for its examples. `failures` are those of the run that computed the
/// cells.
pub(crate) fn build(study: &Study, plan: &Plan, tables: &Tables, failures: &[Failure]) -> Summary {
    let builder = Resampler::new(study, tables);
    let laws = builder.laws();
    let depth = builder.depth();
    let families = builder.families();
    let models: Vec<Model> = (0..study.models.len()).map(|index| builder.model(index)).collect();
    let missing = tables.missing.iter().map(|&cell| MissingCell {
        cell: plan.describe(study, cell),
        reason: failures
            .iter()
            .find(|failure| failure.cell == cell)
            .map(|failure| failure.reason.clone()),
    });
    Summary {
        schema: SCHEMA.into(),
        format: FORMAT,
        study: facts(study),
        verdicts: claims::verdicts(&builder, &laws, &depth),
        models,
        attacks: study.attacks.iter().map(attack).collect(),
        metrics: study.metrics.iter().map(metric).collect(),
        campaigns: tables
            .success
            .iter()
            .enumerate()
            .map(|(index, success)| builder.campaign(index, success))
            .collect(),
        transfer: if study.transfer.is_some() { builder.matrices() } else { Vec::new() },
        scores: tables.scores.iter().map(|score| builder.score(score)).collect(),
        laws,
        depth,
        families,
        findings: tables.findings.clone(),
        examples: Vec::new(),
        missing: missing.collect(),
    }
}

fn facts(study: &Study) -> Facts {
    let skipped =
        study.data.skipped.iter().map(|s| Left { name: s.name.clone(), reason: s.reason.clone() });
    let left_out = study
        .left_out
        .iter()
        .map(|out| Left { name: format!("{} {}", out.kind, out.name), reason: out.reason.clone() });
    Facts {
        name: study.name.clone(),
        program: env!("CARGO_PKG_VERSION").into(),
        seed: study.seed,
        images: study.data.pictures.len(),
        classes: study.classes,
        tie_tolerance: study.tie_tolerance,
        transfer: study.transfer,
        confidence: CONFIDENCE,
        resamples: RESAMPLES,
        skipped: skipped.collect(),
        left_out: left_out.collect(),
    }
}

pub(super) fn attack(attack: &crate::study::StudyAttack) -> Attack {
    let part = &attack.part;
    Attack {
        label: part.label.clone(),
        name: part.name.clone(),
        origin: part.origin.clone(),
        parameters: part.parameters.to_string(),
        goals: attack.goals.clone(),
    }
}

pub(super) fn metric(metric: &crate::study::StudyMetric) -> Metric {
    let part = &metric.part;
    Metric {
        label: part.label.clone(),
        name: part.name.clone(),
        origin: part.origin.clone(),
        unit: metric.unit.clone(),
        of_outcomes: metric.scope == Scope::Outcome,
        higher_is_more_robust: metric.direction == Direction::HigherIsMoreRobust,
        extras: metric.extras.clone(),
    }
}
