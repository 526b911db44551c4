//! What the registry knows of a model, an attack or a metric, and how it makes one.

use super::dynamic::{DynAttack, DynMetric};
use crate::attack::Attack;
use crate::guard;
use crate::library::Library;
use crate::metric::{Direction, Metric, Scope};
use crate::model::{Architecture, Model, ModelCard};
use crate::params::{self, Description, NoParams, Params, Preset, PresetTable};
use crate::weights::{NO_WEIGHTS, PyTorch, Weights};
use anyhow::{Context, Result};
use std::sync::Arc;
use tch::Device;
use toml::Table;

pub(crate) type Make<T> = Box<dyn Fn(&Table) -> Result<T> + Send + Sync>;
pub(crate) type MakeModel = Box<dyn Fn(&Table, &Weights) -> Result<Box<dyn Model>> + Send + Sync>;
pub(crate) type Resolve = Box<dyn Fn(Option<&str>, &Table) -> Result<Table> + Send + Sync>;

/// What every entry has: a name, where it came from, and its parameters.
pub struct Entry {
    /// The registered name.
    pub name: String,
    /// The crate and version that brought it.
    pub origin: String,
    /// The library that it was loaded from; `None` for what is part of the program.
    pub library: Option<Arc<Library>>,
    /// One line about it.
    pub summary: String,
    /// The default parameters.
    pub defaults: Table,
    /// What the parameters mean, as far as they are described.
    pub descriptions: Vec<Description>,
    /// Further named parameter sets.
    pub presets: Vec<PresetTable>,
    pub(crate) resolve: Resolve,
}

impl Entry {
    fn new<P: Params>(
        name: &str,
        summary: &str,
        origin: &str,
        presets: fn() -> Vec<Preset<P>>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            origin: origin.to_owned(),
            library: None,
            summary: summary.to_owned(),
            defaults: params::to_table(&P::default()),
            descriptions: params::describe::<P>(),
            presets: presets().iter().map(PresetTable::from).collect(),
            resolve: Box::new(move |preset, overrides| {
                let base = params::preset(presets(), preset)?;
                Ok(params::to_table(&params::from_table(&base, overrides)?))
            }),
        }
    }

    /// All parameters that a preset with overrides gives, as a result records them. `None` means
    /// the defaults.
    ///
    /// # Errors
    /// Says which preset or parameter is unknown, or which value is wrong.
    pub fn parameters(&self, preset: Option<&str>, overrides: &Table) -> Result<Table> {
        (self.resolve)(preset, overrides).with_context(|| format!("parameters of `{}`", self.name))
    }
}

/// A registered [`Architecture`].
pub struct ModelEntry {
    /// Name, origin, parameters.
    pub entry: Entry,
    /// Bytes of the safetensors file that is part of the program, if any.
    pub embedded_weights: Option<&'static [u8]>,
    /// How weights in PyTorch's names fit the network, see [`Architecture::pytorch`].
    pub pytorch: Option<PyTorch>,
    pub(crate) describe: Make<ModelCard>,
    pub(crate) load: MakeModel,
}

impl ModelEntry {
    pub(crate) fn of<A: Architecture>(origin: &str) -> Self {
        let summary = A::describe(&A::Params::default()).source;
        Self {
            entry: Entry::new::<A::Params>(A::NAME, &summary, origin, Vec::new),
            embedded_weights: A::embedded_weights(),
            pytorch: A::pytorch(),
            describe: Box::new(|table| {
                Ok(A::describe(&params::from_table(&A::Params::default(), table)?))
            }),
            load: Box::new(|table, weights| {
                Ok(Box::new(A::load(params::from_table(&A::Params::default(), table)?, weights)?))
            }),
        }
    }

    /// An entry without parameters and without weights, whose models `make` gives.
    pub(super) fn made_by(
        card: ModelCard,
        origin: &str,
        make: impl Fn(Device) -> Result<Box<dyn Model>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            entry: Entry::new::<NoParams>(&card.name, &card.source, origin, Vec::new),
            embedded_weights: Some(NO_WEIGHTS),
            pytorch: None,
            describe: Box::new(move |_| Ok(card.clone())),
            load: Box::new(move |_, weights| make(weights.device())),
        }
    }

    /// The card that the parameters would give.
    ///
    /// # Errors
    /// When a parameter is wrong, or the card is impossible, see [`ModelCard::check`].
    pub fn card(&self, parameters: &Table) -> Result<ModelCard> {
        let card = (self.describe)(parameters)
            .with_context(|| format!("parameters of `{}`", self.entry.name))?;
        card.check().with_context(|| format!("the card of `{}`", self.entry.name))?;
        Ok(card)
    }

    /// Builds the model from weights. Every tensor of `weights` must fit.
    ///
    /// # Errors
    /// Lists all tensors that do not fit, or says what the parameters or the network lack.
    pub fn load(&self, parameters: &Table, weights: Weights) -> Result<Box<dyn Model>> {
        let what = format!("model `{}`", self.entry.name);
        let weights = weights.translated(self.pytorch).with_context(|| what.clone())?;
        let model = guard::catch(&what, || (self.load)(parameters, &weights)).context(what)?;
        weights.finish().with_context(|| format!("weights of model `{}`", self.entry.name))?;
        Ok(model)
    }

    /// The weights that are part of the program, as the bytes of a safetensors file.
    ///
    /// # Errors
    /// When there are none: says how to name a file.
    pub fn own_weights(&self) -> Result<&'static [u8]> {
        self.embedded_weights.with_context(|| {
            format!(
                "model `{}` has no weights of its own: name a safetensors file (`--weights FILE`, \
                 or `weights = \"…\"` in the study)",
                self.entry.name
            )
        })
    }

    /// Builds the model from the weights that are part of the program.
    pub fn load_embedded(&self, parameters: &Table, device: Device) -> Result<Box<dyn Model>> {
        self.load(parameters, Weights::from_bytes(self.own_weights()?, device)?)
    }
}

/// A registered [`Attack`].
pub struct AttackEntry {
    /// Name, origin, parameters.
    pub entry: Entry,
    pub(crate) make: Make<Box<dyn DynAttack>>,
}

impl AttackEntry {
    pub(crate) fn of<A: Attack>(origin: &str) -> Self {
        Self {
            entry: Entry::new::<A::Params>(A::NAME, A::SUMMARY, origin, A::presets),
            make: Box::new(|table| {
                Ok(Box::new(A::new(params::from_table(&A::Params::default(), table)?)?))
            }),
        }
    }

    /// The attack with all its parameters, see [`Entry::parameters`].
    pub fn make(&self, parameters: &Table) -> Result<Box<dyn DynAttack>> {
        (self.make)(parameters).with_context(|| format!("attack `{}`", self.entry.name))
    }
}

/// A registered [`Metric`].
pub struct MetricEntry {
    /// Name, origin, parameters.
    pub entry: Entry,
    /// The unit of the values.
    pub unit: String,
    /// What a value is about.
    pub scope: Scope,
    /// Which way is better for a defender.
    pub direction: Direction,
    /// See [`Metric::AT_IDENTITY`].
    pub at_identity: Option<f64>,
    /// See [`Metric::SYMMETRIC`].
    pub symmetric: bool,
    /// Names of the numbers that come with every value.
    pub extras: Vec<String>,
    pub(crate) make: Make<Box<dyn DynMetric>>,
}

impl MetricEntry {
    pub(crate) fn of<M: Metric>(origin: &str) -> Self {
        Self {
            entry: Entry::new::<M::Params>(M::NAME, M::SUMMARY, origin, M::presets),
            unit: M::UNIT.to_owned(),
            scope: M::SCOPE,
            direction: M::DIRECTION,
            at_identity: M::AT_IDENTITY,
            symmetric: M::SYMMETRIC,
            extras: M::EXTRAS.iter().map(|&name| name.to_owned()).collect(),
            make: Box::new(|table| {
                Ok(Box::new(M::new(params::from_table(&M::Params::default(), table)?)?))
            }),
        }
    }

    /// The metric with all its parameters, see [`Entry::parameters`].
    pub fn make(&self, parameters: &Table) -> Result<Box<dyn DynMetric>> {
        (self.make)(parameters).with_context(|| format!("metric `{}`", self.entry.name))
    }
}
