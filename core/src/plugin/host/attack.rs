//! A plugin's attack.

use super::describe::{describe, needed};
use super::object::RenewedObject;
use super::oracle::{lend, lend_goal};
use crate::attack::{Answer, Budget, Cases, Cost, Goal};
use crate::library::Library;
use crate::library::abi::{self, Sink};
use crate::oracle::Oracle;
use crate::plugin::wire::{self, NO_TENSOR};
use crate::registry::{AttackEntry, DynAttack};
use anyhow::{Result, bail};
use std::ffi::c_void;
use std::sync::Arc;
use tch::Tensor;
use toml::Table;

pub(super) fn entry(library: &Arc<Library>, table: &'static abi::Attack) -> Result<AttackEntry> {
    let (entry, _) = describe(library, &table.head)?;
    let (make, run, release) =
        (needed(table.make, "make")?, needed(table.run, "run")?, needed(table.release, "release")?);
    let who = format!("attack `{}`", entry.name);
    let make = move |parameters: &Table| -> Result<Box<dyn DynAttack>> {
        let object = RenewedObject::new(who.clone(), make, release, parameters)?;
        Ok(Box::new(PluginAttack { object, table, run }))
    };
    Ok(AttackEntry { entry, make: Box::new(make) })
}

struct PluginAttack {
    object: RenewedObject,
    table: &'static abi::Attack,
    run: unsafe extern "C" fn(
        *const c_void,
        *const abi::Oracle,
        *const abi::Cases,
        *mut abi::Answer,
        Sink,
    ) -> i32,
}

impl DynAttack for PluginAttack {
    fn budget(&self) -> Option<Budget> {
        let budget = self.table.budget?;
        self.object
            // SAFETY: object and sinks live during the call.
            .tell("the budget", |object, toml, error| unsafe { budget(object, toml, error) })
    }

    fn cost(&self, goal: Goal) -> Option<Cost> {
        let (cost, goal) = (self.table.cost?, lend_goal(goal));
        self.object
            // SAFETY: object and sinks live during the call.
            .tell("the cost", |object, toml, error| unsafe { cost(object, goal, toml, error) })
    }

    fn run(&self, oracle: &Oracle, cases: &Cases) -> Result<Vec<Answer>> {
        let none = || abi::Answer { kind: abi::ANSWER_NOT_FOUND, reserved: 0, pixels: NO_TENSOR };
        let mut answers: Vec<abi::Answer> = (0..cases.len()).map(|_| none()).collect();
        lend(oracle, cases, |oracle, cases| {
            // SAFETY: everything is lent for the call, and there is a place for each answer.
            self.object.call(|object, error| unsafe {
                (self.run)(object, oracle, cases, answers.as_mut_ptr(), error)
            })
        })?;
        let answer = |mut answer: abi::Answer| match answer.kind {
            abi::ANSWER_NOT_FOUND => Ok(Answer::NotFound),
            // A missing tensor is handed on as an undefined one, for the engine to refuse.
            // SAFETY: just filled by the plugin.
            abi::ANSWER_PIXELS => Ok(Answer::Pixels(
                unsafe { wire::take(&mut answer.pixels) }.unwrap_or_else(|_| Tensor::new()),
            )),
            other => bail!("{} gave an answer of the unknown kind {other}", self.object.who),
        };
        answers.into_iter().map(answer).collect()
    }
}
