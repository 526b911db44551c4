//! The program's oracle, lent to a plugin for one call.

use crate::attack::{Cases, Goal};
use crate::library::abi::{self, Loss, Sink, TensorRef, Text};
use crate::oracle::Oracle;
use crate::plugin::wire::{self, NO_TENSOR, call, serve};
use anyhow::{Context, Result, ensure};
use rand_chacha::rand_core::RngCore;
use std::ffi::c_void;
use std::thread::{self, ThreadId};
use tch::Tensor;

/// Lends oracle and cases to a plugin while `work` runs.
pub(super) fn lend<T>(
    oracle: &Oracle,
    cases: &Cases,
    work: impl FnOnce(*const abi::Oracle, *const abi::Cases) -> Result<T>,
) -> Result<T> {
    let lent = LentOracle { oracle, thread: thread::current().id() };
    let access = oracle.access();
    let (card, key, streams) = (toml::to_string(oracle.card())?, access.key(), access.streams());
    let oracle = abi::Oracle {
        size: size_of::<abi::Oracle>(),
        context: std::ptr::from_ref(&lent).cast_mut().cast(),
        card: Text::of(&card),
        lanes: oracle.lanes(),
        case_count: streams.len(),
        key: key.as_ptr(),
        streams: streams.as_ptr(),
        logits: Some(logits),
        gradient: Some(gradient),
        random: Some(random),
        passes: Some(passes),
        check_time: Some(check_time),
    };
    let goals: Vec<abi::Goal> = cases.goals.iter().map(|&goal| lend_goal(goal)).collect();
    let cases = abi::Cases {
        size: size_of::<abi::Cases>(),
        pixels: wire::lend(&cases.pixels),
        goals: goals.as_ptr(),
        count: goals.len(),
    };
    work(&raw const oracle, &raw const cases)
}

pub(super) fn lend_goal(goal: Goal) -> abi::Goal {
    let kind = if matches!(goal, Goal::Away(_)) { abi::GOAL_AWAY } else { abi::GOAL_TOWARDS };
    abi::Goal { class_index: goal.class(), kind, reserved: 0 }
}

/// What the context of a lent oracle points to.
struct LentOracle<'a> {
    oracle: &'a Oracle<'a>,
    /// The only thread that may ask it.
    thread: ThreadId,
}

impl LentOracle<'_> {
    /// # Safety
    /// `context` must be that of a lent oracle, and the loan not over.
    unsafe fn of<'l>(context: *mut c_void) -> Result<&'l Self> {
        // SAFETY: promised by the caller.
        let lent = unsafe { &*context.cast::<Self>() };
        ensure!(
            lent.thread == thread::current().id(),
            "an oracle is asked from the thread that it was given to alone"
        );
        Ok(lent)
    }
}

unsafe extern "C" fn logits(
    context: *mut c_void,
    cases: *const usize,
    count: usize,
    pixels: TensorRef,
    logits: *mut abi::Tensor,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the oracle is lent; the plugin lends cases and pixels, and a place for the
        // logits.
        unsafe {
            let oracle = LentOracle::of(context)?.oracle;
            let found = oracle.logits(wire::slice(cases, count)?, &wire::borrow(pixels)?)?;
            logits.write(wire::give(found));
        }
        Ok(())
    })
}

unsafe extern "C" fn gradient(
    context: *mut c_void,
    cases: *const usize,
    count: usize,
    pixels: TensorRef,
    loss: Loss,
    gradient: *mut abi::Gradient,
    error: Sink,
) -> i32 {
    serve(error, || {
        let function = loss.call.context("a loss is missing")?;
        let mut losses = |logits: &Tensor| {
            let mut losses = NO_TENSOR;
            // SAFETY: the plugin lends its loss for this call, in which this happens; logits and
            // the place for the losses are lent to it.
            call("the loss", |error| unsafe {
                function(loss.context, wire::lend(logits), &raw mut losses, error)
            })?;
            // SAFETY: just filled by the plugin.
            unsafe { wire::take(&mut losses) }.context("the loss gave no tensor")
        };
        // SAFETY: the oracle is lent; the plugin lends cases and pixels, and a place for the
        // gradient.
        unsafe {
            let access = LentOracle::of(context)?.oracle.access();
            let cases = wire::slice(cases, count)?;
            let found = access.gradient(cases, &wire::borrow(pixels)?, &mut losses)?;
            gradient.write(abi::Gradient {
                logits: wire::give(found.logits),
                loss: wire::give(found.loss),
                pixels: wire::give(found.pixels),
            });
        }
        Ok(())
    })
}

unsafe extern "C" fn random(
    context: *mut c_void,
    case_index: usize,
    offset: u64,
    bytes: *mut u8,
    count: usize,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the oracle is lent.
        let oracle = unsafe { LentOracle::of(context)? }.oracle;
        let cases = oracle.access().streams().len();
        ensure!(case_index < cases, "case {case_index} is beyond the {cases} cases");
        let mut rng = oracle.rng(case_index);
        rng.set_word_pos(u128::from(offset / 4));
        let skipped = (offset % 4) as usize;
        let mut drawn = vec![0; skipped + count];
        rng.fill_bytes(&mut drawn);
        // SAFETY: the plugin lends a place for `count` bytes.
        unsafe { bytes.copy_from_nonoverlapping(drawn[skipped..].as_ptr(), count) };
        Ok(())
    })
}

unsafe extern "C" fn passes(context: *mut c_void, passes: *mut abi::Passes, error: Sink) -> i32 {
    serve(error, || {
        // SAFETY: the oracle is lent; the plugin lends a place for each case.
        unsafe {
            let counted = LentOracle::of(context)?.oracle.passes();
            for (n, of_case) in counted.into_iter().enumerate() {
                passes
                    .add(n)
                    .write(abi::Passes { forward: of_case.forward, backward: of_case.backward });
            }
        }
        Ok(())
    })
}

unsafe extern "C" fn check_time(context: *mut c_void, error: Sink) -> i32 {
    // SAFETY: the oracle is lent.
    serve(error, || unsafe { LentOracle::of(context)? }.oracle.check_time())
}
