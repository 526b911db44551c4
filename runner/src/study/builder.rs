//! Studies that a program puts together in code.

use crate::study::definition::Study;
use crate::study::goal::{GoalKind, Policy};
use crate::study::options::StudyOptions;
use crate::study::torchscript::Script;
use anyhow::{Context, Result};
use gauntlet_core::params::{Params, to_table};
use gauntlet_core::registry::Registry;
use std::path::Path;
use toml::{Table, Value};

/// Builds a study in code. The defaults and checks are those of [`Study::parse`].
///
/// ```
/// use gauntlet_core::registry::Registry;
/// use gauntlet_core::testing::{Nudge, NudgeParams};
/// use gauntlet_runner::study::{GoalKind, Member, Study, StudyOptions};
///
/// let mut registry = Registry::empty();
/// registry.attack::<Nudge>("doc 1.0.0").unwrap();
/// let attack = Member::new("nudge")
///     .params(&NudgeParams { amount: 0.2 })
///     .goals(&[GoalKind::Random]);
/// let study = Study::builder("mine")
///     .seed(7)
///     .model("affine")
///     .attack(attack)
///     .open(&registry, StudyOptions::default());
/// assert!(study.err().unwrap().to_string().contains("unknown model `affine`"));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct StudyBuilder(Table);

/// A model, an attack or a metric as a study names it. A name alone converts into a member.
#[derive(Clone, Debug)]
#[must_use]
pub struct Member(Table);

impl Study {
    /// Begins a study of this name.
    pub fn builder(name: &str) -> StudyBuilder {
        StudyBuilder(Table::new()).set("name", name)
    }
}

impl StudyBuilder {
    /// Sets any key of a study file. Where no model, attack or metric is added, everything
    /// registered that fits takes part; `set("attacks", Vec::<String>::new())` is a study without
    /// attacks.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// Sets the seed of all random draws.
    pub fn seed(self, seed: u32) -> Self {
        self.set("seed", i64::from(seed))
    }

    /// Adds a model.
    pub fn model(self, member: impl Into<Member>) -> Self {
        self.add("models", member.into())
    }

    /// Adds a TorchScript module, see [`crate::study::torchscript`].
    pub fn torchscript(self, name: &str, file: &Path, script: &Script) -> Self {
        let mut member = Member::new(name)
            .set("kind", "torchscript")
            .set("file", file.to_string_lossy().into_owned());
        member.0.extend(script.to_table());
        self.model(member)
    }

    /// Adds an attack.
    pub fn attack(self, member: impl Into<Member>) -> Self {
        self.add("attacks", member.into())
    }

    /// Adds a metric.
    pub fn metric(self, member: impl Into<Member>) -> Self {
        self.add("metrics", member.into())
    }

    /// Gives adversarials to the other models too, fitted to their sides by `policy`.
    pub fn transfer(self, policy: Policy) -> Self {
        self.set("transfer", Table::from_iter([("policy".to_owned(), policy.name().into())]))
    }

    /// Checks and opens the study. Paths are relative to the current folder.
    ///
    /// # Errors
    /// See [`Study::parse`]. The errors show the study as a TOML file.
    pub fn open(self, registry: &Registry, options: StudyOptions) -> Result<Study> {
        let text = toml::to_string(&self.0).context("the study cannot be written as TOML")?;
        Study::parse(&text, "the study", Path::new("."), registry, options)
    }

    fn add(mut self, list: &str, member: Member) -> Self {
        let list = self.0.entry(list).or_insert_with(|| Value::Array(Vec::new()));
        match list {
            Value::Array(members) => members.push(member.0.into()),
            other => *other = Value::Array(vec![member.0.into()]),
        }
        self
    }
}

impl Member {
    /// The member that is registered under this name.
    pub fn new(name: &str) -> Self {
        Self(Table::new()).set("name", name)
    }

    /// Sets any key that such a member has in a study file.
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// Sets the member's name in tables.
    pub fn label(self, label: &str) -> Self {
        self.set("label", label)
    }

    /// Sets all parameters.
    pub fn params<P: Params>(self, params: &P) -> Self {
        self.set("params", to_table(params))
    }

    /// Sets the preset, whose parameters `params` then overrides.
    pub fn preset(self, preset: &str) -> Self {
        self.set("preset", preset)
    }

    /// Sets the goals of an attack or a metric.
    pub fn goals(self, goals: &[GoalKind]) -> Self {
        self.set("goals", goals.iter().map(|goal| Value::from(goal.name())).collect::<Vec<_>>())
    }

    /// Sets the file of a model's weights.
    pub fn weights(self, file: &Path) -> Self {
        self.set("weights", file.to_string_lossy().into_owned())
    }
}

impl From<&str> for Member {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}
