//! Attacks, models and metrics of a library that misbehave.

use crate::{STUDY, command, install, place, said, session, with_attacks};
use gauntlet_tests::libraries::{library, without_lines};
use std::fs;
use std::path::Path;

/// The tables' lines that do not contain `other`.
fn tables(out: &Path, other: &str) -> Vec<String> {
    let texts = ["accuracy", "success", "transfer"]
        .map(|name| fs::read_to_string(out.join(format!("{name}.csv"))).unwrap());
    texts
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.contains(other))
        .map(String::from)
        .collect()
}

#[test]
fn whatever_a_plugin_does_it_costs_its_own_cells() {
    const WAYS: [(&str, &str); 13] = [
        ("error", "I would rather not"),
        ("panic", "attack `unruly` panicked at tests/plugins/unruly/src/lib.rs:_: out of order"),
        ("torch", "unruly/src/lib.rs:_: The size of tensor a (2) must match"),
        ("speechless_error", "lib.rs:_: an error that cannot be put into words"),
        ("other_thread", "an oracle is asked from the thread that it was given to alone"),
        ("forgetful", "answers for "),
        ("endless", "out of time: it may take 5 s"),
        ("hang", "out of time: it may take 5 s"),
        ("segfault", "the process that computed it died of SIGSEGV"),
        ("abort", "the process that computed it died of SIGABRT"),
        ("overflow", "the process that computed it died of SIGABRT"),
        ("sloppy", ""),
        ("liar", ""),
    ];
    let place = place();
    let at = place.path();
    assert!(said(at, &["run", "study.toml", "--out", "alone"]).contains("\nstep, untargeted: "));
    install(at, "unruly");
    let attack = |way: &str| {
        format!(
            "[[attacks]]\nname = \"unruly\"\nlabel = \"bad {way}\"\nparams = \
             {{ way = \"{way}\" }}\n"
        )
    };
    let attacks: String = WAYS.iter().map(|(way, _)| attack(way)).collect();
    fs::write(at.join("study.toml"), with_attacks(&attacks)).unwrap();
    let run = [
        "run",
        "study.toml",
        "--plugins",
        "plugins",
        "--out",
        "beside",
        // Cells that behave take milliseconds, and have this long on a busy machine.
        "--cell-timeout",
        "5",
        "--workers",
        "2",
    ];
    let (code, out, err) = session(command(at, &run));
    let err = without_lines(&err);
    assert_eq!(code, 1, "{err}");
    for (way, reason) in WAYS.iter().filter(|(_, reason)| !reason.is_empty()) {
        for model in ["toy_8", "toy_12"] {
            let start = format!("bad {way} (untargeted) on {model}, images 1–12: ");
            let found = err
                .lines()
                .filter_map(|line| line.split_once(&start))
                .any(|(_, why)| why.contains(reason));
            assert!(found || err.contains("… and 2 more"), "{start}{reason}\n{err}");
        }
    }
    assert!(err.contains("\n22 cells failed"), "{err}");
    // Images that are invalid or not adversarial do not count as successes.
    let success = fs::read_to_string(at.join("beside/success.csv")).unwrap();
    let row = |label: &str| -> Vec<String> {
        success
            .lines()
            .find(|line| line.starts_with(&format!("toy_8,bad {label},")))
            .unwrap()
            .split(',')
            .map(String::from)
            .collect()
    };
    assert_eq!(
        (&row("liar")[6..9], &row("error")[4]),
        (&["10", "0", "0"].map(String::from)[..], &"12".to_owned()),
        "{success}"
    );
    assert_eq!(row("sloppy")[8], "0", "{success}");
    assert!(row("sloppy")[7].parse::<u32>().unwrap() >= 7, "{success}");
    assert!(success.contains(",bad hang,"), "{success}");
    assert!(
        out.contains("\nAll tables: `runner tables DIR`"),
        "fourteen attacks fill the screen: {out}"
    );
    assert_eq!(tables(&at.join("beside"), ",bad "), tables(&at.join("alone"), ",bad "));
}

#[test]
fn a_model_and_a_metric_cost_their_own_cells_too() {
    let place = place();
    let at = place.path();
    let model = |label: &str, params: &str| {
        format!(
            "[[models]]\nname = \"fragile\"\nlabel = \"{label}\"\nparams = \
             {{ classes = 4, {params} }}\n"
        )
    };
    let models = [
        model("bad born", "stillborn = true"),
        model("bad shape", "misshapen = true, calls = 99"),
        model("bad numbers", "scale = nan, calls = 99"),
        model("bad panic", "calls = 0"),
        model("bad abort", "calls = 1, fatal = true"),
    ];
    let text = STUDY
        .replacen("[[models]]", &format!("{}[[models]]", models.concat()), 1)
        .replace("[\"largest\"]", "[\"largest\", \"miscounted\"]");
    fs::write(at.join("bad.toml"), text).unwrap();
    said(at, &["run", "study.toml", "--out", "alone"]);
    let unruly = library("unruly").display().to_string();
    let (code, _, err) = session(command(
        at,
        &["run", "bad.toml", "--plugins", &unruly, "--out", "beside", "--workers", "1"],
    ));
    let err = without_lines(&err);
    assert_eq!(code, 1, "{err}");
    for line in [
        "warning: model `bad born`, whose cells will fail: model `fragile`: model `fragile` \
         panicked at tests/plugins/unruly/src/lib.rs:_: cannot be loaded\n",
        "  clean answers of bad born, images 1–12: model `fragile`: model `fragile` panicked at \
         tests/plugins/unruly/src/lib.rs:_: cannot be loaded\n",
        "  clean answers of bad shape, images 1–12: model `fragile` gave logits [12, 5], expected \
         [12, 4]\n",
        "  clean answers of bad panic, images 1–12: model `fragile` panicked at \
         tests/plugins/unruly/src/lib.rs:_: worn out\n",
        "  step (untargeted) on bad abort, images 1–12: the process that computed it died of \
         SIGABRT\n",
    ] {
        assert!(err.contains(line), "{line}\n{err}");
    }
    assert!(
        err.contains("\n  miscounted of step (untargeted) on toy_8, images 1–12: ")
            && err.contains(" values, expected "),
        "{err}"
    );
    let accuracy = |out: &str| fs::read_to_string(at.join(out).join("accuracy.csv")).unwrap();
    assert!(
        accuracy("alone").lines().skip(1).all(|line| accuracy("beside").contains(line)),
        "{}",
        accuracy("beside")
    );
}

#[test]
fn a_model_may_load_slowly_but_not_for_ever() {
    let place = place();
    let at = place.path();
    let model = |seconds: &str| {
        format!(
            "[[models]]\nname = \"fragile\"\nparams = \
             {{ classes = 4, calls = 99, loading = {seconds} }}\n"
        )
    };
    let unruly = library("unruly").display().to_string();
    let run = |seconds: &str, limit: &str, out: &str| {
        fs::write(
            at.join("slow.toml"),
            STUDY.replacen("[[models]]", &format!("{}[[models]]", model(seconds)), 1),
        )
        .unwrap();
        let (code, _, err) = session(command(
            at,
            &[
                "run",
                "slow.toml",
                "--plugins",
                &unruly,
                "--out",
                out,
                "--workers",
                "1",
                "--cell-timeout",
                limit,
            ],
        ));
        (code, err)
    };
    let (code, err) = run("0.3", "0", "slow");
    assert!(code == 0 && !err.contains("warning"), "{err}");
    let (code, err) = run("1e9", "3", "hang");
    assert_eq!(code, 1, "{err}");
    assert!(
        err.contains(
            "warning: model `fragile`, whose cells will fail: loading it takes longer \
             than a cell may\n"
        ),
        "{err}"
    );
    assert!(
        err.contains("  clean answers of fragile, images 1–12: out of time: it may take 3 s; "),
        "{err}"
    );
    let accuracy = fs::read_to_string(at.join("hang/accuracy.csv")).unwrap();
    assert!(accuracy.contains("toy_8,"), "the other models are computed: {accuracy}");
}

#[test]
fn a_cost_that_panics_ends_a_dry_run_with_its_place() {
    let place = place();
    let at = place.path();
    let attack = "[[attacks]]\nname = \"unruly\"\nparams = { way = \"cost_panics\" }\n";
    fs::write(at.join("study.toml"), with_attacks(attack)).unwrap();
    let unruly = library("unruly").display().to_string();
    let dry_run = ["run", "study.toml", "--plugins", &unruly, "--out", "none", "--dry-run"];
    let (code, _, err) = session(command(at, &dry_run));
    let expected = "the cost of attack `unruly`: attack `unruly` panicked at \
                    tests/plugins/unruly/src/lib.rs:_: priceless\n";
    assert!(code != 0 && without_lines(&err).ends_with(expected), "{code}: {err}");
    assert!(!err.contains("thread '"), "{err}");
}
