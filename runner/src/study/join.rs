//! Members that join a study without being named in it, if they fit.

use crate::data::{Data, Picture, Source};
use crate::errors::first_line;
use crate::study::goal::GoalKind;
use crate::study::options::StudyOptions;
use crate::study::part::{MemberKind, ModelError, Part, StudyAttack, StudyMetric, StudyModel};
use crate::study::refusal::Refusal;
use crate::study::resolve::{attack, metric, model};
use crate::study::selection::Selection;
use crate::study::set::JoiningEntry;
use crate::study::syntax::{AttackChoice, Choice, File, ModelChoice};
use anyhow::{Result, anyhow};
use gauntlet_core::registry::{Entry, Registry};
use std::path::Path;
use toml::{Spanned, Table};

/// The registered entries that join a study, and what is set of them.
pub(super) struct Joining<'a> {
    pub registry: &'a Registry,
    pub models: Vec<&'a Entry>,
    pub attacks: Vec<&'a Entry>,
    pub metrics: Vec<&'a Entry>,
    /// Settings of the command line.
    pub set: &'a [JoiningEntry],
}

impl Joining<'_> {
    /// Adds the models that fit a study: those with weights, the study's number of classes, and a
    /// side at most twice that of its images. `weights` is a folder to look for weights in first.
    ///
    /// # Errors
    /// When something is set that the model does not take.
    pub fn models(
        &self,
        selection: &mut Selection,
        models: &mut Vec<StudyModel>,
        weights: Option<&Path>,
        source: Option<&Source>,
        data: &Data,
    ) -> Result<()> {
        /// Greatest ratio of a model's side to that of the images.
        const MAGNIFIED: i64 = 2;

        let mut candidates = Vec::new();
        for &entry in &self.models {
            match self.model(entry, weights)? {
                Ok(model) => candidates.push((entry, model)),
                Err(ModelError::NoWeights(_)) => {
                    selection.leave_out(
                        MemberKind::Model,
                        &entry.name,
                        "no weights, see `runner weights list`".into(),
                    );
                }
                Err(ModelError::Invalid(error)) => {
                    selection.leave_out(MemberKind::Model, &entry.name, first_line(&error));
                }
            }
        }
        let labels =
            data.pictures.iter().map(|picture| picture.label + 1).max().unwrap_or_default();
        let classes = models
            .first()
            .map(StudyModel::classes)
            .or(source.and_then(Source::classes))
            .or(candidates
                .iter()
                .map(|(_, model)| model.classes())
                .filter(|&classes| classes >= labels)
                .min())
            .unwrap_or(labels);
        let side = data.pictures.iter().map(Picture::side).max().flatten();
        for (entry, model) in candidates {
            let (own, own_side) = (model.classes(), model.card.shape().side());
            let fits = match side {
                _ if own != classes => {
                    Err(anyhow!("it has {own} classes, and the study {classes}"))
                }
                Some(side) if own_side > MAGNIFIED * side => Err(anyhow!(
                    "its side is {own_side} pixels, that of the images {side}: name it under \
                     [[models]] to have it all the same"
                )),
                _ => Ok(model),
            };
            join(selection, MemberKind::Model, entry, fits, models, |model| &model.part);
        }
        Ok(())
    }

    /// Adds the attacks. Their goals are those of all attacks that the study's file names, whether
    /// these take part or not; untargeted, if it names none.
    ///
    /// # Errors
    /// When something is set that the attack does not take.
    pub fn attacks(
        &self,
        selection: &mut Selection,
        file: &File,
        attacks: &mut Vec<StudyAttack>,
    ) -> Result<()> {
        let mut goals: Vec<GoalKind> = Vec::new();
        for goal in file.attacks.iter().flatten().flat_map(|attack| attack.goals.get_ref()) {
            if !goals.contains(goal) {
                goals.push(*goal);
            }
        }
        if goals.is_empty() {
            goals.push(GoalKind::Untargeted);
        }
        for &entry in &self.attacks {
            let new = match self.text(MemberKind::Attack, entry, &goals) {
                Some(text) => {
                    let refusal = text.refusal();
                    attack(self.registry, &refusal, &refusal.parse::<AttackChoice>()?).map(Ok)?
                }
                None => StudyAttack::new(
                    self.registry,
                    &entry.name,
                    entry.defaults.clone(),
                    goals.clone(),
                ),
            };
            join(selection, MemberKind::Attack, entry, new, attacks, |attack| &attack.part);
        }
        Ok(())
    }

    /// Adds the metrics. Those of scope model are computed for untargeted attacks.
    ///
    /// # Errors
    /// When something is set that the metric does not take.
    pub fn metrics(&self, selection: &mut Selection, metrics: &mut Vec<StudyMetric>) -> Result<()> {
        for &entry in &self.metrics {
            let new = match self.text(MemberKind::Metric, entry, &[]) {
                Some(text) => {
                    let refusal = text.refusal();
                    let choice = Spanned::new(0..text.text.len(), refusal.parse::<Choice>()?);
                    metric(self.registry, &refusal, &choice).map(Ok)?
                }
                None => StudyMetric::new(self.registry, &entry.name, entry.defaults.clone(), None),
            };
            join(selection, MemberKind::Metric, entry, new, metrics, |metric| &metric.part);
        }
        Ok(())
    }

    /// A model that may join; the outer error is that something is set that it does not take.
    fn model(
        &self,
        entry: &Entry,
        weights: Option<&Path>,
    ) -> Result<Result<StudyModel, ModelError>> {
        let Some(text) = self.text(MemberKind::Model, entry, &[]) else {
            return Ok(StudyModel::new(self.registry, &entry.name, &Table::new(), None, weights));
        };
        let refusal = text.refusal();
        let choice = refusal.parse::<ModelChoice>()?;
        // Without weights it is no error: it does not join.
        let options = StudyOptions {
            weights: weights.map(Path::to_owned),
            plan_only: true,
            ..StudyOptions::default()
        };
        let model = model(self.registry, &refusal, &choice, Path::new("."), &options)?;
        let missing = model.weights.missing().cloned();
        Ok(missing.map_or(Ok(model), |missing| Err(missing.into())))
    }

    /// The text of an entry's settings, if anything is set.
    fn text(&self, kind: MemberKind, entry: &Entry, goals: &[GoalKind]) -> Option<SetText> {
        let goals: Vec<&str> = goals.iter().map(|goal| goal.name()).collect();
        let mut set = self.set.iter();
        let set = set.find(|set| set.kind == kind && set.name == entry.name)?;
        Some(SetText {
            text: set.text(&goals)?,
            place: format!("{kind} `{}` with --set", entry.name),
        })
    }
}

/// What is set of a member, as the study would name it.
struct SetText {
    text: String,
    place: String,
}

impl SetText {
    fn refusal(&self) -> Refusal<'_> {
        Refusal { text: &self.text, place: &self.place }
    }
}

/// Adds a member to those of its kind, or notes why it does not fit.
fn join<T>(
    selection: &mut Selection,
    kind: MemberKind,
    entry: &Entry,
    new: Result<T>,
    there: &mut Vec<T>,
    part: fn(&T) -> &Part,
) {
    match new {
        Err(error) => selection.leave_out(kind, &entry.name, first_line(&error)),
        Ok(new) if there.iter().any(|member| part(member).label == part(&new).label) => {
            let reason = format!("another {kind} of the study is called so");
            selection.leave_out(kind, &entry.name, reason);
        }
        Ok(new) => {
            selection.joined.push((kind, part(&new).label.clone()));
            there.push(new);
        }
    }
}
