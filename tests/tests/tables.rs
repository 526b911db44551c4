//! `runner tables`: the tables of a results folder, in several forms.

use gauntlet_tests::processes::ended;
use gauntlet_tests::toys;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Exit code, standard output and standard error.
fn session(place: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toy-runner"));
    ended(command.current_dir(place).args(arguments).output().unwrap())
}

#[test]
fn tables_of_a_results_folder_are_printed_in_other_forms_too() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("images")).unwrap();
    toys::save_pictures(12, &place.path().join("images"));
    let text = "name = \"toys\"\nseed = 1\nmetrics = [\"largest\"]\ndata = { folder = \"images\" }\n\
                models = [{ name = \"toy_8\" }]\nattacks = [{ name = \"nudge\" }]\n";
    fs::write(place.path().join("study.toml"), text).unwrap();
    let (code, _, err) = session(place.path(), &["run", "study.toml"]);
    assert_eq!(code, 0, "{err}");
    let tables = |more: &[&str]| {
        let (code, out, err) = session(place.path(), &[&["tables", "results/toys"], more].concat());
        assert_eq!(code, 0, "{err}");
        out
    };
    let aligned = tables(&[]);
    let row = |start: &str| {
        let line = aligned.lines().filter(|line| line.starts_with("  toy_8 ")).nth(1);
        let cells: Vec<&str> = line.unwrap().split_whitespace().collect();
        format!("{start}{}", cells.join(if start == "| " { " | " } else { "," }))
    };
    // Success: the model's name, n, two rates, distortion, passes.
    let markdown = tables(&["--markdown", "--attack", "nudge"]);
    assert!(markdown.contains(&row("| ")) && markdown.contains("\n|---|---|"), "{markdown}");
    let csv = tables(&["--csv"]);
    assert!(csv.contains(&format!("\n{}", row(""))), "{csv}");
    for (wrong, expected) in [
        (
            ["tables", "results/toys", "--attack", "nugde"],
            "the study has no attack `nugde`; it has nudge",
        ),
        (["tables", "nowhere", "--attack", "nudge"], "nowhere"),
    ] {
        let (code, _, err) = session(place.path(), &wrong);
        assert!(code == 2 && err.contains(expected), "{err}");
    }
}
