//! `runner weights`, as a user meets it. Downloads are tested where they are made, in
//! `weights/pull`.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use tch::{Kind, Tensor};

const FROZEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/frozen");
/// Small networks of other shapes than the published ones.
const SMALL: &str = "classes = 7\nside = 35\nchannels = 0.125";

/// Exit code, stdout, stderr.
fn runner(home: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"] {
        command.env_remove(variable).env_remove(variable.to_lowercase());
    }
    let output =
        command.args(arguments).env("GAUNTLET_HOME", home).current_dir(home).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn json(home: &Path, arguments: &[&str]) -> Value {
    let (code, out, err) = runner(home, &[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).unwrap()
}

fn refusal(home: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = runner(home, arguments);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    err
}

/// Random weights of the network that `variables` describes, in PyTorch's names and layouts.
fn save(path: &Path, variables: &[(&str, &[i64])]) {
    tch::manual_seed(1);
    let tensors: Vec<(&str, Tensor)> = variables
        .iter()
        .map(|(name, shape)| (*name, Tensor::randn(*shape, (Kind::Float, tch::Device::Cpu)) * 0.1))
        .collect();
    Tensor::write_safetensors(&tensors, path).unwrap();
}

/// VGG-16 at one eighth of its channels with seven classes, for images of 35 pixels.
fn small_vgg(path: &Path) {
    let mut variables: Vec<(String, Vec<i64>)> = Vec::new();
    let mut inputs = 3;
    for (layer, outputs) in [
        (0, 8),
        (2, 8),
        (5, 16),
        (7, 16),
        (10, 32),
        (12, 32),
        (14, 32),
        (17, 64),
        (19, 64),
        (21, 64),
        (24, 64),
        (26, 64),
        (28, 64),
    ] {
        variables.push((format!("features.{layer}.weight"), vec![outputs, inputs, 3, 3]));
        variables.push((format!("features.{layer}.bias"), vec![outputs]));
        inputs = outputs;
    }
    for (layer, outputs) in [(0, 512), (3, 512), (6, 7)] {
        variables.push((format!("classifier.{layer}.weight"), vec![outputs, inputs]));
        variables.push((format!("classifier.{layer}.bias"), vec![outputs]));
        inputs = outputs;
    }
    save(
        path,
        &variables
            .iter()
            .map(|(name, shape)| (name.as_str(), shape.as_slice()))
            .collect::<Vec<_>>(),
    );
}

/// Whether the logits of two lists of answers agree, but for rounding.
fn alike(answers: &Value, expected: &Value) -> bool {
    let logits = |answers: &Value| -> Vec<Vec<f64>> {
        answers
            .as_array()
            .unwrap()
            .iter()
            .map(|image| serde_json::from_value(image["logits"].clone()).unwrap())
            .collect()
    };
    logits(answers)
        .concat()
        .iter()
        .zip(logits(expected).concat())
        .all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + b.abs()))
}

#[test]
fn lists_say_what_there_is() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, err) = runner(home.path(), &["weights", "list"]);
    assert_eq!(code, 0, "{err}");
    let line = |model: &str| {
        out.lines()
            .find(|line| line.trim_start().starts_with(model))
            .unwrap()
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    assert_eq!(line("vgg_16 "), ["vgg_16", "no", "eccv2018", "CC-BY-4.0"]);
    assert_eq!(line("mini_vgg_16 ")[1..3], ["built", "in"]);
    assert!(
        out.contains(
            "frozen_imagenet_models_v1.1.tar.gz\n  sha256 \
             493533fb8c4ed957e5ea575833310e61512a177571fb352692dc4992dec891a7;"
        ),
        "{out}"
    );
    let listed = json(home.path(), &["weights", "list"]);
    let all = listed["weights"].as_array().unwrap();
    assert_eq!(all.iter().filter(|row| row["source"] == "eccv2018").count(), 18);
    assert!(all.iter().all(|row| row["present"] == row["built_in"]
        && row["sha256"].is_string() == row["built_in"].as_bool().unwrap()));
    assert_eq!(listed["archives"][0]["size"], 2_828_941_127u64);

    // What is put there by hand is found and hashed.
    fs::create_dir(home.path().join("weights")).unwrap();
    fs::copy(
        format!("{FROZEN}/mobilenet_v1_025.pb"),
        home.path().join("weights/mobilenet_v1_025.pb"),
    )
    .unwrap();
    let listed = json(home.path(), &["weights", "list"]);
    let row = listed["weights"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["model"] == "mobilenet_v1_025")
        .unwrap();
    assert_eq!((&row["present"], &row["size"]), (&true.into(), &67351.into()));
    let checked = json(
        home.path(),
        &["weights", "check", "weights/mobilenet_v1_025.pb", "--model", "mobilenet_v1_025"],
    );
    assert_eq!(row["sha256"], checked["sha256"]);
}

#[test]
fn frozen_graphs_of_every_kind_pass_the_check() {
    let home = tempfile::tempdir().unwrap();
    for (file, operation) in [
        ("mobilenet_v1_025.pb", "27 FusedBatchNormV3"),
        ("mobilenet_v1_025.tf1ops.pb", "27 FusedBatchNorm,"),
        ("mobilenet_v1_025.unfused.pb", "27 Rsqrt"),
    ] {
        let (code, out, err) = runner(
            home.path(),
            &["weights", "check", &format!("{FROZEN}/{file}"), "--model", "mobilenet_v1_025"],
        );
        assert_eq!(code, 0, "{err}");
        for part in [
            "fits mobilenet_v1_025",
            "a frozen TensorFlow graph, ",
            "137 tensors",
            "224×224 pixels, 1001 classes, the first is background",
            operation,
        ] {
            let part = part.replace("137 tensors", "137, 475"); // tensors and numbers
            assert!(out.contains(&part), "{part}: {out}");
        }
    }
}

#[test]
fn a_check_says_all_that_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let graph = format!("{FROZEN}/mobilenet_v1_025.pb");
    let error = refusal(home.path(), &["weights", "check", &graph, "--model", "mobilenet_v1_050"]);
    assert!(
        error.contains(
            " tensors do not fit the \
             network:\n  misshapen   MobilenetV1/Conv2d_0/BatchNorm/beta: found [8], \
             expected [16]\n"
        ),
        "{error}"
    );
    let error = refusal(
        home.path(),
        &["weights", "check", &graph, "--model", "mobilenet_v1_025", "--params", "classes = 10"],
    );
    assert!(
        error.contains("MobilenetV1/Logits/Conv2d_1c_1x1/biases: found [1001], expected [10]")
            && error.contains("`--params 'classes = N'`"),
        "{error}"
    );
    let error = refusal(home.path(), &["weights", "check", &graph, "--model", "resnet_v2_50"]);
    assert!(
        error.contains("\n  missing     resnet_v2_50/")
            && error.contains("\n  unexpected  MobilenetV1/"),
        "{error}"
    );
    let error = refusal(home.path(), &["weights", "check", &graph, "--model", "mobilenet"]);
    assert!(error.starts_with("error: unknown model `mobilenet`"), "{error}");
    let error = refusal(home.path(), &["weights", "check", "gone.pb", "--model", "vgg_16"]);
    assert!(error.contains("weights gone.pb: No such file"), "{error}");
    fs::write(home.path().join("model.pth"), b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.")
        .unwrap();
    for command in ["check", "import"] {
        let error = refusal(home.path(), &["weights", command, "model.pth", "--model", "vgg_16"]);
        assert!(
            error.contains("so it is never opened") && error.contains("weights_only=True"),
            "{error}"
        );
    }
    save(&home.path().join("nan.safetensors"), &[("x", &[2])]);
    let error =
        refusal(home.path(), &["weights", "check", "nan.safetensors", "--model", "mini_vgg_16"]);
    assert!(error.contains("unexpected  x"), "{error}");
    save(&home.path().join("theirs.safetensors"), &[("conv1.weight", &[2])]);
    let error = refusal(
        home.path(),
        &["weights", "import", "theirs.safetensors", "--model", "resnet_v2_50"],
    );
    assert!(error.contains("their network is another: those of timm halve"), "{error}");
    assert!(!home.path().join("weights").exists(), "nothing is written unless all is well");
}

#[test]
fn torchvision_s_weights_come_in_under_the_checkpoint_s_names() {
    let home = tempfile::tempdir().unwrap();
    small_vgg(&home.path().join("theirs.safetensors"));
    let imported = json(
        home.path(),
        &["weights", "import", "theirs.safetensors", "--model", "vgg_16", "--params", SMALL],
    );
    assert_eq!((&imported["tensors"], &imported["dialect"]), (&32.into(), &"pytorch".into()));
    let own = home.path().join("weights/vgg_16.safetensors");
    assert_eq!(imported["stored"]["file"], own.to_str().unwrap());
    let sums = fs::read_to_string(home.path().join("weights/SHA256SUMS")).unwrap();
    assert_eq!(
        sums,
        format!("{}  vgg_16.safetensors\n", imported["stored"]["sha256"].as_str().unwrap())
    );
    let stored: std::collections::BTreeMap<_, _> =
        Tensor::read_safetensors(&own).unwrap().into_iter().collect();
    assert_eq!(stored["vgg_16/conv1/conv1_1/weights"].size(), [3, 3, 3, 8]);
    assert_eq!(stored["vgg_16/fc6/weights"].size(), [1, 1, 64, 512]);

    // It is found by its model's name, knows its parameters, and answers as what it was made from.
    let pixels = Tensor::rand([2, 3, 35, 35], (Kind::Float, tch::Device::Cpu));
    Tensor::write_safetensors(&[("pixels", pixels)], home.path().join("images.safetensors"))
        .unwrap();
    let answers = |more: &[&str]| {
        json(home.path(), &[&["predict", "--model", "vgg_16", "images.safetensors"], more].concat())
            ["images"]
            .clone()
    };
    let expected = answers(&["--weights", "theirs.safetensors", "--params", SMALL]);
    assert_eq!(expected[1]["logits"].as_array().unwrap().len(), 7);
    let one = answers(&[
        "--weights",
        "theirs.safetensors",
        "--params",
        SMALL,
        "--top",
        "1",
        "--logits",
        "logits.safetensors",
    ]);
    assert_eq!(one[1]["top"].as_array().unwrap().len(), 1);
    let (name, logits) =
        Tensor::read_safetensors(home.path().join("logits.safetensors")).unwrap().remove(0);
    assert_eq!((name.as_str(), logits.size()), ("logits", vec![2, 7]));
    let printed: Vec<f32> = serde_json::from_value(expected[1]["logits"].clone()).unwrap();
    assert_eq!(Vec::<f32>::try_from(logits.get(1)).unwrap(), printed, "printed exactly");
    assert!(alike(&answers(&[]), &expected));
    let listed = json(home.path(), &["weights", "list"]);
    let row =
        listed["weights"].as_array().unwrap().iter().find(|row| row["model"] == "vgg_16").unwrap();
    assert_eq!((&row["present"], &row["sha256"]), (&true.into(), &imported["stored"]["sha256"]));
    let checked =
        json(home.path(), &["weights", "check", own.to_str().unwrap(), "--model", "vgg_16"]);
    assert_eq!(
        (&checked["note"]["source"], &checked["note"]["parameters"]["classes"]),
        (&"theirs.safetensors".into(), &7.into())
    );
    // Once more, from its own names: the same tensors, and still torchvision's preprocessing.
    runner(home.path(), &["weights", "import", own.to_str().unwrap(), "--model", "vgg_16"]);
    assert!(alike(&answers(&[]), &expected));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(
            mode(&own),
            mode(&home.path().join("weights/SHA256SUMS")),
            "others may read it as they may read any file"
        );
    }
    // What has taken its place since is not what was written down.
    fs::write(&own, "another").unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(2);
    fs::File::options().write(true).open(&own).unwrap().set_modified(later).unwrap();
    let listed = json(home.path(), &["weights", "list"]);
    let row =
        listed["weights"].as_array().unwrap().iter().find(|row| row["model"] == "vgg_16").unwrap();
    assert_eq!(row["sha256"], "ae448ac86c4e8e4dec645729708ef41873ae79c6dff84eff73360989487f08e5");
    assert_eq!((&row["source"], &row["licence"]), (&"import".into(), &"".into()));
}

#[test]
fn weights_that_are_part_of_the_program_stay_what_they_are() {
    let home = tempfile::tempdir().unwrap();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/mini/mini_vgg_16.safetensors");
    let error = refusal(home.path(), &["weights", "import", file, "--model", "mini_vgg_16"]);
    assert!(error.contains("are part of the program") && error.contains("--weights "), "{error}");
    assert!(!home.path().join("weights").exists());
}

#[test]
fn frozen_graphs_come_in_as_safetensors() {
    let home = tempfile::tempdir().unwrap();
    let (code, out, err) = runner(
        home.path(),
        &[
            "weights",
            "import",
            &format!("{FROZEN}/mobilenet_v1_025.unfused.pb"),
            "--model",
            "mobilenet_v1_025",
        ],
    );
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("stored: ") && out.contains("weights/mobilenet_v1_025.safetensors\n  sha256 "),
        "{out}"
    );
    let tensors =
        Tensor::read_safetensors(home.path().join("weights/mobilenet_v1_025.safetensors")).unwrap();
    assert_eq!(tensors.len(), 137);
}

#[test]
fn pulling_what_cannot_be_pulled_says_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    for (name, expected) in [
        (
            "vgg16",
            "error: there are no weights called `vgg16`, did you mean `vgg_16`? (`runner weights \
             list` shows all)\n",
        ),
        (
            "mini_vgg_16",
            "error: the weights of `mini_vgg_16` are part of the program: there is nothing to \
             pull\n",
        ),
    ] {
        assert_eq!(refusal(home.path(), &["weights", "pull", name]), expected);
    }
    let error = refusal(home.path(), &["weights", "pull", "eccv2018", "--mirror", "here"]);
    assert!(error.contains("the mirror `here` is no address"), "{error}");
    fs::write(home.path().join("config.toml"), "mirror = \"http://127.0.0.1:1/x\"\n").unwrap();
    let error = refusal(home.path(), &["weights", "pull", "vgg_16"]);
    assert!(
        error.contains(
            "http://127.0.0.1:1/x/frozen_imagenet_models_v1.1.tar.gz could not be fetched: "
        ),
        "{error}"
    );
    assert!(error.contains("Connection refused"), "{error}");
    fs::write(home.path().join("config.toml"), "miror = \"x\"\n").unwrap();
    let error = refusal(home.path(), &["weights", "pull", "vgg_16"]);
    assert!(
        error.contains("config.toml: TOML parse error") && error.contains("unknown field `miror`"),
        "{error}"
    );
}
