//! Who is there: models, attacks and metrics by name, whichever way they came.

use crate::attack::{Answer, Attack, Budget, Cases, Cost, Goal};
use crate::metric::{Direction, Metric, Scope};
use crate::model::{Architecture, Model, ModelCard};
use crate::oracle::Oracle;
use crate::params::{self, Description, NoParams, Params, Preset, suggestion};
use crate::plugin::{self, Library, Linked};
use crate::weights::{PyTorch, Weights};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tch::{Device, Tensor};
use toml::Table;

/// An [`Attack`] whose parameters are set.
pub trait DynAttack: Send + Sync {
    /// See [`Attack::budget`].
    fn budget(&self) -> Option<Budget> {
        None
    }

    /// See [`Attack::cost`].
    fn cost(&self, _goal: Goal) -> Option<Cost> {
        None
    }

    /// See [`Attack::run`].
    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>>;
}

impl<A: Attack> DynAttack for A {
    fn budget(&self) -> Option<Budget> {
        Attack::budget(self)
    }

    fn cost(&self, goal: Goal) -> Option<Cost> {
        Attack::cost(self, goal)
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        Attack::run(self, oracle, cases)
    }
}

/// A [`Metric`] whose parameters are set.
pub trait DynMetric: Send + Sync {
    /// See [`Metric::outcome`].
    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>>;
    /// See [`Metric::cost`].
    fn cost(&self, _goal: Goal, _classes: i64) -> Option<Cost> {
        None
    }
    /// See [`Metric::model`].
    fn model(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<f64>>;
}

impl<M: Metric> DynMetric for M {
    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
        Metric::outcome(self, original, adversarial)
    }

    fn cost(&self, goal: Goal, classes: i64) -> Option<Cost> {
        Metric::cost(self, goal, classes)
    }

    fn model(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<f64>> {
        Metric::model(self, oracle, cases)
    }
}

pub(crate) type Make<T> = Box<dyn Fn(&Table) -> Result<T> + Send + Sync>;
pub(crate) type MakeModel = Box<dyn Fn(&Table, &Weights) -> Result<Box<dyn Model>> + Send + Sync>;
pub(crate) type Resolve = Box<dyn Fn(Option<&str>, &Table) -> Result<Table> + Send + Sync>;

/// A safetensors file without tensors.
const NO_WEIGHTS: &[u8] = b"\x02\0\0\0\0\0\0\0{}";

/// What every entry has: a name, where it came from, and its parameters.
pub struct Entry {
    /// The registered name.
    pub name: String,
    /// The crate and version that brought it.
    pub origin: String,
    /// The library that it was loaded from; none for what is part of the program.
    pub library: Option<Arc<Library>>,
    /// One line about it.
    pub summary: String,
    /// The default parameters.
    pub defaults: Table,
    /// What the parameters mean, as far as it is described.
    pub descriptions: Vec<Description>,
    /// Further named parameter sets: name, where the values come from, values.
    pub presets: Vec<(String, String, Table)>,
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
            presets: presets()
                .iter()
                .map(|p| (p.name.to_owned(), p.summary.to_owned(), params::to_table(&p.params)))
                .collect(),
            resolve: Box::new(move |preset, overrides| {
                let base = params::preset(presets(), preset)?;
                Ok(params::to_table(&params::from_table(&base, overrides)?))
            }),
        }
    }

    /// The full parameters that a preset with overrides gives, as a result records them.
    pub fn parameters(&self, preset: Option<&str>, overrides: &Table) -> Result<Table> {
        (self.resolve)(preset, overrides).with_context(|| format!("parameters of `{}`", self.name))
    }
}

/// A registered [`Architecture`].
pub struct ModelEntry {
    /// Name, origin, parameters.
    pub entry: Entry,
    /// The bytes of the weights that are part of the program, if any.
    pub embedded_weights: Option<&'static [u8]>,
    /// How weights in PyTorch's names go with it, see [`Architecture::pytorch`].
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

    /// The card that the parameters would give.
    pub fn card(&self, parameters: &Table) -> Result<ModelCard> {
        (self.describe)(parameters).with_context(|| format!("parameters of `{}`", self.entry.name))
    }

    /// Builds the model, strictly: every tensor of `weights` must fit.
    pub fn load(&self, parameters: &Table, weights: Weights) -> Result<Box<dyn Model>> {
        let what = format!("model `{}`", self.entry.name);
        let weights = weights.translated(self.pytorch).with_context(|| what.clone())?;
        let model =
            crate::guard::catch(&what, || (self.load)(parameters, &weights)).context(what)?;
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

    /// The attack with full parameters, see [`Entry::parameters`].
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

    /// The metric with full parameters, see [`Entry::parameters`].
    pub fn make(&self, parameters: &Table) -> Result<Box<dyn DynMetric>> {
        (self.make)(parameters).with_context(|| format!("metric `{}`", self.entry.name))
    }
}

/// Everything that a study can name. Names are sorted; a name is taken once per kind.
#[derive(Default)]
pub struct Registry {
    models: BTreeMap<String, ModelEntry>,
    attacks: BTreeMap<String, AttackEntry>,
    metrics: BTreeMap<String, MetricEntry>,
    libraries: Vec<Arc<Library>>,
}

impl Registry {
    /// A registry with nothing in it, for registration by call.
    pub fn empty() -> Self {
        Self::default()
    }

    /// All that is linked into this program. The order in which the linker laid it out shows
    /// nowhere.
    ///
    /// # Errors
    /// Names both origins when two plugins bring the same name.
    pub fn linked() -> Result<Self> {
        let mut registry = Self::default();
        let mut all: Vec<&Linked> = inventory::iter::<Linked>.into_iter().collect();
        all.sort_by_key(|linked| linked.origin);
        for linked in all {
            (linked.register)(&mut registry, linked.origin)?;
        }
        Ok(registry)
    }

    /// Adds an architecture. `origin` says who brings it, such as `my-crate 1.2.0`.
    pub fn model<A: Architecture>(&mut self, origin: &str) -> Result<()> {
        self.add_model(ModelEntry::of::<A>(origin))
    }

    /// Adds a model that the program makes itself: `make` is called once for every thread that
    /// computes with it, and again later. `origin` says who brings it in which version, such as
    /// `my-crate 1.2.0`: results are kept by name, card and origin, so it must change with the
    /// model.
    pub fn model_with(
        &mut self,
        card: ModelCard,
        origin: &str,
        make: impl Fn(Device) -> Result<Box<dyn Model>> + Send + Sync + 'static,
    ) -> Result<()> {
        self.add_model(ModelEntry {
            entry: Entry::new::<NoParams>(&card.name, &card.source, origin, Vec::new),
            embedded_weights: Some(NO_WEIGHTS),
            pytorch: None,
            describe: Box::new(move |_| Ok(card.clone())),
            load: Box::new(move |_, weights| make(weights.device())),
        })
    }

    /// Adds an attack.
    pub fn attack<A: Attack>(&mut self, origin: &str) -> Result<()> {
        self.add_attack(AttackEntry::of::<A>(origin))
    }

    /// Adds a metric.
    pub fn metric<M: Metric>(&mut self, origin: &str) -> Result<()> {
        self.add_metric(MetricEntry::of::<M>(origin))
    }

    pub(crate) fn add_model(&mut self, entry: ModelEntry) -> Result<()> {
        add(&mut self.models, "model", entry, |e| &e.entry)
    }

    pub(crate) fn add_attack(&mut self, entry: AttackEntry) -> Result<()> {
        add(&mut self.attacks, "attack", entry, |e| &e.entry)
    }

    pub(crate) fn add_metric(&mut self, entry: MetricEntry) -> Result<()> {
        add(&mut self.metrics, "metric", entry, |e| &e.entry)
    }

    /// Opens a plugin library and adds everything in it, or nothing. A library that is there
    /// already, from this file or a copy of it, is not opened again.
    ///
    /// # Errors
    /// Says what is wrong with the library, see [`Library::read`] and [`Library::check`], or which
    /// name is taken.
    pub fn load(&mut self, path: &Path) -> Result<Arc<Library>> {
        self.load_library(Library::read(path)?)
    }

    /// As [`load`](Self::load), for a library that has been read, so that the caller could look at
    /// it.
    pub fn load_library(&mut self, library: Library) -> Result<Arc<Library>> {
        if let Some(known) = self.libraries.iter().find(|known| known.hash == library.hash) {
            return Ok(Arc::clone(known));
        }
        if let Some(known) =
            self.libraries.iter().find(|known| known.stamp.name == library.stamp.name)
        {
            let (one, other) = (known.describe(), library.describe());
            bail!("plugin `{}` is there twice: {one} and {other}; remove one", library.stamp.name);
        }
        library.check()?;
        let library = Arc::new(library);
        let Self { models, attacks, metrics, .. } = plugin::open(&library)?;
        models.values().try_for_each(|new| vacant(&self.models, "model", new, |e| &e.entry))?;
        attacks.values().try_for_each(|new| vacant(&self.attacks, "attack", new, |e| &e.entry))?;
        metrics.values().try_for_each(|new| vacant(&self.metrics, "metric", new, |e| &e.entry))?;
        self.models.extend(models);
        self.attacks.extend(attacks);
        self.metrics.extend(metrics);
        self.libraries.push(Arc::clone(&library));
        Ok(library)
    }

    /// The plugin libraries that were loaded, in that order.
    pub fn libraries(&self) -> &[Arc<Library>] {
        &self.libraries
    }

    /// All models, by name.
    pub fn models(&self) -> impl Iterator<Item = &ModelEntry> {
        self.models.values()
    }

    /// All attacks, by name.
    pub fn attacks(&self) -> impl Iterator<Item = &AttackEntry> {
        self.attacks.values()
    }

    /// All metrics, by name.
    pub fn metrics(&self) -> impl Iterator<Item = &MetricEntry> {
        self.metrics.values()
    }

    /// The model of that name; an unknown name is an error that suggests a near one.
    pub fn find_model(&self, name: &str) -> Result<&ModelEntry> {
        find(&self.models, "model", name)
    }

    /// The attack of that name; an unknown name is an error that suggests a near one.
    pub fn find_attack(&self, name: &str) -> Result<&AttackEntry> {
        find(&self.attacks, "attack", name)
    }

    /// The metric of that name; an unknown name is an error that suggests a near one.
    pub fn find_metric(&self, name: &str) -> Result<&MetricEntry> {
        find(&self.metrics, "metric", name)
    }
}

fn add<E>(
    map: &mut BTreeMap<String, E>,
    kind: &str,
    new: E,
    entry: impl Fn(&E) -> &Entry,
) -> Result<()> {
    vacant(map, kind, &new, &entry)?;
    map.insert(entry(&new).name.clone(), new);
    Ok(())
}

fn vacant<E>(
    map: &BTreeMap<String, E>,
    kind: &str,
    new: &E,
    entry: impl Fn(&E) -> &Entry,
) -> Result<()> {
    let who = |e: &Entry| {
        e.library.as_ref().map_or_else(|| e.origin.clone(), |library| library.describe())
    };
    let new = entry(new);
    if let Some(old) = map.get(&new.name) {
        bail!(
            "{kind} `{}` is brought twice: by {} and by {}; remove or rename one",
            new.name,
            who(entry(old)),
            who(new)
        );
    }
    Ok(())
}

fn find<'a, E>(map: &'a BTreeMap<String, E>, kind: &str, name: &str) -> Result<&'a E> {
    map.get(name).with_context(|| {
        let known: Vec<&String> = map.keys().collect();
        match suggestion(name, &known) {
            hint if hint.is_empty() => {
                format!("unknown {kind} `{name}`; `runner list {kind}s` shows all")
            }
            hint => format!("unknown {kind} `{name}`{hint} (`runner list {kind}s` shows all)"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Affine, Nudge};

    #[test]
    fn duplicates_name_both_origins() {
        let mut registry = Registry::empty();
        registry.attack::<Nudge>("first 1.0.0").unwrap();
        let error = registry.attack::<Nudge>("/plugins/libsecond.so").unwrap_err().to_string();
        assert_eq!(
            error,
            "attack `nudge` is brought twice: by first 1.0.0 and by /plugins/libsecond.so; remove \
             or rename one"
        );
    }

    #[test]
    fn a_near_miss_is_suggested() {
        let mut registry = Registry::empty();
        registry.attack::<Nudge>("t").unwrap();
        let error = |name: &str| registry.find_attack(name).err().unwrap().to_string();
        assert_eq!(
            error("nudgee"),
            "unknown attack `nudgee`, did you mean `nudge`? (`runner list attacks` shows all)"
        );
        assert_eq!(error("deepfool"), "unknown attack `deepfool`; `runner list attacks` shows all");
    }

    #[test]
    fn parameters_resolve_to_the_full_table() {
        let mut registry = Registry::empty();
        registry.attack::<Nudge>("t").unwrap();
        let entry = &registry.find_attack("nudge").unwrap().entry;
        let table = entry.parameters(None, &params::parse("amount = 1").unwrap()).unwrap();
        assert_eq!(table.to_string(), "amount = 1.0\n");
        let error = format!("{:#}", entry.parameters(Some("x"), &Table::new()).unwrap_err());
        assert_eq!(error, "parameters of `nudge`: unknown preset `x`; there are: default");
    }

    #[test]
    fn a_model_without_weights_of_its_own_says_what_to_do() {
        let mut registry = Registry::empty();
        registry.model::<Affine>("t").unwrap();
        let entry = registry.find_model("affine").unwrap();
        let error = entry.load_embedded(&Table::new(), Device::Cpu).err().unwrap().to_string();
        assert!(
            error.starts_with("model `affine` has no weights of its own: name a safetensors file"),
            "{error}"
        );
    }
}
