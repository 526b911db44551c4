//! A study: which images, models, attacks and metrics, read from TOML and checked against the
//! registry before any work.

mod builder;
mod config;
mod members;
mod set;
#[cfg(test)]
mod tests;

use crate::data::{self, Classes, Data, Folder, Picture, Skipped, Source};
use crate::libraries::Sources;
use crate::study::config::{Choice, Refusal};
use crate::study::members::Selection;
use crate::torchscript::{self, Script};
use crate::weights;
use crate::weights::WeightsPlace;
use anyhow::{Context, Result, bail, ensure};
pub use builder::{Builder, Member};
use gauntlet_core::attack::{Budget, Norm};
use gauntlet_core::device::Device;
use gauntlet_core::guard;
use gauntlet_core::metric::{Direction, Scope};
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::params::suggestion;
use gauntlet_core::plugin::Library;
use gauntlet_core::registry::{DynAttack, DynMetric, Entry, MetricEntry, ModelEntry, Registry};
use gauntlet_core::weights::Weights;
pub use members::{LeftOut, MemberKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use toml::{Spanned, Table};

/// A study that is part of the program.
pub struct BuiltIn {
    /// What `runner run` calls it.
    pub name: &'static str,
    /// The TOML, as readable as one's own. Its first line is a comment that says what it is.
    pub text: &'static str,
}

/// The studies that are part of the program.
pub const BUILT_IN: [BuiltIn; 4] = [
    BuiltIn { name: "mini", text: include_str!("../studies/mini.toml") },
    BuiltIn { name: "mini-quick", text: include_str!("../studies/mini-quick.toml") },
    BuiltIn { name: "eccv2018", text: include_str!("../studies/eccv2018.toml") },
    BuiltIn { name: "modern", text: include_str!("../studies/modern.toml") },
];

impl BuiltIn {
    /// The study of that name.
    pub fn find(name: &str) -> Option<&'static Self> {
        BUILT_IN.iter().find(|study| study.name == name)
    }

    /// One line about it.
    pub fn summary(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }
}

/// A study that is ready to run: every name is known, every parameter valid, every file there.
pub struct Study {
    /// Names the results' folder.
    pub name: String,
    /// Of all that is random.
    pub seed: u64,
    /// How far below the greatest logit that of a target may be for success on the source
    /// (`tie_tolerance`, 0 unless given: the greatest logit alone decides), see
    /// [`gauntlet_core::attack::Goal::met_within`].
    pub tie_tolerance: f64,
    /// How long a cell may take (`cell_timeout`, in seconds); zero is as long as it likes. Unless
    /// given, an hour where code of a plugin library runs, and as long as it likes elsewhere.
    pub cell_timeout: Option<Duration>,
    /// The images.
    pub data: Data,
    /// Number of real classes, the same for all models.
    pub classes: i64,
    /// The models, in the order of the tables.
    pub models: Vec<StudyModel>,
    /// The attacks, in the order of the tables.
    pub attacks: Vec<StudyAttack>,
    /// The metrics, in the order of the tables.
    pub metrics: Vec<StudyMetric>,
    /// What the classes are called, where that is known.
    pub class_names: Option<Classes>,
    /// How adversarials are fitted to models of another size; none when the study has no transfer.
    pub transfer: Option<Policy>,
    /// With how many images, from the first on, each model is probed for what makes attacks on it
    /// fail, rounded up to whole [slices](crate::plan::SLICE) (`images` in `[probe]`, 64 unless
    /// given); 0 is no probe.
    pub probe: usize,
    /// The plugin libraries whose code takes part, in the order in which they were loaded.
    pub plugins: Vec<Arc<Library>>,
    /// What must still be got before it can be run; nothing unless [`Options::plan_only`].
    pub missing: Missing,
    /// Who takes part though the study does not name it, by label.
    pub joined: Vec<(MemberKind, String)>,
    /// Who could take part and does not.
    pub left_out: Vec<LeftOut>,
    resolved: String,
}

/// Weights and images that a study needs and that are not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Of each model without weights.
    pub weights: Vec<weights::Missing>,
    /// The images.
    pub images: Option<data::Missing>,
}

/// What was found when a study was read, beside what its text says.
#[derive(Serialize, Deserialize)]
pub(crate) struct Found {
    pictures: Vec<Picture>,
    skipped: Vec<Skipped>,
    classes: Option<Classes>,
    joined: Vec<(MemberKind, String)>,
    left_out: Vec<LeftOut>,
}

/// What a program may set besides the study file.
#[derive(Debug, Default)]
pub struct Options {
    /// Replaces `images`.
    pub images: Option<usize>,
    /// Changes to the study, each `PATH=VALUE` as of `runner run --set`.
    pub set: Vec<String>,
    /// Weights and images that are missing are noted in [`Study::missing`] and no error: the study
    /// can be planned, not run.
    pub plan_only: bool,
    /// A folder with weights, for models to which the study names none.
    pub weights: Option<PathBuf>,
    /// Replaces `cell_timeout`.
    pub cell_timeout: Option<Duration>,
    /// Replaces `include`, unless it is empty.
    pub include: Vec<String>,
    /// Comes to `exclude`.
    pub exclude: Vec<String>,
    /// Images in memory that replace `[data]`.
    pub pictures: Option<Vec<Picture>>,
}

/// Who takes part, with what parameters: what models, attacks and metrics have in common.
#[derive(Clone, Debug)]
pub struct Part {
    /// The name in tables; unique in the study.
    pub label: String,
    /// The registered name.
    pub name: String,
    /// The crate and version that brought it.
    pub origin: String,
    /// BLAKE3 of the library that it was loaded from; none for what is part of the program.
    pub plugin: Option<String>,
    /// All parameters.
    pub parameters: Table,
}

/// A model of a study.
pub struct StudyModel {
    /// Label, name, origin, parameters.
    pub part: Part,
    /// Side, classes and so on.
    pub card: ModelCard,
    /// Where the weights are.
    pub weights: WeightsPlace,
    /// BLAKE3 of the weights' file, in hexadecimal.
    pub weights_hash: String,
    /// Number of values in the weights, if their file says so.
    pub parameters: Option<u64>,
}

impl StudyModel {
    /// Finds and checks a model. `weights` is a file, or a folder to look in first, see
    /// [`weights::locate`].
    ///
    /// # Errors
    /// When the name is unknown, a parameter is wrong, or there are no weights.
    pub fn new(
        registry: &Registry,
        name: &str,
        params: &Table,
        weights: Option<&Path>,
    ) -> Result<Self> {
        let entry = registry.find_model(name)?;
        entry.entry.parameters(None, params)?; // a mistake in them comes before one in the weights
        let weights = match weights {
            Some(path) if !path.is_dir() => WeightsPlace::File(path.to_owned()),
            folder => weights::locate(entry, folder)?,
        };
        Self::with(entry, params, weights)
    }

    fn with(entry: &ModelEntry, params: &Table, weights: WeightsPlace) -> Result<Self> {
        let opened = match &weights {
            WeightsPlace::File(path) => Weights::open(path, Device::Cpu).ok(), // `load` says what is wrong
            WeightsPlace::Embedded(_) | WeightsPlace::TorchScript(_) | WeightsPlace::Absent(_) => {
                None
            }
        };
        let params =
            opened.map_or_else(|| params.clone(), |opened| weights::parameters(&opened, params));
        let parameters = entry.entry.parameters(None, &params)?;
        let card =
            guard::catch(&format!("model `{}`", entry.entry.name), || entry.card(&parameters))?;
        let weights_hash = match &weights {
            WeightsPlace::Embedded(bytes) => blake3::hash(bytes).to_string(),
            WeightsPlace::File(path) | WeightsPlace::TorchScript(path) => File::open(path)
                .and_then(|mut file| hash(&mut file))
                .with_context(|| format!("weights {}", path.display()))?,
            WeightsPlace::Absent(_) => "absent".to_owned(),
        };
        let opened = match &weights {
            WeightsPlace::Embedded(bytes) => Weights::from_bytes(*bytes, Device::Cpu).ok(),
            WeightsPlace::File(path) => Weights::open(path, Device::Cpu).ok(),
            WeightsPlace::Absent(_) | WeightsPlace::TorchScript(_) => None,
        };
        let values = opened.map(|weights| weights.values()).filter(|values| *values > 0); // what is wrong, loading will say
        Ok(Self {
            part: Part::new(&entry.entry, parameters),
            card,
            weights,
            weights_hash,
            parameters: values,
        })
    }

    /// Finds a model that is a TorchScript module, called `name`. That it is as `script` says shows
    /// when it is loaded.
    ///
    /// # Errors
    /// When `script` cannot be true of any, or the file cannot be read.
    pub fn torchscript(name: &str, file: &Path, script: &Script) -> Result<Self> {
        script.check()?;
        let weights_hash = File::open(file)
            .and_then(|mut file| hash(&mut file))
            .with_context(|| format!("TorchScript module {}", file.display()))?;
        let part = Part {
            label: name.to_owned(),
            name: "torchscript".to_owned(),
            origin: concat!("gauntlet-runner ", env!("CARGO_PKG_VERSION")).to_owned(),
            plugin: None,
            parameters: script.to_table(),
        };
        Ok(Self {
            part,
            card: script.card(name),
            weights: WeightsPlace::TorchScript(file.to_owned()),
            weights_hash,
            parameters: None,
        })
    }

    /// Number of real classes.
    pub fn classes(&self) -> i64 {
        self.card.classes - self.card.label_offset
    }

    /// Loads the model.
    ///
    /// # Errors
    /// When the weights do not fit, or are not those that were planned with.
    pub fn load(&self, registry: &Registry, device: Device) -> Result<Box<dyn Model>> {
        let load =
            |weights| registry.find_model(&self.part.name)?.load(&self.part.parameters, weights);
        match &self.weights {
            WeightsPlace::Embedded(bytes) => load(Weights::from_bytes(*bytes, device)?),
            WeightsPlace::File(path) => {
                let load = || load(Weights::from_file(self.open(path)?, device)?);
                load().with_context(|| format!("weights {}", path.display()))
            }
            WeightsPlace::Absent(missing) => Err(missing.clone().into()),
            WeightsPlace::TorchScript(path) => {
                let load = || {
                    let mut bytes = Vec::new();
                    self.open(path)?.read_to_end(&mut bytes)?;
                    torchscript::load(
                        &self.card.name,
                        &self.part.parameters.clone().try_into()?,
                        &bytes,
                        device,
                    )
                };
                load().with_context(|| {
                    format!("model `{}`, TorchScript module {}", self.part.label, path.display())
                })
            }
        }
    }

    /// Opens the file of the weights that were planned with.
    fn open(&self, path: &Path) -> Result<File> {
        let mut file = File::open(path)?;
        ensure!(
            hash(&mut file)? == self.weights_hash,
            "the file changed since the study was read: run it again"
        );
        file.rewind()?;
        Ok(file)
    }
}

/// BLAKE3 of a file, in hexadecimal.
fn hash(file: &mut File) -> io::Result<String> {
    Ok(blake3::Hasher::new().update_reader(file)?.finalize().to_string())
}

/// An attack of a study.
pub struct StudyAttack {
    /// Label, name, origin, parameters.
    pub part: Part,
    /// What it is asked for.
    pub goals: Vec<GoalKind>,
    /// The attack itself.
    pub attack: Box<dyn DynAttack>,
}

/// A metric of a study.
pub struct StudyMetric {
    /// Label, name, origin, parameters.
    pub part: Part,
    /// What its values are about.
    pub scope: Scope,
    /// The unit of its values.
    pub unit: String,
    /// Which way is better for a defender.
    pub direction: Direction,
    /// Names of the numbers that come with every value.
    pub extras: Vec<String>,
    /// What it is asked about; one that is of scope outcome is asked about nothing.
    pub goals: Vec<GoalKind>,
    /// The metric itself.
    pub metric: Box<dyn DynMetric>,
}

/// So many radii at the most are tried by lot.
const RADII: usize = 4;
/// The radius that is tried where no attack has one: what studies of ImageNet mostly use.
const USUAL_RADIUS: f64 = 8.0 / 255.0;

impl StudyAttack {
    /// How far its answers lie from the image at the most, if its settings limit that and it says
    /// so.
    pub fn budget(&self) -> Option<Budget> {
        let asked =
            guard::catch(&format!("attack `{}`", self.part.name), || Ok(self.attack.budget()));
        asked.ok().flatten().filter(|budget| budget.radius.is_finite() && budget.radius > 0.0)
    }

    fn new(
        registry: &Registry,
        name: &str,
        parameters: Table,
        goals: Vec<GoalKind>,
    ) -> Result<Self> {
        let entry = registry.find_attack(name)?;
        let attack = guard::catch(&format!("attack `{name}`"), || entry.make(&parameters))?;
        Ok(Self { part: Part::new(&entry.entry, parameters), goals, attack })
    }
}

impl StudyMetric {
    fn new(
        registry: &Registry,
        name: &str,
        parameters: Table,
        chosen: Option<&[GoalKind]>,
    ) -> Result<Self> {
        let entry = registry.find_metric(name)?;
        let metric = guard::catch(&format!("metric `{name}`"), || entry.make(&parameters))?;
        let goals = match (chosen, entry.scope) {
            (Some(chosen), Scope::Model) => goals(chosen)?,
            (Some(_), Scope::Outcome) => {
                bail!("metric `{name}` is about the outcomes of attacks: it takes no `goals`")
            }
            (None, Scope::Model) => vec![GoalKind::Untargeted],
            (None, Scope::Outcome) => Vec::new(),
        };
        Ok(Self {
            part: Part::new(&entry.entry, parameters),
            scope: entry.scope,
            unit: entry.unit.clone(),
            direction: entry.direction,
            extras: entry.extras.clone(),
            goals,
            metric,
        })
    }
}

/// What attacks are asked for.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum GoalKind {
    /// Any class but the true one.
    Untargeted,
    /// A class drawn from the others: by seed and image, the same for every model and attack.
    Random,
    /// The class that the model finds least likely.
    LeastLikely,
    /// The class that the model finds most likely after the true one.
    Second,
    /// The class that the label file gives for the image.
    Given,
}

impl GoalKind {
    /// As in study files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Untargeted => "untargeted",
            Self::Random => "random",
            Self::LeastLikely => "least_likely",
            Self::Second => "second",
            Self::Given => "given",
        }
    }
}

/// How pixels crafted for one side are given to a model of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The centre is cut out, or mid grey (0.5) put around: as published.
    CropOrPad,
    /// Resized, bilinear with antialiasing.
    Resize,
    /// Crafted at the target's size: the source looks at the target's images, resized to its own
    /// side within the function that is attacked. No pixel is fitted afterwards.
    Native,
}

impl Policy {
    /// As in study files.
    pub fn name(self) -> &'static str {
        match self {
            Self::CropOrPad => "crop_or_pad",
            Self::Resize => "resize",
            Self::Native => "native",
        }
    }
}

impl Part {
    fn new(entry: &Entry, parameters: Table) -> Self {
        let (name, origin) = (entry.name.clone(), entry.origin.clone());
        let plugin = entry.library.as_ref().map(|library| library.hash.clone());
        Self { label: name.clone(), name, origin, plugin, parameters }
    }
}

/// What errors call a text that was changed by `--set`: its lines are no longer the file's.
fn with_set<'a>(place: &'a str, set: &[String]) -> Cow<'a, str> {
    if set.is_empty() { place.into() } else { format!("{place} with --set").into() }
}

impl Study {
    /// Opens a study: the name of a built-in one, or a TOML file.
    ///
    /// # Errors
    /// See [`Study::parse`]; also when there is no such file.
    pub fn open(name: &str, registry: &Registry, options: Options) -> Result<Self> {
        let Draft { text, place, folder, built_in } = Draft::fetch(name)?;
        Self::read(&text, &place, &folder, registry, options, built_in)
    }

    /// The plugins that a study wants (`[plugins]`), to be loaded before it is opened. `set` as in
    /// [`Options::set`].
    ///
    /// # Errors
    /// When there is no such study, its syntax is wrong, or what it names is not there.
    pub fn sources(name: &str, set: &[String]) -> Result<Sources> {
        let Draft { text, place, folder, .. } = Draft::fetch(name)?;
        let refusal = Refusal { text: &set::apply(&text, set)?, place: &with_set(&place, set) };
        let Some(plugins) = refusal.parse()?.plugins else { return Ok(Sources::default()) };
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
        options: Options,
    ) -> Result<Self> {
        Self::read(text, place, folder, registry, options, false)
    }

    fn read(
        text: &str,
        place: &str,
        folder: &Path,
        registry: &Registry,
        options: Options,
        built_in: bool,
    ) -> Result<Self> {
        let text = &*set::apply(text, &options.set)?;
        let place = &*with_set(place, &options.set);
        let refusal = Refusal { text, place };
        let file = refusal.parse()?;
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
        let shelf = options.weights.as_deref();
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
        unique(
            &refusal,
            "model",
            models.iter().map(|m| &m.part).zip(of_models.named.iter().map(|m| m.name.span())),
        )?;
        unique(
            &refusal,
            "attack",
            attacks.iter().map(|a| &a.part).zip(of_attacks.named.iter().map(|a| a.name.span())),
        )?;
        unique(
            &refusal,
            "metric",
            metrics.iter().map(|m| &m.part).zip(of_metrics.named.iter().map(|m| m.span())),
        )?;
        if !models.is_empty() {
            agree_on_classes(&models).with_context(|| place.to_owned())?;
        }
        let transfer = file.transfer.as_ref().map(|transfer| transfer.policy);

        let (Images { source, count, missing }, data) = images(&refusal, &file, folder, &options)?;
        selection.join_models(
            registry,
            &of_models.joining,
            &mut models,
            shelf,
            source.as_ref(),
            &data,
        );
        selection.join_attacks(registry, &of_attacks.joining, &mut attacks);
        selection.join_metrics(registry, &of_metrics.joining, &mut metrics);
        if models.is_empty() {
            let missing: Vec<String> = selection
                .left_out
                .iter()
                .map(|out| format!("\n  {} {}: {}", out.kind, out.name, out.reason))
                .collect();
            bail!("{place}: a study needs at least one model ([[models]]){}", missing.concat());
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
        let parts = models
            .iter()
            .map(|m| &m.part)
            .chain(attacks.iter().map(|a| &a.part))
            .chain(metrics.iter().map(|m| &m.part));
        let hashes: BTreeSet<&String> = parts.filter_map(|part| part.plugin.as_ref()).collect();
        let plugins = registry
            .libraries()
            .iter()
            .filter(|library| hashes.contains(&library.hash))
            .cloned()
            .collect();
        let absent = models.iter().filter_map(|model| match &model.weights {
            WeightsPlace::Absent(missing) => Some(missing.clone()),
            WeightsPlace::Embedded(_) | WeightsPlace::File(_) | WeightsPlace::TorchScript(_) => {
                None
            }
        });
        let absent = absent.collect();
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
            transfer,
            probe: file.probe.images,
            plugins,
            missing: Missing { weights: absent, images: missing },
            joined,
            left_out,
            resolved: String::new(),
        };
        study.resolved = config::resolved(&study, source.as_ref(), count)?;
        Ok(study)
    }

    /// What [`Study::to_toml`] leaves to be found: for a process that shall have the very same
    /// study.
    pub(crate) fn found(&self) -> Result<Found> {
        Ok(Found {
            pictures: self
                .data
                .pictures
                .iter()
                .cloned()
                .map(Picture::absolute)
                .collect::<Result<_>>()?,
            skipped: self.data.skipped.clone(),
            classes: self.class_names.clone(),
            joined: self.joined.clone(),
            left_out: self.left_out.clone(),
        })
    }

    /// The study of another process, from what [`Study::to_toml`] and [`Study::found`] gave there.
    pub(crate) fn reopen(text: &str, found: Found, registry: &Registry) -> Result<Self> {
        let options = Options { pictures: Some(found.pictures), ..Options::default() };
        let mut study = Self::parse(text, "the study", Path::new("/"), registry, options)?;
        study.data.skipped = found.skipped;
        study.class_names = found.classes;
        (study.joined, study.left_out) = (found.joined, found.left_out);
        Ok(study)
    }

    /// The study as TOML with everything spelled out: all parameters, absolute paths.
    pub fn to_toml(&self) -> &str {
        &self.resolved
    }

    /// The ℓ∞ radii that attacks are limited to, ascending: perturbations drawn by lot are as
    /// large. Of many, some from the least to the greatest; of none, 8/255.
    pub fn radii(&self) -> Vec<f64> {
        let budgets = self.attacks.iter().filter_map(StudyAttack::budget);
        let mut radii: Vec<f64> = budgets
            .filter(|budget| budget.norm == Norm::Linf)
            .map(|budget| budget.radius)
            .collect();
        radii.sort_by(f64::total_cmp);
        radii.dedup();
        if radii.is_empty() {
            return vec![USUAL_RADIUS];
        }
        let (count, last) = (radii.len().min(RADII), radii.len() - 1);
        (0..count).map(|n| radii[if count == 1 { 0 } else { n * last / (count - 1) }]).collect()
    }

    /// The class that [`GoalKind::Random`] aims at: drawn by seed and image over the other classes.
    pub fn random_target(&self, picture: &Picture) -> i64 {
        let hash = blake3::Hasher::new()
            .update(&self.seed.to_le_bytes())
            .update(picture.hash.as_bytes())
            .finalize();
        let draw = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("eight bytes"));
        let other = ((u128::from(draw) * (self.classes - 1) as u128) >> 64) as i64;
        if other < picture.label { other } else { other + 1 }
    }
}

/// A study's text: what errors call it, what paths in it are relative to, and whether it is built
/// in.
struct Draft {
    text: String,
    place: String,
    folder: PathBuf,
    built_in: bool,
}

impl Draft {
    fn fetch(name: &str) -> Result<Self> {
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

fn check_labels(data: &Data, first_label: i64, classes: i64) -> Result<()> {
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

fn check_targets(data: &Data) -> Result<()> {
    let lacking = data.pictures.iter().find(|picture| picture.target.is_none());
    lacking.map_or(Ok(()), |picture| {
        bail!(
            "the goal `given` aims at the class that a label file gives, but image `{}` has none: \
             a column `target` is needed",
            picture.name
        )
    })
}

/// File systems take no longer names.
const MAX_NAME: usize = 255;

fn check_name(name: &Spanned<String>) -> Result<()> {
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

fn tie_tolerance(refusal: &Refusal, given: Option<&Spanned<f64>>) -> Result<f64> {
    let Some(given) = given else { return Ok(0.0) };
    let tolerance = *given.get_ref();
    if !tolerance.is_finite() || tolerance < 0.0 {
        return Err(refusal.at(
            &given.span(),
            anyhow::anyhow!("`tie_tolerance` is {tolerance}, expected a number from 0"),
        ));
    }
    Ok(tolerance.abs()) // -0.0 is 0 too
}

fn cell_timeout(refusal: &Refusal, given: Option<&Spanned<f64>>) -> Result<Option<Duration>> {
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

/// Where images come from, how many are asked for, and what is missing of them.
struct Images {
    source: Option<Source>,
    count: Option<usize>,
    missing: Option<data::Missing>,
}

fn images(
    refusal: &Refusal,
    file: &config::File,
    folder: &Path,
    options: &Options,
) -> Result<(Images, Data)> {
    let place = refusal.place;
    let source = file.data.as_ref().map(|data| source(refusal, data, folder)).transpose()?;
    let images = file.data.as_ref().and_then(|data| data.images.as_ref());
    if let Some(images) = images.filter(|images| *images.get_ref() == 0) {
        return Err(
            refusal.at(&images.span(), anyhow::anyhow!("`images` is 0: at least one is needed"))
        );
    }
    let count = options.images.or(images.map(|images| *images.get_ref()));
    let mut missing = None;
    let mut data = match (&options.pictures, &source) {
        (Some(pictures), _) => {
            let count = count.unwrap_or(pictures.len()).min(pictures.len());
            Data { pictures: pictures[..count].to_vec(), ..Data::default() }
        }
        (None, Some(source)) => match Data::open(source, count, file.seed)
            .map_err(anyhow::Error::downcast::<data::Missing>)
        {
            Ok(data) => data,
            Err(Ok(images)) => {
                match (count, file.data.as_ref().and_then(|data| data.folder.as_ref())) {
                    (Some(count), _) if options.plan_only => {
                        missing = Some(images);
                        Data::absent(count)
                    }
                    (_, Some(folder)) => return Err(refusal.at(&folder.span(), images.into())),
                    _ => return Err(anyhow::Error::from(images).context(place.to_owned())),
                }
            }
            Err(Err(error)) => return Err(error.context(place.to_owned())),
        },
        (None, None) => bail!("{place}: a study needs [data]"),
    };
    ensure!(!data.pictures.is_empty(), "{place}: a study needs at least one image");
    data.asked = count;
    Ok((Images { source, count, missing }, data))
}

fn model(
    registry: &Registry,
    refusal: &Refusal,
    choice: &config::ModelChoice,
    folder: &Path,
    options: &Options,
) -> Result<StudyModel> {
    if let Some((file, script)) = choice.script(refusal)? {
        let path = folder.join(file.get_ref());
        let mut model = StudyModel::torchscript(choice.name.get_ref(), &path, &script)
            .map_err(|error| refusal.at(&file.span(), error))?;
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
    let place = named.as_ref().map(|(path, _)| path.as_path()).or(options.weights.as_deref());
    let mut model = StudyModel::new(registry, choice.name.get_ref(), &params, place)
        .or_else(|error| match error.downcast::<weights::Missing>() {
            Ok(missing) if options.plan_only => {
                StudyModel::with(entry, &params, WeightsPlace::Absent(missing))
            }
            Ok(missing) => Err(missing.into()),
            Err(error) => Err(error),
        })
        .map_err(|error| refusal.at(&choice.name.span(), error))?;
    relabel(&mut model.part, choice.label.as_ref());
    Ok(model)
}

fn attack(
    registry: &Registry,
    refusal: &Refusal,
    choice: &config::AttackChoice,
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
    relabel(&mut attack.part, choice.label.as_ref());
    Ok(attack)
}

fn relabel(part: &mut Part, label: Option<&String>) {
    if let Some(label) = label {
        part.label.clone_from(label);
    }
}

fn goals(goals: &[GoalKind]) -> Result<Vec<GoalKind>> {
    let distinct: BTreeSet<GoalKind> = goals.iter().copied().collect();
    ensure!(
        !goals.is_empty() && distinct.len() == goals.len(),
        "expected at least one goal, and none twice"
    );
    Ok(goals.to_vec())
}

fn metric(registry: &Registry, refusal: &Refusal, choice: &Spanned<Choice>) -> Result<StudyMetric> {
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

type Span = std::ops::Range<usize>;

/// The overrides, and where to point when they are wrong.
fn params(params: Option<&Spanned<Table>>, name: &Spanned<String>) -> (Table, Span) {
    params.map_or_else(
        || (Table::new(), name.span()),
        |params| (params.get_ref().clone(), params.span()),
    )
}

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

fn source(refusal: &Refusal, data: &config::DataChoice, folder: &Path) -> Result<Source> {
    let Some(images) = &data.folder else {
        ensure!(
            data.labels.is_none() && data.first_label.is_none() && data.classes.is_none(),
            "{}: [data] says `labels`, `first_label` or `classes`, which go with a `folder`",
            refusal.place
        );
        return match &data.source {
            Some(config::NamedSource::FashionMnist) => Ok(Source::FashionMnist),
            Some(config::NamedSource::Eccv2018) => Ok(Source::Eccv2018),
            None => bail!(
                "{}: [data] takes either `source = \"…\"` (fashion-mnist or eccv2018) or `folder \
                 = \"…\"`",
                refusal.place
            ),
        };
    };
    ensure!(
        data.source.is_none(),
        "{}: [data] takes either `source` or `folder`, not both",
        refusal.place
    );
    let file = |given: Option<&Spanned<PathBuf>>, what: &str| -> Result<Option<PathBuf>> {
        let Some(given) = given else { return Ok(None) };
        let path = folder.join(given.get_ref());
        if path.is_file() {
            return Ok(Some(path));
        }
        Err(refusal
            .at(&given.span(), anyhow::anyhow!("there is no {what} file {}", path.display())))
    };
    let path = folder.join(images.get_ref());
    let first_label = match &data.first_label {
        None => 0,
        Some(first) if data.labels.is_none() => {
            return Err(refusal.at(
                &first.span(),
                anyhow::anyhow!("`first_label` is about a label file: `labels` is missing"),
            ));
        }
        Some(first) if !(0..=1).contains(first.get_ref()) => {
            return Err(refusal.at(
                &first.span(),
                anyhow::anyhow!("`first_label` is {}, expected 0 or 1", first.get_ref()),
            ));
        }
        Some(first) => *first.get_ref(),
    };
    Ok(Source::Folder(Folder {
        path,
        labels: file(data.labels.as_ref(), "label")?,
        first_label,
        classes: file(data.classes.as_ref(), "class")?,
    }))
}

fn unique<'a>(
    refusal: &Refusal,
    kind: &str,
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

/// Real classes: those after the background.
fn agree_on_classes(models: &[StudyModel]) -> Result<i64> {
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
