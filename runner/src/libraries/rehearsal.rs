//! Rehearsals: what plugin libraries are asked for in this process, another process asks them for
//! first, one process for all libraries. A library that takes it with it is left out, and a new
//! process goes on with the others.

use crate::process::{Principal, Process, Waited};
use anyhow::{Context, Error, Result, anyhow};
use gauntlet_core::guard;
use gauntlet_core::plugin::{Call, Library};
use gauntlet_core::registry::Registry;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How the process for rehearsals is started. It ends when this is dropped; libraries that are asked
/// for more after that get a new one.
#[derive(Debug)]
pub struct Rehearsal {
    /// The program, which must call [`serve_rehearsal`].
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// How long a library may take to load, and to answer.
    pub limit: Duration,
    stage: Arc<Mutex<Option<Stage>>>,
}

impl Rehearsal {
    /// Time that a library may take to load, and to answer: loading means to read hundreds of
    /// megabytes, where a plugin brings them.
    const LIMIT: Duration = Duration::from_mins(1);

    /// By this same program, called with `arguments`.
    pub fn by_this_program(arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self {
            program: PathBuf::from("/proc/self/exe"),
            arguments: arguments.into_iter().collect(),
            limit: Self::LIMIT,
            stage: Arc::default(),
        }
    }

    /// The rehearsals of a library.
    pub(super) fn of(&self, library: &Library) -> LibraryRehearsal {
        LibraryRehearsal {
            who: library.describe(),
            path: library.path.clone(),
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            limit: self.limit,
            stage: self.stage.clone(),
        }
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The process, and the libraries that are loaded in it.
#[derive(Debug)]
struct Stage {
    process: Process<Reply>,
    loaded: BTreeSet<PathBuf>,
}

/// The rehearsals of a library.
pub(super) struct LibraryRehearsal {
    who: String,
    path: PathBuf,
    program: PathBuf,
    arguments: Vec<OsString>,
    limit: Duration,
    /// None until the first rehearsal, and after the process has been lost.
    stage: Arc<Mutex<Option<Stage>>>,
}

/// Why a library is not loaded.
pub(super) enum LoadError {
    /// The library cannot be loaded.
    Refused(Error),
    /// It took its process with it, or takes too long.
    Lost(Error),
}

impl LibraryRehearsal {
    /// Loads the library there.
    pub fn load(&self) -> Result<(), LoadError> {
        self.on_stage(|_| Ok(()))
    }

    /// Makes a call there, to see whether the library survives it. What comes of the call is for
    /// the next one to say, in this process.
    ///
    /// # Errors
    /// When the library does not survive it, or takes too long.
    pub fn rehearse(&self, call: &Call) -> Result<()> {
        let message = Message::Call(self.path.clone(), call.clone());
        let asked = self.on_stage(|process| self.ask(process, &message, "").map(drop));
        asked.map_err(|error| match error {
            LoadError::Refused(error) | LoadError::Lost(error) => error,
        })
    }

    /// Does something in the process, once the library is loaded there. After an error there is no
    /// process.
    fn on_stage(
        &self,
        act: impl FnOnce(&mut Process<Reply>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let mut place = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stage = match place.take() {
            Some(stage) => stage,
            None => Stage {
                process: Process::start(&self.program, &self.arguments)
                    .context("no process for rehearsals can be started")
                    .map_err(LoadError::Lost)?,
                loaded: BTreeSet::new(),
            },
        };
        if !stage.loaded.contains(&self.path) {
            let message = Message::Load(self.path.clone());
            match self.ask(&mut stage.process, &message, "loading it fails: ")? {
                Reply::Done => drop(stage.loaded.insert(self.path.clone())),
                Reply::Refused(reason) => {
                    *place = Some(stage);
                    return Err(LoadError::Refused(anyhow!("{reason}")));
                }
            }
        }
        act(&mut stage.process)?;
        *place = Some(stage);
        Ok(())
    }

    fn ask(
        &self,
        process: &mut Process<Reply>,
        message: &Message,
        what: &str,
    ) -> Result<Reply, LoadError> {
        process.tell(message);
        let who = &self.who;
        Err(LoadError::Lost(match process.wait(Some(self.limit), &AtomicBool::new(false)) {
            Waited::Reply(reply) => return Ok(reply),
            Waited::Died(how) => {
                anyhow!("plugin {who}: {what}the process that asked it first {how}")
            }
            Waited::OutOfTime | Waited::Cancelled => {
                anyhow!("plugin {who}: {what}it takes longer than {} s", self.limit.as_secs_f64())
            }
        }))
    }
}

/// What the process is told.
#[derive(Serialize, Deserialize)]
enum Message {
    /// Load the library in this file.
    Load(PathBuf),
    /// Make a call of the library in this file.
    Call(PathBuf, Call),
}

/// What the process answers.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    /// The library has survived.
    Done,
    /// The library cannot be loaded; says why.
    Refused(String),
}

/// Loads libraries and makes the calls that the process at the other end of standard input asks
/// for, until that process closes its side.
///
/// # Errors
/// When what comes on standard input is not what such a process sends.
pub fn serve_rehearsal() -> Result<()> {
    let mut principal = Principal::listen()?;
    tch::set_num_threads(1);
    // Each library has a registry of its own: whether a name is taken twice is not asked here.
    let mut registries: BTreeMap<PathBuf, Registry> = BTreeMap::new();
    while let Ok(line) = principal.messages.recv() {
        let message: Message = serde_json::from_str(&line)
            .context("this is for other processes of this program to call, not by hand")?;
        let reply = match message {
            Message::Load(path) => {
                let registry = registries.entry(path.clone()).or_default();
                match registry.load(&path) {
                    Ok(_) => Reply::Done,
                    Err(error) => Reply::Refused(format!("{error:#}")),
                }
            }
            Message::Call(path, call) => {
                let registry = registries.get(&path).context("a library that is not loaded")?;
                // An error is no loss: it comes again in the other process.
                let _ = guard::catch("the plugin", || registry.perform(&call));
                Reply::Done
            }
        };
        principal.reply(&reply)?;
    }
    Ok(())
}
