//! What the kit has found, and what its three parts share.

use crate::guard;
use crate::model::ImageShape;
use crate::params::{PresetTable, parse};
use crate::registry::Entry;
use anyhow::{Error, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use tch::{Device, Kind, Tensor};
use toml::Table;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// The rule is kept.
    Passed,
    /// The rule is broken. Says what was found and what is expected.
    Failed(String),
    /// The check does not apply. Says why.
    Skipped(String),
}

/// One rule, and whether it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The rule, in words.
    pub name: String,
    /// How its check ended.
    #[serde(rename = "verdict")]
    pub outcome: CheckOutcome,
}

/// The checks of one attack, model or metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What was checked: ``attack `fgsm` ``.
    pub subject: String,
    /// The checks, in the order in which they ran.
    pub checks: Vec<Check>,
}

/// Progress of the kit, for somebody who waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The checks of this subject begin.
    Subject(String),
    /// This check begins.
    Begun(String),
    /// A check has ended.
    Ended(Check),
    /// There is nothing left to check.
    Finished,
}

impl Report {
    /// Makes a failed report an error.
    ///
    /// # Errors
    /// The report itself, when a check has failed.
    pub fn passed(&self) -> Result<()> {
        ensure!(self.failed() == 0, "{self}");
        Ok(())
    }

    /// Number of checks that have failed.
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| matches!(check.outcome, CheckOutcome::Failed(_))).count()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.outcome {
            CheckOutcome::Passed => write!(f, "passed   {}", self.name),
            CheckOutcome::Failed(why) => {
                write!(f, "FAILED   {}: {}", self.name, why.replace('\n', "\n           "))
            }
            CheckOutcome::Skipped(why) => write!(f, "skipped  {}: {why}", self.name),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.subject)?;
        self.checks.iter().try_for_each(|check| write!(f, "\n  {check}"))
    }
}

/// The error of a check that does not apply. It becomes [`CheckOutcome::Skipped`].
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotApplicable(String);

/// The error of a check that does not apply, for this reason.
pub(super) fn skip(reason: impl Into<String>) -> Error {
    NotApplicable(reason.into()).into()
}

/// Runs checks, and writes the report.
pub(super) struct Checker<'a> {
    report: Report,
    watch: &'a mut dyn FnMut(&Event),
}

impl<'a> Checker<'a> {
    pub fn new(kind: &str, entry: &Entry, watch: &'a mut dyn FnMut(&Event)) -> Self {
        let subject = format!("{kind} `{}`", entry.name);
        watch(&Event::Subject(subject.clone()));
        Self { report: Report { subject, checks: Vec::new() }, watch }
    }

    /// Runs a check. Gives its result, for the checks that build on it.
    pub fn check<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        (self.watch)(&Event::Begun(name.to_owned()));
        let (outcome, found) = match guard::catch("it", work) {
            Ok(found) => (CheckOutcome::Passed, Some(found)),
            Err(error) => match error.downcast::<NotApplicable>() {
                Ok(skipped) => (CheckOutcome::Skipped(skipped.0), None),
                Err(error) => (CheckOutcome::Failed(format!("{error:#}")), None),
            },
        };
        let check = Check { name: name.to_owned(), outcome };
        (self.watch)(&Event::Ended(check.clone()));
        self.report.checks.push(check);
        found
    }

    /// Runs a check that builds on the result of an earlier one. Skips it where there is none.
    pub fn check_with<I, T>(
        &mut self,
        name: &str,
        given: Option<&I>,
        work: impl FnOnce(&I) -> Result<T>,
    ) -> Option<T> {
        self.check(name, || {
            work(given.ok_or_else(|| skip("it builds on a check that gave no result, see above"))?)
        })
    }

    /// Checks the parameters, as for all kinds: defaults and presets are accepted, unknown
    /// parameters and presets are refused.
    pub fn check_parameters(&mut self, entry: &Entry, make: impl Fn(&Table) -> Result<()>) {
        self.check(
            "defaults and presets are accepted, unknown parameters and presets refused",
            || {
                let defaults = entry.parameters(None, &Table::new())?;
                ensure!(
                    defaults == entry.defaults,
                    "the defaults come back as {}, expected {}",
                    in_line(&defaults),
                    in_line(&entry.defaults)
                );
                make(&defaults)?;
                for PresetTable { name, parameters, .. } in &entry.presets {
                    let preset = entry.parameters(Some(name), &Table::new())?;
                    ensure!(
                        preset == *parameters,
                        "preset `{name}` comes back as {}, expected {}",
                        in_line(&preset),
                        in_line(parameters)
                    );
                    make(&preset).map_err(|error| error.context(format!("preset `{name}`")))?;
                }
                let unknown = "no_such_parameter = 1";
                if entry.parameters(None, &parse(unknown)?).is_ok() {
                    bail!(
                        "`{unknown}` is accepted: misspelt parameters would go unnoticed; expected \
                         an error (`params!` gives one)"
                    );
                }
                ensure!(
                    entry.parameters(Some("no_such_preset"), &Table::new()).is_err(),
                    "preset `no_such_preset` is accepted, expected an error that lists all presets"
                );
                Ok(())
            },
        );
        self.check("every parameter is described", || {
            let described = |name: &str| {
                entry.descriptions.iter().any(|d| d.name == name && !d.text.is_empty())
            };
            let bare: Vec<String> = entry
                .defaults
                .keys()
                .filter(|name| !described(name))
                .map(|name| format!("`{name}`"))
                .collect();
            ensure!(
                bare.is_empty(),
                "{} has no description for `runner list`; `params!` takes it from the comment",
                bare.join(", ")
            );
            Ok(())
        });
    }

    pub fn end(self) -> Report {
        self.report
    }
}

/// A table as one line of TOML.
fn in_line(table: &Table) -> String {
    toml::Value::from(table.clone()).to_string()
}

/// `count` different images, `count`×C×H×W, with all pixels inside (0, 1).
pub(super) fn images(count: usize, shape: ImageShape) -> Tensor {
    let place = Tensor::arange(count as i64 * shape.values(), (Kind::Double, Device::Cpu));
    let coarse = (&place * 0.013).sin();
    (((place * 0.7).sin() * 0.6 + coarse * 0.4) * 0.45 + 0.5)
        .to_kind(Kind::Float)
        .view(shape.batch(count))
}

/// The greatest difference between two tensors of one shape; infinite where one is not finite.
pub(super) fn distance(a: &Tensor, b: &Tensor) -> f64 {
    if a.numel() == 0 {
        return 0.0;
    }
    let difference = (a - b).abs().max().double_value(&[]);
    if difference.is_nan() { f64::INFINITY } else { difference }
}

/// Runs `work`, and fails when it has changed `tensor`, which `what` names: `the pixels`.
pub(super) fn untouched<T>(
    what: &str,
    tensor: &Tensor,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let before = tensor.copy();
    let done = work()?;
    ensure!(
        before == *tensor,
        "{what} were changed; work on a copy (`copy()`, in C++ `clone()`): functions whose name \
         ends with `_` change what they are given, also under `no_grad` and through `data()`"
    );
    Ok(done)
}
