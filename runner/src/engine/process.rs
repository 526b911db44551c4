//! Processes that compute isolated cells. Whatever code does to such a process costs the cell that
//! it computes, and no other.
//!
//! A process is told the [`Job`] first, then [`Request`]s, and answers each with a [`Reply`]. It
//! opens the same study and store as the one that started it, and stores what it computes.

use crate::engine::job::Job;
use crate::engine::options::Isolation;
use crate::process::{Process, Waited};
use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use thiserror::Error;

/// Time beyond its limit that a cell may take before its process is killed. A cell whose code looks
/// at the clock ends by itself.
const GRACE: Duration = Duration::from_secs(5);

/// A process that computes cells, seen from the one that started it. Dropped, it is killed.
pub(super) struct Worker(Process<Reply>);

impl Worker {
    /// Starts a process and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, does not open the job, or is killed.
    pub fn start(isolation: &Isolation, job: &Job) -> Result<Self, StartError> {
        let failed = || {
            format!(
                "a process for isolated cells cannot be started from {}",
                isolation.program.display()
            )
        };
        let mut process =
            Process::start(&isolation.program, &isolation.arguments).with_context(failed)?;
        process.tell(job);
        match process.wait(None, &AtomicBool::new(false)) {
            Waited::Reply(Reply::Done) => Ok(Self(process)),
            Waited::Reply(Reply::Failed(reason) | Reply::Fatal(reason)) => {
                Err(anyhow!("{}: {reason}", failed()).into())
            }
            Waited::Died(how) if process.was_killed() => Err(StartError::Killed(how)),
            Waited::Died(how) => Err(anyhow!("{}: it {how}", failed()).into()),
            Waited::OutOfTime | Waited::Cancelled => {
                unreachable!("there is no limit and nobody cancels")
            }
        }
    }

    /// Makes a request and waits for what comes of it. Unless that is a reply, the process is of no
    /// more use.
    pub fn ask(
        &mut self,
        request: &Request,
        limit: Option<Duration>,
        cancel: &AtomicBool,
    ) -> Waited<Reply> {
        self.0.tell(request);
        self.0.wait(limit.map(|limit| limit.saturating_add(GRACE.min(limit))), cancel)
    }
}

/// What a process is asked to do.
#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    /// Compute and store the cell with this key.
    Compute(String),
    /// Load a model on the CPU, by its number in the study.
    Load(usize),
}

/// What a process answers to a request.
#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    /// It is done.
    Done,
    /// It cannot be done; says why.
    Failed(String),
    /// The process can compute no cell at all; says why.
    Fatal(String),
}

/// Why a process is not ready.
#[derive(Debug, Error)]
pub(super) enum StartError {
    /// Somebody killed it, as the system does when memory is short: that says nothing of the next
    /// process. Says how it ended.
    #[error("a process for isolated cells {0}")]
    Killed(String),
    /// No process can be started.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}
