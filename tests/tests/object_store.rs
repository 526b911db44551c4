//! Machines that share an object store and no folder. Every test has one in a folder (`file://`);
//! those of [`stores`] have one of S3 too, if MOTO names moto's server, as `make s3` does.

use gauntlet_tests::processes::until;
use gauntlet_tests::toys;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const BUCKET: &str = "cells";

/// An S3 server of this machine, which forgets all when it ends.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// On a port of its own, or on one that it had before.
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

    /// The environment of a machine.
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

    /// A run on a machine with the results' folder `out`, to its end; what it said.
    fn run(&self, out: &str) -> String {
        said(self.machine(out).output().unwrap())
    }

    /// Starts a machine.
    fn start(&self, out: &str) -> Child {
        self.machine(out).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// The files of the cells in a results' folder, or in the store's.
    fn cells(&self, out: &str) -> Vec<PathBuf> {
        let kinds = fs::read_dir(self.path(out).join("cells")).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = kinds
            .flat_map(|kind| fs::read_dir(kind.path()).unwrap().flatten())
            .map(|file| file.path())
            .collect();
        files.sort();
        files
    }

    /// That folders have the tables of a run without an object store.
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

/// Standard output of a command that does what it is told.
fn said(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A place with an object store of each kind that there is.
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

#[test]
fn what_one_machine_has_computed_another_finds() {
    for place in stores(40, &[]) {
        let first = place.run("one");
        assert!(first.contains("\n36 of 36 cells to compute\n"), "{first}");
        let second = place.run("two");
        assert!(second.contains("\n0 of 36 cells to compute\n"), "{second}");
        place.same_as_alone(&["one", "two"]);
        // The folder knows where its cells are: whoever opens it needs no more.
        fs::remove_dir_all(place.path("two/cells")).unwrap();
        let again = said(place.command(&["run", "study.toml", "--out", "two"]).output().unwrap());
        assert!(again.contains("\n0 of 36 cells to compute\n"), "{again}");
        said(place.command(&["rerun", "two", "3"]).output().unwrap());
        // Pixels that nobody asks for stay where they are.
        let pixels = |out: &str| {
            place
                .cells(out)
                .iter()
                .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
                .count()
        };
        assert!(pixels("two") < pixels("one"), "{} of {}", pixels("two"), pixels("one"));
    }
}

#[test]
fn machines_share_the_work_and_may_be_killed() {
    for place in stores(40, &["slow"]) {
        let mut killed = place.start("one");
        until("the first cells", || place.cells("one").len() > 4);
        let other = place.start("two");
        until("the first cells", || place.cells("two").len() > 4);
        killed.kill().unwrap();
        killed.wait().unwrap();
        said(other.wait_with_output().unwrap());
        let rest = place.run("one");
        assert!(rest.contains("\n0 of "), "{rest}");
        place.same_as_alone(&["one", "two"]);
        let temporary = |out: &str| {
            place
                .cells(out)
                .iter()
                .any(|path| path.file_name().unwrap().to_string_lossy().starts_with('.'))
        };
        assert!(!temporary("one") && !temporary("two"));
    }
}

#[test]
fn isolated_cells_go_there_too() {
    for place in stores(10, &[]) {
        said(place.machine("one").args(["--isolate", "always"]).output().unwrap());
        assert!(place.run("two").contains("\n0 of "));
        place.same_as_alone(&["one", "two"]);
    }
}

#[test]
fn a_store_that_goes_away_costs_nothing_but_time() {
    for mut place in stores(40, &["slow"]) {
        let Some(server) = place.server.take() else { continue };
        let port = server.port;
        place.server = Some(server);
        let running = place.start("one");
        until("the first cells", || place.cells("one").len() > 4);
        place.server = None;
        let start = Instant::now();
        let error = refused(running.wait_with_output().unwrap());
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "what waits is not tried one after the other"
        );
        let unreachable = [
            "error: a result cannot be stored: writing s3://cells/a%20path/cells/",
            "error: reading s3://cells/a%20path/cells/",
        ];
        assert!(unreachable.iter().any(|text| error.contains(text)), "{error}");
        assert!(!error.contains("damaged") && !error.contains("failed;"), "{error}");
        let kept = place.cells("one").len();
        // It has forgotten everything; the folder has not.
        place.server = Some(Server::start(std::env::var_os("MOTO").unwrap().as_ref(), Some(port)));
        place.run("one");
        assert!(place.cells("one").len() > kept);
        assert!(place.run("two").contains("\n0 of "));
        place.same_as_alone(&["one", "two"]);
    }
}

#[test]
fn what_is_damaged_on_either_side_is_mended() {
    let place = Place::new(40, &[]);
    place.run("one");
    let there = place.cells("store");
    assert_eq!(there.len(), place.cells("one").len());
    let whole: Vec<Vec<u8>> = there.iter().map(|path| fs::read(path).unwrap()).collect();
    // Here: made whole from there.
    for path in place.cells("one") {
        fs::write(&path, "damaged").unwrap();
    }
    assert!(place.run("one").contains("\n0 of 36 cells to compute\n"));
    // There: made whole from here.
    for path in &there {
        fs::remove_file(path).unwrap();
    }
    assert!(place.run("one").contains("\n0 of 36 cells to compute\n"));
    assert!(there.iter().zip(&whole).all(|(path, bytes)| fs::read(path).unwrap() == *bytes));
    // There, and another machine comes: computed again, and put there.
    for path in there.iter().step_by(3) {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let output = place.machine("two").output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains(" is damaged and will be computed again: "),
        "{output:?}"
    );
    said(output);
    assert!(place.run("three").contains("\n0 of 36 cells to compute\n"));
    place.same_as_alone(&["one", "two", "three"]);
}

#[test]
fn pixels_that_are_damaged_in_the_store_cost_one_more_run() {
    let place = Place::new(10, &[]);
    place.run("one");
    for path in place
        .cells("store")
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
    {
        let mut bytes = fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }
    // What needs them has to be computed; that they are damaged shows only when they are read.
    for path in
        place.cells("store").iter().filter(|path| path.parent().unwrap().ends_with("transfer"))
    {
        fs::remove_file(path).unwrap();
    }
    let first = place.machine("two").output().unwrap();
    assert_eq!(first.status.code(), Some(1), "{first:?}");
    assert!(
        String::from_utf8_lossy(&first.stderr).contains("the content does not match the checksum"),
        "{first:?}"
    );
    place.run("two");
    place.same_as_alone(&["two"]);
}

#[test]
fn a_cluster_s_tasks_use_the_store_of_their_folder() {
    let place = Place::new(10, &[]);
    fs::create_dir(place.path("slurm")).unwrap();
    let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("slurm/fake");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path =
        std::env::join_paths(std::iter::once(fake).chain(std::env::split_paths(&path))).unwrap();
    let cluster = |arguments: &[&str]| {
        said(
            place
                .command(arguments)
                .env("PATH", &path)
                .env("FAKE_SLURM", place.path("slurm"))
                .output()
                .unwrap(),
        )
    };
    cluster(&[
        "submit",
        "study.toml",
        "--out",
        "tasks",
        "--store",
        &place.url(),
        "--cells-per-task",
        "5",
        "--patience",
        "0",
    ]);
    assert!(
        place.run("one").contains("\n0 of 18 cells to compute\n"),
        "the tasks have put them there"
    );
    place.same_as_alone(&["one", "tasks"]);
    // What comes to the folder alone, a later task puts there.
    for path in place.cells("store") {
        fs::remove_file(path).unwrap();
    }
    cluster(&[
        "submit",
        "study.toml",
        "--out",
        "tasks",
        "--cells-per-task",
        "5",
        "--patience",
        "0",
    ]);
    assert!(place.run("two").contains("\n0 of 18 cells to compute\n"));
    // A folder that has nothing but the name of the store.
    fs::create_dir(place.path("three")).unwrap();
    fs::copy(place.path("one/store.toml"), place.path("three/store.toml")).unwrap();
    let text =
        cluster(&["submit", "study.toml", "--out", "three", "--print", "--cells-per-task", "5"]);
    assert!(text.contains("\n0 of 18 cells to submit\n"), "{text}");
    let error = refused(
        place
            .command(&["submit", "study.toml", "--out", "four", "--print", "--store", &place.url()])
            .output()
            .unwrap(),
    );
    assert!(error.contains("leave it out"), "{error}");
    let text = said(place.machine("three").args(["--dry-run"]).output().unwrap());
    assert!(text.contains("\n  transfer      4     4 "), "{text}");
}

#[test]
fn wrong_urls_are_refused_before_anything_is_made() {
    let place = Place::new(4, &[]);
    let refuse = |url: &str| {
        refused(
            place.command(&["run", "study.toml", "--out", "out", "--store", url]).output().unwrap(),
        )
    };
    let expected = "`s3://bucket/path` is expected, or a folder's `file:///path`";
    assert_eq!(
        refuse("bucket/path"),
        format!(
            "error: `--store`: `bucket/path` is no URL: {expected}: relative URL without a base\n"
        )
    );
    assert_eq!(
        refuse("gs://bucket/path"),
        format!("error: `--store`: `gs://bucket/path`: {expected}\n")
    );
    let hidden = format!(
        "error: `--store`: the URL has an `@` in it: {expected}, and the environment says who asks \
         (AWS_ACCESS_KEY_ID, …)\n"
    );
    assert_eq!(refuse("s3://me:se/cret@bucket"), hidden);
    let elsewhere = "AWS_ENDPOINT_URL names another server than Amazon's";
    assert_eq!(
        refuse("s3://minio:9000/path"),
        format!(
            "error: `--store`: `s3://minio:9000/path` has more than a bucket and a path: \
             {expected}; {elsewhere}\n"
        )
    );
    let path = place.path("store");
    let local = |url: &str| format!("file://{}/{url}", path.display());
    assert!(!place.path("out").exists());
    said(
        place
            .command(&["run", "study.toml", "--out", "out", "--store", &local("a")])
            .output()
            .unwrap(),
    );
    said(
        place
            .command(&["run", "study.toml", "--out", "out", "--store", &local("a/")])
            .output()
            .unwrap(),
    );
    let error = refuse(&local("b"));
    assert!(
        error.contains(&format!(
            "the cells of out are in {}, not in {}: choose another folder",
            local("a"),
            local("b")
        )),
        "{error}"
    );
    fs::write(place.path("out/store.toml"), "uri = 1").unwrap();
    let error = refused(place.command(&["run", "study.toml", "--out", "out"]).output().unwrap());
    assert!(
        error.starts_with("error: out/store.toml, which names the object store of the cells: "),
        "{error}"
    );
    // Nobody there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command =
        place.command(&["run", "study.toml", "--out", "far", "--store", "s3://bucket/path"]);
    command
        .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{port}"))
        .env("AWS_ALLOW_HTTP", "true");
    let error = refused(
        command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b").output().unwrap(),
    );
    assert!(
        error.contains("error: `--store`: the object store s3://bucket/path cannot be listed: "),
        "{error}"
    );
    assert!(!place.path("far").exists(), "a folder is not bound to what may be a mistake");
}

/// The port of a server that answers everybody with this, or nobody ever.
fn stranger(answer: Option<&'static str>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let Some(answer) = answer else {
                silent.push(stream);
                continue;
            };
            let _ = (stream.read(&mut [0; 4096]), stream.write_all(answer.as_bytes()));
        }
    });
    port
}

#[test]
fn servers_that_refuse_or_never_answer_are_told_in_time() {
    let place = Place::new(4, &[]);
    let refuse = |answer| {
        let mut command =
            place.command(&["run", "study.toml", "--out", "out", "--store", "s3://bucket/path"]);
        command
            .env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{}", stranger(answer)))
            .env("AWS_ALLOW_HTTP", "true");
        command
            .env("AWS_ACCESS_KEY_ID", "a")
            .env("AWS_SECRET_ACCESS_KEY", "b")
            .env("AWS_TIMEOUT", "1s");
        let start = Instant::now();
        let error = refused(command.output().unwrap());
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        assert!(!place.path("out").exists());
        error
    };
    let cannot = "error: `--store`: the object store s3://bucket/path cannot be listed: ";
    let forbidden =
        refuse(Some("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    assert!(
        forbidden.starts_with(&format!(
            "{cannot}whoever asks may not (to list, read and write is needed): "
        )),
        "{forbidden}"
    );
    let garbage =
        refuse(Some("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"));
    assert!(garbage.starts_with(cannot), "{garbage}");
    let silence = refuse(None);
    assert!(
        silence.starts_with(&format!("{cannot}nobody answers in time (AWS_TIMEOUT): ")),
        "{silence}"
    );
}

#[test]
fn a_bucket_that_is_not_there_is_told() {
    for place in stores(4, &[]).into_iter().filter(|place| place.server.is_some()) {
        let error = refused(
            place
                .command(&["run", "study.toml", "--out", "out", "--store", "s3://nobody-s/path"])
                .output()
                .unwrap(),
        );
        let expected = "error: `--store`: the object store s3://nobody-s/path cannot be listed: \
                        there is no such bucket: ";
        assert!(error.starts_with(expected), "{error}");
        assert!(!place.path("out").exists());
    }
}
