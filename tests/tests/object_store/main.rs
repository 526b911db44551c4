//! Machines that share an object store and no folder.
//!
//! Every test has a store in a folder (`file://`). Those that call [`stores`] also run with one of
//! S3 if MOTO names moto's server, as `make s3` does.

mod refusals;
mod sharing;

use gauntlet_tests::processes::until;
use gauntlet_tests::toys;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const BUCKET: &str = "cells";

/// An S3 server on this machine. It forgets everything when it ends.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts the server on `port`, or on a free one.
    fn start(program: &Path, port: Option<u16>) -> Self {
        let port = port.unwrap_or_else(|| {
            TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
        });
        let mut command = Command::new(program);
        command
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = Self { process: command.spawn().unwrap(), port };
        until("the S3 server answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(server.ask("PUT", &format!("/{BUCKET}")).starts_with("HTTP/1.1 200"));
        server
    }

    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: \
             0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

/// A folder with a study and its images, and an object store.
struct Place {
    folder: TempDir,
    server: Option<Server>,
}

impl Place {
    fn new(images: usize, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("images")).unwrap();
        toys::save_pictures(images, &folder.path().join("images"));
        fs::write(folder.path().join("study.toml"), toys::study(more)).unwrap();
        Self { folder, server: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn url(&self) -> String {
        self.server.as_ref().map_or_else(
            || format!("file://{}", self.path("store").display()),
            |_| format!("s3://{BUCKET}/a%20path"),
        )
    }

    /// A command with the environment of a machine.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toy-runner"));
        command.current_dir(self.folder.path()).args(arguments).env_remove("GAUNTLET_PLUGINS");
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_"))
        {
            command.env_remove(name);
        }
        if let Some(server) = &self.server {
            command
                .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", server.port))
                .env("AWS_ALLOW_HTTP", "true");
            command
                .env("AWS_ACCESS_KEY_ID", "someone")
                .env("AWS_SECRET_ACCESS_KEY", "secret")
                .env("GAUNTLET_STORE_PATIENCE", "2");
        }
        command
    }

    fn machine(&self, out: &str) -> Command {
        self.command(&["run", "study.toml", "--out", out, "--store", &self.url()])
    }

    /// Standard output of a whole run on a machine with the results folder `out`.
    fn run(&self, out: &str) -> String {
        said(self.machine(out).output().unwrap())
    }

    /// Starts a run on a machine with the results folder `out`.
    fn start(&self, out: &str) -> Child {
        self.machine(out).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The cells' files in a results folder or in the store.
    fn cells(&self, out: &str) -> Vec<PathBuf> {
        let kinds = fs::read_dir(self.path(out).join("cells")).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = kinds
            .flat_map(|kind| fs::read_dir(kind.path()).unwrap().flatten())
            .map(|file| file.path())
            .collect();
        files.sort();
        files
    }

    /// Checks that folders have the tables of a run without an object store.
    fn same_as_alone(&self, outs: &[&str]) {
        said(self.command(&["run", "study.toml", "--out", "alone"]).output().unwrap());
        for (out, table) in outs.iter().flat_map(|out| toys::TABLES.map(|table| (out, table))) {
            assert!(
                fs::read(self.path("alone").join(table)).unwrap()
                    == fs::read(self.path(out).join(table)).unwrap(),
                "{out}: {table} differs"
            );
        }
    }
}

/// Standard output of a command that succeeds.
fn said(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The message of a command that fails before any work.
fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A place for each kind of object store that can be had.
fn stores(images: usize, more: &[&str]) -> Vec<Place> {
    let mut places = vec![Place::new(images, more)];
    match std::env::var_os("MOTO") {
        Some(program) => places.push(Place {
            server: Some(Server::start(program.as_ref(), None)),
            ..Place::new(images, more)
        }),
        None => eprintln!("S3 is left out: MOTO does not name moto's server, see `make s3`"),
    }
    places
}
