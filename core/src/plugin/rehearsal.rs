//! Calls of plugin libraries that are made elsewhere first.

use crate::attack::Goal;
use crate::library::Library;
use crate::registry::{Entry, Make, Registry};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use toml::Table;

/// What a library is asked for before any work: to check parameters, or to make what it brings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// `model`, `attack` or `metric`.
    kind: String,
    /// The registered name.
    name: String,
    what: Asked,
    /// As TOML.
    parameters: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Asked {
    /// All parameters that a preset with overrides gives.
    Parameters(Option<String>),
    /// The attack or the metric with its parameters, or the model's card.
    Make,
}

/// A goal of each kind, to ask for a cost: its class means nothing.
const ANY_GOALS: [Goal; 2] = [Goal::Away(0), Goal::Towards(0)];
/// Fewest classes of a model.
const FEWEST_CLASSES: i64 = 2;

/// Makes a call elsewhere first; an error keeps it from being made here.
type Rehearse = Arc<dyn Fn(&Call) -> Result<()> + Send + Sync>;

impl Registry {
    /// Opens a plugin library as [`load_library`](Self::load_library) does. `rehearse` is told of
    /// each [`Call`] of the library's code that checks parameters or makes what the library brings,
    /// before the call is made here.
    ///
    /// # Errors
    /// See [`load_library`](Self::load_library). An error of `rehearse` is the error of the call.
    pub fn load_rehearsed(
        &mut self,
        library: Library,
        rehearse: impl Fn(&Call) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Arc<Library>> {
        let rehearse: Rehearse = Arc::new(rehearse);
        self.load_changed(library, |brought| {
            brought.changed(
                |mut model| {
                    model.entry = resolved("model", model.entry, &rehearse);
                    model.describe = made("model", &model.entry.name, model.describe, &rehearse);
                    model
                },
                |mut attack| {
                    attack.entry = resolved("attack", attack.entry, &rehearse);
                    attack.make = made("attack", &attack.entry.name, attack.make, &rehearse);
                    attack
                },
                |mut metric| {
                    metric.entry = resolved("metric", metric.entry, &rehearse);
                    metric.make = made("metric", &metric.entry.name, metric.make, &rehearse);
                    metric
                },
            )
        })
    }

    /// Makes a call that another process will make too.
    ///
    /// # Errors
    /// What comes of the call.
    pub fn perform(&self, call: &Call) -> Result<()> {
        let parameters: Table = call.parameters.parse()?;
        let resolve =
            |entry: &Entry, preset: Option<&str>| entry.parameters(preset, &parameters).map(drop);
        match (call.kind.as_str(), &call.what) {
            ("model", Asked::Parameters(preset)) => {
                resolve(&self.find_model(&call.name)?.entry, preset.as_deref())
            }
            ("attack", Asked::Parameters(preset)) => {
                resolve(&self.find_attack(&call.name)?.entry, preset.as_deref())
            }
            ("metric", Asked::Parameters(preset)) => {
                resolve(&self.find_metric(&call.name)?.entry, preset.as_deref())
            }
            ("model", Asked::Make) => self.find_model(&call.name)?.card(&parameters).map(drop),
            ("attack", Asked::Make) => {
                let attack = self.find_attack(&call.name)?.make(&parameters)?;
                attack.budget();
                let _ = ANY_GOALS.map(|goal| attack.cost(goal));
                Ok(())
            }
            ("metric", Asked::Make) => {
                let metric = self.find_metric(&call.name)?.make(&parameters)?;
                let _ = ANY_GOALS.map(|goal| metric.cost(goal, FEWEST_CLASSES));
                Ok(())
            }
            (other, _) => bail!("`{other}` is no kind"),
        }
    }
}

fn resolved(kind: &'static str, mut entry: Entry, rehearse: &Rehearse) -> Entry {
    let (name, inner, rehearse) = (entry.name.clone(), entry.resolve, rehearse.clone());
    entry.resolve = Box::new(move |preset, overrides| {
        let what = Asked::Parameters(preset.map(str::to_owned));
        rehearse(&call(kind, &name, what, overrides)?)?;
        inner(preset, overrides)
    });
    entry
}

fn made<T: 'static>(
    kind: &'static str,
    name: &str,
    inner: Make<T>,
    rehearse: &Rehearse,
) -> Make<T> {
    let (name, rehearse) = (name.to_owned(), rehearse.clone());
    Box::new(move |parameters| {
        rehearse(&call(kind, &name, Asked::Make, parameters)?)?;
        inner(parameters)
    })
}

fn call(kind: &str, name: &str, what: Asked, parameters: &Table) -> Result<Call> {
    let parameters = toml::to_string(parameters).context("parameters cannot be written as TOML")?;
    Ok(Call { kind: kind.to_owned(), name: name.to_owned(), what, parameters })
}
