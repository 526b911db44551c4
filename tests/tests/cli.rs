//! Sessions with the command line: what they print, and their exit codes.

use gauntlet_tests::processes::ended;
use gauntlet_tests::toys;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const STUDY: &str = r#"name = "toys"
metrics = ["largest"]
[data]
folder = "images"
[[models]]
name = "toy_8"
[[attacks]]
name = "step"
"#;

/// A folder with a study and its images.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("images")).unwrap();
    toys::save_pictures(12, &place.path().join("images"));
    fs::write(place.path().join("study.toml"), STUDY).unwrap();
    place
}

fn command(place: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toy-runner"));
    command.current_dir(place).args(arguments);
    command
}

/// Exit code, standard output and standard error.
fn session(place: &Path, arguments: &[&str]) -> (i32, String, String) {
    ended(command(place, arguments).output().unwrap())
}

/// The message of a session that fails before any work.
fn refusal(place: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = session(place, arguments);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    err
}

#[test]
fn a_study_from_the_first_word_to_the_last() {
    let place = place();
    let (code, out, err) = session(place.path(), &["run", "study.toml", "--workers", "1"]);
    assert_eq!(code, 0, "{err}");
    let expected = "toys: 12 images, 1 model, 1 attack, no transfer
4 of 4 cells to compute

Accuracy without an attack, 12 images
  model  top-1          top-5
  toy_8  83.3%  10/12  100.0%  12/12

step, untargeted: success of n attacked images; mean distortion of the successes
  model   n  success  8-bit  largest  forward  backward
  toy_8  10    80.0%  80.0%   0.0500        1         1

Flags: none in 13 checks of inputs, models and attacks

Results: results/toys
Report: results/toys/report.html
";
    assert_eq!(out, expected);
    assert_eq!(
        err,
        "clean answers: 1 cell, 12 images\nattacks: 2 cells, 24 images\ntransfer and metrics: 1 \
         cell, 12 images\n"
    );
    let (code, again, err) = session(place.path(), &["run", "study.toml"]);
    assert_eq!((code, again, err.as_str()), (0, expected.replace("4 of 4", "0 of 4"), ""));
    let page = place.path().join("results/toys/report.html");
    let first = fs::read(&page).unwrap();
    fs::remove_file(&page).unwrap();
    let (code, out, err) = session(place.path(), &["report", "results/toys"]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "Report: results/toys/report.html\n", ""));
    assert_eq!(fs::read(&page).unwrap(), first);
    assert!(refusal(place.path(), &["report", "images"]).contains("a results folder is expected"));
}

#[test]
fn failed_cells_are_listed_at_the_end() {
    let place = place();
    fs::write(place.path().join("study.toml"), STUDY.replace("\"step\"", "\"forgetful\"")).unwrap();
    let (code, out, err) = session(place.path(), &["run", "study.toml"]);
    assert_eq!(code, 1);
    let expected = "
  model  n  success  8-bit  largest  forward  backward  missing
  toy_8  0        –      –        –        –         –       12

Flags: none in 11 checks of inputs, models and attacks

Results: results/toys
Report: results/toys/report.html
";
    assert!(out.ends_with(expected), "{out}");
    let last: Vec<&str> = err.lines().rev().take(2).collect();
    assert_eq!(
        last,
        [
            "  forgetful (untargeted) on toy_8, images 1–12: attack `forgetful` gave 9 answers for \
             10 cases",
            "1 cell failed, so 1 more could not be computed; the tables say what is missing. The \
             same command tries again."
        ]
    );
}

#[test]
fn skipped_images_are_counted() {
    let place = place();
    fs::write(place.path().join("images/3.text.png"), "no image").unwrap();
    fs::write(place.path().join("images/readme.md"), "no image").unwrap();
    let (code, out, _) = session(place.path(), &["run", "study.toml", "--images", "40"]);
    assert_eq!(code, 0);
    let expected = "toys: 12 images, 1 model, 1 attack, no transfer
40 images were asked for, but there are no more
2 files skipped (1 neither PNG, JPEG, WebP nor BMP; 1 no label in the name), see skipped.csv
";
    assert!(out.starts_with(expected), "{out}");
    let skipped = fs::read_to_string(place.path().join("results/toys/skipped.csv")).unwrap();
    assert_eq!(
        skipped,
        "image,reason\n3.text.png,\"neither PNG, JPEG, WebP nor BMP\"\nreadme.md,\"no label in \
         the name: `<label, from 1>.<id>.jpg` or a WordNet id is expected\"\n"
    );
}

#[test]
fn a_dry_run_counts_and_writes_nothing() {
    let place = place();
    let (code, out, err) = session(place.path(), &["run", "study.toml", "--dry-run"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.starts_with(
            "toys: 12 images, 1 model, 1 attack, no transfer\n\nCells; passes, time of one worker"
        ),
        "{out}"
    );
    for kind in ["clean", "probe", "craft", "measure"] {
        let line = out.lines().find(|line| line.trim_start().starts_with(kind)).unwrap();
        assert_eq!(
            line.split_whitespace().skip(1).take(2).collect::<Vec<_>>(),
            ["1", "0"],
            "one cell, none done: {line}"
        );
    }
    // The attack does not say what it costs and is tried. Of so few images, those that the model
    // classifies correctly are counted.
    let passes = |name: &str, columns: [usize; 2]| {
        let line = out.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        columns.map(|column| line.split_whitespace().nth(column).unwrap().to_owned())
    };
    assert_eq!(
        (passes("step", [2, 3]), passes("craft", [3, 4])),
        (["1", "1"].map(str::to_owned), ["40", "10"].map(str::to_owned)),
        "{out}"
    );
    assert!(out.contains("\nAbout ") && out.ends_with(" on disk\n"), "{out}");
    assert!(!out.contains("Missing") && !place.path().join("results").exists());

    assert_eq!(session(place.path(), &["run", "study.toml"]).0, 0);
    let (_, json, _) = session(place.path(), &["run", "study.toml", "--dry-run", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let cells = json["estimate"]["cells"].as_array().unwrap();
    assert!(
        cells.len() == 4
            && cells.iter().all(|kind| kind["done"] == kind["cells"] && kind["seconds"] == 0.0),
        "{json}"
    );
    assert!(refusal(place.path(), &["run", "study.toml", "--json"]).contains("--dry-run"));
}

#[test]
fn mistakes_have_one_clear_message() {
    let place = place();
    let at = place.path();
    fs::write(at.join("typo.toml"), STUDY.replace("toy_8", "toy_88")).unwrap();
    fs::write(at.join("syntax.toml"), STUDY.replace("name = \"toys\"", "name = toys")).unwrap();
    fs::write(
        at.join("labels.toml"),
        STUDY.replace("\"images\"", "\"images\"\nlabels = \"labels.csv\""),
    )
    .unwrap();
    fs::write(at.join("labels.csv"), "file,label\n1.00.png,7\n").unwrap();
    fs::create_dir(at.join("nothing")).unwrap();
    fs::write(at.join("empty.toml"), STUDY.replace("\"images\"", "\"nothing\"")).unwrap();
    fs::write(at.join("file"), "").unwrap();
    for (arguments, expected) in [
        (
            &["run", "typo.toml"][..],
            "error: typo.toml, line 6, column 8: unknown model `toy_88`, did you mean `toy_8`? \
             (`runner list models` shows all)\n  |\n\
             6 | name = \"toy_88\"\n  |        ^^^^^^^^\n",
        ),
        (
            &["run", "syntax.toml"],
            "error: syntax.toml, line 1, column 8: invalid boolean, expected `true`\n  |\n\
             1 | name = toys\n  |        ^^^^\n",
        ),
        (
            &["run", "gone.toml"],
            "error: study gone.toml cannot be read; give a TOML file or the name of a built-in \
             study: `mini`, `mini-quick`, `eccv2018`, `modern`: \
             No such file or directory (os error 2)\n",
        ),
        (
            &["run", "labels.toml"],
            "error: labels.toml: image `1.00.png` has the label 7 (counted from 0), but the models \
             have 4 classes\n",
        ),
        (&["run", "empty.toml"], "error: empty.toml: folder of images ./nothing is empty\n"),
        (
            &["run", "study.toml", "--out", "file/results"],
            "error: the results folder file/results cannot be written to; choose another with \
             `--out DIR`: Not a directory (os error 20)\n",
        ),
        (
            &["run", "study.toml", "--device", "gpu"],
            "error: unknown device `gpu`: use `cpu`, `cuda` or `cuda:N`\n",
        ),
        (
            &["run", "study.toml", "--workers", "0"],
            "error: `--workers 0`: at least one is needed\n",
        ),
        (
            &["predict", "--model", "toy_9", "images/1.00.png"],
            "error: unknown model `toy_9`, did you mean `toy_8`? (`runner list models` shows \
             all)\n",
        ),
        (
            &["predict", "--model", "toy_8", "study.toml"],
            "warning: image study.toml: neither PNG, JPEG, WebP nor BMP\nerror: there is no image \
             to predict: 1 file skipped\n",
        ),
        (
            &["predict", "--model", "toy_8", "gone.png"],
            "warning: image gone.png: No such file or directory (os error 2)\nerror: there is no \
             image to predict: 1 file skipped\n",
        ),
        (
            &["predict", "--model", "toy_8", "--weights", "gone.safetensors", "images/1.00.png"],
            "error: weights gone.safetensors: No such file or directory (os error 2)\n",
        ),
        (
            &["predict", "--model", "toy_8", "--params", "sed = 1", "images/1.00.png"],
            "error: parameters of `toy_8`: unknown parameter `sed`, did you mean `seed`?; there \
             are: seed\n",
        ),
    ] {
        assert_eq!(refusal(at, arguments), expected, "{arguments:?}");
    }
}

#[test]
fn weights_that_do_not_fit_are_reported_before_any_work() {
    let place = place();
    let bytes = 0f32.to_le_bytes();
    let tensors = ["a", "b", "c", "d"].map(|name| {
        (
            name,
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![1], &bytes).unwrap(),
        )
    });
    fs::write(place.path().join("w.safetensors"), safetensors::serialize(tensors, None).unwrap())
        .unwrap();
    fs::write(
        place.path().join("study.toml"),
        STUDY.replace("\"toy_8\"", "\"toy_8\"\nweights = \"w.safetensors\""),
    )
    .unwrap();
    let (code, _, err) = session(place.path(), &["run", "study.toml"]);
    let tensors = "4 tensors do not fit the \
                   network:\n  unexpected  a\n  unexpected  b\n  unexpected  c\n  unexpected  d\n";
    assert_eq!(
        (code, err),
        (2, format!("error: weights ./w.safetensors: weights of model `toy_8`: {tensors}"))
    );
}

#[test]
fn usage_mistakes_are_bad_input_too() {
    let place = place();
    assert!(
        refusal(place.path(), &["run"])
            .starts_with("error: the following required arguments were not provided:\n  <STUDY>\n")
    );
    assert!(
        refusal(place.path(), &["list", "colours"])
            .contains("[possible values: models, attacks, metrics, studies]")
    );
    let (code, help, _) = session(place.path(), &["run", "--help"]);
    assert_eq!(code, 0);
    assert!(help.contains("Examples:\n  runner run mini"), "{help}");
}

#[test]
fn help_says_what_each_command_does() {
    let place = place();
    let (_, help, _) = session(place.path(), &["--help"]);
    assert!(help.starts_with("Runs image classifiers through adversarial attacks"), "{help}");
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands: Vec<(&str, &str)> = commands
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "))
        .map(|line| {
            line.trim().split_once("  ").map_or((line, ""), |(name, about)| (name, about.trim()))
        })
        .collect();
    assert!(commands.len() > 8, "{help}");
    for (n, (name, about)) in commands.iter().enumerate() {
        assert!(
            about.len() > 10 && commands[..n].iter().all(|(_, other)| other != about),
            "{name}: {about}"
        );
        if *name != "help" {
            let (code, own, _) = session(place.path(), &[name, "--help"]);
            assert!(code == 0 && own.starts_with(about), "{name}: {own}");
        }
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = place();
    let mut child = command(place.path(), &["list", "attacks"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));

    // A run goes on, since its results are files.
    let mut child = command(place.path(), &["run", "study.toml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(place.path().join("results/toys/report.html").is_file());
}

#[test]
fn lists_show_parameters() {
    let place = place();
    let (_, attacks, _) = session(place.path(), &["list", "attacks"]);
    assert!(
        attacks.contains(
            "nudge  moves every pixel up  [toys 1.0.0]\n    # What is added to every pixel; \
             within [0, 1].\n    amount = 0.1\n"
        ),
        "{attacks}"
    );
    let (_, models, _) = session(place.path(), &["list", "models"]);
    assert!(
        models.starts_with("  name    family  weights   origin      images  classes\n"),
        "{models}"
    );
    let (_, json, _) = session(place.path(), &["list", "models", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[2]["name"], "toy_12");
    assert_eq!(json[2]["card"]["side"], 12);
    assert_eq!(json[2]["parameters"]["seed"], 5);
    let (_, json, _) = session(place.path(), &["list", "metrics", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json[0]["name"], &json[0]["scope"]), (&"largest".into(), &"outcome".into()));
}

#[test]
fn class_names_are_read_from_a_file_with_one_for_each_class() {
    let place = place();
    let (_, json, _) = session(place.path(), &["list", "models", "--json"]);
    let card = &serde_json::from_str::<Value>(&json).unwrap()[2]["card"];
    let classes = card["classes"].as_i64().unwrap() - card["label_offset"].as_i64().unwrap();
    let names: Vec<String> = (0..classes).map(|n| format!("kind {n}")).collect();
    std::fs::write(place.path().join("names.txt"), names.join("\n")).unwrap();
    let arguments = ["predict", "--model", "toy_12", "--classes", "names.txt", "images/1.00.png"];
    let (code, text, err) = session(place.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert!(text.contains("  kind 0 "), "{text}");
    std::fs::write(place.path().join("names.txt"), "one\n").unwrap();
    let (code, _, err) = session(place.path(), &arguments);
    assert_eq!(code, 2);
    assert_eq!(
        err,
        format!("error: class names names.txt: 1 lines, the model has {classes} classes\n")
    );
}

#[test]
fn predictions_as_text_and_as_json() {
    let place = place();
    let (code, text, err) =
        session(place.path(), &["predict", "--model", "toy_12", "images/1.00.png"]);
    assert_eq!(code, 0, "{err}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "images/1.00.png");
    assert!(lines[1].starts_with("  class") && lines[1].ends_with("logit  probability"), "{text}");
    assert_eq!(lines.len(), 2 + 5);
    assert!(lines[6].contains("background"), "{text}");

    let (_, json, _) = session(
        place.path(),
        &["predict", "--model", "toy_12", "--json", "images/1.00.png", "images/2.01.png"],
    );
    let json: Value = serde_json::from_str(&json).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&json), ["images", "model"]);
    let image = &json["images"][1];
    assert_eq!(keys(image), ["logits", "name", "top"]);
    let logits: Vec<f64> = serde_json::from_value(image["logits"].clone()).unwrap();
    let top: Vec<(usize, f64)> = serde_json::from_value(image["top"].clone()).unwrap();
    assert_eq!((logits.len(), top.len()), (5, 5));
    assert!(
        top.windows(2).all(|pair| pair[0].1 >= pair[1].1)
            && top.iter().all(|&(class, logit)| logits[class] == logit)
    );
}

#[test]
fn predictions_of_tensors() {
    let place = place();
    let write = |name: &str, tensor: &str, shape: [usize; 4], value: f32| {
        let bytes: Vec<u8> =
            std::iter::repeat_n(value.to_le_bytes(), shape.iter().product()).flatten().collect();
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.to_vec(), &bytes)
                .unwrap();
        fs::write(place.path().join(name), safetensors::serialize([(tensor, view)], None).unwrap())
            .unwrap();
    };
    write("good.safetensors", "pixels", [2, 3, 8, 8], 0.5);
    write("small.safetensors", "pixels", [2, 3, 4, 4], 0.5);
    write("bright.safetensors", "pixels", [2, 3, 8, 8], 255.0);
    write("none.safetensors", "pixels", [0, 3, 8, 8], 0.5);
    write("named.safetensors", "images", [2, 3, 8, 8], 0.5);
    let (code, text, err) =
        session(place.path(), &["predict", "--model", "toy_8", "good.safetensors"]);
    assert_eq!(code, 0, "{err}");
    assert!(
        text.contains("good.safetensors[0]\n") && text.contains("good.safetensors[1]\n"),
        "{text}"
    );
    for (name, expected) in [
        ("small", "`pixels` has shape [2, 3, 4, 4], the model takes N×3×8×8"),
        ("bright", "`pixels` runs from 255 to 255, expected within [0, 1]"),
        ("none", "`pixels` has shape [0, 3, 8, 8]: there is no image in it"),
        ("named", "a tensor `pixels` is expected, found: images"),
    ] {
        let error =
            refusal(place.path(), &["predict", "--model", "toy_8", &format!("{name}.safetensors")]);
        assert_eq!(
            error,
            format!(
                "warning: images {name}.safetensors: {expected}\nerror: there is no image to \
                 predict: 1 file skipped\n"
            )
        );
    }
    let (code, text, err) = session(
        place.path(),
        &["predict", "--model", "toy_8", "small.safetensors", "images/1.00.png", "gone.png"],
    );
    assert!(
        code == 1 && text.starts_with("images/1.00.png\n") && text.lines().count() == 6,
        "{text}"
    );
    assert!(
        err.ends_with(
            "\nwarning: image gone.png: No such file or directory (os error 2)\n2 images skipped\n"
        ),
        "{err}"
    );
}
