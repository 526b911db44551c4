//! Processes that compute cells for another one. However code ends in such a process, it costs the
//! cell that it was in; and it ends with the process that it works for, whichever way that goes.
//!
//! Both sides speak in lines of JSON: first the [`Job`], then [`Request`]s, each answered by a
//! [`Reply`]. A process opens the same study and store as the one that started it, and stores what
//! it computes.

use crate::engine::job::Job;
use crate::engine::options::Isolation;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use signal_hook::low_level;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How often a process that is silent is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How much longer than its time limit a cell may take before the process is killed: a cell whose
/// code asks the time ends by itself.
const GRACE: Duration = Duration::from_secs(5);
/// How long a process may take to end once it has closed its side.
const FAREWELL: Duration = Duration::from_secs(5);

/// What a process shall do.
#[derive(Serialize, Deserialize)]
pub(super) enum Request {
    /// Compute and store the cell with this key.
    Compute(String),
    /// Load a model on the CPU, by its number in the study.
    Load(usize),
}

/// What came of it.
#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    Done,
    /// It cannot be done; says why.
    Failed(String),
    /// Nothing can be done; says why.
    Fatal(String),
}

/// A process at work, seen from the one that started it. Dropped, it is killed.
pub(super) struct Worker {
    process: Child,
    orders: ChildStdin,
    replies: Receiver<Reply>,
}

/// What comes of an order.
pub(super) enum RequestOutcome {
    Reply(Reply),
    /// The process has ended; says how, as in "died of SIGSEGV".
    Died(String),
    OutOfTime,
    Cancelled,
}

/// A process that somebody killed before it was ready, as the system does when memory is short:
/// that says nothing of the next one. Says how it ended.
#[derive(Debug)]
pub(super) struct Killed(pub String);

impl fmt::Display for Killed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a process for isolated cells {}", self.0)
    }
}

impl std::error::Error for Killed {}

impl Worker {
    /// Starts a process and waits until it is ready.
    ///
    /// # Errors
    /// [`Killed`], or why none can be started.
    pub fn start(isolation: &Isolation, job: &Job) -> Result<Self> {
        let mut command = Command::new(&isolation.program);
        command.args(&isolation.arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        // A group of its own: Ctrl-C is for the process that started it, which then decides.
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
        let (orders, output) =
            (process.stdin.take().context("no pipe")?, process.stdout.take().context("no pipe")?);
        let (sender, replies) = mpsc::channel();
        let mut worker = Self { process, orders, replies };
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
                bail!("{}: {reason}", failed())
            }
            RequestOutcome::Died(how) if worker.was_killed() => Err(Killed(how).into()),
            RequestOutcome::Died(how) => bail!("{}: it {how}", failed()),
            RequestOutcome::OutOfTime | RequestOutcome::Cancelled => {
                unreachable!("there is no limit and nobody cancels")
            }
        }
    }

    /// Gives an order and waits for what comes of it. After any other answer than a reply the
    /// process is of no more use.
    pub fn ask(
        &mut self,
        order: &Request,
        limit: Option<Duration>,
        cancel: &AtomicBool,
    ) -> RequestOutcome {
        self.tell(order);
        self.wait(limit.map(|limit| limit.saturating_add(GRACE.min(limit))), cancel)
    }

    fn tell(&mut self, message: &impl Serialize) {
        let line = serde_json::to_string(message).expect("messages are plain data") + "\n";
        // When nobody listens any more, the wait for the reply says why.
        let _ = self.orders.write_all(line.as_bytes()).and_then(|()| self.orders.flush());
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

    /// How the process ended, which has closed its side.
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
        // Neither fails but for a process that is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a process ended, in words: `died of SIGSEGV`.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => low_level::signal_name(signal)
            .map_or_else(|| format!("died of signal {signal}"), |name| format!("died of {name}")),
        (None, code) => format!("ended with exit code {}", code.unwrap_or_default()),
    }
}
