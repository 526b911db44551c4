//! The functions of an attack's table.

use super::object::{self, Exports, Maker};
use super::oracle::{HostOracle, read_cases, read_goal};
use crate::attack::{Answer, Attack};
use crate::library::abi::{self, Sink};
use crate::plugin::wire::{self, serve};
use crate::registry::{AttackEntry, DynAttack, Entry};
use anyhow::{Result, ensure};
use std::ffi::c_void;
use std::marker::PhantomData;
use toml::Table;

/// Exports the attack `A`.
pub(super) struct OfAttack<A>(PhantomData<A>);

impl<A: Attack> Exports for OfAttack<A> {
    fn entry() -> Entry {
        AttackEntry::of::<A>("").entry
    }
}

impl<A: Attack> Maker<dyn DynAttack> for OfAttack<A> {
    fn make(parameters: &Table) -> Result<Box<dyn DynAttack>> {
        (AttackEntry::of::<A>("").make)(parameters)
    }
}

pub(super) unsafe extern "C" fn budget(object: *const c_void, toml: Sink, error: Sink) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends the object for this call.
        if let Some(budget) = unsafe { object::borrow::<dyn DynAttack>(object)? }.budget() {
            wire::put(toml, &toml::to_string(&budget)?);
        }
        Ok(())
    })
}

pub(super) unsafe extern "C" fn cost(
    object: *const c_void,
    goal: abi::Goal,
    toml: Sink,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends the object for this call.
        let attack = unsafe { object::borrow::<dyn DynAttack>(object)? };
        if let Some(cost) = attack.cost(read_goal(&goal)?) {
            wire::put(toml, &toml::to_string(&cost)?);
        }
        Ok(())
    })
}

pub(super) unsafe extern "C" fn run(
    object: *const c_void,
    oracle: *const abi::Oracle,
    cases: *const abi::Cases,
    answers: *mut abi::Answer,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends object, oracle and cases for this call.
        let (attack, oracle, cases) = unsafe {
            let attack = object::borrow::<dyn DynAttack>(object)?;
            (attack, HostOracle::open(oracle)?, read_cases(cases)?)
        };
        let given = attack.run(&oracle, &cases)?;
        ensure!(given.len() == cases.len(), "{} answers for {} cases", given.len(), cases.len());
        for (n, answer) in given.into_iter().enumerate() {
            if let Answer::Pixels(pixels) = answer {
                let pixels = wire::give(pixels);
                let answer = abi::Answer { kind: abi::ANSWER_PIXELS, reserved: 0, pixels };
                // SAFETY: there is a place for each case; what stands there owns nothing.
                unsafe { answers.add(n).write(answer) };
            }
        }
        Ok(())
    })
}
