//! What the kit has found.

use crate::guard;
use crate::params::parse;
use crate::registry::Entry;
use anyhow::{Error, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use tch::{Device, Kind, Tensor};
use toml::Table;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All is well.
    Passed,
    /// Says what was found and what is expected.
    Failed(String),
    /// It does not apply; says why.
    Skipped(String),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The rule, in words.
    pub name: String,
    /// Whether it was kept.
    pub verdict: Verdict,
}

/// All rules for one attack, model or metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Whom it is about: ``attack `fgsm` ``.
    pub subject: String,
    /// The rules, in the order in which they were checked.
    pub checks: Vec<Check>,
}

/// Tells somebody who waits how far the kit is.
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
    /// # Errors
    /// The report itself, when a check has failed.
    pub fn passed(&self) -> Result<()> {
        ensure!(self.failed() == 0, "{self}");
        Ok(())
    }

    /// How many checks have failed.
    pub fn failed(&self) -> usize {
        self.checks.iter().filter(|check| matches!(check.verdict, Verdict::Failed(_))).count()
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.verdict {
            Verdict::Passed => write!(f, "passed   {}", self.name),
            Verdict::Failed(why) => {
                write!(f, "FAILED   {}: {}", self.name, why.replace('\n', "\n           "))
            }
            Verdict::Skipped(why) => write!(f, "skipped  {}: {why}", self.name),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.subject)?;
        self.checks.iter().try_for_each(|check| write!(f, "\n  {check}"))
    }
}

/// A check that does not apply.
#[derive(Debug)]
struct Skipped(String);

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

/// The answer of a check that does not apply.
pub(super) fn skip(reason: impl Into<String>) -> Error {
    Skipped(reason.into()).into()
}

/// A report that is being written.
pub(super) struct Session<'a> {
    report: Report,
    watch: &'a mut dyn FnMut(&Event),
}

impl<'a> Session<'a> {
    pub fn new(kind: &str, entry: &Entry, watch: &'a mut dyn FnMut(&Event)) -> Self {
        let subject = format!("{kind} `{}`", entry.name);
        watch(&Event::Subject(subject.clone()));
        Self { report: Report { subject, checks: Vec::new() }, watch }
    }

    /// Runs a check; gives what it has found, for those that build on it.
    pub fn check<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        (self.watch)(&Event::Begun(name.to_owned()));
        let (verdict, found) = match guard::catch("it", work) {
            Ok(found) => (Verdict::Passed, Some(found)),
            Err(error) => match error.downcast::<Skipped>() {
                Ok(skipped) => (Verdict::Skipped(skipped.0), None),
                Err(error) => (Verdict::Failed(format!("{error:#}")), None),
            },
        };
        let check = Check { name: name.to_owned(), verdict };
        (self.watch)(&Event::Ended(check.clone()));
        self.report.checks.push(check);
        found
    }

    /// Runs checks that build on what an earlier one has found, or skips them.
    pub fn check_with<I, T>(
        &mut self,
        name: &str,
        given: Option<&I>,
        work: impl FnOnce(&I) -> Result<T>,
    ) -> Option<T> {
        self.check(name, || {
            work(given.ok_or_else(|| skip("what it looks at is not there, see above"))?)
        })
    }

    /// What is common to all: defaults and presets are taken, what is unknown is not.
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
                for (name, _, own) in &entry.presets {
                    let preset = entry.parameters(Some(name), &Table::new())?;
                    ensure!(
                        preset == *own,
                        "preset `{name}` comes back as {}, expected {}",
                        in_line(&preset),
                        in_line(own)
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
                    "preset \
                     `no_such_preset` is accepted"
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

/// A table in one line.
fn in_line(table: &Table) -> String {
    toml::Value::from(table.clone()).to_string()
}

/// `count` different images without edges at 0 or 1, N×3×`side`×`side`.
pub(super) fn images(count: i64, side: i64) -> Tensor {
    let size = 3 * side * side;
    let place = Tensor::arange(count * size, (Kind::Double, Device::Cpu));
    let coarse = (&place * 0.013).sin();
    (((place * 0.7).sin() * 0.6 + coarse * 0.4) * 0.45 + 0.5)
        .to_kind(Kind::Float)
        .view([count, 3, side, side])
}

/// The greatest difference between two tensors of one shape; infinite where one is not finite.
pub(super) fn distance(a: &Tensor, b: &Tensor) -> f64 {
    if a.numel() == 0 {
        return 0.0;
    }
    let difference = (a - b).abs().max().double_value(&[]);
    if difference.is_nan() { f64::INFINITY } else { difference }
}

/// Fails when `work` has written to `tensor`.
pub(super) fn untouched<T>(
    what: &str,
    tensor: &Tensor,
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let before = tensor.copy();
    let done = work()?;
    ensure!(
        before == *tensor,
        "{what} were written to; functions whose name ends with `_` change what they are given: \
         copy it first"
    );
    Ok(done)
}
