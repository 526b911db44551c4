//! Reading a study's text, and checking it against the registry.

use crate::data::{Classes, Source};
use crate::libraries::Sources;
use crate::study::built_in::{BUILT_IN, BuiltIn};
use crate::study::checks::{
    agree_on_classes, cell_timeout, check_labels, check_name, check_targets, tie_tolerance, unique,
};
use crate::study::goal::GoalKind;
use crate::study::images::{Images, images};
use crate::study::part::{MemberKind, StudyAttack, StudyMetric, StudyModel};
use crate::study::refusal::Refusal;
use crate::study::resolve::{attack, metric, model};
use crate::study::selection::Selection;
use crate::study::syntax::File;
use anyhow::{Context, Result, bail};
use gauntlet_core::metric::Scope;
use gauntlet_core::params::suggestion;
use gauntlet_core::plugin::Library;
use gauntlet_core::registry::{MetricEntry, Registry};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use toml::Spanned;

use crate::study::set;
use crate::study::writer::resolved;
use crate::study::{FoundInputs, MissingInputs, Study, StudyOptions};

impl Study {
    /// Opens a study: the name of a built-in one, or a TOML file.
    ///
    /// # Errors
    /// See [`Study::parse`]; also when there is no such file.
    pub fn open(name: &str, registry: &Registry, options: StudyOptions) -> Result<Self> {
        let StudyText { text, place, folder, built_in } = StudyText::fetch(name)?;
        Self::read(&text, &place, &folder, registry, options, built_in)
    }

    /// The plugins that a study wants (`[plugins]`), to be loaded before it is opened. `set` as in
    /// [`StudyOptions::set`].
    ///
    /// # Errors
    /// When there is no such study, its syntax is wrong, or what it names is not there.
    pub fn sources(name: &str, set: &[String]) -> Result<Sources> {
        let StudyText { text, place, folder, .. } = StudyText::fetch(name)?;
        let refusal = Refusal { text: &set::apply(&text, set)?, place: &with_set(&place, set) };
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

    /// Reads a study from TOML and checks all of it. `place` is what errors call the text, paths
    /// in it are relative to `folder`.
    ///
    /// # Errors
    /// Everything that can be known to be wrong before work begins, with line, column and the
    /// text there: syntax, unknown keys and names, parameters, missing files, labels out of range.
    pub fn parse(
        text: &str,
        place: &str,
        folder: &Path,
        registry: &Registry,
        options: StudyOptions,
    ) -> Result<Self> {
        Self::read(text, place, folder, registry, options, false)
    }

    fn read(
        text: &str,
        place: &str,
        folder: &Path,
        registry: &Registry,
        options: StudyOptions,
        built_in: bool,
    ) -> Result<Self> {
        let text = &*set::apply(text, &options.set)?;
        let place = &*with_set(place, &options.set);
        let refusal = Refusal { text, place };
        let file: File = refusal.parse()?;
        check_name(&file.name).map_err(|error| refusal.at(&file.name.span(), error))?;
        let tie_tolerance = tie_tolerance(&refusal, file.tie_tolerance.as_ref())?;
        let cell_timeout =
            options.cell_timeout.or(cell_timeout(&refusal, file.cell_timeout.as_ref())?);

        let mut selection = Selection::new(&refusal, &file, &options, built_in)?;
        let of_models = selection.members(
            MemberKind::Model,
            file.models.as_deref(),
            registry.models().map(|m| (&m.entry, false)),
        );
        let of_attacks = selection.members(
            MemberKind::Attack,
            file.attacks.as_deref(),
            registry.attacks().map(|a| (&a.entry, false)),
        );
        let scores = |metric: &MetricEntry| metric.scope == Scope::Model;
        let of_metrics = selection.members(
            MemberKind::Metric,
            file.metrics.as_deref(),
            registry.metrics().map(|m| (&m.entry, scores(m))),
        );
        selection.check()?;
        let mut models: Vec<StudyModel> = of_models
            .named
            .iter()
            .map(|m| model(registry, &refusal, m, folder, &options))
            .collect::<Result<_>>()?;
        let mut attacks: Vec<StudyAttack> = of_attacks
            .named
            .iter()
            .map(|a| attack(registry, &refusal, a))
            .collect::<Result<_>>()?;
        let mut metrics: Vec<StudyMetric> = of_metrics
            .named
            .iter()
            .map(|m| metric(registry, &refusal, m))
            .collect::<Result<_>>()?;
        let spans = of_models.named.iter().map(|m| m.name.span());
        unique(&refusal, "model", models.iter().map(|m| &m.part).zip(spans))?;
        let spans = of_attacks.named.iter().map(|a| a.name.span());
        unique(&refusal, "attack", attacks.iter().map(|a| &a.part).zip(spans))?;
        let spans = of_metrics.named.iter().map(|m| m.span());
        unique(&refusal, "metric", metrics.iter().map(|m| &m.part).zip(spans))?;
        if !models.is_empty() {
            agree_on_classes(&models).with_context(|| place.to_owned())?;
        }
        let (Images { source, count, missing }, data) = images(&refusal, &file, folder, &options)?;
        let weights = options.weights.as_deref();
        selection.join_models(
            registry,
            &of_models.joining,
            &mut models,
            weights,
            source.as_ref(),
            &data,
        );
        selection.join_attacks(registry, &of_attacks.joining, &mut attacks);
        selection.join_metrics(registry, &of_metrics.joining, &mut metrics);
        if models.is_empty() {
            let reasons = selection.reasons();
            bail!("{place}: a study needs at least one model ([[models]]){reasons}");
        }
        let classes = agree_on_classes(&models).with_context(|| place.to_owned())?;
        let first_label =
            if let Some(Source::Folder(folder)) = &source { folder.first_label } else { 0 };
        check_labels(&data, first_label, classes).with_context(|| place.to_owned())?;
        let given = |goals: &[GoalKind]| goals.contains(&GoalKind::Given);
        if missing.is_none()
            && (attacks.iter().any(|a| given(&a.goals)) || metrics.iter().any(|m| given(&m.goals)))
        {
            check_targets(&data).with_context(|| place.to_owned())?;
        }
        let class_names =
            Classes::of_study(data.classes.clone(), classes).with_context(|| place.to_owned())?;
        let Selection { joined, left_out, .. } = selection;
        let weights = models.iter().filter_map(|model| model.weights.missing().cloned()).collect();
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
            missing: MissingInputs { weights, images: missing },
            joined,
            left_out,
            resolved: String::new(),
        };
        study.plugins = study.libraries(registry);
        study.resolved = resolved(&study, source.as_ref(), count)?;
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

    /// The study of another process, from what [`Study::to_toml`] and [`Study::found`] gave there.
    pub(crate) fn reopen(text: &str, found: FoundInputs, registry: &Registry) -> Result<Self> {
        let options = StudyOptions { pictures: Some(found.pictures), ..StudyOptions::default() };
        let mut study = Self::parse(text, "the study", Path::new("/"), registry, options)?;
        study.data.skipped = found.skipped;
        study.class_names = found.classes;
        (study.joined, study.left_out) = (found.joined, found.left_out);
        Ok(study)
    }
}

/// What errors call a text that was changed by `--set`: its lines are no longer the file's.
pub(super) fn with_set<'a>(place: &'a str, set: &[String]) -> Cow<'a, str> {
    if set.is_empty() { place.into() } else { format!("{place} with --set").into() }
}

/// A study's text: what errors call it, what paths in it are relative to, and whether it is built
/// in.
pub(super) struct StudyText {
    text: String,
    place: String,
    folder: PathBuf,
    built_in: bool,
}

impl StudyText {
    pub(super) fn fetch(name: &str) -> Result<Self> {
        if let Some(study) = BuiltIn::find(name) {
            return Ok(Self {
                text: study.text.to_owned(),
                place: format!("study `{name}`"),
                folder: PathBuf::from("."),
                built_in: true,
            });
        }
        let path = Path::new(name);
        let text = std::fs::read_to_string(path).with_context(|| {
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
