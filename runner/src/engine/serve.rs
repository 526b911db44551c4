//! The side of a worker process: it takes keys of cells and computes them.

use crate::engine::cell::{CellOutcome, Engine, Loaded};
use crate::engine::job::Job;
use crate::engine::options::RunOptions;
use crate::engine::plan::CellId;
use crate::engine::process::{Reply, Request};
use crate::errors::first_line;
use crate::store::Store;
use anyhow::{Context, Result};
use gauntlet_core::device::Device;
use gauntlet_core::guard;
use gauntlet_core::registry::Registry;
use signal_hook::low_level;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver};
use std::thread;

/// Computes cells for the process at the other end of standard input and output, until that process
/// closes its side. What plugins print goes to standard error.
///
/// # Errors
/// When what comes on standard input is not what such a process sends.
pub fn serve(mut registry: Registry) -> Result<()> {
    // When memory is short, the system ends this process before others: it costs one cell.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    let mut replies = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?);
    rustix::stdio::dup2_stdout(io::stderr())?;
    let mut say = move |reply: &Reply| -> Result<()> {
        Ok(writeln!(replies, "{}", serde_json::to_string(reply)?)?)
    };
    let lines = listen().context("a thread cannot be started")?;
    let job: Job = serde_json::from_str(&lines.recv()?)
        .context("this is for other processes of this program to call, not by hand")?;
    let opened = Job::open(job, &mut registry).and_then(|job| {
        // If the folder has been moved away, no other must be made in its place.
        fs::metadata(&job.out)
            .with_context(|| format!("the results folder {} has gone", job.out.display()))?;
        Ok((Store::open(&job.out)?, RunOptions::on(job.device()?), job))
    });
    let (store, options, job) = match opened {
        Ok(opened) => opened,
        Err(error) => return say(&Reply::Fatal(format!("{error:#}"))),
    };
    tch::set_num_threads(1);
    say(&Reply::Done)?;
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
    for line in lines {
        let reply = match serde_json::from_str(&line)? {
            Request::Load(model) => match guard::catch("loading", || {
                job.study.models[model].load(&registry, Device::Cpu)
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
        say(&reply)?;
    }
    Ok(())
}

/// The lines of standard input. When it closes, the process ends, whatever a plugin is doing in it:
/// nobody waits for the result.
fn listen() -> io::Result<Receiver<String>> {
    let (sender, lines) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        for line in io::stdin().lines() {
            if line.is_ok_and(|line| sender.send(line).is_ok()) {
                continue;
            }
            break;
        }
        low_level::exit(0)
    })?;
    Ok(lines)
}
