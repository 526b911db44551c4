//! From names in a study's text to models, attacks and metrics of the registry.

use crate::study::goal::goals;
use crate::study::options::StudyOptions;
use crate::study::part::{ModelError, Part, Samples, StudyAttack, StudyMetric, StudyModel};
use crate::study::refusal::{Refusal, Span};
use crate::study::syntax::{AttackChoice, Choice, ModelChoice};
use crate::weights::WeightsPlace;
use anyhow::Result;
use gauntlet_core::registry::{Entry, Registry};
use std::path::Path;
use toml::{Spanned, Table};

/// The model that a study names.
pub(super) fn model(
    registry: &Registry,
    refusal: &Refusal,
    choice: &ModelChoice,
    folder: &Path,
    options: &StudyOptions,
) -> Result<StudyModel> {
    if let Some((file, script)) = choice.script(refusal)? {
        let path = folder.join(file.get_ref());
        let mut model = StudyModel::torchscript(choice.name.get_ref(), &path, &script)
            .map_err(|error| refusal.at(&file.span(), error))?;
        model.samples = samples(refusal, choice)?;
        relabel(&mut model.part, choice.label.as_ref());
        return Ok(model);
    }
    let named = choice.weights.as_ref().map(|path| (folder.join(path.get_ref()), path.span()));
    if let Some((path, span)) = &named
        && !path.exists()
    {
        return Err(
            refusal.at(span, anyhow::anyhow!("there is no weights file {}", path.display()))
        );
    }
    let entry = registry
        .find_model(choice.name.get_ref())
        .map_err(|error| refusal.at(&choice.name.span(), error))?;
    let (params, span) = params(choice.params.as_ref(), &choice.name);
    entry.entry.parameters(None, &params).map_err(|error| refusal.at(&span, error))?;
    let own = named.as_ref().map(|(path, _)| path.as_path());
    let span = named.as_ref().map_or_else(|| choice.name.span(), |(_, span)| span.clone());
    let given = options.weights.as_deref();
    let mut model = StudyModel::new(registry, choice.name.get_ref(), &params, own, given)
        .or_else(|error| match error {
            ModelError::NoWeights(missing) if options.plan_only => {
                StudyModel::with(entry, &params, WeightsPlace::Absent(missing))
            }
            error => Err(error.into()),
        })
        .map_err(|error| refusal.at(&span, error))?;
    model.samples = samples(refusal, choice)?;
    relabel(&mut model.part, choice.label.as_ref());
    Ok(model)
}

/// How a model is asked that answers at random; `None` for one whose answers repeat.
fn samples(refusal: &Refusal, choice: &ModelChoice) -> Result<Option<Samples>> {
    match (&choice.samples, &choice.judge_samples) {
        (Some(samples), judge) => {
            Samples::new(*samples.get_ref(), judge.as_ref().map(|judge| *judge.get_ref()))
                .map(Some)
                .map_err(|error| refusal.at(&samples.span(), error))
        }
        (None, None) => Ok(None),
        (None, Some(judge)) => Err(refusal.at(
            &judge.span(),
            anyhow::anyhow!(
                "`judge_samples` goes with `samples`, of a model that answers at random"
            ),
        )),
    }
}

/// The attack that a study names.
pub(super) fn attack(
    registry: &Registry,
    refusal: &Refusal,
    choice: &AttackChoice,
) -> Result<StudyAttack> {
    let entry = registry
        .find_attack(choice.name.get_ref())
        .map_err(|error| refusal.at(&choice.name.span(), error))?;
    let (params, span) = params(choice.params.as_ref(), &choice.name);
    let preset = choice.preset.as_ref().map(|preset| (preset.get_ref().as_str(), preset.span()));
    let parameters = parameters(&entry.entry, refusal, preset, &params, &span)?;
    let goals =
        goals(choice.goals.get_ref()).map_err(|error| refusal.at(&choice.goals.span(), error))?;
    let mut attack = StudyAttack::new(registry, &entry.entry.name, parameters, goals)
        .map_err(|error| refusal.at(&span, error))?;
    if let Some(samples) = &choice.samples {
        Samples::check("samples", *samples.get_ref())
            .map_err(|error| refusal.at(&samples.span(), error))?;
        attack.samples = Some(*samples.get_ref());
    }
    relabel(&mut attack.part, choice.label.as_ref());
    Ok(attack)
}

fn relabel(part: &mut Part, label: Option<&String>) {
    if let Some(label) = label {
        part.label.clone_from(label);
    }
}

/// The metric that a study names.
pub(super) fn metric(
    registry: &Registry,
    refusal: &Refusal,
    choice: &Spanned<Choice>,
) -> Result<StudyMetric> {
    let (named, span) = (choice.get_ref(), choice.span());
    let entry = registry.find_metric(&named.name).map_err(|error| refusal.at(&span, error))?;
    let preset = named.preset.as_ref().map(|name| (name.as_str(), choice.span()));
    let params = named.params.clone().unwrap_or_default();
    let parameters = parameters(&entry.entry, refusal, preset, &params, &span)?;
    let mut metric = StudyMetric::new(registry, &named.name, parameters, named.goals.as_deref())
        .map_err(|error| refusal.at(&span, error))?;
    relabel(&mut metric.part, named.label.as_ref());
    Ok(metric)
}

/// A member's own parameters, and the span to point at when they are wrong.
fn params(params: Option<&Spanned<Table>>, name: &Spanned<String>) -> (Table, Span) {
    params.map_or_else(
        || (Table::new(), name.span()),
        |params| (params.get_ref().clone(), params.span()),
    )
}

/// All parameters of an entry: its defaults, overridden by the preset, overridden by `params`.
fn parameters(
    entry: &Entry,
    refusal: &Refusal,
    preset: Option<(&str, Span)>,
    params: &Table,
    span: &Span,
) -> Result<Table> {
    let name = preset.as_ref().map(|(name, _)| *name);
    if let Some((name, span)) = &preset {
        entry.parameters(Some(name), &Table::new()).map_err(|error| refusal.at(span, error))?;
    }
    entry.parameters(name, params).map_err(|error| refusal.at(span, error))
}
