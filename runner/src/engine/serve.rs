//! The side of a worker process: it takes keys of cells and computes them.

use crate::engine::cell::{CellOutcome, Engine, Loaded};
use crate::engine::job::Job;
use crate::engine::options::RunOptions;
use crate::engine::plan::CellId;
use crate::engine::process::{Reply, Request};
use crate::errors::first_line;
use crate::process::Principal;
use crate::store::Store;
use anyhow::{Context, Result};
use gauntlet_core::device::Device;
use gauntlet_core::guard;
use gauntlet_core::registry::Registry;
use std::collections::HashMap;
use std::fs;

/// Computes cells for the process at the other end of standard input and output, until that process
/// closes its side. What plugins print goes to standard error.
///
/// # Errors
/// When what comes on standard input is not what such a process sends.
pub fn serve(mut registry: Registry) -> Result<()> {
    let mut principal = Principal::listen()?;
    let job: Job = serde_json::from_str(&principal.messages.recv()?)
        .context("this is for other processes of this program to call, not by hand")?;
    let opened = Job::open(job, &mut registry).and_then(|job| {
        // If the folder has been moved away, no other must be made in its place.
        fs::metadata(&job.out)
            .with_context(|| format!("the results folder {} has gone", job.out.display()))?;
        Ok((Store::open(&job.out)?, RunOptions::on(job.device()?), job))
    });
    let (store, options, job) = match opened {
        Ok(opened) => opened,
        Err(error) => return principal.reply(&Reply::Fatal(format!("{error:#}"))),
    };
    tch::set_num_threads(1);
    principal.reply(&Reply::Done)?;
    let cells: HashMap<&str, CellId> = job
        .plan
        .cells
        .iter()
        .enumerate()
        .map(|(id, cell)| (cell.address.key.as_str(), id))
        .collect();
    let engine = Engine {
        study: &job.study,
        plan: &job.plan,
        registry: &registry,
        store: &store,
        options: &options,
    };
    let mut loaded = Loaded::default();
    while let Ok(line) = principal.messages.recv() {
        let reply = match serde_json::from_str(&line)? {
            Request::Load(model) => match guard::catch("loading", || {
                job.study.models[model].try_out(&registry, Device::Cpu)
            }) {
                Ok(_) => Reply::Done,
                Err(error) => Reply::Failed(format!("{error:#}")),
            },
            Request::Compute(key) => {
                let cell = *cells.get(key.as_str()).context("a cell of another plan")?;
                match engine.perform(cell, &mut loaded).and_then(|done| engine.settle(done, true)) {
                    Ok(CellOutcome::Failed(reason)) => Reply::Failed(reason),
                    Ok(_) => Reply::Done,
                    Err(error) => Reply::Fatal(first_line(&error)),
                }
            }
        };
        principal.reply(&reply)?;
    }
    Ok(())
}
