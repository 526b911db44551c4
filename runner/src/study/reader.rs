//! Reading a study's text, and checking it against the registry.

use crate::data::{Classes, Data, Greyscale};
use crate::libraries::Sources;
use crate::study::checks::{
    agree_on_classes, cell_timeout, check_labels, check_name, check_targets, tie_tolerance, unique,
};
use crate::study::definition::{FoundInputs, MissingInputs, Study};
use crate::study::goal::GoalKind;
use crate::study::images::{Images, images};
use crate::study::join::Joining;
use crate::study::options::StudyOptions;
use crate::study::part::{MemberKind, StudyAttack, StudyMetric, StudyModel};
use crate::study::refusal::Refusal;
use crate::study::resolve::{attack, metric, model};
use crate::study::selection::{Selected, Selection};
use crate::study::set::{self, JoiningEntry};
use crate::study::syntax::{AttackChoice, Choice, File, ModelChoice};
use crate::study::text::{StudyText, with_set};
use crate::study::writer::resolved;
use crate::weights;
use anyhow::{Context, Result, bail};
use gauntlet_core::metric::Scope;
use gauntlet_core::plugin::Library;
use gauntlet_core::registry::{Entry, Registry};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;

impl Study {
    /// Opens a study: the name of a built-in one, or a TOML file.
    ///
    /// # Errors
    /// See [`Study::parse`]; also when there is no such file.
    pub fn open(name: &str, registry: &Registry, options: StudyOptions) -> Result<Self> {
        Self::read(&StudyText::fetch(name)?, registry, &options)
    }

    /// The plugins that a study names (`[plugins]`). They must be loaded before it is opened. `set`
    /// as in [`StudyOptions::set`].
    ///
    /// # Errors
    /// When there is no such study, its syntax is wrong, or a plugin or lock that it names is not
    /// there.
    pub fn sources(name: &str, set: &[String]) -> Result<Sources> {
        let StudyText { text, place, folder, .. } = StudyText::fetch(name)?;
        let refusal = Refusal {
            text: &set::apply_without_members(&text, set)?,
            place: &with_set(&place, set),
        };
        let Some(plugins) = refusal.parse::<File>()?.plugins else { return Ok(Sources::default()) };
        let find = |what: &str, path: &Spanned<PathBuf>| {
            let found = folder.join(path.get_ref());
            let missing = || {
                refusal.at(&path.span(), anyhow::anyhow!("there is no {what} {}", found.display()))
            };
            if found.exists() { Ok(found) } else { Err(missing()) }
        };
        Ok(Sources {
            places: plugins
                .from
                .iter()
                .map(|path| find("folder or library", path))
                .collect::<Result<_>>()?,
            locks: plugins
                .lock
                .iter()
                .map(|path| find("lock of plugins", path))
                .collect::<Result<_>>()?,
        })
    }

    /// Reads a study from TOML and checks all of it. `place` is what errors call the text. Paths in
    /// the text are relative to `folder`.
    ///
    /// # Errors
    /// All mistakes that can be found before work begins, with line, column and the text there:
    /// syntax, unknown keys and names, parameters, missing files, labels out of range.
    pub fn parse(
        text: &str,
        place: &str,
        folder: &Path,
        registry: &Registry,
        options: StudyOptions,
    ) -> Result<Self> {
        let (text, place) = (text.to_owned(), place.to_owned());
        let text = StudyText { text, place, folder: folder.to_owned(), built_in: false };
        Self::read(&text, registry, &options)
    }

    fn read(text: &StudyText, registry: &Registry, options: &StudyOptions) -> Result<Self> {
        let StudyText { place, folder, built_in, .. } = text;
        // What is wrong with the text is told below.
        let mut set = joining_entries(text, registry, options).unwrap_or_default();
        let text = &*set::apply(&text.text, &options.set, &mut set)?;
        let place = &*with_set(place, &options.set);
        let refusal = &Refusal { text, place };
        let file = &refusal.parse::<File>()?;
        check_name(&file.name).map_err(|error| refusal.at(&file.name.span(), error))?;
        let tie_tolerance = tie_tolerance(refusal, file.tie_tolerance.as_ref())?;
        let cell_timeout =
            options.cell_timeout.or(cell_timeout(refusal, file.cell_timeout.as_ref())?);

        let reader = Reader { registry, refusal, file, folder, options };
        let mut selection = Selection::new(refusal, file, options, *built_in)?;
        let selected = reader.select(&mut selection);
        selection.check()?;
        let mut members = reader.named_members(&selected)?;
        let (images, data) = images(refusal, file, folder, options, greyscale(&members.models))?;
        let joining = Joining {
            registry,
            models: selected.models.joining,
            attacks: selected.attacks.joining,
            metrics: selected.metrics.joining,
            set: &set,
        };
        let (weights, source) = (options.weights.as_deref(), images.source.as_ref());
        joining.models(&mut selection, &mut members.models, weights, source, &data)?;
        joining.attacks(&mut selection, file, &mut members.attacks)?;
        joining.metrics(&mut selection, &mut members.metrics)?;
        let classes = reader.check(&members, &selection, &images, &data)?;
        let class_names =
            Classes::of_study(data.classes.clone(), classes).with_context(|| place.to_owned())?;

        let Members { models, attacks, metrics } = members;
        if let Some(attack) = attacks.iter().find(|attack| attack.samples.is_some())
            && models.iter().all(|model| model.samples.is_none())
        {
            bail!(
                "{place}: attack `{}` has `samples`, which are about models that answer at random: \
                 no model of the study has `samples`",
                attack.part.label
            );
        }
        if let Some(folder) = &options.weights {
            weights::check_given(folder, &StudyModel::places(&models))
                .with_context(|| place.to_owned())?;
        }
        let absent = models.iter().filter_map(|model| model.weights.missing().cloned()).collect();
        let mut study = Self {
            name: file.name.get_ref().clone(),
            seed: file.seed,
            tie_tolerance,
            cell_timeout,
            data,
            classes,
            models,
            attacks,
            metrics,
            class_names,
            transfer: file.transfer.as_ref().map(|transfer| transfer.policy),
            probe: file.probe.images,
            plugins: Vec::new(),
            missing: MissingInputs { weights: absent, images: images.missing },
            joined: selection.joined,
            left_out: selection.left_out,
            resolved: String::new(),
        };
        study.plugins = study.libraries(registry);
        study.resolved = resolved(&study, images.source.as_ref(), images.count)?;
        Ok(study)
    }

    /// The loaded libraries whose code takes part.
    fn libraries(&self, registry: &Registry) -> Vec<Arc<Library>> {
        let parts = (self.models.iter().map(|m| &m.part))
            .chain(self.attacks.iter().map(|a| &a.part))
            .chain(self.metrics.iter().map(|m| &m.part));
        let hashes: BTreeSet<&String> = parts.filter_map(|part| part.plugin.as_ref()).collect();
        let libraries = registry.libraries().iter();
        libraries.filter(|library| hashes.contains(&library.hash)).cloned().collect()
    }

    /// The study of another process, from its [`Study::to_toml`] and [`Study::found`].
    ///
    /// # Errors
    /// See [`Study::parse`].
    pub(crate) fn reopen(text: &str, found: FoundInputs, registry: &Registry) -> Result<Self> {
        let options = StudyOptions { pictures: Some(found.pictures), ..StudyOptions::default() };
        let mut study = Self::parse(text, "the study", Path::new("/"), registry, options)?;
        study.data.skipped = found.skipped;
        study.class_names = found.classes;
        (study.joined, study.left_out) = (found.joined, found.left_out);
        Ok(study)
    }
}

/// What is done with grey files unless the study says it: they are used where all models are grey.
fn greyscale(models: &[StudyModel]) -> Greyscale {
    let all_grey = !models.is_empty() && models.iter().all(|model| model.card.shape().is_grey());
    if all_grey { Greyscale::Keep } else { Greyscale::Drop }
}

/// The members of a study.
struct Members {
    models: Vec<StudyModel>,
    attacks: Vec<StudyAttack>,
    metrics: Vec<StudyMetric>,
}

/// Who takes part, of each kind.
struct SelectedMembers<'a> {
    models: Selected<'a, ModelChoice>,
    attacks: Selected<'a, AttackChoice>,
    metrics: Selected<'a, Spanned<Choice>>,
}

/// The members that join a study by themselves, for settings of the command line to apply to.
///
/// # Errors
/// When the text cannot be read.
fn joining_entries(
    text: &StudyText,
    registry: &Registry,
    options: &StudyOptions,
) -> Result<Vec<JoiningEntry>> {
    let StudyText { text, place, folder, built_in } = text;
    let refusal = &Refusal { text: &set::apply_without_members(text, &options.set)?, place };
    let file = &refusal.parse::<File>()?;
    let reader = Reader { registry, refusal, file, folder, options };
    let selected = reader.select(&mut Selection::new(refusal, file, options, *built_in)?);
    let of = |kind: MemberKind, entries: &[&Entry]| -> Vec<JoiningEntry> {
        entries.iter().map(|entry| JoiningEntry::new(kind, &entry.name)).collect()
    };
    let SelectedMembers { models, attacks, metrics } = selected;
    Ok([
        of(MemberKind::Model, &models.joining),
        of(MemberKind::Attack, &attacks.joining),
        of(MemberKind::Metric, &metrics.joining),
    ]
    .into_iter()
    .flatten()
    .collect())
}

/// What a study's members are read from.
struct Reader<'a> {
    registry: &'a Registry,
    refusal: &'a Refusal<'a>,
    file: &'a File,
    folder: &'a Path,
    options: &'a StudyOptions,
}

impl<'a> Reader<'a> {
    /// The members that the study names, and those that may join them.
    fn select(&self, selection: &mut Selection) -> SelectedMembers<'a> {
        let Self { registry, file, .. } = *self;
        SelectedMembers {
            models: selection.members(
                MemberKind::Model,
                file.models.as_deref(),
                registry.models().map(|model| (&model.entry, false)),
            ),
            attacks: selection.members(
                MemberKind::Attack,
                file.attacks.as_deref(),
                registry.attacks().map(|attack| (&attack.entry, false)),
            ),
            metrics: selection.members(
                MemberKind::Metric,
                file.metrics.as_deref(),
                registry.metrics().map(|metric| (&metric.entry, metric.scope == Scope::Model)),
            ),
        }
    }

    /// The members that the study names.
    fn named_members(&self, selected: &SelectedMembers) -> Result<Members> {
        let Self { registry, refusal, folder, options, .. } = *self;
        let SelectedMembers { models, attacks, metrics } = selected;
        let (of_models, of_attacks, of_metrics) = (&models.named, &attacks.named, &metrics.named);
        let models: Vec<StudyModel> = (of_models.iter())
            .map(|choice| model(registry, refusal, choice, folder, options))
            .collect::<Result<_>>()?;
        let attacks: Vec<StudyAttack> = (of_attacks.iter())
            .map(|choice| attack(registry, refusal, choice))
            .collect::<Result<_>>()?;
        let metrics: Vec<StudyMetric> = (of_metrics.iter())
            .map(|choice| metric(registry, refusal, choice))
            .collect::<Result<_>>()?;

        let spans = of_models.iter().map(|choice| choice.name.span());
        unique(refusal, MemberKind::Model, models.iter().map(|m| &m.part).zip(spans))?;
        let spans = of_attacks.iter().map(|choice| choice.name.span());
        unique(refusal, MemberKind::Attack, attacks.iter().map(|a| &a.part).zip(spans))?;
        let spans = of_metrics.iter().map(|choice| choice.span());
        unique(refusal, MemberKind::Metric, metrics.iter().map(|m| &m.part).zip(spans))?;
        if !models.is_empty() {
            agree_on_classes(&models).with_context(|| refusal.place.to_owned())?;
        }
        Ok(Members { models, attacks, metrics })
    }

    /// Checks that the members and the images go together. Returns the number of real classes.
    fn check(
        &self,
        members: &Members,
        selection: &Selection,
        images: &Images,
        data: &Data,
    ) -> Result<i64> {
        let place = self.refusal.place;
        if members.models.is_empty() {
            let reasons = selection.reasons();
            bail!("{place}: a study needs at least one model ([[models]]){reasons}");
        }
        let classes = agree_on_classes(&members.models).with_context(|| place.to_owned())?;
        check_labels(data, classes).with_context(|| place.to_owned())?;
        if images.missing.is_none() && members.aim_at_given_classes() {
            check_targets(data).with_context(|| place.to_owned())?;
        }
        Ok(classes)
    }
}

impl Members {
    /// Whether anybody has the goal [`GoalKind::Given`], which needs targets from a label file.
    fn aim_at_given_classes(&self) -> bool {
        let attacks = self.attacks.iter().map(|attack| &attack.goals);
        let metrics = self.metrics.iter().map(|metric| &metric.goals);
        attacks.chain(metrics).any(|goals| goals.contains(&GoalKind::Given))
    }
}
