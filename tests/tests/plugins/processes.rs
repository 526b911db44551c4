//! Libraries and the processes that they are loaded in.

use crate::{command, install, place, said, session, with_attacks};
use gauntlet_core::device::Device;
use gauntlet_runner::Session;
use gauntlet_runner::engine::{Isolation, RunOptions, Silent};
use gauntlet_runner::study::{self, Study};
use gauntlet_tests::libraries::{altered, library, rogue};
use gauntlet_tests::toys;
use std::fs;

#[test]
fn a_library_that_ends_the_process_quietly_is_not_passed() {
    let place = place();
    let path = rogue(place.path(), &["FAULT=LEAVES"]).display().to_string();
    let (code, out, err) = session(command(place.path(), &["plugins", "check", &path]));
    assert!(
        code == 2
            && err.ends_with("librogue.so: loading it fails: the process ended with exit code 0\n"),
        "{out}{err}"
    );
}

#[test]
fn a_leak_ends_with_the_process_that_it_is_in() {
    let place = place();
    let at = place.path();
    let attack = |n: usize| {
        format!(
            "[[attacks]]\nname = \"unruly\"\nlabel = \"leak {n}\"\nparams = {{ way = \"leak\" }}\n"
        )
    };
    let attacks: Vec<String> = (0..8).map(attack).collect();
    fs::write(at.join("study.toml"), with_attacks(&attacks.concat())).unwrap();
    let unruly = library("unruly");
    let mut registry = toys::registry().unwrap();
    registry.load(&unruly).unwrap();
    let study = Study::open(
        &at.join("study.toml").display().to_string(),
        &registry,
        study::StudyOptions::default(),
    )
    .unwrap();
    let isolation = Some(Isolation {
        everything: false,
        program: env!("CARGO_BIN_EXE_toy-runner").into(),
        arguments: vec!["work".into()],
    });
    let options = RunOptions { workers: 1, isolation, ..RunOptions::on(Device::Cpu) };
    let resident = || -> u64 {
        let pages = fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4 / 1024
    };
    let before = resident();
    let outcome =
        Session::open(&study, &registry, &at.join("out"), options, &Silent).unwrap().run().unwrap();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    assert!(
        resident() < before + 500,
        "2 models × 8 × 64 MiB must stay in the other process: {before}, then {} MiB",
        resident()
    );
}

#[test]
fn a_plugin_that_cannot_catch_its_panics_is_isolated_or_refused() {
    let place = place();
    let at = place.path();
    fs::write(at.join("study.toml"), with_attacks("[[attacks]]\nname = \"noisy\"")).unwrap();
    let path =
        altered("sample", &at.join("plugins"), "panic = \"unwind\"\n", "panic = \"abort\" \n");
    let run = ["--plugins", "plugins", "run", "study.toml"];
    let (code, _, err) = session(command(at, &[&run[..], &["--isolate", "never"]].concat()));
    let who = format!("plugin gauntlet-sample 1.2.3 ({})", path.canonicalize().unwrap().display());
    let expected = format!(
        "error: {who} was built with panic = \"abort\", so that any error of libtorch's in it ends \
         the process: isolate it "
    );
    assert!(code == 2 && err.starts_with(&expected), "{err}");
    assert!(said(at, &run).contains("\nnoisy, untargeted: "));
    // These two commands compute in the program itself.
    let why = format!(
        "error: {who} was built with panic = \"abort\", so that any error of libtorch's in it ends \
         the process: it computes in"
    );
    let predict = ["--plugins", "plugins", "predict", "--model", "patch", "images/none.png"];
    for arguments in [&[&run[..], &["--dry-run"]].concat(), &predict[..]] {
        let (code, _, err) = session(command(at, arguments));
        assert!(code == 2 && err.starts_with(&why), "{err}");
    }
}

#[test]
fn workers_load_the_same_file_or_none() {
    let place = place();
    let at = place.path();
    let path = install(at, "sample");
    fs::write(at.join("study.toml"), with_attacks("[[attacks]]\nname = \"noisy\"")).unwrap();
    let mut registry = toys::registry().unwrap();
    registry.load(&path).unwrap();
    let study = Study::open(
        &at.join("study.toml").display().to_string(),
        &registry,
        study::StudyOptions::default(),
    )
    .unwrap();
    let mut rebuilt = fs::read(&path).unwrap();
    rebuilt.push(0);
    fs::write(at.join("new.so"), rebuilt).unwrap();
    fs::rename(at.join("new.so"), &path).unwrap();
    let isolation = Some(Isolation {
        everything: false,
        program: env!("CARGO_BIN_EXE_toy-runner").into(),
        arguments: vec!["work".into()],
    });
    let options = RunOptions { isolation, ..RunOptions::on(Device::Cpu) };
    let error = Session::open(&study, &registry, &at.join("out"), options, &Silent)
        .unwrap()
        .run()
        .unwrap_err();
    let error = format!("{error:#}");
    let expected = "libgauntlet_sample.so: the program, a plugin or weights have changed since the \
                    study was read: run it again";
    assert!(error.ends_with(expected), "{error}");
}
