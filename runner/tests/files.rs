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

#[test]
fn equal_weights_are_found_in_files_that_differ() {
    let home = tempfile::tempdir().unwrap();
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/mini/mini_vgg_16.safetensors");
    let mut tensors = tch::Tensor::read_safetensors(weights).unwrap();
    let save = |tensors: &[(String, tch::Tensor)], name: &str| {
        let scoped: Vec<(String, &tch::Tensor)> =
            tensors.iter().map(|(name, tensor)| (format!("scope/{name}"), tensor)).collect();
        tch::Tensor::write_safetensors(&scoped, home.path().join(name)).unwrap();
    };
    save(&tensors, "same.safetensors");
    tensors[0].1 = &tensors[0].1 + 1.0;
    save(&tensors, "other.safetensors");
    let twin = "network, parameters and weights are those of mini_vgg_16";
    for (file, expected) in [("same.safetensors", true), ("other.safetensors", false)] {
        let second = format!(
            "[[models]]\nname = \"mini_vgg_16\"\nlabel = \"twin\"\nweights = \"{file}\"\n[[attacks]]"
        );
        fs::write(home.path().join("study.toml"), STUDY.replace("[[attacks]]", &second)).unwrap();
        let (code, out, err) = runner(home.path(), &["run", "study.toml", "--dry-run"]);
        assert_eq!(code, 0, "{err}");
        assert_eq!(out.contains(twin), expected, "{file}: {out}");
    }
}

/// A file under a name of its own, and what the error about it says; empty for a file that fits.
type Case = (&'static str, Vec<u8>, &'static str);

/// Weights of a miniature with batch norm, changed.
fn mobilenet(change: impl Fn(&str, tch::Tensor) -> (String, tch::Tensor)) -> Vec<u8> {
    let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
    let weights =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/mini/mini_mobilenet_v1_025.safetensors");
    let tensors = tch::Tensor::read_safetensors(weights).unwrap();
    let changed: Vec<(String, tch::Tensor)> =
        tensors.into_iter().map(|(name, tensor)| change(&name, tensor)).collect();
    tch::Tensor::write_safetensors(&changed, file.path()).unwrap();
    fs::read(file.path()).unwrap()
}

/// Weights with all values of one tensor set to `value`.
fn with(tensor: &'static str, value: f64) -> Vec<u8> {
    mobilenet(|name, old| {
        let new = if name.ends_with(tensor) {
            old.to_kind(tch::Kind::Float).full_like(value)
        } else {
            old
        };
        (name.to_owned(), new)
    })
}

fn cases() -> Vec<Case> {
    let kind = |name: &str| fs::read(format!("{KINDS}/{name}")).unwrap();
    let whole = mobilenet(|name, tensor| (name.to_owned(), tensor));
    let scoped = mobilenet(|name, tensor| (format!("module.{name}"), tensor));
    let half = mobilenet(|name, tensor| (name.to_owned(), tensor.to_kind(tch::Kind::Half)));
    let graph: &[u8] = include_bytes!("../../tests/fixtures/frozen/mobilenet_v1_025.pb");
    let mut tar = vec![b'a'; 600];
    tar[257..262].copy_from_slice(b"ustar");
    vec![
        ("scoped.safetensors", scoped, ""),
        ("half.safetensors", half, ""),
        ("whole.bin", whole.clone(), ""),
        ("cut.safetensors", whole[..whole.len() / 2].to_vec(), "a damaged or cut safetensors file"),
        (
            "variance.safetensors",
            with("Conv2d_3_pointwise/BatchNorm/moving_variance", -1.0),
            "Conv2d_3_pointwise/BatchNorm/moving_variance: a variance is -1; 0 or more is expected",
        ),
        (
            "nan.safetensors",
            with("Conv2d_0/BatchNorm/beta", f64::NAN),
            "of its 8 values are NaN or infinite; finite numbers are expected",
        ),
        (
            "large.safetensors",
            with("Logits/Conv2d_1c_1x1/weights", 3e38),
            "its logits are not finite: the weights hold NaN, infinity or far too large numbers",
        ),
        ("graph.pb", graph.to_vec(), "MobilenetV1/Logits/Conv2d_1c_1x1/biases: found [1001], "),
        ("module.safetensors", kind("trace_eval.pt"), "a TorchScript module; "),
        ("newer.pt", kind("newer_version.pt"), "a TorchScript module of version 99"),
        ("state.pth", kind("state.pth"), "weights of PyTorch's `torch.save`"),
        ("exported.pt2", kind("exported.pt2"), "a program of PyTorch's `torch.export.save`"),
        ("cut.pt", kind("cut.pt"), "a zip archive that is cut off, as of PyTorch's"),
        ("arrays.npy", b"\x93NUMPY\x01\0".to_vec(), "a NumPy array (.npy)"),
        ("model.onnx", b"\x08\x08\x12\x07pytorch\x3a\0\x42\0".to_vec(), "an ONNX model"),
        ("model.tflite", b"\x1c\0\0\0TFL3\x14\0".to_vec(), "a TensorFlow Lite model"),
        ("saved_model.pb", b"\x08\x01\x12\x02\x0a\0".to_vec(), "a TensorFlow SavedModel"),
        ("graph.pbtxt", b"node {\n  name: \"x\"\n}\n".to_vec(), "a TensorFlow graph as text"),
        ("model.ckpt.data-00000-of-00001", b"\x0a\x01\x02".to_vec(), "the values of a TensorFlo"),
        (
            "model.ckpt.index",
            b"table\x57\xfb\x80\x8b\x24\x75\x47\xdb".to_vec(),
            "a TensorFlow checkpoint",
        ),
        ("model.h5", b"\x89HDF\r\n\x1a\n\0\0".to_vec(), "an HDF5 file"),
        (
            "model.safetensors.index.json",
            b"{\"weight_map\": {\"a\": \"1.safetensors\"}}".to_vec(),
            "the index of a safetensors file in several parts",
        ),
        ("weights.tar.gz", b"\x1f\x8b\x08\0".to_vec(), "an archive or a compressed file"),
        ("weights.tar", tar, "an archive or a compressed file"),
        ("page.safetensors", b"<!DOCTYPE html><html>".to_vec(), "a web page or XML"),
        (
            "lfs.safetensors",
            b"version https://git-lfs.github.com/spec/v1\n".to_vec(),
            "a Git LFS pointer",
        ),
        ("empty.safetensors", Vec::new(), "an empty file"),
        ("text.pb", b"these are no weights".to_vec(), "of no format that is known here"),
    ]
}

#[test]
fn predict_run_check_and_import_agree_on_each_file() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path();
    image::RgbImage::new(28, 28).save(place.join("grey.png")).unwrap();
    for (name, bytes, expected) in cases() {
        fs::write(place.join(name), bytes).unwrap();
        let named = format!("\"mini_mobilenet_v1_025\"\nweights = \"{name}\"");
        fs::write(place.join("study.toml"), STUDY.replace("\"mini_vgg_16\"", &named)).unwrap();
        let out = format!("results/{name}");
        for arguments in [
            &["predict", "--model", "mini_mobilenet_v1_025", "--weights", name, "grey.png"][..],
            &["run", "study.toml", "--out", &out],
            &["weights", "check", name, "--model", "mini_mobilenet_v1_025"],
            &["weights", "import", name, "--model", "mini_mobilenet_v1_025"],
        ] {
            let (code, _, error) = runner(place, arguments);
            let place = format!("{arguments:?}: {error}");
            match (expected, arguments[1]) {
                // What is part of the program is not replaced, but the file has passed.
                ("", "import") => assert!(error.contains("are part of the program"), "{place}"),
                ("", _) => assert_eq!(code, 0, "{place}"),
                _ => {
                    assert_eq!(code, 2, "{place}");
                    assert!(error.contains(expected) && error.contains(name), "{place}");
                }
            }
        }
    }
}
