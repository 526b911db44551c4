//! From counts to the document.

use crate::analysis::stats::CONFIDENCE;
use crate::analysis::{Rate, Tables, number};
use crate::engine::Failure;
use crate::engine::plan::Plan;
use crate::study::{Study, StudyAttack, StudyMetric};
use crate::summary::claims;
use crate::summary::document::{
    Attack, FORMAT, Facts, Left, Metric, MissingCell, Model, SCHEMA, Summary,
};
use crate::summary::resampled::{RESAMPLES, Resampler};
use crate::summary::robustness::robustness;
use gauntlet_core::metric::{Direction, Scope};

/// Builds the document without its examples. `failures` are those of the run that computed the
/// cells.
pub(crate) fn build(study: &Study, plan: &Plan, tables: &Tables, failures: &[Failure]) -> Summary {
    let resampler = Resampler::new(study, tables);
    let laws = resampler.laws();
    let depth = resampler.depth();
    let reason = |cell| {
        failures.iter().find(|failure| failure.cell == cell).map(|failure| failure.reason.clone())
    };
    let missing = |&cell| MissingCell { cell: plan.describe(study, cell), reason: reason(cell) };
    Summary {
        schema: SCHEMA.into(),
        format: FORMAT,
        study: facts(study),
        models: (0..study.models.len()).map(|index| model(&resampler, index)).collect(),
        attacks: study.attacks.iter().map(attack).collect(),
        metrics: study.metrics.iter().map(metric).collect(),
        campaigns: tables
            .success
            .iter()
            .enumerate()
            .map(|(index, success)| resampler.campaign(index, success))
            .collect(),
        robustness: robustness(study, tables),
        transfer: if study.transfer.is_some() { resampler.matrices() } else { Vec::new() },
        scores: tables.scores.iter().map(|score| resampler.score(score)).collect(),
        verdicts: claims::verdicts(&resampler, &laws, &depth),
        laws,
        depth,
        families: resampler.families(),
        findings: tables.findings.clone(),
        examples: Vec::new(),
        missing: tables.missing.iter().map(missing).collect(),
    }
}

fn model(resampler: &Resampler, index: usize) -> Model {
    let model = &resampler.study.models[index];
    let row = &resampler.tables.accuracy[index];
    let shape = model.card.shape();
    Model {
        label: model.part.label.clone(),
        name: model.part.name.clone(),
        family: model.card.family.clone(),
        side: shape.side(),
        channels: shape.channels,
        height: shape.height,
        width: shape.width,
        parameters: model.parameters,
        depth: model.card.depth,
        missing: row.missing,
        top1: Rate::new(row.correct, row.images),
        top5: Rate::new(row.top5, row.images),
        published_top1: model.card.top1,
        published_top5: model.card.top5,
        ln_error: resampler.ln_error(index).and_then(number),
        source: model.card.source.clone(),
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

fn attack(attack: &StudyAttack) -> Attack {
    let part = &attack.part;
    Attack {
        label: part.label.clone(),
        name: part.name.clone(),
        origin: part.origin.clone(),
        parameters: part.parameters.to_string(),
        goals: attack.goals.clone(),
    }
}

fn metric(metric: &StudyMetric) -> Metric {
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
