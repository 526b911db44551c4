//! Models, attacks and metrics by name, from this program and from plugin libraries.

mod dynamic;
mod entry;

pub use dynamic::{DynAttack, DynMetric};
pub use entry::{AttackEntry, Entry, MetricEntry, ModelEntry};
pub(crate) use entry::{Make, Resolve};

use crate::attack::Attack;
use crate::library::Library;
use crate::metric::Metric;
use crate::model::{Architecture, Model, ModelCard};
use crate::params::suggestion;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::sync::Arc;
use tch::Device;

/// What one crate brings: an [`export_plugin!`](crate::export_plugin), found by the linker.
pub struct Linked {
    /// Crate name and version.
    pub origin: &'static str,
    /// Adds everything that the crate names, with this origin.
    pub register: fn(&mut Registry, &str) -> Result<()>,
}

inventory::collect!(Linked);

/// Everything that a study can name. Names are sorted. A name is taken once per kind.
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

    /// Everything that is linked into this program, in an order that does not depend on the linker.
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

    /// Adds a model that the program makes itself. `make` is called once for every thread that
    /// computes with the model, and may be called again later.
    ///
    /// `origin` says who brings the model in which version, such as `my-crate 1.2.0`. Results are
    /// kept by name, card and origin, so `origin` must change with the model.
    pub fn model_with(
        &mut self,
        card: ModelCard,
        origin: &str,
        make: impl Fn(Device) -> Result<Box<dyn Model>> + Send + Sync + 'static,
    ) -> Result<()> {
        self.add_model(ModelEntry::made_by(card, origin, make))
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
        add(&mut self.models, entry)
    }

    pub(crate) fn add_attack(&mut self, entry: AttackEntry) -> Result<()> {
        add(&mut self.attacks, entry)
    }

    pub(crate) fn add_metric(&mut self, entry: MetricEntry) -> Result<()> {
        add(&mut self.metrics, entry)
    }

    /// Takes over everything that a library brings, or nothing where one of its names is taken.
    pub(crate) fn adopt(&mut self, brought: Self, library: &Arc<Library>) -> Result<()> {
        let Self { models, attacks, metrics, .. } = brought;
        models.values().try_for_each(|new| check_vacant(&self.models, new))?;
        attacks.values().try_for_each(|new| check_vacant(&self.attacks, new))?;
        metrics.values().try_for_each(|new| check_vacant(&self.metrics, new))?;
        self.models.extend(models);
        self.attacks.extend(attacks);
        self.metrics.extend(metrics);
        self.libraries.push(Arc::clone(library));
        Ok(())
    }

    /// The same registry, every entry changed.
    pub(crate) fn changed(
        self,
        model: impl Fn(ModelEntry) -> ModelEntry,
        attack: impl Fn(AttackEntry) -> AttackEntry,
        metric: impl Fn(MetricEntry) -> MetricEntry,
    ) -> Self {
        Self {
            models: self.models.into_iter().map(|(name, entry)| (name, model(entry))).collect(),
            attacks: self.attacks.into_iter().map(|(name, entry)| (name, attack(entry))).collect(),
            metrics: self.metrics.into_iter().map(|(name, entry)| (name, metric(entry))).collect(),
            libraries: self.libraries,
        }
    }

    /// The plugin libraries in the order in which they were loaded.
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

    /// The model of that name.
    ///
    /// # Errors
    /// When the name is unknown: suggests a similar one.
    pub fn find_model(&self, name: &str) -> Result<&ModelEntry> {
        find(&self.models, name)
    }

    /// The attack of that name.
    ///
    /// # Errors
    /// When the name is unknown: suggests a similar one.
    pub fn find_attack(&self, name: &str) -> Result<&AttackEntry> {
        find(&self.attacks, name)
    }

    /// The metric of that name.
    ///
    /// # Errors
    /// When the name is unknown: suggests a similar one.
    pub fn find_metric(&self, name: &str) -> Result<&MetricEntry> {
        find(&self.metrics, name)
    }
}

/// One of the three kinds of entries.
trait Registered {
    /// The kind's name, for messages.
    const KIND: &'static str;

    fn entry(&self) -> &Entry;
}

impl Registered for ModelEntry {
    const KIND: &'static str = "model";

    fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Registered for AttackEntry {
    const KIND: &'static str = "attack";

    fn entry(&self) -> &Entry {
        &self.entry
    }
}

impl Registered for MetricEntry {
    const KIND: &'static str = "metric";

    fn entry(&self) -> &Entry {
        &self.entry
    }
}

fn add<E: Registered>(map: &mut BTreeMap<String, E>, new: E) -> Result<()> {
    check_vacant(map, &new)?;
    map.insert(new.entry().name.clone(), new);
    Ok(())
}

fn check_vacant<E: Registered>(map: &BTreeMap<String, E>, new: &E) -> Result<()> {
    let who = |entry: &Entry| {
        entry.library.as_ref().map_or_else(|| entry.origin.clone(), |library| library.describe())
    };
    let new = new.entry();
    if let Some(old) = map.get(&new.name) {
        bail!(
            "{} `{}` is registered twice: by {} and by {}; remove or rename one",
            E::KIND,
            new.name,
            who(old.entry()),
            who(new)
        );
    }
    Ok(())
}

fn find<'a, E: Registered>(map: &'a BTreeMap<String, E>, name: &str) -> Result<&'a E> {
    let kind = E::KIND;
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
    use crate::params;
    use crate::testing::{Affine, Nudge};
    use toml::Table;

    #[test]
    fn duplicates_name_both_origins() {
        let mut registry = Registry::empty();
        registry.attack::<Nudge>("first 1.0.0").unwrap();
        let error = registry.attack::<Nudge>("/plugins/libsecond.so").unwrap_err().to_string();
        assert_eq!(
            error,
            "attack `nudge` is registered twice: by first 1.0.0 and by /plugins/libsecond.so; remove \
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
