//! A plugin's metric.

use super::describe::{describe, needed};
use super::object::RenewedObject;
use super::oracle::{lend, lend_goal};
use crate::attack::{Cases, Cost, Goal};
use crate::library::Library;
use crate::library::abi;
use crate::metric::Scope;
use crate::oracle::Oracle;
use crate::plugin::wire::{self, Measure};
use crate::registry::{DynMetric, MetricEntry};
use anyhow::{Context, Result};
use std::sync::Arc;
use tch::Tensor;
use toml::Table;

pub(super) fn entry(library: &Arc<Library>, table: &'static abi::Metric) -> Result<MetricEntry> {
    let (entry, about) = describe(library, &table.head)?;
    let (make, release) = (needed(table.make, "make")?, needed(table.release, "release")?);
    let measure = about.measure.with_context(|| {
        format!("metric `{}` says no `unit`, `scope` and `direction` of itself", entry.name)
    })?;
    match measure.scope {
        Scope::Outcome => drop(needed(table.outcome, "outcome")?),
        Scope::Model => drop(needed(table.model, "model")?),
    }
    let (who, per_row) = (format!("metric `{}`", entry.name), 1 + measure.extras.len());
    let make = move |parameters: &Table| -> Result<Box<dyn DynMetric>> {
        let object = RenewedObject::new(who.clone(), make, release, parameters)?;
        Ok(Box::new(PluginMetric { object, table, per_row }))
    };
    let Measure { unit, scope, direction, at_identity, symmetric, extras } = measure;
    Ok(MetricEntry {
        entry,
        unit,
        scope,
        direction,
        at_identity,
        symmetric,
        extras,
        make: Box::new(make),
    })
}

struct PluginMetric {
    object: RenewedObject,
    table: &'static abi::Metric,
    /// How many numbers it gives for a row or a case.
    per_row: usize,
}

// SAFETY: the table is constant.
unsafe impl Send for PluginMetric {}
unsafe impl Sync for PluginMetric {}

impl DynMetric for PluginMetric {
    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
        let outcome = needed(self.table.outcome, "outcome")?;
        let rows = original.size().first().map_or(0, |&rows| rows as usize);
        let mut values = vec![f64::NAN; self.per_row * rows];
        // SAFETY: everything is lent for the call, and there is a place for each value.
        self.object.call(|object, error| unsafe {
            outcome(
                object,
                wire::lend(original),
                wire::lend(adversarial),
                values.as_mut_ptr(),
                values.len(),
                error,
            )
        })?;
        Ok(values)
    }

    fn cost(&self, goal: Goal, classes: i64) -> Option<Cost> {
        let (cost, goal) = (self.table.cost?, lend_goal(goal));
        // SAFETY: object and sinks live during the call.
        self.object.tell("the cost", |object, toml, error| unsafe {
            cost(object, goal, classes, toml, error)
        })
    }

    fn model(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<f64>> {
        let model = needed(self.table.model, "model")?;
        let mut values = vec![f64::NAN; self.per_row * cases.len()];
        lend(oracle, cases, |oracle, cases| {
            // SAFETY: everything is lent for the call, and there is a place for each value.
            self.object.call(|object, error| unsafe {
                model(object, oracle, cases, values.as_mut_ptr(), values.len(), error)
            })
        })?;
        Ok(values)
    }
}
