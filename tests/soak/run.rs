//! One call of `runner` under watch. It may fail, but it must neither panic nor hang.

use anyhow::{Context, Result, bail, ensure};
use gauntlet_tests::processes::{alive, children, send};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A run that takes longer counts as hanging.
const PATIENCE: Duration = Duration::from_mins(2);
/// Time between two looks at a process.
const LOOK: Duration = Duration::from_millis(2);

/// The program that `RUNNER` in the environment names, or the one that cargo built beside this.
pub fn runner() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("RUNNER") {
        return fs::canonicalize(&path).with_context(|| format!("RUNNER={}", path.display()));
    }
    let own = std::env::current_exe()?;
    let path = own
        .parent()
        .and_then(Path::parent)
        .context("this program stands in target/<profile>/deps")?
        .join("runner");
    ensure!(
        path.is_file(),
        "{} is not there: `cargo build -p gauntlet-runner`, with this program's profile",
        path.display()
    );
    Ok(path)
}

/// A command for a run; `before` goes before the program, such as `prlimit --as=…`.
pub fn command(before: &[&str], arguments: &[OsString], place: &Path) -> Result<Command> {
    let mut words: Vec<OsString> = before.iter().map(Into::into).collect();
    words.push(runner()?.into());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(arguments).current_dir(place).stdin(Stdio::null());
    // A group of its own, so that signals to the caller's group do not reach the run.
    command.process_group(0);
    Ok(command)
}

/// A run that was started. Dropping it kills the process.
pub struct Run {
    pub child: Child,
    workers: Vec<u32>,
    errors: Option<PathBuf>,
}

/// How a run ended.
pub struct Ended {
    pub status: ExitStatus,
    /// Its standard error.
    pub said: String,
}

impl Run {
    /// Starts a run, with its output in files of `place`.
    pub fn start(mut command: Command, place: &Path) -> Result<Self> {
        command.stdout(File::create(place.join("stdout"))?);
        let errors = place.join("stderr");
        command.stderr(File::create(&errors)?);
        Self::spawn(command, Some(errors))
    }

    /// Starts a run with the output that its command has. `errors` is the file of its standard error,
    /// if it is a file.
    pub fn spawn(mut command: Command, errors: Option<PathBuf>) -> Result<Self> {
        Ok(Self { child: command.spawn()?, workers: Vec::new(), errors })
    }

    /// The processes that compute for the run.
    pub fn workers(&mut self) -> Vec<u32> {
        let workers = children(self.child.id());
        self.workers.extend(&workers);
        workers
    }

    /// Waits for a time or for the end of the run. Says whether the run still goes on.
    pub fn goes_on_after(&mut self, time: Duration) -> Result<bool> {
        let start = Instant::now();
        while start.elapsed() < time {
            if self.child.try_wait()?.is_some() {
                return Ok(false);
            }
            sleep(LOOK.min(time.saturating_sub(start.elapsed())));
        }
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal, unless the run has ended.
    pub fn signal(&mut self, signal: &str) {
        send(signal, self.child.id());
    }

    /// Waits for the end of the run and of its workers.
    pub fn end(mut self) -> Result<Ended> {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            self.workers();
            if start.elapsed() > PATIENCE {
                bail!("it hangs: {}", self.said()?);
            }
            sleep(LOOK);
        };
        while self.workers.iter().any(|&worker| alive(worker)) {
            ensure!(start.elapsed() < PATIENCE, "a worker outlives its run");
            sleep(LOOK);
        }
        let said = self.said()?;
        // A panic that the runner has caught reads `model … panicked at …`.
        let uncaught = |line: &str| line.starts_with("thread '") && line.contains("panicked at ");
        ensure!(!said.lines().any(uncaught), "a panic, and {status}: {said}");
        Ok(Ended { status, said })
    }

    fn said(&self) -> Result<String> {
        let bytes = self.errors.as_ref().map(fs::read).transpose()?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The exit code or the signal, in words.
    pub fn how(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(0), _) => "exit 0".to_owned(),
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("died of signal {}", signal.unwrap_or_default()),
        }
    }

    /// # Errors
    /// When the run did not end with one of these codes.
    pub fn expect(&self, codes: &[i32]) -> Result<()> {
        ensure!(
            self.status.code().is_some_and(|code| codes.contains(&code)),
            "{}, expected {codes:?}: {}",
            self.how(),
            self.said
        );
        Ok(())
    }
}
