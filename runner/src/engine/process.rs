//! Processes that compute isolated cells. Whatever code does to such a process costs the cell that
//! it computes, and no other. A process ends with the one that started it, however that ends.
//!
//! Both sides speak in lines of JSON: first the [`Job`], then [`Request`]s, each answered by a
//! [`Reply`]. A process opens the same study and store as the one that started it, and stores what
//! it computes.

use crate::engine::job::Job;
use crate::engine::options::Isolation;
use anyhow::{Context, anyhow};
use serde::{Deserialize, Serialize};
use signal_hook::low_level;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Time between two looks at a process that is silent.
const LOOK: Duration = Duration::from_millis(50);
/// Time beyond its limit that a cell may take before its process is killed. A cell whose code looks
/// at the clock ends by itself.
const GRACE: Duration = Duration::from_secs(5);
/// Time that a process may take to end once it has closed its side.
const FAREWELL: Duration = Duration::from_secs(5);

/// A process that computes cells, seen from the one that started it. Dropped, it is killed.
pub(super) struct Worker {
    process: Child,
    requests: ChildStdin,
    replies: Receiver<Reply>,
}

impl Worker {
    /// Starts a process and waits until it is ready.
    ///
    /// # Errors
    /// When it cannot be started, does not open the job, or is killed.
    pub fn start(isolation: &Isolation, job: &Job) -> Result<Self, StartError> {
        let mut command = Command::new(&isolation.program);
        command.args(&isolation.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        // In a group of its own it does not get Ctrl-C: the process that started it does, and
        // decides.
        command.process_group(0);
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        let failed = || {
            format!(
                "a process for isolated cells cannot be started from {}",
                isolation.program.display()
            )
        };
        let mut process = command.spawn().with_context(failed)?;
        let (requests, output) =
            (process.stdin.take().context("no pipe")?, process.stdout.take().context("no pipe")?);
        let (sender, replies) = mpsc::channel();
        let mut worker = Self { process, requests, replies };
        let reading = move || {
            for line in BufReader::new(output).lines() {
                let Some(reply) = line.ok().and_then(|line| serde_json::from_str(&line).ok())
                else {
                    break;
                };
                if sender.send(reply).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().spawn(reading).with_context(failed)?;
        worker.tell(job);
        match worker.wait(None, &AtomicBool::new(false)) {
            RequestOutcome::Reply(Reply::Done) => Ok(worker),
            RequestOutcome::Reply(Reply::Failed(reason) | Reply::Fatal(reason)) => {
                Err(anyhow!("{}: {reason}", failed()).into())
            }
            RequestOutcome::Died(how) if worker.was_killed() => Err(StartError::Killed(how)),
            RequestOutcome::Died(how) => Err(anyhow!("{}: it {how}", failed()).into()),
            RequestOutcome::OutOfTime | RequestOutcome::Cancelled => {
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
    ) -> RequestOutcome {
        self.tell(request);
        self.wait(limit.map(|limit| limit.saturating_add(GRACE.min(limit))), cancel)
    }

    fn tell(&mut self, message: &impl Serialize) {
        let line = serde_json::to_string(message).expect("messages are plain data") + "\n";
        // If the process has gone, the wait for its reply says why.
        let _ = self.requests.write_all(line.as_bytes()).and_then(|()| self.requests.flush());
    }

    fn wait(&mut self, limit: Option<Duration>, cancel: &AtomicBool) -> RequestOutcome {
        let start = Instant::now();
        loop {
            match self.replies.recv_timeout(LOOK) {
                Ok(reply) => return RequestOutcome::Reply(reply),
                Err(RecvTimeoutError::Disconnected) => return RequestOutcome::Died(self.end()),
                Err(RecvTimeoutError::Timeout) if cancel.load(Ordering::Relaxed) => {
                    return RequestOutcome::Cancelled;
                }
                Err(RecvTimeoutError::Timeout)
                    if limit.is_some_and(|limit| start.elapsed() >= limit) =>
                {
                    return RequestOutcome::OutOfTime;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Whether the process has ended by a signal.
    fn was_killed(&mut self) -> bool {
        self.process
            .try_wait()
            .is_ok_and(|status| status.is_some_and(|status| status.signal().is_some()))
    }

    /// How the process ended, once it has closed its side.
    fn end(&mut self) -> String {
        let start = Instant::now();
        while start.elapsed() < FAREWELL {
            match self.process.try_wait() {
                Ok(Some(status)) => return ending(status),
                Ok(None) => thread::sleep(LOOK),
                Err(_) => break,
            }
        }
        "answers no more".into()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What comes of a request.
pub(super) enum RequestOutcome {
    /// The process has answered.
    Reply(Reply),
    /// The process has ended; says how, as in "died of SIGSEGV".
    Died(String),
    /// The process takes longer than its time limit.
    OutOfTime,
    /// The run is given up.
    Cancelled,
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

/// How a process ended, in words: `died of SIGSEGV`.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => low_level::signal_name(signal)
            .map_or_else(|| format!("died of signal {signal}"), |name| format!("died of {name}")),
        (None, code) => format!("ended with exit code {}", code.unwrap_or_default()),
    }
}
