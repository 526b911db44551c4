//! Libraries that do not survive what a process of their own asks of them first.

use crate::{command, install, place, said, session, with_attacks};
use gauntlet_core::registry::Registry;
use gauntlet_runner::libraries::{Rehearsal, Sources};
use gauntlet_tests::libraries::{library, rogue};
use std::fs;
use std::time::Duration;

#[test]
fn a_library_that_dies_when_it_is_loaded_or_described_is_left_out() {
    let place = place();
    let at = place.path();
    install(at, "sample");
    fs::write(at.join("study.toml"), with_attacks("[[attacks]]\nname = \"noisy\"")).unwrap();
    for (fault, how) in [
        ("FAULT=LEAVES", "ended with exit code 0"),
        ("FAULT=CRASHES", "died of SIGSEGV"),
        ("FAULT=ABORTS", "died of SIGABRT"),
    ] {
        let path = rogue(&at.join("plugins"), &[fault]).canonicalize().unwrap();
        let why = format!(
            "plugin rogue 0.1.0 ({}): loading it fails: the process that asked it first {how}\n",
            path.display()
        );
        let (code, out, err) =
            session(command(at, &["--plugins", "plugins", "run", "study.toml", "--out", fault]));
        assert!(code == 0 && err.starts_with(&format!("warning: left out: {why}")), "{err}");
        assert!(out.contains("\nnoisy, untargeted: "), "{out}");
        let (code, list, _) = session(command(at, &["--plugins", "plugins", "plugins", "list"]));
        assert_eq!(code, 1);
        assert!(
            list.contains("attack noisy") && list.ends_with(&format!("refused: {why}")),
            "{list}"
        );
    }
}

#[test]
fn a_library_that_never_answers_is_left_out() {
    let place = place();
    install(place.path(), "sample");
    let plugins = place.path().join("plugins");
    rogue(&plugins, &["FAULT=HANGS"]);
    let mut rehearsal = Rehearsal::by_this_program(["plugins", "rehearse"].map(Into::into));
    rehearsal.program = env!("CARGO_BIN_EXE_toy-runner").into();
    let load = |rehearsal: &Rehearsal| {
        let sources = Sources { places: vec![plugins.clone()], ..Sources::default() };
        sources.load_rehearsed(&mut Registry::empty(), rehearsal).unwrap()
    };
    // The other library answers, however long it takes on a machine under load.
    rehearsal.limit = Duration::from_secs(2);
    let found = load(&rehearsal);
    let lost: Vec<String> = found.lost.iter().map(|(_, error)| format!("{error:#}")).collect();
    assert!(
        lost.iter()
            .any(|why| why.contains("plugin rogue ") && why.ends_with("takes longer than 2 s")),
        "{lost:?}"
    );
    assert_eq!(found.libraries.len() + lost.len(), 2);
}

#[test]
fn what_a_library_does_not_survive_is_an_error_of_the_study_that_asks_for_it() {
    let place = place();
    let at = place.path();
    let attack = "[[attacks]]\nname = \"unruly\"\nparams = { way = \"stillborn\" }";
    fs::write(at.join("study.toml"), with_attacks(attack)).unwrap();
    let unruly = library("unruly").display().to_string();
    let run = |more: &[&str]| {
        session(command(at, &[&["--plugins", &unruly, "run", "study.toml"], more].concat()))
    };
    let (code, out, err) = run(&[]);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(
        err.starts_with("error: study.toml, line 11, column 10: attack `unruly`: plugin ")
            && err
                .contains("): the process that asked it first died of SIGABRT\n   |\n11 | params"),
        "{err}"
    );
    let (code, _, err) = run(&["--set", "attack.unruly.way=cost_aborts", "--dry-run"]);
    assert!(
        code == 2 && err.contains(": the process that asked it first died of SIGABRT"),
        "{err}"
    );
    // The same library with other parameters takes part.
    let (code, _, err) = run(&["--set", "attack.unruly.way=liar"]);
    let success = fs::read_to_string(at.join("results/toys/success.csv")).unwrap();
    assert!(code == 0 && success.contains(",unruly,untargeted,"), "{err}{success}");
    assert!(said(at, &["--plugins", &unruly, "list", "models"]).contains("fragile  "));
}
