//! The members of a study: models, attacks and metrics.

use crate::study::goal::{GoalKind, goals};
use crate::study::module_file;
use crate::study::torchscript::{self, Script};
use crate::weights::{self, MissingWeights, WeightsPlace};
use anyhow::{Context, Result, bail, ensure};
use gauntlet_core::attack::Budget;
use gauntlet_core::device::Device;
use gauntlet_core::guard;
use gauntlet_core::metric::{Direction, Scope};
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_core::registry::{DynAttack, DynMetric, Entry, ModelEntry, Registry};
use gauntlet_core::weights::{FileFormat, Purpose, Weights, module_digest};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use toml::Table;

/// What models, attacks and metrics of a study have in common.
#[derive(Clone, Debug)]
pub struct Part {
    /// The name in tables; unique in the study.
    pub label: String,
    /// The registered name.
    pub name: String,
    /// The crate that brings it, and the crate's version.
    pub origin: String,
    /// BLAKE3 of the plugin library that brings it; `None` for what is part of the program.
    pub plugin: Option<String>,
    /// All parameters.
    pub parameters: Table,
}

/// Why a model cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Its weights are nowhere.
    #[error(transparent)]
    NoWeights(#[from] MissingWeights),
    /// Its name is unknown, a parameter is wrong, or its weights cannot be read.
    #[error(transparent)]
    Invalid(#[from] anyhow::Error),
}

/// A model of a study.
pub struct StudyModel {
    /// Label, name, origin, parameters.
    pub part: Part,
    /// The model's card: side, classes and so on.
    pub card: ModelCard,
    /// Where the weights are.
    pub weights: WeightsPlace,
    /// BLAKE3 of the weights' file, in hexadecimal.
    pub weights_hash: String,
    /// Number of values in the weights, if their file tells it.
    pub parameters: Option<u64>,
    /// How it is asked if it answers at random; `None` for a model whose answers repeat.
    pub samples: Option<Samples>,
}

/// How a model that answers at random is asked: see [`gauntlet_core::oracle::Draws`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    /// Number of draws of each pass of an attack (`samples`).
    pub attack: usize,
    /// Number of fresh draws over which an answer is judged (`judge_samples`).
    pub judge: usize,
}

impl Samples {
    /// Number of draws over which an answer is judged, unless the study says it.
    const JUDGE: usize = 32;
    /// Greatest number of draws.
    const MOST: usize = 100_000;

    /// Checks both numbers. `judge` is at least as large as `attack` if it is not given.
    ///
    /// # Errors
    /// When a number is out of range.
    pub fn new(attack: usize, judge: Option<usize>) -> Result<Self> {
        let judge = judge.unwrap_or(Self::JUDGE.max(attack));
        for (key, draws) in [("samples", attack), ("judge_samples", judge)] {
            Self::check(key, draws)?;
        }
        Ok(Self { attack, judge })
    }

    /// Checks one number.
    ///
    /// # Errors
    /// When it is out of range.
    pub(super) fn check(key: &str, draws: usize) -> Result<()> {
        ensure!(
            (1..=Self::MOST).contains(&draws),
            "`{key}` is {draws}, expected the number of draws of an answer, 1 to {}",
            Self::MOST
        );
        Ok(())
    }
}

impl StudyModel {
    /// Finds and checks a model. `named` is the file of its weights or the folder of that file, see
    /// [`weights::named`]. Without it, they are looked for, in the folder `given` first, see
    /// [`weights::locate`].
    ///
    /// # Errors
    /// [`ModelError::NoWeights`] when there are no weights; [`ModelError::Invalid`] when the name
    /// is unknown, a parameter is wrong, the folder `named` has no weights of the model, or the
    /// weights cannot be read.
    pub fn new(
        registry: &Registry,
        name: &str,
        params: &Table,
        named: Option<&Path>,
        given: Option<&Path>,
    ) -> Result<Self, ModelError> {
        let entry = registry.find_model(name)?;
        entry.entry.parameters(None, params)?; // wrong parameters are told before missing weights
        let weights = match named {
            Some(path) => WeightsPlace::File(weights::named(name, path)?),
            None => weights::locate(entry, given)?,
        };
        Ok(Self::with(entry, params, weights)?)
    }

    /// A model with its weights in a given place.
    ///
    /// # Errors
    /// When a parameter is wrong, or the weights cannot be read.
    pub(super) fn with(entry: &ModelEntry, params: &Table, weights: WeightsPlace) -> Result<Self> {
        let opened = match &weights {
            // What is wrong with the file is told by `load`.
            WeightsPlace::File(path) => Weights::open(path, Device::Cpu).ok(),
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
        let values = opened.map(|weights| weights.values()).filter(|values| *values > 0);
        Ok(Self {
            part: Part::new(&entry.entry, parameters),
            card,
            weights,
            weights_hash,
            parameters: values,
            samples: None,
        })
    }

    /// A model called `name` that is a TorchScript module. Whether the module is as `script` says
    /// is checked when it is loaded.
    ///
    /// # Errors
    /// When `script` is out of range, or the file cannot be read.
    pub fn torchscript(name: &str, file: &Path, script: &Script) -> Result<Self> {
        script.check()?;
        if file.is_dir() {
            let refusal = FileFormat::of(file)?.refusal(Purpose::Module);
            bail!("TorchScript module {}: {refusal}", file.display());
        }
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
        let mut card = script.card(name);
        if let Some(done) = module_file::precision(file) {
            card.source = format!("{}, {done}", card.source);
        }
        Ok(Self {
            part,
            card,
            weights: WeightsPlace::TorchScript(file.to_owned()),
            weights_hash,
            parameters: None,
            samples: None,
        })
    }

    /// The registered names of models, and where their weights are.
    pub(crate) fn places(models: &[Self]) -> Vec<(&str, &WeightsPlace)> {
        models.iter().map(|model| (model.part.name.as_str(), &model.weights)).collect()
    }

    /// Number of real classes.
    pub fn classes(&self) -> i64 {
        self.card.classes - self.card.label_offset
    }

    /// BLAKE3 of the weights, or of the module's code and tensors, whatever the file around them is;
    /// see [`Weights::digest`] and [`module_digest`]. `None` where they cannot be read.
    pub(crate) fn content(&self) -> Option<String> {
        match &self.weights {
            WeightsPlace::Embedded(bytes) => {
                Weights::from_bytes(*bytes, Device::Cpu).ok()?.digest().ok()
            }
            WeightsPlace::File(path) => Weights::open(path, Device::Cpu).ok()?.digest().ok(),
            WeightsPlace::TorchScript(path) => module_digest(path).ok(),
            WeightsPlace::Absent(_) => None,
        }
    }

    /// What is done to the numbers of its file on loading, as far as that is known before. `None`
    /// for nothing.
    pub fn conversion(&self) -> Option<&str> {
        Some(self.card.source.split_once("TorchScript, ")?.1)
    }

    /// Loads the model.
    ///
    /// # Errors
    /// When the weights do not fit, or their file has changed since the study was read.
    pub fn load(&self, registry: &Registry, device: Device) -> Result<Box<dyn Model>> {
        let load =
            |weights| registry.find_model(&self.part.name)?.load(&self.part.parameters, weights);
        match &self.weights {
            WeightsPlace::Embedded(bytes) => load(Weights::from_bytes(*bytes, device)?),
            WeightsPlace::File(path) => {
                let load = || load(Weights::of_open_file(path, self.open(path)?, device)?);
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
                        self.samples.is_some(),
                    )
                };
                load().with_context(|| {
                    format!("model `{}`, TorchScript module {}", self.part.label, path.display())
                })
            }
        }
    }

    /// Loads the model before any work, and sees to it that weights of a file give numbers. (A
    /// module is tried whenever it is loaded.)
    ///
    /// # Errors
    /// As [`load`](Self::load); also when logits of plain images are not finite.
    pub(crate) fn try_out(&self, registry: &Registry, device: Device) -> Result<Box<dyn Model>> {
        let model = self.load(registry, device)?;
        if let WeightsPlace::File(path) = &self.weights {
            weights::PlainAnswer::of(model.as_ref(), device)
                .with_context(|| format!("weights {}", path.display()))?;
        }
        Ok(model)
    }

    /// Opens the file of the weights.
    ///
    /// # Errors
    /// When the file cannot be read, or has changed since the study was read.
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
pub(super) fn hash(file: &mut File) -> io::Result<String> {
    Ok(blake3::Hasher::new().update_reader(file)?.finalize().to_string())
}

/// An attack of a study.
pub struct StudyAttack {
    /// Label, name, origin, parameters.
    pub part: Part,
    /// The goals of the attack.
    pub goals: Vec<GoalKind>,
    /// The attack itself.
    pub attack: Box<dyn DynAttack>,
    /// Number of draws of each pass on models that answer at random; `None` for the models' own.
    pub samples: Option<usize>,
}

/// A metric of a study.
pub struct StudyMetric {
    /// Label, name, origin, parameters.
    pub part: Part,
    /// Whether a value is about a model or about an outcome.
    pub scope: Scope,
    /// The unit of its values.
    pub unit: String,
    /// Which values are better for a defender.
    pub direction: Direction,
    /// Names of the numbers that come with every value.
    pub extras: Vec<String>,
    /// The goals that a metric of scope model is computed for; empty for scope outcome.
    pub goals: Vec<GoalKind>,
    /// The metric itself.
    pub metric: Box<dyn DynMetric>,
}

impl StudyAttack {
    /// The greatest distance of adversarials from their images, if the attack's settings limit it
    /// and the attack tells the limit.
    pub fn budget(&self) -> Option<Budget> {
        let asked =
            guard::catch(&format!("attack `{}`", self.part.name), || Ok(self.attack.budget()));
        asked.ok().flatten().filter(|budget| budget.radius.is_finite() && budget.radius > 0.0)
    }

    pub(super) fn new(
        registry: &Registry,
        name: &str,
        parameters: Table,
        goals: Vec<GoalKind>,
    ) -> Result<Self> {
        let entry = registry.find_attack(name)?;
        let attack = guard::catch(&format!("attack `{name}`"), || entry.make(&parameters))?;
        Ok(Self { part: Part::new(&entry.entry, parameters), goals, attack, samples: None })
    }
}

impl StudyMetric {
    pub(super) fn new(
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

impl Part {
    fn new(entry: &Entry, parameters: Table) -> Self {
        let (name, origin) = (entry.name.clone(), entry.origin.clone());
        let plugin = entry.library.as_ref().map(|library| library.hash.clone());
        Self { label: name.clone(), name, origin, plugin, parameters }
    }
}

/// The kinds of members of a study.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    strum::Display,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "lowercase")]
pub enum MemberKind {
    /// A model.
    Model,
    /// An attack.
    Attack,
    /// A metric.
    Metric,
}

impl MemberKind {
    /// All kinds.
    pub const ALL: &[Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The name in the singular.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The key of the kind's list in study files.
    pub(super) fn list(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Attack => "attacks",
            Self::Metric => "metrics",
        }
    }
}

/// A member that could take part and does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The kind of the member.
    pub kind: MemberKind,
    /// The registered name.
    pub name: String,
    /// Why it does not take part, in words.
    pub reason: String,
}
