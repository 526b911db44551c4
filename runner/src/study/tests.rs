use super::*;
use crate::data::Picture;
use anyhow::Result;
use gauntlet_core::device::Device;
use gauntlet_core::metric::{Direction, Scope};
use gauntlet_core::prelude::{Metric, Tensor};
use gauntlet_core::registry::Registry;
use gauntlet_core::testing::{Affine, Nudge};
use std::fmt::Write as _;
use std::path::Path;

struct Largest;

impl Metric for Largest {
    const NAME: &'static str = "largest";
    const SUMMARY: &'static str = "the largest change";
    const UNIT: &'static str = "pixel units";
    const SCOPE: Scope = Scope::Outcome;
    const DIRECTION: Direction = Direction::HigherIsMoreRobust;
    type Params = gauntlet_core::params::NoParams;

    fn new(_: Self::Params) -> Result<Self> {
        Ok(Self)
    }

    fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
        Ok(Vec::try_from((original - adversarial).abs().flatten(1, -1).amax([1], false))?)
    }
}

fn registry() -> Registry {
    let mut registry = Registry::empty();
    registry.model::<Affine>("toys 1.0.0").unwrap();
    registry.attack::<Nudge>("toys 1.0.0").unwrap();
    registry.metric::<Largest>("toys 1.0.0").unwrap();
    registry
}

const GOOD: &str = r#"name = "toy"
seed = 7
metrics = ["largest", { name = "largest", label = "again" }]

[[models]]
name = "affine"
weights = "affine.safetensors"

[[attacks]]
name = "nudge"
params = { amount = 0.5 }
goals = ["untargeted", "random"]

[transfer]
policy = "resize"
"#;

fn pictures() -> Vec<Picture> {
    (0..4)
        .map(|n| {
            Picture::from_rgb(
                &format!("p{n}"),
                n % 3,
                image::RgbImage::from_pixel(2, 2, image::Rgb([n as u8 * 40, 9, 80])),
            )
        })
        .collect()
}

fn parse(text: &str) -> Result<Study> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("affine.safetensors"), "weights").unwrap();
    let options = StudyOptions { pictures: Some(pictures()), ..StudyOptions::default() };
    Study::parse(text, "toy.toml", folder.path(), &registry(), options)
}

fn refusal(text: &str) -> String {
    format!("{:#}", parse(text).err().expect("the study is refused"))
}

#[test]
fn a_name_is_no_path_out_of_the_results() {
    let parse_as = |name: &str| parse(&GOOD.replacen("\"toy\"", name, 1));
    for name in [
        r#""..""#,
        r#""../x""#,
        r#""/etc""#,
        r#"".hidden""#,
        r#""a\\b""#,
        r#""a\u0000b""#,
        r#""a\nb""#,
        r#""""#,
    ] {
        let error = format!("{:#}", parse_as(name).err().unwrap());
        assert!(error.contains("names a folder: use letters, digits"), "{name}: {error}");
    }
    assert!(parse_as(&format!("\"{}\"", "x".repeat(256))).is_err());
    assert_eq!(parse_as("\"a.b-c_1\"").unwrap().name, "a.b-c_1");
}

#[test]
fn a_study_is_resolved_in_full() {
    let study = parse(GOOD).unwrap();
    assert_eq!((study.models.len(), study.classes, study.transfer), (1, 3, Some(Policy::Resize)));
    assert_eq!(study.models[0].weights_hash, blake3::hash(b"weights").to_string());
    assert_eq!(study.attacks[0].part.parameters.to_string(), "amount = 0.5\n");
    assert_eq!(study.attacks[0].goals, [GoalKind::Untargeted, GoalKind::Random]);
    assert_eq!(
        study.metrics.iter().map(|m| m.part.label.as_str()).collect::<Vec<_>>(),
        ["largest", "again"]
    );
}

#[test]
fn the_resolved_study_is_a_study() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("affine.safetensors"), "weights").unwrap();
    let options =
        || StudyOptions { pictures: Some(pictures()), images: Some(3), ..StudyOptions::default() };
    let first = Study::parse(GOOD, "toy.toml", folder.path(), &registry(), options()).unwrap();
    let second =
        Study::parse(first.to_toml(), "study.toml", Path::new("/"), &registry(), options())
            .unwrap();
    assert_eq!(first.to_toml(), second.to_toml());
    assert_eq!(second.data.pictures.len(), 3);
}

#[test]
fn what_is_wrong_is_shown_where_it_stands() {
    let error = refusal(&GOOD.replace("\"nudge\"", "\"nudgee\""));
    assert_eq!(
        error,
        "toy.toml, line 10, column 8: unknown attack `nudgee`, did you mean `nudge`? (`runner list \
         attacks` shows all)\n   |\n\
         10 | name = \"nudgee\"\n   |        ^^^^^^^^"
    );
    let error = refusal(&GOOD.replace("seed = 7", "seed = = 7"));
    assert!(error.starts_with("toy.toml, line 2, column 8: "), "{error}");
    assert!(error.ends_with("\n  |\n2 | seed = = 7\n  |        ^"), "{error}");
}

#[test]
fn every_mistake_in_a_model_or_attack_has_its_message() {
    check_mistakes(&[
        (
            "name = \"toy\"",
            "name = \"a/b\"",
            "line 1, column 8: `a/b` names a folder: use letters, digits, `-`, `_` and `.`",
        ),
        (
            "seed = 7",
            "sead = 7",
            "line 2, column 1: unknown field `sead`, did you mean `seed`, expected one of",
        ),
        ("seed = 7", "seed = -7", "line 2, column 8: invalid value: integer `-7`, expected u64"),
        (
            "seed = 7",
            "tie_tolerance = -0.1",
            "line 2, column 17: `tie_tolerance` is -0.1, expected a number from 0",
        ),
        (
            "seed = 7",
            "cell_timeout = -1",
            "line 2, column 16: `cell_timeout` is -1, expected a number of seconds, or 0 for no \
             limit",
        ),
        (
            "seed = 7",
            "tie_tolerance = nan",
            "line 2, column 17: `tie_tolerance` is NaN, expected a number from 0",
        ),
        (
            "\"affine\"",
            "\"afine\"",
            "line 6, column 8: unknown model `afine`, did you mean `affine`?",
        ),
        ("affine.saf", "a.saf", "line 7, column 11: there is no weights file"),
        (
            "weights = \"affine.safetensors\"\n",
            "",
            "line 6, column 8: model `affine` has no weights",
        ),
        (
            "amount = 0.5",
            "amuont = 0.5",
            "line 11, column 10: parameters of `nudge`: unknown parameter `amuont`, did you mean \
             `amount`?",
        ),
        (
            "amount = 0.5",
            "amount = 5",
            "line 11, column 10: attack `nudge`: `amount` is 5, expected 0 to 1",
        ),
        (
            "params = ",
            "preset = \"eccv\"\nparams = ",
            "line 11, column 10: parameters of `nudge`: unknown preset `eccv`",
        ),
        (
            "\"random\"",
            "\"rendom\"",
            "line 12, column 24: unknown variant `rendom`, expected one of `untargeted`, `random`",
        ),
        (
            "\"random\"",
            "\"untargeted\"",
            "line 12, column 9: expected at least one goal, and none twice",
        ),
    ]);
}

#[test]
fn every_mistake_in_a_metric_or_another_setting_has_its_message() {
    check_mistakes(&[
        (
            "[\"largest\", ",
            "[\"larges\", ",
            "line 3, column 12: unknown metric `larges`, did you mean `largest`?",
        ),
        (
            "label =",
            "lable =",
            "line 3, column 43: unknown field `lable`, did you mean `label`, expected one of \
             `name`, `label`",
        ),
        (
            "[\"largest\", ",
            "[3, ",
            "line 3, column 12: invalid type: integer `3`, expected a metric's name, or a table {",
        ),
        (
            "seed = 7",
            "probe = 3",
            "line 2, column 9: invalid type: integer `3`, expected a table, as in \
             `{ images = 64 }`",
        ),
        (
            "again",
            "",
            "line 3, column 23: the label \"\" cannot be shown: at least one visible character",
        ),
        ("again", "a\\tb", "line 3, column 23: the label \"a\\tb\" cannot be shown"),
        (
            "again",
            "largest",
            "line 3, column 23: two metrics are called `largest`: give one another `label = \"…\"`",
        ),
    ]);
}

/// Each mistake is what is replaced in the good study, what replaces it, and the beginning of the
/// message.
fn check_mistakes(mistakes: &[(&str, &str, &str)]) {
    for (old, new, expected) in mistakes {
        assert!(GOOD.contains(old), "{old}");
        let error = refusal(&GOOD.replacen(old, new, 1));
        assert!(error.starts_with(&format!("toy.toml, {expected}")), "{error}");
    }
}

#[test]
fn two_of_a_name_need_labels() {
    let mut text = GOOD.to_owned();
    write!(text, "\n[[models]]\nname = \"affine\"\nweights = \"affine.safetensors\"\n").unwrap();
    assert!(refusal(&text).starts_with(
        "toy.toml, line 18, column 8: two models are called \
         `affine`: give one another `label = \"…\"`"
    ));
    writeln!(text, "label = \"other\"").unwrap();
    assert_eq!(parse(&text).unwrap().models[1].part.label, "other");
}

#[test]
fn data_come_from_one_place_and_labels_fit_the_models() {
    let with = |data: &str| {
        let text = format!("{GOOD}\n[data]\n{data}\n");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("affine.safetensors"), "weights").unwrap();
        format!(
            "{:#}",
            Study::parse(&text, "toy.toml", folder.path(), &registry(), StudyOptions::default())
                .err()
                .unwrap()
        )
    };
    for (data, expected) in [
        (
            "",
            "toy.toml: [data] takes either `source = \"…\"` (fashion-mnist or eccv2018) or `folder \
             = \"…\"`",
        ),
        (
            "source = \"fashion-mnist\"\nfolder = \"x\"",
            "toy.toml: [data] takes either `source` or `folder`, not both",
        ),
        (
            "source = \"fashion-mnist\"\nlabels = \"x\"",
            "toy.toml: [data] says `labels`, `first_label`, `classes`, `greyscale` or `cmyk`, which go \
             with a `folder`",
        ),
        (
            "folder = \".\"\nlabels = \"a.csv\"\nfirst_label = 2",
            "toy.toml, line 20, column 15: `first_label` is 2, expected 0 or 1",
        ),
        (
            "folder = \".\"\nlabels = \"a.csv\"",
            "toy.toml, line 19, column 10: there is no label file",
        ),
        (
            "folder = \".\"\nclasses = \"a.txt\"",
            "toy.toml, line 19, column 11: there is no class file",
        ),
        (
            "source = \"fashion-mnist\"\nimages = 0",
            "toy.toml, line 19, column 10: `images` is 0: at least one is needed",
        ),
        (
            "source = \"mnist\"",
            "toy.toml, line 18, column 10: unknown variant `mnist`, expected `fashion-mnist` or \
             `eccv2018`",
        ),
        ("folder = \"photos\"", "toy.toml, line 18, column 10: there is no folder"),
        (
            "source = \"fashion-mnist\"\nimages = 2000",
            "toy.toml: 2000 images asked for, but the embedded Fashion-MNIST has 1000",
        ),
        (
            "source = \"fashion-mnist\"",
            "toy.toml: image `fashion-0000` has the label 9 (counted from 0), but the models have \
             3 classes",
        ),
    ] {
        let error = with(data);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn what_is_set_counts_as_if_it_stood_in_the_study() {
    let with = |settings: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("affine.safetensors"), "weights").unwrap();
        let set = settings.iter().map(|&setting| setting.to_owned()).collect();
        let options = StudyOptions { pictures: Some(pictures()), set, ..StudyOptions::default() };
        Study::parse(GOOD, "toy.toml", folder.path(), &registry(), options)
    };
    let study = with(&[
        "seed=9",
        "attack.nud.amount=0.25",
        "attack.nudge.goals=[\"second\"]",
        "transfer.policy=crop_or_pad",
    ])
    .unwrap();
    assert_eq!(
        (study.seed, study.attacks[0].goals.as_slice(), study.transfer),
        (9, &[GoalKind::Second][..], Some(Policy::CropOrPad))
    );
    assert!(
        study.to_toml().contains("seed = 9\n") && study.to_toml().contains("amount = 0.25\n"),
        "{}",
        study.to_toml()
    );
    for (setting, expected) in [
        (
            "sead=9",
            "toy.toml with --set, line 4, column 1: unknown field `sead`, did you mean `seed`, \
             expected one of",
        ),
        ("attack.nudge.amuont=9", "unknown parameter `amuont`, did you mean `amount`?"),
        (
            "attack.nudge.amount=much",
            "line 11, column 10: parameters of `nudge`: `amount`: invalid type: string \"much\", \
             expected f64",
        ),
        (
            "transfer.policy=resise",
            "line 15, column 10: unknown variant `resise`, expected one of `crop_or_pad`, `resize`",
        ),
        (
            "attack.nugde.amount=9",
            "--set attack.nugde.amount=9: the study has no attack `nugde`, did you mean `nudge`?",
        ),
    ] {
        let error = format!("{:#}", with(&[setting]).err().unwrap());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn the_goal_given_aims_at_what_the_label_file_says() {
    let text = GOOD.replace("\"random\"", "\"given\"");
    let with = |pictures: Vec<Picture>| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("affine.safetensors"), "weights").unwrap();
        Study::parse(
            &text,
            "toy.toml",
            folder.path(),
            &registry(),
            StudyOptions { pictures: Some(pictures), ..StudyOptions::default() },
        )
    };
    let error = format!("{:#}", with(pictures()).err().unwrap());
    assert!(
        error.starts_with(
            "toy.toml: the goal `given` aims at the class that a label file \
             gives, but image `p0` has none"
        ),
        "{error}"
    );
    let aiming = |target: i64| -> Vec<Picture> {
        let mut pictures = pictures();
        for picture in &mut pictures {
            picture.target = Some(target);
        }
        pictures
    };
    let error = format!("{:#}", with(aiming(3)).err().unwrap());
    assert_eq!(
        error,
        "toy.toml: image `p0` has the target 3 (counted from 0), but the models have 3 classes"
    );
    let plan = |target: i64| {
        crate::engine::plan::Plan::new(&with(aiming(target)).unwrap(), "cpu").fingerprint()
    };
    assert_eq!(plan(1), plan(1));
    assert_ne!(plan(1), plan(2), "another target is another cell");
}

#[test]
fn a_study_can_be_planned_without_weights_and_images() {
    let text = GOOD.replace("weights = \"affine.safetensors\"\n", "")
        + "[data]\nfolder = \"photos\"\nimages = 40\n";
    let open = |text: &str, plan_only: bool| {
        let options = StudyOptions { plan_only, ..StudyOptions::default() };
        Study::parse(text, "toy.toml", Path::new("/nowhere"), &registry(), options)
    };
    let study = open(&text, true).unwrap();
    assert_eq!(
        (study.data.pictures.len(), study.missing.weights[0].model.as_str()),
        (40, "affine")
    );
    assert_eq!(study.missing.images.unwrap().folder, Path::new("/nowhere/photos"));
    assert!(
        format!("{:#}", study.models[0].load(&registry(), Device::Cpu).err().unwrap())
            .starts_with("model `affine` has no weights")
    );
    assert!(
        format!("{:#}", open(&text, false).err().unwrap())
            .contains("model `affine` has no weights")
    );
    let error = format!("{:#}", open(&text.replace("images = 40\n", ""), true).err().unwrap());
    assert!(
        error.contains("line 16, column 10: there is no folder /nowhere/photos"),
        "how many images there are is not known: {error}"
    );
}

#[test]
fn random_targets_are_uniform_over_the_other_classes() {
    let study = parse(GOOD).unwrap();
    let mut counts = [0; 3];
    for n in 0..3000u32 {
        let image = image::RgbImage::from_pixel(1, 1, image::Rgb([n as u8, (n >> 8) as u8, 0]));
        let picture = Picture::from_rgb("x", 1, image);
        assert_eq!(study.random_target(&picture), study.random_target(&picture.clone()));
        counts[study.random_target(&picture) as usize] += 1;
    }
    assert_eq!(counts[1], 0);
    assert!((1350..1650).contains(&counts[0]), "{counts:?}");
}
