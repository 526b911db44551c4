//! Rehearsals: what a plugin library is asked for in this process, a process of its own asks it for
//! first. A library that takes its process with it is then left out, and this process goes on.

use crate::process::{Principal, Process, Waited};
use anyhow::{Context, Error, Result, anyhow};
use gauntlet_core::guard;
use gauntlet_core::plugin::{Call, Library};
use gauntlet_core::registry::Registry;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How processes for rehearsals are started. They end when this is dropped; a library that is asked
/// for more after that gets a new one.
#[derive(Debug)]
pub struct Rehearsal {
    /// The program, which must call [`serve_rehearsal`] with the path that is its last argument.
    pub program: PathBuf,
    /// Its other arguments.
    pub arguments: Vec<OsString>,
    /// How long a library may take to load, and to answer.
    pub limit: Duration,
    stages: Mutex<Vec<Arc<Stage>>>,
}

impl Rehearsal {
    /// Time that a library may take to load, and to answer: loading means to read hundreds of
    /// megabytes, where a plugin brings them.
    const LIMIT: Duration = Duration::from_mins(1);

    /// By this same program, called with `arguments` and a library's path.
    pub fn by_this_program(arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            arguments: arguments.into_iter().collect(),
            limit: Self::LIMIT,
            stages: Mutex::default(),
        }
    }

    /// Starts to load a library in a process of its own.
    pub(super) fn begin(&self, library: &Library) -> Arc<Stage> {
        let mut arguments = self.arguments.clone();
        arguments.push(library.path.clone().into());
        let stage = Arc::new(Stage {
            who: library.describe(),
            program: self.program.clone(),
            arguments,
            limit: self.limit,
            process: Mutex::default(),
        });
        self.stages.lock().unwrap_or_else(PoisonError::into_inner).push(stage.clone());
        stage
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        for stage in self.stages.get_mut().unwrap_or_else(PoisonError::into_inner) {
            stage.end();
        }
    }
}

/// Where a library rehearses: a process of its own, if it has one now.
#[derive(Debug)]
pub(super) struct Stage {
    who: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    limit: Duration,
    process: Mutex<Option<Process<Reply>>>,
}

/// Why a library is not loaded.
pub(super) enum LoadError {
    /// The library cannot be loaded.
    Refused(Error),
    /// It took its process with it, or takes too long.
    Lost(Error),
}

impl Stage {
    /// Loads the library there.
    pub fn load(&self) -> Result<(), LoadError> {
        let mut place = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(self.open()?);
        Ok(())
    }

    /// Makes a call there, to see whether the library survives it. What comes of the call is for
    /// the next one to say, in this process.
    ///
    /// # Errors
    /// When the library does not survive it, or takes too long.
    pub fn rehearse(&self, call: &Call) -> Result<()> {
        let mut place = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let mut process = match place.take() {
            Some(process) => process,
            None => self.open().map_err(|error| match error {
                LoadError::Refused(error) | LoadError::Lost(error) => error,
            })?,
        };
        process.tell(call);
        match process.wait(Some(self.limit), &AtomicBool::new(false)) {
            Waited::Reply(_) => {
                *place = Some(process);
                Ok(())
            }
            other => Err(self.lost(other, "")),
        }
    }

    /// Ends the process.
    fn end(&self) {
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn open(&self) -> Result<Process<Reply>, LoadError> {
        let mut process = Process::start(&self.program, &self.arguments)
            .with_context(|| format!("no process for plugin {} can be started", self.who))
            .map_err(LoadError::Lost)?;
        match process.wait(Some(self.limit), &AtomicBool::new(false)) {
            Waited::Reply(Reply::Done) => Ok(process),
            Waited::Reply(Reply::Refused(reason)) => Err(LoadError::Refused(anyhow!("{reason}"))),
            other => Err(LoadError::Lost(self.lost(other, "loading it fails: "))),
        }
    }

    fn lost(&self, how: Waited<Reply>, what: &str) -> Error {
        let who = &self.who;
        match how {
            Waited::Died(how) => {
                anyhow!("plugin {who}: {what}the process that asked it first {how}")
            }
            _ => anyhow!("plugin {who}: {what}it takes longer than {} s", self.limit.as_secs_f64()),
        }
    }
}

/// What the process answers.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    /// The library has survived.
    Done,
    /// The library cannot be loaded; says why.
    Refused(String),
}

/// Loads a library and makes the calls that the process at the other end of standard input asks
/// for, until that process closes its side.
///
/// # Errors
/// When what comes on standard input is not what such a process sends.
pub fn serve_rehearsal(library: &Path) -> Result<()> {
    let mut principal = Principal::listen()?;
    tch::set_num_threads(1);
    let mut registry = Registry::empty();
    let loaded = registry.load(library);
    principal.reply(
        &loaded.map_or_else(|error| Reply::Refused(format!("{error:#}")), |_| Reply::Done),
    )?;
    while let Ok(line) = principal.messages.recv() {
        let call: Call = serde_json::from_str(&line)
            .context("this is for other processes of this program to call, not by hand")?;
        // An error is no loss: it comes again in the other process.
        let _ = guard::catch("the plugin", || registry.perform(&call));
        principal.reply(&Reply::Done)?;
    }
    Ok(())
}
