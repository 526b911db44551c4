//! Cells in processes of their own: an attack that harms its process costs its own cells only.

use gauntlet_core::device::Device;
use gauntlet_runner::engine::{Isolation, RunOptions, Silent};
use gauntlet_runner::study;
use gauntlet_runner::{Session, Study};
use gauntlet_tests::processes::{alive, children, send, until};
use gauntlet_tests::results::{is_temporary, without_costs};
use gauntlet_tests::toys;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Instant;
use tempfile::TempDir;

/// A folder with a study, `more` attacks in it, and its images.
fn place(images: usize, more: &[&str]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("images")).unwrap();
    toys::save_pictures(images, &place.path().join("images"));
    fs::write(place.path().join("study.toml"), toys::study(more)).unwrap();
    place
}

fn command(place: &Path, out: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toy-runner"));
    command.current_dir(place).args(["run", "study.toml", "--out", out]).args(arguments);
    command
}

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

/// The tables' lines that do not name any of `others`.
fn tables(out: &Path, others: &[&str]) -> Vec<String> {
    let texts = ["accuracy", "success", "transfer", "scores"]
        .map(|name| fs::read_to_string(out.join(format!("{name}.csv"))).unwrap());
    let all = texts.iter().flat_map(|text| text.lines());
    all.filter(|line| !others.iter().any(|name| line.contains(&format!(",{name},"))))
        .map(String::from)
        .collect()
}

/// Temporary files of cells.
fn temporary(out: &Path) -> Vec<PathBuf> {
    let kinds = fs::read_dir(out.join("cells")).unwrap().flatten();
    let files = kinds.flat_map(|kind| fs::read_dir(kind.path()).unwrap().flatten());
    files.map(|file| file.path()).filter(|path| is_temporary(path)).collect()
}

#[test]
fn isolated_cells_are_the_same_byte_for_byte() {
    let place = place(40, &["slow"]);
    for (out, isolate, workers) in
        [("inside", "never", "2"), ("apart", "always", "1"), ("both", "always", "2")]
    {
        let output = command(place.path(), out, &["--isolate", isolate, "--workers", workers])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(
            tables(&place.path().join(out), &[]),
            tables(&place.path().join("inside"), &[]),
            "{out}"
        );
        // What plugins print goes to standard error.
        let [told, said] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(said.contains("not meant for you"), "{said}");
        assert!(!told.contains("not meant for you"), "{told}");
    }
}

#[test]
fn a_process_that_dies_is_a_failed_cell() {
    let attacks = ["abort", "segfault", "quit", "moody"];
    let place = place(40, &attacks);
    let output = command(place.path(), "apart", &["--isolate", "always", "--workers", "2"])
        .output()
        .unwrap();
    let (code, err) = said(&output);
    assert_eq!(code, Some(1), "{err}");
    // 2 models × 3 attacks × 2 slices fail, and moody's second slice of each model.
    assert!(err.contains("\n14 cells failed"), "{err}");
    for line in [
        "  abort (untargeted) on toy_8, images 1–32: the process that computed it died of \
         SIGABRT\n",
        "  segfault (untargeted) on toy_12, images 33–40: the process that computed it died of \
         SIGSEGV\n",
        "  quit (untargeted) on toy_8, images 33–40: the process that computed it ended with exit \
         code 0\n",
        "  moody (untargeted) on toy_8, images 33–40: attack `moody` panicked at \
         tests/src/toys.rs:",
    ] {
        assert!(err.contains(line), "{line}{err}");
    }
    fs::write(place.path().join("study.toml"), toys::study(&[])).unwrap();
    assert!(
        command(place.path(), "inside", &["--isolate", "never"]).output().unwrap().status.success()
    );
    assert_eq!(
        tables(&place.path().join("apart"), &attacks),
        tables(&place.path().join("inside"), &[])
    );
    assert_eq!(temporary(&place.path().join("apart")), [] as [PathBuf; 0]);
}

#[test]
fn a_cell_that_takes_too_long_is_given_up() {
    let place = place(12, &["endless", "stubborn"]);
    let output = command(place.path(), "apart", &["--isolate", "always", "--cell-timeout", "3"])
        .output()
        .unwrap();
    let (code, err) = said(&output);
    assert_eq!(code, Some(1), "{err}");
    for attack in ["endless", "stubborn"] {
        let line =
            format!("  {attack} (untargeted) on toy_8, images 1–12: out of time: it may take 3 s;");
        assert!(err.contains(&line), "{line}\n{err}");
    }
    assert!(err.contains("\n4 cells failed"), "{err}");

    // Code that looks at the time needs no process of its own.
    let text = toys::study(&[])
        .replace("[data]", "cell_timeout = 3\n[data]")
        .replace("\"step\"", "\"stubborn\"");
    fs::write(place.path().join("study.toml"), text).unwrap();
    let (code, err) =
        said(&command(place.path(), "inside", &["--isolate", "never"]).output().unwrap());
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("\n4 cells failed"), "{err}");
}

/// Starts a run with an endless attack and waits until a process is in it. Gives the run and the
/// number of that process.
fn endless(place: &Path) -> (Child, u32) {
    let note = place.join("endless");
    let _ = fs::remove_file(&note); // of the previous run
    let mut command = command(place, "out", &["--isolate", "always", "--workers", "1"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("the attack begins", || note.exists());
    (child, fs::read_to_string(note).unwrap().parse().unwrap())
}

#[test]
fn no_process_outlives_the_one_it_works_for() {
    let place = place(12, &["endless"]);
    let text = fs::read_to_string(place.path().join("study.toml")).unwrap();
    fs::write(
        place.path().join("study.toml"),
        text.replacen("[[models]]", "[[models]]\nname = \"fatal\"\n[[models]]", 1),
    )
    .unwrap();
    let (mut runner, worker) = endless(place.path());
    assert_eq!(
        children(runner.id()),
        [worker],
        "a process that died before must not stay as a zombie"
    );
    runner.kill().unwrap();
    runner.wait().unwrap();
    until("the worker ends", || !alive(worker));
}

#[test]
fn a_signal_stops_a_run_that_goes_on_later() {
    let place = place(12, &["endless"]);
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let (runner, worker) = endless(place.path());
        assert!(send(signal, runner.id()));
        let (exit, err) = said(&runner.wait_with_output().unwrap());
        assert_eq!(exit, Some(code), "{err}");
        assert!(
            err.contains(&format!("stopped by SIG{signal}: "))
                && err.ends_with("The same command goes on from there.\n"),
            "{err}"
        );
        assert!(!alive(worker));
    }

    // Without isolation, a cell in flight is dropped and does not count as failed.
    fs::write(place.path().join("study.toml"), toys::study(&[]).replace("\"step\"", "\"held\""))
        .unwrap();
    let alone = command(place.path(), "alone", &["--isolate", "never"]).output().unwrap();
    assert!(alone.status.success());
    let [hold, held] = ["hold", "held"].map(|name| place.path().join(name));
    fs::write(&hold, "").unwrap();
    fs::remove_file(&held).unwrap(); // of that run
    let runner = command(place.path(), "stopped", &["--isolate", "never", "--workers", "1"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let runner = runner.unwrap();
    until("an attack is held", || held.exists());
    assert!(send("INT", runner.id()));
    let (exit, err) = said(&runner.wait_with_output().unwrap());
    assert_eq!(exit, Some(130), "{err}");
    assert!(!place.path().join("stopped/success.csv").exists());
    fs::remove_file(&hold).unwrap();
    assert!(command(place.path(), "stopped", &[]).output().unwrap().status.success());
    assert_eq!(
        tables(&place.path().join("stopped"), &[]),
        tables(&place.path().join("alone"), &[])
    );
}

#[test]
fn a_folder_that_is_moved_away_is_not_made_again() {
    let place = place(40, &["abort", "held"]);
    let [out, away, hold] = ["out", "away", "hold"].map(|name| place.path().join(name));
    fs::write(&hold, "").unwrap();
    let mut run = command(place.path(), "out", &["--isolate", "always", "--workers", "2"]);
    let run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // Each cell of `abort` ends its process, so that new ones are started all the time.
    until("an attack is held", || place.path().join("held").exists());
    fs::rename(&out, &away).unwrap();
    fs::remove_file(&hold).unwrap();
    let (code, said) = said(&run.wait_with_output().unwrap());
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("No such file or directory") && !out.exists(), "{said}");
    fs::rename(&away, &out).unwrap();
    let output =
        command(place.path(), "out", &["--isolate", "always", "--workers", "2"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "the cells of `abort` fail: {output:?}");
    assert!(temporary(&out).is_empty());
}

#[test]
fn killed_at_any_instant_an_isolated_run_ends_the_same() {
    let place = place(70, &[]);
    let isolated = ["--isolate", "always", "--workers", "2"];
    let start = Instant::now();
    assert!(command(place.path(), "alone", &isolated).output().unwrap().status.success());
    let length = start.elapsed();
    for round in 1..=8 {
        let mut runner = command(place.path(), "killed", &isolated)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(length.mul_f64(f64::from(round) * 0.618_034 % 1.0));
        // In every other round a worker is killed instead of the run.
        let workers = children(runner.id());
        if round % 2 == 0
            && let Some(worker) = workers.first()
        {
            send("KILL", *worker);
        } else {
            runner.kill().unwrap();
        }
        runner.wait().unwrap();
        until("the workers end", || !workers.iter().any(|&worker| alive(worker)));
    }
    assert!(command(place.path(), "killed", &isolated).output().unwrap().status.success());
    assert_eq!(tables(&place.path().join("killed"), &[]), tables(&place.path().join("alone"), &[]));
}

#[test]
fn an_embedding_program_names_the_program_that_works_for_it() {
    let registry = toys::registry().unwrap();
    let run = |out: &Path, isolation: Option<Isolation>| {
        let pictures = Some(toys::pictures(40));
        let study = Study::parse(
            &toys::study(&[]).replace("[data]\nfolder = \"images\"\n", ""),
            "toys",
            Path::new("."),
            &registry,
            study::StudyOptions { pictures, ..Default::default() },
        )
        .unwrap();
        let options = RunOptions { workers: 2, isolation, ..RunOptions::on(Device::Cpu) };
        let session = Session::open(&study, &registry, out, options, &Silent)?;
        let outcome = session.run()?;
        assert_eq!((outcome.computed, outcome.failures.len()), (session.plan().cells.len(), 0));
        session.report().map(|_| ())
    };
    let place = tempfile::tempdir().unwrap();
    let by = |program: &str, arguments: &[&str]| Isolation {
        everything: true,
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
    };
    let [inside, apart] = ["inside", "apart"].map(|out| place.path().join(out));
    run(&inside, None).unwrap();
    run(&apart, Some(by(env!("CARGO_BIN_EXE_toy-runner"), &["work"]))).unwrap();
    assert_eq!(tables(&apart, &[]), tables(&inside, &[]));

    let error = |isolation: Isolation| {
        format!("{:#}", run(&place.path().join("none"), Some(isolation)).unwrap_err())
    };
    let expected = "a process for isolated cells cannot be started from ";
    let gone = error(by("/no/such/program", &[]));
    assert_eq!(gone, format!("{expected}/no/such/program: No such file or directory (os error 2)"));
    assert_eq!(error(by("true", &[])), format!("{expected}true: it ended with exit code 0"));
}

#[test]
fn a_process_that_is_killed_before_it_is_ready_costs_a_cell_and_not_the_run() {
    let (registry, place) = (toys::registry().unwrap(), tempfile::tempdir().unwrap());
    let pictures = Some(toys::pictures(8));
    let text = toys::study(&[]).replace("[data]\nfolder = \"images\"\n", "");
    let study = Study::parse(
        &text,
        "toys",
        Path::new("."),
        &registry,
        study::StudyOptions { pictures, ..Default::default() },
    )
    .unwrap();
    let killed = Isolation {
        everything: true,
        program: "sh".into(),
        arguments: ["-c", "kill -KILL $$"].map(Into::into).to_vec(),
    };
    let options = RunOptions { workers: 2, isolation: Some(killed), ..RunOptions::on(Device::Cpu) };
    let session = Session::open(&study, &registry, place.path(), options, &Silent).unwrap();
    let outcome = session.run().unwrap();
    assert_eq!(
        (outcome.computed, outcome.failures.len()),
        (0, 2),
        "the two clean cells fail, and all others need them"
    );
    assert_eq!(outcome.failures[0].reason, "a process for isolated cells died of SIGKILL");
}

#[test]
fn neither_workers_nor_isolation_change_a_byte() {
    let place = place(70, &["nudge"]);
    let left = |out: &str| {
        let out = place.path().join(out);
        let files = fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.is_file());
        let tables = files.map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap())
        });
        let mut tables: Vec<_> = tables.filter(|(name, _)| !name.starts_with("timing.")).collect();
        let page = &mut tables.iter_mut().find(|(name, _)| name == "report.html").unwrap().1;
        *page = without_costs(std::str::from_utf8(page).unwrap()).unwrap().into_bytes();
        tables.sort();
        let names =
            fs::read_dir(out.join("cells/craft")).unwrap().map(|entry| entry.unwrap().file_name());
        // The files' names have the hash of their content.
        let mut pixels: Vec<_> =
            names.filter(|name| name.to_string_lossy().ends_with(".safetensors")).collect();
        pixels.sort();
        (tables, pixels)
    };
    let run = |isolate: &str, workers: &str| {
        let out = format!("{isolate}-{workers}");
        let output = command(place.path(), &out, &["--isolate", isolate, "--workers", workers])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output).1);
        left(&out)
    };
    let first = run("never", "1");
    assert!(first.0.len() >= 9 && first.1.len() >= 12, "{:?}", first.1);
    for (isolate, workers) in
        [("never", "2"), ("never", "3"), ("always", "1"), ("always", "2"), ("always", "3")]
    {
        let again = run(isolate, workers);
        let differ: Vec<&str> = first
            .0
            .iter()
            .zip(&again.0)
            .filter(|(a, b)| a != b)
            .map(|(a, _)| a.0.as_str())
            .collect();
        assert!(
            differ.is_empty() && again.0.len() == first.0.len() && again.1 == first.1,
            "{isolate} {workers}: {differ:?}"
        );
    }
}
