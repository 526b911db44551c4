//! Processes of this program that work for another one. Both sides speak in lines of JSON: messages
//! one way, replies the other. A process ends with the one that started it, however that ends.

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use signal_hook::low_level;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks at a process that is silent.
const LOOK: Duration = Duration::from_millis(50);
/// Time that a process may take to end once it has closed its side.
const FAREWELL: Duration = Duration::from_secs(5);

/// A process, seen from the one that started it. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Process<R> {
    child: Child,
    messages: ChildStdin,
    replies: Receiver<R>,
}

impl<R: DeserializeOwned + Send + 'static> Process<R> {
    /// Starts a program that answers with replies of type `R`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, arguments: &[OsString]) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        // In a group of its own it does not get Ctrl-C: the process that started it does, and
        // decides.
        command.process_group(0);
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        let mut child = command.spawn()?;
        let (messages, output) =
            (child.stdin.take().context("no pipe")?, child.stdout.take().context("no pipe")?);
        let (sender, replies) = mpsc::channel();
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
        let process = Self { child, messages, replies };
        thread::Builder::new().spawn(reading)?;
        Ok(process)
    }

    /// Sends a message. If the process has gone, the [wait](Self::wait) for its reply says why.
    pub fn tell(&mut self, message: &impl Serialize) {
        let line = serde_json::to_string(message).expect("messages are plain data") + "\n";
        let _ = self.messages.write_all(line.as_bytes()).and_then(|()| self.messages.flush());
    }

    /// Waits for a reply. Unless there is one, the process is of no more use.
    pub fn wait(&mut self, limit: Option<Duration>, cancel: &AtomicBool) -> Waited<R> {
        let start = Instant::now();
        loop {
            match self.replies.recv_timeout(LOOK) {
                Ok(reply) => return Waited::Reply(reply),
                Err(RecvTimeoutError::Disconnected) => return Waited::Died(self.end()),
                Err(RecvTimeoutError::Timeout) if cancel.load(Ordering::Relaxed) => {
                    return Waited::Cancelled;
                }
                Err(RecvTimeoutError::Timeout)
                    if limit.is_some_and(|limit| start.elapsed() >= limit) =>
                {
                    return Waited::OutOfTime;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Whether the process has ended by a signal.
    pub fn was_killed(&mut self) -> bool {
        self.child
            .try_wait()
            .is_ok_and(|status| status.is_some_and(|status| status.signal().is_some()))
    }

    /// How the process ended, once it has closed its side.
    fn end(&mut self) -> String {
        let start = Instant::now();
        while start.elapsed() < FAREWELL {
            match self.child.try_wait() {
                Ok(Some(status)) => return ending(status),
                Ok(None) => thread::sleep(LOOK),
                Err(_) => break,
            }
        }
        "answers no more".into()
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        // Both fail only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What comes of a wait.
pub(crate) enum Waited<R> {
    /// The process has answered.
    Reply(R),
    /// The process has ended; says how, as in "died of SIGSEGV".
    Died(String),
    /// The process takes longer than its time limit.
    OutOfTime,
    /// The wait is given up.
    Cancelled,
}

/// How a process ended, in words: `died of SIGSEGV`.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => low_level::signal_name(signal)
            .map_or_else(|| format!("died of signal {signal}"), |name| format!("died of {name}")),
        (None, code) => format!("ended with exit code {}", code.unwrap_or_default()),
    }
}

/// Standard output, for what this program itself writes. From the first call on, what is printed in
/// any other way, by libtorch or a plugin, goes to standard error.
///
/// # Errors
/// When the system has no more descriptors.
pub(crate) fn own_output() -> io::Result<File> {
    static OWN: Mutex<Option<File>> = Mutex::new(None);
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = &*own {
        return file.try_clone();
    }
    let file = File::from(rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3)?);
    rustix::stdio::dup2_stdout(io::stderr())?;
    own.insert(file).try_clone()
}

/// The side of a process that works for another one: where its messages come from, and where its
/// replies go.
pub(crate) struct Principal {
    /// The messages, a line each.
    pub messages: Receiver<String>,
    replies: File,
}

impl Principal {
    /// Takes standard input and output over. What is printed from here on goes to standard error.
    ///
    /// # Errors
    /// When the system has no more descriptors or threads.
    pub fn listen() -> Result<Self> {
        // When memory is short, the system ends this process before others.
        let _ = fs::write("/proc/self/oom_score_adj", "500");
        let replies = own_output()?;
        Ok(Self { messages: lines().context("a thread cannot be started")?, replies })
    }

    /// Sends a reply.
    ///
    /// # Errors
    /// When nobody reads it.
    pub fn reply(&mut self, reply: &impl Serialize) -> Result<()> {
        Ok(writeln!(self.replies, "{}", serde_json::to_string(reply)?)?)
    }
}

/// The lines of standard input. When it closes, the process ends, whatever a plugin is doing in it:
/// nobody waits for the result.
fn lines() -> io::Result<Receiver<String>> {
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
