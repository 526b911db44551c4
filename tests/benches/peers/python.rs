//! The process that runs the other libraries, in a virtual environment of its own.

use anyhow::{Context, Result, bail, ensure};
use gauntlet_tests::benching::setting;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

const PACKAGES: [&str; 8] = [
    "torch==2.11.0",
    "torchvision",
    "safetensors",
    // ART imports these two without requiring them.
    "packaging",
    "scikit-learn",
    "foolbox==3.3.4",
    "torchattacks==3.5.1",
    "adversarial-robustness-toolbox==1.20.1",
];
/// Installed without its requirements: it would draw pictures with visdom, which can no longer be
/// installed.
const ALONE: &str = "adv-lib==0.2.8";

/// The process with the other libraries.
pub struct Python {
    program: PathBuf,
    process: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
    /// The last request to open a network, which a new process is told again.
    open: Option<Value>,
}

impl Python {
    pub fn start(folder: &Path) -> Result<Self> {
        let program = folder.join("bin/python");
        let ready = folder.join("ready");
        if !ready.exists() {
            eprintln!("installing {} and {ALONE} in {}", PACKAGES.join(", "), folder.display());
            let run = |program: &Path, arguments: &[&str]| -> Result<()> {
                let status = Command::new(program).args(arguments).stdout(Stdio::null()).status();
                ensure!(
                    status.with_context(|| program.display().to_string())?.success(),
                    "{} {arguments:?} fails",
                    program.display()
                );
                Ok(())
            };
            if !program.exists() {
                run(
                    Path::new("python3"),
                    &["-m", "venv", folder.to_str().context("the path is not UTF-8")?],
                )?;
            }
            run(&program, &[&["-m", "pip", "install"], &PACKAGES[..]].concat())?;
            run(&program, &["-m", "pip", "install", "--no-deps", ALONE])?;
            fs::write(ready, "")?;
        }
        Self::spawn(program)
    }

    fn spawn(program: PathBuf) -> Result<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/peers.py");
        let mut command = Command::new(&program);
        // Python's torch brings its own libtorch, which this program's must not replace.
        command
            .arg("-B")
            .arg(script)
            .env_remove("LD_LIBRARY_PATH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().with_context(|| program.display().to_string())?;
        let (requests, output) =
            (process.stdin.take().context("no pipe")?, process.stdout.take().context("no pipe")?);
        let (sender, answers) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(output)
                .lines()
                .map_while(Result::ok)
                .all(|line| sender.send(line).is_ok())
        });
        Ok(Self { program, process, requests, answers, open: None })
    }

    /// The answer, or none when it takes too long. Another process then takes the place of this
    /// one.
    pub fn ask(&mut self, request: &Value) -> Result<Option<Value>> {
        writeln!(self.requests, "{request}")?;
        if request["do"] == "open" {
            self.open = Some(request.clone());
        }
        match self.answers.recv_timeout(Duration::from_secs(setting("PATIENCE", 600)?)) {
            Ok(line) => Ok(Some(serde_json::from_str(&line)?)),
            Err(RecvTimeoutError::Disconnected) => bail!("peers.py has ended"),
            Err(RecvTimeoutError::Timeout) => {
                let open = self.open.take();
                *self = Self::spawn(self.program.clone())?;
                if let Some(open) = open {
                    self.ask(&open)?;
                }
                Ok(None)
            }
        }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // Both fail if the process is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
