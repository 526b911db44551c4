//! Libraries that are refused, and the words that say why.

use crate::{command, install, place, refusal, said, session, with_attacks};
use gauntlet_core::registry::Registry;
use gauntlet_tests::libraries::{altered, library, rogue};
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn a_library_that_does_not_fit_is_refused_with_the_remedy() {
    let place = place();
    let at = place.path();
    let root = at.canonicalize().unwrap().display().to_string();
    let who = format!("plugin gauntlet-sample 1.2.3 ({root}/plugins/libgauntlet_sample.so)");
    for (from, to, expected) in [
        (
            "abi = 1\nwith",
            "abi = 9\nwith",
            "speaks ABI 9 (gauntlet-core 0.1.0), this program speaks ABI 1 (gauntlet-core 0.1.0): \
             build the plugin against \
             gauntlet-core 0.1.0, or use the runner that it was built for",
        ),
        (
            "\nlibtorch = \"2.11.0\"",
            "\nlibtorch = \"2.99.0\"",
            "was built for libtorch 2.99.0, this program for libtorch 2.11.0: build it with \
             LIBTORCH set to a libtorch 2.11.0",
        ),
        (
            "-linux-gnu\"\nlibtorch",
            "-other-abi\"\nlibtorch",
            "-unknown-other-abi, this program for ",
        ),
        (
            "\"gauntlet_plugin_gauntlet_sample\"",
            "\"system                         \"",
            "has a stamp without a name or an entry function",
        ),
    ] {
        altered("sample", &at.join("plugins"), from, to);
        let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
        assert!(
            error.starts_with(&format!("error: {who} ")) && error.contains(expected),
            "{to}\n{error}"
        );
    }
    let damaged = |bytes: &[u8]| {
        fs::write(at.join("plugins/libgauntlet_sample.so"), bytes).unwrap();
        refusal(at, &["--plugins", "plugins", "list", "attacks"])
    };
    let whole = fs::read(library("sample")).unwrap();
    for length in [4, 64, 100, whole.len() / 2] {
        let error = damaged(&whole[..length]);
        let expected = "error: plugins/libgauntlet_sample.so: the file is damaged or not whole; \
                        build or copy it again";
        assert!(error.starts_with(expected), "{length}: {error}");
    }
    altered("sample", &at.join("plugins"), "\nlibtorch = \"2.11.0\"", "\nlibtorch = 2.11.0  ");
    let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
    assert!(
        error.contains("the stamp cannot be read; build the plugin again: not a stamp: "),
        "{error}"
    );

    // A file that is named itself is refused where one in a folder would be ignored.
    let error = refusal(at, &["--plugins", "study.toml", "list", "attacks"]);
    assert!(
        error.starts_with("error: study.toml: not a shared library (ELF), so not a plugin; "),
        "{error}"
    );
    for (name, why) in
        [("gone", "No such file or directory"), ("circle", "Too many levels of symbolic links")]
    {
        symlink("circle", at.join("circle")).ok();
        let error = refusal(at, &["--plugins", name, "list", "attacks"]);
        let expected = format!(
            "error: plugins {name} cannot be read; `--plugins`, GAUNTLET_PLUGINS and [plugins] \
             take folders and libraries: {why}"
        );
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn names_are_taken_once() {
    let place = place();
    let at = place.path();
    install(at, "sample");
    let mut rebuilt = fs::read(library("sample")).unwrap();
    rebuilt.push(0);
    fs::write(at.join("plugins/other.so"), rebuilt).unwrap();
    let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
    assert!(
        error.starts_with("error: plugin `gauntlet-sample` is there twice: ")
            && error.ends_with("/other.so); remove one\n"),
        "{error}"
    );
    fs::remove_file(at.join("plugins/other.so")).unwrap();

    rogue(&at.join("plugins"), &["ITEM=\"nudge\""]);
    let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
    let expected = "error: attack `nudge` is registered twice: by toys 1.0.0 and by rogue 0.1.0 (";
    assert!(
        error.starts_with(expected) && error.ends_with("/librogue.so); remove or rename one\n"),
        "{error}"
    );
    // All refusals come at once, and `plugins list` shows the rest.
    altered("unruly", &at.join("plugins"), "abi = 1\nwith", "abi = 2\nwith");
    let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
    assert!(
        error.starts_with("error: 2 plugins are refused:\n  ") && error.lines().count() == 3,
        "{error}"
    );
    install(at, "unruly");
    let (code, list, err) = session(command(at, &["--plugins", "plugins", "plugins", "list"]));
    assert_eq!((code, err.as_str()), (1, ""));
    assert!(
        list.contains("gauntlet-unruly 0.1.0  model fragile, attack unruly, metric miscounted"),
        "{list}"
    );
    assert!(list.contains("\nrefused: attack `nudge` is registered twice: "), "{list}");
}

#[test]
fn the_header_is_enough_for_a_plugin_and_its_breaches_are_told() {
    let place = place();
    let at = place.path();
    let plugins = at.join("plugins");
    let path = rogue(&plugins, &[]);
    assert!(
        said(at, &["--plugins", "plugins", "list", "attacks"])
            .contains("rogue  finds nothing  [rogue 0.1.0, librogue.so ")
    );
    fs::write(at.join("study.toml"), with_attacks("[[attacks]]\nname = \"rogue\"")).unwrap();
    let who = format!("plugin rogue 0.1.0 ({})", path.canonicalize().unwrap().display());
    for (fault, expected) in [
        ("FAULT=NO_TABLE", "its plugin table is missing"),
        ("FAULT=OTHER_ABI", "its table is of ABI 7, expected 1 as its stamp says; build it again"),
        ("FAULT=SMALL_TABLE", "its attack table has 8 bytes, expected at least 56; build it again"),
        ("FAULT=NOTHING", "it brings nothing: no attack, no model, no metric"),
        ("FAULT=UNKNOWN_KIND", "it brings something of the unknown kind 9; use a newer runner"),
        ("FAULT=NO_RUN", "its table has no `run`; build it again"),
        ("FAULT=BAD_NAME", "the name \"ro/gue\" is not made of letters, digits, `-`, `_` and `.`"),
        ("FAULT=NO_TOML", "what it says of itself cannot be read:"),
        ("FAULT=NO_UNIT", "metric `rogue` says no `unit`, `scope` and `direction` of itself"),
        (
            "NO_ENTRY",
            "it has no function `gauntlet_plugin_rogue`, which its stamp names; build it again",
        ),
    ] {
        rogue(&plugins, &[fault]);
        let error = refusal(at, &["--plugins", "plugins", "list", "attacks"]);
        assert!(
            error.starts_with(&format!("error: {who} cannot be loaded: {expected}")),
            "{fault}: {error}"
        );
    }
    rogue(&plugins, &["FAULT=NO_OBJECT"]);
    let error = refusal(at, &["--plugins", "plugins", "run", "study.toml"]);
    assert!(error.contains("attack `rogue`: attack `rogue` gave no object"), "{error}");
    for (fault, expected) in [
        ("FAULT=THROWS", "the process that computed it died of SIGABRT"),
        ("FAULT=UNKNOWN_STATUS", "attack `rogue` gave the unknown status 42: who knows"),
        ("FAULT=UNKNOWN_ANSWER", "attack `rogue` gave an answer of the unknown kind 7"),
        ("FAULT=SILENT", "no reason given"),
    ] {
        rogue(&plugins, &[fault]);
        let (code, _, err) =
            session(command(at, &["--plugins", "plugins", "run", "study.toml", "--workers", "1"]));
        let line = format!("  rogue (untargeted) on toy_8, images 1–12: {expected}\n");
        assert!(code == 1 && err.contains(&line), "{fault}: {err}");
    }
    let linked = Registry::empty().load(&path).unwrap();
    assert_eq!(linked.stamp.with, "rogue.cpp");
}
