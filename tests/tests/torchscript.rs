//! TorchScript modules as models. `fixtures/torchscript/make.py` wrote the modules with PyTorch.

use gauntlet_core::device::Device;
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_runner::analysis::Denominator;
use gauntlet_runner::engine::plan::Plan;
use gauntlet_runner::engine::{RunOptions, Silent};
use gauntlet_runner::study::torchscript::{self, Channels, Preprocessing, Script};
use gauntlet_runner::study::{self, Policy, StudyModel};
use gauntlet_runner::{Session, Study};
use gauntlet_tests::processes::ended;
use gauntlet_tests::toys;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, iter};
use tch::{CModule, Kind, Tensor};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/torchscript").join(name)
}

/// What a study has to say about `colours.pt`.
fn colours() -> Script {
    let preprocessing = Preprocessing {
        channels: Channels::Bgr,
        mean: vec![0.406, 0.456, 0.485],
        std: vec![0.225, 0.224, 0.229],
        ..Preprocessing::default()
    };
    Script { side: 8, classes: 4, family: "mine".into(), preprocessing, ..Script::default() }
}

fn load(name: &str, script: &Script) -> anyhow::Result<Box<dyn Model>> {
    torchscript::load("mine", script, &fs::read(fixture(name)).unwrap(), Device::Cpu, false)
}

#[test]
fn a_module_answers_as_in_python() {
    #[derive(Deserialize)]
    struct Python {
        logits: Vec<Vec<f64>>,
        gradient: Vec<f64>,
    }
    let python: Python =
        serde_json::from_slice(&fs::read(fixture("colours.json")).unwrap()).unwrap();
    let grid = Tensor::arange(2 * 3 * 8 * 8, (Kind::Double, Device::Cpu)).view([2, 3, 8, 8]);
    let pixels = ((grid * 0.37).sin() * 0.5 + 0.5).to_kind(Kind::Float);
    let shifted = Script {
        // Pixels from 0 to 255, with means and deviations to match.
        preprocessing: Preprocessing {
            range: [0.0, 255.0],
            mean: colours().preprocessing.mean.iter().map(|mean| mean * 255.0).collect(),
            std: colours().preprocessing.std.iter().map(|std| std * 255.0).collect(),
            ..colours().preprocessing
        },
        ..colours()
    };
    for (name, script) in
        [("colours.pt", colours()), ("traced.pt", colours()), ("colours.pt", shifted)]
    {
        let model = load(name, &script).unwrap();
        let oracle = Oracle::new(model.as_ref(), vec![0, 1], Settings::default());
        let gradient = oracle.gradient(&[0, 1], &pixels, |logits| logits.select(1, 0)).unwrap();
        let expected = Tensor::from_slice2(&python.logits).to_kind(Kind::Float);
        assert!((gradient.logits - expected).abs().max().double_value(&[]) < 1e-6, "{name}");
        let found: Vec<f64> =
            (0..3).map(|channel| gradient.pixels.double_value(&[0, channel, 3, 4])).collect();
        assert!(
            found.iter().zip(&python.gradient).all(|(a, b)| (a - b).abs() < 1e-6),
            "{name}: {found:?}"
        );
        // An answer does not depend on earlier calls.
        let first = oracle.logits(&[0, 1], &pixels).unwrap();
        assert!(
            iter::repeat_with(|| oracle.logits(&[0, 1], &pixels).unwrap())
                .take(5)
                .all(|again| again == first)
        );
    }
}

#[test]
fn what_is_wrong_with_a_module_is_reported() {
    let error = |name: &str, script: &Script| format!("{:#}", load(name, script).err().unwrap());
    let start = "this is no TorchScript module, but ";
    assert!(
        error("state_dict.pt", &colours()).starts_with(start),
        "{}",
        error("state_dict.pt", &colours())
    );
    let text = error("make.py", &colours());
    assert!(
        text.starts_with(start)
            && text.ends_with("of no format that is known here; a TorchScript module is expected"),
        "{text}"
    );
    assert_eq!(
        error("tuple.pt", &colours()),
        "given 3 images of 8×8: it gives a tuple of 2, expected a tensor of logits: \
         wrap it in a module whose `forward` returns the logits alone, and save that"
    );
    let text = error("answer.pt", &colours());
    assert!(text.starts_with("its logits have no gradient with respect to the pixels"), "{text}");
    let text = error("training.pt", &colours());
    let start = "it gives an image other logits each time: call `model.eval()` before it is traced";
    assert!(text.starts_with(start) && text.contains("`samples = 16`"), "{text}");
    assert_eq!(
        error("colours.pt", &Script { classes: 10, ..colours() }),
        "for 3 images it gives logits of shape [3, 4], expected [3, 10] by `classes = 10`"
    );
    let text = error("colours.pt", &Script { side: 16, ..colours() });
    assert_eq!(
        text,
        "given 3 images of 16×16: mat1 and mat2 shapes cannot be multiplied (3x1536 and \
         384x4)"
    );
    for (wrong, start) in [
        (Script { side: 0, ..colours() }, "`side` is 0"),
        (Script { classes: 1, ..colours() }, "`classes` is 1"),
        (Script { label_offset: 2, ..colours() }, "`label_offset` is 2"),
        (
            Script {
                preprocessing: Preprocessing {
                    std: vec![1.0, 0.0, 1.0],
                    ..Preprocessing::default()
                },
                ..colours()
            },
            "`std` is [1.0, 0.0, 1.0]",
        ),
        (
            Script {
                preprocessing: Preprocessing { range: [1.0, 1.0], ..Preprocessing::default() },
                ..colours()
            },
            "`range` is [1.0, 1.0]",
        ),
    ] {
        assert!(error("colours.pt", &wrong).starts_with(start), "{start}");
    }
}

/// A file of `fixtures/torchscript/kinds` as a module of ten classes.
fn load_kind(name: &str) -> Result<Box<dyn Model>, String> {
    let preprocessing = Preprocessing::default();
    let script = Script { side: 28, classes: 10, preprocessing, ..colours() };
    load(&format!("kinds/{name}"), &script).map_err(|error| format!("{error:#}"))
}

/// Five images of 28×28 pixels.
fn five() -> Tensor {
    let grid = Tensor::arange(5 * 3 * 28 * 28, (Kind::Float, Device::Cpu)).view([5, 3, 28, 28]);
    (grid * 0.37).sin() * 0.5 + 0.5
}

#[test]
fn what_a_file_is_is_told_with_the_lines_that_mend_it() {
    for (name, what, line) in [
        ("state.pth", "weights of PyTorch's `torch.save`", "model.load_state_dict(torch.load("),
        ("exported.pt2", "a program of PyTorch's `torch.export.save`", "torch.export.load("),
        ("cut.pt", "a zip archive that is cut off, as of PyTorch's", "fetch or write it again"),
        (
            "newer_version.pt",
            "a TorchScript module of version 99, from a newer PyTorch: libtorch 2.11 reads up to \
             version 10",
            "torch.jit.trace(model.eval(), ",
        ),
        ("inplace_input.pt", "it changes its input in place", "self.module(x.clone())"),
        ("nan_out.pt", "it gives NaN for 3 of 3 made-up images", "away from 0"),
    ] {
        let error = load_kind(name).err().unwrap();
        assert!(error.contains(what) && error.contains(line), "{name}: {error}");
    }
}

#[test]
fn a_module_that_mixes_the_images_of_a_batch_is_refused_and_not_fed_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let weight = Tensor::arange(4 * 192, (Kind::Float, Device::Cpu)).sin().view([192, 4]);
    let example = Tensor::rand([2, 3, 8, 8], (Kind::Float, Device::Cpu));
    let traced =
        CModule::create_by_tracing("mixes", "forward", &[example], &mut |x: &[Tensor]| {
            let logits = x[0].flatten(1, -1).matmul(&weight);
            vec![&logits - logits.mean_dim([0i64].as_slice(), true, Kind::Float)]
        });
    let file = folder.path().join("mixes.pt");
    traced.unwrap().save(&file).unwrap();
    let script = Script { preprocessing: Preprocessing::default(), ..colours() };
    let loaded = torchscript::load("mine", &script, &fs::read(&file).unwrap(), Device::Cpu, false);
    let error = format!("{:#}", loaded.err().unwrap());
    assert!(error.starts_with("it gives an image other logits beside other images"), "{error}");
}

#[test]
fn a_module_for_batches_of_one_size_answers_each_image_by_itself() {
    let model = load_kind("fixed_batch.pt").unwrap();
    let pixels = five().set_requires_grad(true);
    let together = model.logits(&pixels);
    assert_eq!(together.size(), [5, 10]);
    for n in 0..5 {
        assert_eq!(model.logits(&pixels.narrow(0, n, 1)), together.narrow(0, n, 1), "{n}");
    }
    let gradient = Tensor::run_backward(&[together.sum(Kind::Float)], &[&pixels], false, false);
    assert_eq!(gradient[0].size(), pixels.size());
}

#[test]
fn modules_of_other_precision_compute_in_float32() {
    for (name, kind, precision, rounding) in [
        ("half.pt", Kind::Half, "float16 widened", 5e-3),
        ("bf16.pt", Kind::BFloat16, "bfloat16 widened", 5e-2),
        ("double.pt", Kind::Double, "float64 rounded", 1e-6),
    ] {
        let logits = load_kind(name).unwrap().logits(&five());
        assert_eq!(logits.kind(), Kind::Float);
        let raw =
            || CModule::load_on_device(fixture(&format!("kinds/{name}")), Device::Cpu).unwrap();
        let mut widened = raw();
        widened.to(Device::Cpu, Kind::Float, false);
        let distance = |other: &Tensor| (&logits - other).abs().max().double_value(&[]);
        let float = distance(&widened.forward_ts(&[five()]).unwrap());
        assert!(float < 1e-6, "{name}: {float:.1e} from the module in float32");
        let own = raw().forward_ts(&[five().to_kind(kind)]).unwrap();
        let own = distance(&own.to_kind(Kind::Float));
        assert!(own < rounding, "{name}: {own:.1e} from the module in its own precision");
        let script = Script { side: 28, classes: 10, ..colours() };
        let file = fixture(&format!("kinds/{name}"));
        let model = StudyModel::torchscript("mine", &file, &script).unwrap();
        assert_eq!(model.card.source, format!("TorchScript, {precision} to float32"));
    }
}

#[test]
fn a_module_that_gives_nan_is_refused_and_one_that_gives_infinities_is_not() {
    let place = tempfile::tempdir().unwrap();
    let script = Script { preprocessing: Preprocessing::default(), ..colours() };
    let load = |factor: f64| {
        let mut code = |inputs: &[Tensor]| {
            let sums = inputs[0].flatten(2, -1).mean_dim([2i64].as_slice(), false, Kind::Float);
            let four = Tensor::cat(&[&sums, &sums.narrow(1, 0, 1)], 1);
            // 0 / 0, or a positive number / 0.
            vec![&four * factor / (&four * 0.0)]
        };
        let example = Tensor::rand([2, 3, 8, 8], (Kind::Float, Device::Cpu));
        let file = place.path().join("module.pt");
        CModule::create_by_tracing("module", "forward", &[example], &mut code)
            .unwrap()
            .save(&file)
            .unwrap();
        torchscript::load("mine", &script, &fs::read(file).unwrap(), Device::Cpu, false)
    };
    let error = load(0.0).err().unwrap().to_string();
    let expected = "it gives NaN for 3 of 3 made-up images in [0, 1]: see that `range`, `mean` and";
    assert!(error.starts_with(expected), "{error}");
    assert!(load(1.0).is_ok());
}

const STUDY: &str = r#"
name = "scripts"
[[models]]
name = "toy_12"
[[models]]
kind = "torchscript"
name = "mine"
file = "colours.pt"
side = 8
classes = 4
family = "mine"
preprocessing = { channels = "bgr", mean = [0.406, 0.456, 0.485], std = [0.225, 0.224, 0.229] }
[[attacks]]
name = "step"
[transfer]
policy = "crop_or_pad"
"#;

fn parse(text: &str) -> anyhow::Result<Study> {
    let options = study::StudyOptions {
        pictures: Some(toys::pictures(40)),
        ..study::StudyOptions::default()
    };
    Study::parse(text, "scripts.toml", &fixture(""), &toys::registry()?, options)
}

#[test]
fn a_module_takes_part_like_any_model() {
    let study = parse(STUDY).unwrap();
    let (registry, out) = (toys::registry().unwrap(), tempfile::tempdir().unwrap());
    let session =
        Session::open(&study, &registry, out.path(), RunOptions::on(Device::Cpu), &Silent).unwrap();
    let outcome = session.run().unwrap();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let tables = session.report().unwrap();
    let (known, fooled) = (tables.accuracy[1].correct, tables.success[1].success);
    assert!(known > 25 && fooled > 0, "{known} {fooled}");
    assert_eq!(
        tables
            .transfer
            .iter()
            .filter(|pair| pair.source == 1 && pair.images[Denominator::All] == 40)
            .count(),
        2,
        "float and 8 bits"
    );

    // The written-out study and the one built in code are the same study.
    let fingerprint = Plan::new(&study, "cpu").fingerprint();
    assert_eq!(Plan::new(&parse(study.to_toml()).unwrap(), "cpu").fingerprint(), fingerprint);
    let built = Study::builder("scripts")
        .model("toy_12")
        .torchscript("mine", &fixture("colours.pt"), &colours())
        .attack("step")
        .transfer(Policy::CropOrPad)
        .open(
            &registry,
            study::StudyOptions {
                pictures: Some(toys::pictures(40)),
                ..study::StudyOptions::default()
            },
        );
    assert_eq!(Plan::new(&built.unwrap(), "cpu").fingerprint(), fingerprint);
    // Another file makes another model, and so does other preprocessing.
    for (old, new) in [("colours.pt", "traced.pt"), ("\"bgr\"", "\"rgb\"")] {
        assert_ne!(
            Plan::new(&parse(&STUDY.replace(old, new)).unwrap(), "cpu").fingerprint(),
            fingerprint,
            "{new}"
        );
    }
}

#[test]
fn errors_point_at_the_study() {
    let error = |old: &str, new: &str| {
        assert!(STUDY.contains(old), "{old}");
        format!("{:#}", parse(&STUDY.replace(old, new)).err().unwrap())
    };
    for (old, new, place, what) in [
        (
            "kind = \"torchscript\"\n",
            "",
            "line 7, column 8",
            "`file` goes with `kind = \"torchscript\"`",
        ),
        (
            "side = 8\n",
            "",
            "line 7, column 8",
            "a TorchScript module needs `file`, `side` (or `height` and `width`) and `classes`",
        ),
        ("side = 8", "side = -8", "line 9, column 8", "`side` is -8, expected"),
        (
            "side = 8",
            "weights = \"w\"",
            "line 9, column 11",
            "a TorchScript module has no `weights`",
        ),
        (
            "\"bgr\"",
            "\"brg\"",
            "line 12, column 17",
            "`channels`: expected one of `rgb`, `bgr`, found \"brg\", did you mean `bgr`?",
        ),
        ("colours.pt", "colors.pt", "line 8, column 8", "TorchScript module "),
        ("\"mine\"", "\"toy_12\"", "line 7, column 8", "two models are called `toy_12`"),
    ] {
        let text = error(old, new);
        assert!(text.starts_with(&format!("scripts.toml, {place}: {what}")), "{new}: {text}");
    }
}

#[test]
fn a_module_that_is_not_as_described_stops_a_run_before_it_begins() {
    let (registry, out) = (toys::registry().unwrap(), tempfile::tempdir().unwrap());
    let study = parse(&STUDY.replace("colours.pt", "tuple.pt")).unwrap();
    let session =
        Session::open(&study, &registry, out.path(), RunOptions::on(Device::Cpu), &Silent).unwrap();
    let text = format!("{:#}", session.run().err().unwrap());
    assert!(
        text.starts_with("model `mine`, TorchScript module ")
            && text.contains("it gives a tuple of 2"),
        "{text}"
    );
    assert_eq!(fs::read_dir(out.path().join("cells/clean")).unwrap().count(), 0);

    let copy = out.path().join("copy.pt");
    fs::copy(fixture("colours.pt"), &copy).unwrap();
    let model = StudyModel::torchscript("copy", &copy, &colours()).unwrap();
    fs::copy(fixture("traced.pt"), &copy).unwrap();
    let text = format!("{:#}", model.load(&registry, Device::Cpu).err().unwrap());
    assert!(text.ends_with("the file changed since the study was read: run it again"), "{text}");
}

#[test]
fn a_module_predicts() {
    let place = tempfile::tempdir().unwrap();
    toys::save_pictures(1, place.path());
    let predict = |params: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toy-runner"));
        command
            .arg("predict")
            .arg("--torchscript")
            .arg(fixture("colours.pt"))
            .args(["--params", params])
            .arg(place.path().join("1.00.png"));
        ended(command.output().unwrap())
    };
    let (code, out, err) = predict(
        "{ side = 8, classes = 4, preprocessing = { channels = 'bgr', \
         mean = [0.406, 0.456, 0.485], std = [0.225, 0.224, 0.229] } }",
    );
    assert_eq!(code, 0, "{err}");
    let first = out.lines().find(|line| {
        line.trim_start().starts_with(|c: char| c.is_ascii_digit()) && line.contains('%')
    });
    assert!(first.is_some_and(|line| line.trim_start().starts_with('0')), "{out}");
    let (code, _, err) = predict("side = 8");
    assert_eq!(code, 2);
    assert!(err.contains("`--params` of a TorchScript module: missing field `classes`"), "{err}");
}
