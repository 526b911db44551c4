//! Files that are not what a model needs, as a user meets them: the commands agree on each.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A study of one miniature, a few images and one attack.
const STUDY: &str = r#"
name = "one"
seed = 1
metrics = ["l2"]
[data]
source = "fashion-mnist"
images = 4
[[models]]
name = "mini_vgg_16"
[[attacks]]
name = "fgsm"
[probe]
images = 0
"#;

/// Exit code, standard output and standard error.
fn runner(home: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    let output =
        command.args(arguments).env("GAUNTLET_HOME", home).current_dir(home).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn refusal(home: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = runner(home, arguments);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    err
}

#[test]
fn other_weights_are_never_taken_in_silence() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("empty")).unwrap();
    image::RgbImage::new(28, 28).save(home.path().join("black.png")).unwrap();
    let study = STUDY.replace("\"mini_vgg_16\"", "\"mini_vgg_16\"\nweights = \"empty\"");
    fs::write(home.path().join("named.toml"), study).unwrap();
    fs::write(home.path().join("study.toml"), STUDY).unwrap();
    let missing = "weights of model `mini_vgg_16`: folder ";
    let looked_for = "empty has no mini_vgg_16.safetensors, mini_vgg_16.pb (it is empty)";
    let predict = ["predict", "--model", "mini_vgg_16", "--weights", "empty", "black.png"];
    for arguments in [&["run", "named.toml"][..], &["run", "named.toml", "--dry-run"], &predict] {
        let error = refusal(home.path(), arguments);
        assert!(error.contains(missing) && error.contains(looked_for), "{error}");
    }
    let error = refusal(home.path(), &["run", "named.toml"]);
    assert!(error.starts_with("error: named.toml, line 10, column 11: "), "{error}");
    assert_eq!(
        refusal(home.path(), &["run", "study.toml", "--weights", "empty"]),
        "error: study.toml: weights folder empty has weights of no model of the study: looked for \
         mini_vgg_16.safetensors (it is empty)\n"
    );

    // Where the folder serves one model of two, the other one is told.
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/mini/mini_vgg_16.safetensors");
    fs::copy(weights, home.path().join("empty/mini_vgg_16.safetensors")).unwrap();
    let two = STUDY.replace("[[attacks]]", "[[models]]\nname = \"mini_alexnet\"\n[[attacks]]");
    fs::write(home.path().join("two.toml"), two).unwrap();
    let arguments = ["run", "two.toml", "--weights", "empty", "--dry-run"];
    let (code, _, err) = runner(home.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert_eq!(
        err,
        "warning: `--weights empty` has no weights of `mini_alexnet`: those of the program or of \
         Gauntlet's home are taken\n"
    );
}

/// Files of TorchScript modules and of what is not quite one; `tests/fixtures/torchscript/kinds`
/// says what each is.
const KINDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/torchscript/kinds");

/// What a user says of a module in `KINDS`.
const MODULE: &str = "{ side = 28, classes = 10 }";

#[test]
fn what_a_module_prints_goes_to_standard_error() {
    let home = tempfile::tempdir().unwrap();
    image::RgbImage::new(28, 28).save(home.path().join("black.png")).unwrap();
    let file = format!("{KINDS}/prints.pt");
    let arguments = ["predict", "--torchscript", &file, "--params", MODULE, "black.png"];
    let (code, out, err) = runner(home.path(), &[&arguments[..], &["--json"]].concat());
    assert_eq!(code, 0, "{err}");
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["images"][0]["logits"].as_array().unwrap().len(), 10);
    assert!(err.contains("hello\n"), "{err}");

    // Isolated processes answer in lines of JSON on theirs. What they print is lost if they end
    // before it is written.
    let study = STUDY.replace(
        "name = \"mini_vgg_16\"",
        &format!(
            "kind = \"torchscript\"\nname = \"mine\"\nfile = \"{file}\"\nside = 28\nclasses = 10"
        ),
    );
    fs::write(home.path().join("study.toml"), study).unwrap();
    for isolate in ["always", "never"] {
        let arguments = ["run", "study.toml", "--isolate", isolate, "--out", isolate];
        let (code, out, err) = runner(home.path(), &arguments);
        assert_eq!(code, 0, "{err}");
        assert!(!out.contains("hello"), "{out}");
        assert!(isolate == "always" || err.contains("hello\n"), "{err}");
    }
}

#[test]
fn other_precision_is_said() {
    let home = tempfile::tempdir().unwrap();
    image::RgbImage::new(28, 28).save(home.path().join("black.png")).unwrap();
    let file = format!("{KINDS}/half.pt");
    let arguments = ["predict", "--torchscript", &file, "--params", MODULE, "black.png"];
    let (code, _, err) = runner(home.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert_eq!(err, "note: the module's weights are float16 widened to float32\n");
}

#[test]
fn a_model_without_finite_logits_has_no_answer() {
    let home = tempfile::tempdir().unwrap();
    image::RgbImage::new(28, 28).save(home.path().join("black.png")).unwrap();
    for (name, expected) in [
        ("inf_out.pt", "error: the model's logits are NaN or infinite for every image: "),
        ("nan_out.pt", "it gives NaN for 3 of 3 made-up images"),
    ] {
        let file = format!("{KINDS}/{name}");
        let arguments = ["predict", "--torchscript", &file, "--params", MODULE, "black.png"];
        let error = refusal(home.path(), &arguments);
        assert!(error.contains(expected), "{name}: {error}");
    }
}
