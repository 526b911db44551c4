//! The functions of a metric's table.

use super::object::{self, Exports, Maker};
use super::oracle::{HostOracle, read_cases, read_goal};
use crate::library::abi::{self, Sink, TensorRef};
use crate::metric::Metric;
use crate::plugin::wire::{self, Measure, serve};
use crate::registry::{DynMetric, Entry, MetricEntry};
use anyhow::{Result, ensure};
use std::ffi::c_void;
use std::marker::PhantomData;
use toml::Table;

/// Exports the metric `M`.
pub(super) struct OfMetric<M>(PhantomData<M>);

impl<M: Metric> Exports for OfMetric<M> {
    fn entry() -> Entry {
        MetricEntry::of::<M>("").entry
    }

    fn measure() -> Option<Measure> {
        let MetricEntry { unit, scope, direction, at_identity, symmetric, extras, .. } =
            MetricEntry::of::<M>("");
        Some(Measure { unit, scope, direction, at_identity, symmetric, extras })
    }
}

impl<M: Metric> Maker<dyn DynMetric> for OfMetric<M> {
    fn make(parameters: &Table) -> Result<Box<dyn DynMetric>> {
        (MetricEntry::of::<M>("").make)(parameters)
    }
}

pub(super) unsafe extern "C" fn outcome(
    object: *const c_void,
    original: TensorRef,
    adversarial: TensorRef,
    values: *mut f64,
    count: usize,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends object and tensors for this call, and a place for each value.
        unsafe {
            let metric = object::borrow::<dyn DynMetric>(object)?;
            let found = metric.outcome(&wire::borrow(original)?, &wire::borrow(adversarial)?)?;
            write_values(&found, values, count)
        }
    })
}

pub(super) unsafe extern "C" fn model(
    object: *const c_void,
    oracle: *const abi::Oracle,
    cases: *const abi::Cases,
    values: *mut f64,
    count: usize,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends object, oracle and cases for this call, and a place for each
        // value.
        unsafe {
            let metric = object::borrow::<dyn DynMetric>(object)?;
            let found = metric.model(&HostOracle::open(oracle)?, &read_cases(cases)?)?;
            write_values(&found, values, count)
        }
    })
}

pub(super) unsafe extern "C" fn cost(
    object: *const c_void,
    goal: abi::Goal,
    classes: i64,
    toml: Sink,
    error: Sink,
) -> i32 {
    serve(error, || {
        // SAFETY: the caller lends the object for this call.
        let metric = unsafe { object::borrow::<dyn DynMetric>(object)? };
        if let Some(cost) = metric.cost(read_goal(&goal)?, classes) {
            wire::put(toml, &toml::to_string(&cost)?);
        }
        Ok(())
    })
}

/// # Safety
/// There must be a place for `count` values.
unsafe fn write_values(found: &[f64], values: *mut f64, count: usize) -> Result<()> {
    ensure!(found.len() == count, "{} values, expected {count}", found.len());
    // SAFETY: promised by the caller.
    unsafe { values.copy_from_nonoverlapping(found.as_ptr(), count) };
    Ok(())
}
