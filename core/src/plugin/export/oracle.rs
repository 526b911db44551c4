//! The program's oracle and cases, as a plugin's attacks and metrics see them.

use crate::attack::{Cases, Goal};
use crate::guard;
use crate::library::abi::{self, Sink, TensorRef};
use crate::model::ModelCard;
use crate::oracle::{Access, Gradient, Oracle, Passes, Stop};
use crate::plugin::wire::{self, NO_TENSOR, call, serve};
use anyhow::{Context, Error, Result, bail};
use std::cell::Cell;
use std::ffi::c_void;
use tch::Tensor;

/// Copies cases that are lent.
///
/// # Safety
/// `cases` must be null or as the interface says.
pub(super) unsafe fn read_cases(cases: *const abi::Cases) -> Result<Cases> {
    // SAFETY: promised by the caller.
    let (pixels, goals) = unsafe {
        let cases = cases.as_ref().context("the cases are missing")?;
        (wire::borrow(cases.pixels)?, wire::slice(cases.goals, cases.count)?)
    };
    Cases::new(pixels, goals.iter().map(read_goal).collect::<Result<_>>()?)
}

pub(super) fn read_goal(goal: &abi::Goal) -> Result<Goal> {
    match goal.kind {
        abi::GOAL_AWAY => Ok(Goal::Away(goal.class_index)),
        abi::GOAL_TOWARDS => Ok(Goal::Towards(goal.class_index)),
        other => bail!("a goal of the unknown kind {other}"),
    }
}

/// The program's oracle.
pub(super) struct HostOracle<'a> {
    table: &'a abi::Oracle,
    card: ModelCard,
    key: [u8; 32],
    streams: &'a [u64],
    stopped: Cell<Option<Stop>>,
}

impl<'a> HostOracle<'a> {
    /// Opens an oracle that is lent.
    ///
    /// # Safety
    /// `oracle` must be null or as the interface says, for as long as the result is used.
    pub unsafe fn open(oracle: *const abi::Oracle) -> Result<Oracle<'a>> {
        // SAFETY: promised by the caller.
        let (table, card, key, streams) = unsafe {
            let table = oracle.as_ref().context("the oracle is missing")?;
            (
                table,
                table.card.read()?,
                wire::slice(table.key, 32)?,
                wire::slice(table.streams, table.case_count)?,
            )
        };
        let card = toml::from_str(card).context("the model's card cannot be read")?;
        Ok(Oracle::through(Self {
            table,
            card,
            key: key.try_into()?,
            streams,
            stopped: Cell::new(None),
        }))
    }

    /// Calls a function of the oracle, and notes when it was refused.
    fn ask(&self, function: impl FnOnce(*mut c_void, Sink) -> i32) -> Result<()> {
        call("the oracle", |error| function(self.table.context, error)).map_err(|failed| {
            if let Some(stop) = failed.error.downcast_ref() {
                self.stopped.set(Some(*stop));
            }
            Error::from(failed)
        })
    }
}

impl Access for HostOracle<'_> {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    fn lanes(&self) -> usize {
        self.table.lanes.max(1)
    }

    fn logits(&self, cases: &[usize], pixels: &Tensor) -> Result<Tensor> {
        let function = self.table.logits.context("the oracle has no `logits`")?;
        let mut logits = NO_TENSOR;
        let pixels = wire::lend(pixels);
        // SAFETY: everything is lent for the call, and there is a place for the logits.
        self.ask(|context, error| unsafe {
            function(context, cases.as_ptr(), cases.len(), pixels, &raw mut logits, error)
        })?;
        // SAFETY: just filled by the program.
        unsafe { wire::take(&mut logits) }
    }

    fn gradient(
        &self,
        cases: &[usize],
        pixels: &Tensor,
        loss: &mut dyn FnMut(&Tensor) -> Result<Tensor>,
    ) -> Result<Gradient> {
        type Loss<'l> = &'l mut dyn FnMut(&Tensor) -> Result<Tensor>;

        unsafe extern "C" fn call(
            context: *mut c_void,
            logits: TensorRef,
            losses: *mut abi::Tensor,
            error: Sink,
        ) -> i32 {
            serve(error, || {
                // SAFETY: the context is the loss below, which nobody else uses meanwhile; the
                // program lends the logits and a place for the losses.
                unsafe {
                    let loss = &mut *context.cast::<Loss>();
                    losses.write(wire::give(loss(&wire::borrow(logits)?)?));
                }
                Ok(())
            })
        }

        let function = self.table.gradient.context("the oracle has no `gradient`")?;
        let mut loss: Loss = loss;
        let loss = abi::Loss { context: (&raw mut loss).cast(), call: Some(call) };
        let mut found = abi::Gradient { logits: NO_TENSOR, loss: NO_TENSOR, pixels: NO_TENSOR };
        let pixels = wire::lend(pixels);
        // SAFETY: everything is lent for the call, and there is a place for the gradient.
        self.ask(|context, error| unsafe {
            function(context, cases.as_ptr(), cases.len(), pixels, loss, &raw mut found, error)
        })?;
        // SAFETY: just filled by the program.
        let [logits, loss, pixels] = unsafe {
            [&mut found.logits, &mut found.loss, &mut found.pixels].map(|tensor| wire::take(tensor))
        };
        Ok(Gradient { logits: logits?, loss: loss?, pixels: pixels? })
    }

    fn key(&self) -> [u8; 32] {
        self.key
    }

    fn streams(&self) -> &[u64] {
        self.streams
    }

    fn passes(&self) -> Vec<Passes> {
        let mut counted = vec![abi::Passes { forward: 0, backward: 0 }; self.streams.len()];
        let asked = self.table.passes.context("the oracle has no `passes`").and_then(|passes| {
            // SAFETY: there is a place for each case.
            self.ask(|context, error| unsafe { passes(context, counted.as_mut_ptr(), error) })
        });
        asked.unwrap_or_else(|error| guard::throw(error));
        counted
            .into_iter()
            .map(|abi::Passes { forward, backward }| Passes { forward, backward })
            .collect()
    }

    fn check_time(&self) -> Result<()> {
        let check_time = self.table.check_time.context("the oracle has no `check_time`")?;
        // SAFETY: the context is the oracle's own.
        self.ask(|context, error| unsafe { check_time(context, error) })
    }

    fn stopped(&self) -> Option<Stop> {
        self.stopped.get()
    }
}
