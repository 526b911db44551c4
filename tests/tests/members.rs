//! Which models, attacks and metrics take part in a study: those that it names or all that fit, as
//! `include` and `exclude` choose.

use gauntlet_core::params::NoParams;
use gauntlet_core::prelude::*;
use gauntlet_core::registry::Registry;
use gauntlet_core::testing::Affine;
use gauntlet_core::weights::NO_WEIGHTS;
use gauntlet_runner::engine::plan::Plan;
use gauntlet_runner::study::{GoalKind, MemberKind, Study, StudyOptions};
use gauntlet_sample as _;
use gauntlet_tests::libraries::library;
use gauntlet_tests::toys;
use std::path::Path;

/// A model with another number of classes.
struct Odd(Affine);

impl Model for Odd {
    fn card(&self) -> &ModelCard {
        self.0.card()
    }

    fn logits(&self, pixels: &Tensor) -> Tensor {
        self.0.logits(pixels)
    }
}

impl Architecture for Odd {
    const NAME: &'static str = "odd";
    type Params = NoParams;

    fn describe(_: &NoParams) -> ModelCard {
        Affine::new(3, 8, 1).card().clone()
    }

    fn load(_: NoParams, _: &Weights) -> Result<Self> {
        Ok(Self(Affine::new(3, 8, 1)))
    }

    fn embedded_weights() -> Option<&'static [u8]> {
        Some(NO_WEIGHTS)
    }
}

/// The toys, and three models that do not fit: one has no weights, one is too large, and one has
/// another number of classes.
fn registry() -> Registry {
    let mut registry = toys::registry().unwrap();
    registry.model::<Affine>("toys 1.0.0").unwrap();
    registry.model::<toys::Toy<64, 0>>("toys 1.0.0").unwrap();
    registry.model::<Odd>("toys 1.0.0").unwrap();
    registry
}

fn open(text: &str, options: StudyOptions) -> Result<Study> {
    let options = StudyOptions { pictures: Some(toys::pictures(8)), ..options };
    Study::parse(text, "toys.toml", Path::new("."), &registry(), options)
}

/// Labels of models, attacks and metrics.
fn members(study: &Study) -> [Vec<&str>; 3] {
    [
        study.models.iter().map(|model| model.part.label.as_str()).collect(),
        study.attacks.iter().map(|attack| attack.part.label.as_str()).collect(),
        study.metrics.iter().map(|metric| metric.part.label.as_str()).collect(),
    ]
}

const NAMED: &str = r#"name = "toys"
metrics = ["largest"]
[[models]]
name = "toy_8"
[[models]]
name = "toy_8"
label = "other"
params = { seed = 9 }
[[attacks]]
name = "step"
goals = ["random"]
[[attacks]]
name = "nudge"
"#;

#[test]
fn a_list_that_is_left_out_is_all_that_fits() {
    let study = open("name = \"toys\"", StudyOptions::default()).unwrap();
    let [models, attacks, metrics] = members(&study);
    assert_eq!(models, ["broken", "fatal", "toy_12", "toy_8"]);
    assert!(attacks.len() > 10 && attacks.is_sorted(), "{attacks:?}");
    assert!(study.attacks.iter().all(|attack| attack.goals == [GoalKind::Untargeted]));
    assert_eq!(metrics, ["largest"]);
    let out: Vec<String> = study
        .left_out
        .iter()
        .map(|out| format!("{} {}: {}", out.kind, out.name, out.reason))
        .collect();
    assert_eq!(
        out,
        [
            "metric margin: it takes long: name it in the study, or say `--include 'metric:*'`",
            "model affine: no weights, see `runner weights list`",
            "model large: its side is 64 pixels, that of the images 10: name it under [[models]] \
             to have it all the same",
            "model odd: it has 3 classes, and the study 4",
        ]
    );
    let again = open(study.to_toml(), StudyOptions::default()).unwrap();
    assert_eq!(Plan::new(&again, "cpu").fingerprint(), Plan::new(&study, "cpu").fingerprint());
    assert!(again.joined.is_empty() && !study.joined.is_empty());
}

#[test]
fn a_list_that_is_there_is_as_it_says() {
    assert_eq!(
        members(&open(NAMED, StudyOptions::default()).unwrap()),
        [vec!["toy_8", "other"], vec!["step", "nudge"], vec!["largest"]]
    );
    let none = NAMED.replace("[\"largest\"]", "[]").split("[[attacks]]").next().unwrap().to_owned();
    let study = open(&format!("attacks = []\n{none}"), StudyOptions::default()).unwrap();
    assert_eq!(members(&study)[1..], [vec![], vec![]] as [Vec<&str>; 2]);
    // The written-out study has no members of these kinds either.
    assert_eq!(members(&open(study.to_toml(), StudyOptions::default()).unwrap()), members(&study));
    // An attack may have goals of its own.
    let study = open(
        &NAMED.replace("name = \"nudge\"", "name = \"nudge\"\ngoals = [\"second\", \"random\"]"),
        StudyOptions::default(),
    )
    .unwrap();
    assert_eq!(study.attacks.len(), 2);
}

#[test]
fn include_and_exclude_choose() {
    let text = |keys: &str| format!("{keys}\n{NAMED}");
    for (keys, [include, exclude], expected) in [
        ("include = [\"other\"]", [&[][..], &[]], ["other", "step nudge", "largest"]),
        (
            "include = [\"model:toy*\", \"attacks:n?dge\"]",
            [&[], &[]],
            ["toy_8 other", "nudge", "largest"],
        ),
        ("exclude = [\"other\", \"metric:*\"]", [&[], &[]], ["toy_8", "step nudge", ""]),
        ("exclude = [\"other\"]", [&[], &["step"]], ["toy_8", "nudge", "largest"]),
        ("include = [\"step\"]", [&["nudge"], &[]], ["toy_8 other", "nudge", "largest"]),
        ("include = [\"toy_8\"]", [&[], &["other"]], ["toy_8", "step nudge", "largest"]),
    ] {
        let options = StudyOptions {
            include: owned(include),
            exclude: owned(exclude),
            ..StudyOptions::default()
        };
        let study = open(&text(keys), options).unwrap();
        assert_eq!(
            members(&study).map(|labels| labels.join(" ")),
            expected.map(String::from),
            "{keys} {include:?} {exclude:?}"
        );
    }
    let study = open(
        "name = \"toys\"",
        StudyOptions {
            include: vec!["metric:m*".into(), "toy_*".into(), "step".into()],
            ..StudyOptions::default()
        },
    );
    assert_eq!(members(&study.unwrap()), [vec!["toy_12", "toy_8"], vec!["step"], vec!["margin"]]);
}

/// Opens a study with the library `sample`, whose members join as `options` says.
fn with_sample(text: &str, options: StudyOptions) -> Result<Study> {
    let mut registry = registry();
    registry.load(&library("sample"))?;
    let options = StudyOptions { pictures: Some(toys::pictures(8)), ..options };
    Study::parse(text, "toys.toml", Path::new("."), &registry, options)
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

#[test]
fn a_joining_attack_has_the_goals_of_the_study_whoever_takes_part() {
    for exclude in [&[][..], &["step"], &["nudge"], &["step", "nudge"]] {
        let options = StudyOptions {
            include: owned(&["attack:*"]),
            exclude: owned(exclude),
            ..StudyOptions::default()
        };
        let study = with_sample(NAMED, options).unwrap();
        let noisy = study.attacks.iter().find(|attack| attack.part.label == "noisy").unwrap();
        assert_eq!(noisy.goals, [GoalKind::Random, GoalKind::Untargeted], "{exclude:?}");
        assert_eq!(study.attacks.len(), 3 - exclude.len());
    }
}

#[test]
fn settings_reach_members_that_join() {
    let set = |settings: &[&str]| {
        let include = owned(&["attack:*", "metric:*", "model:*"]);
        let set = owned(settings);
        with_sample(NAMED, StudyOptions { include, set, ..StudyOptions::default() })
    };
    let study = set(&[
        "attack.noisy.epsilon=0.25",
        "attack.noisy.label=loud",
        "attacks.*.goals=[\"second\"]",
        "metric.goal.goals=[\"second\"]",
        "metric.mean_change.label=change",
        "model.bands.label=stripes",
    ]);
    let study = study.unwrap();
    let noisy = study.attacks.iter().find(|attack| attack.part.name == "noisy").unwrap();
    assert_eq!(noisy.part.parameters["epsilon"].as_float(), Some(0.25));
    assert_eq!(noisy.part.label, "loud");
    assert!(study.attacks.iter().all(|attack| attack.goals == [GoalKind::Second]));
    let metric = |name: &str| study.metrics.iter().find(|metric| metric.part.name == name).unwrap();
    assert_eq!(metric("goal_margin").goals, [GoalKind::Second]);
    assert_eq!(metric("mean_change").part.label, "change");
    assert!(study.joined.contains(&(MemberKind::Attack, "loud".to_owned())));
    // Written out, it is the same study without any setting.
    let again = with_sample(study.to_toml(), StudyOptions::default()).unwrap();
    assert_eq!(Plan::new(&again, "cpu").fingerprint(), Plan::new(&study, "cpu").fingerprint());

    // A model without weights stays out. A setting that is wrong is an error.
    let options = |settings: &[&str]| StudyOptions {
        include: owned(&["model:patch", "model:toy_8"]),
        set: owned(settings),
        ..StudyOptions::default()
    };
    let left_out = with_sample(NAMED, options(&["model.patch.classes=4"])).unwrap().left_out;
    let patch = left_out.iter().find(|out| out.name == "patch").unwrap();
    assert_eq!(patch.reason, "no weights, see `runner weights list`");
    for (setting, expected) in [
        (
            "attack.noisy.epsilom=1",
            "attack `noisy` with --set, line 2, column 10: parameters of `noisy`: unknown parameter \
             `epsilom`, did you mean `epsilon`?; there are: epsilon, lengths, shy, note\n  |\n2 | params = { \
             epsilom = 1 }\n",
        ),
        (
            "attack.noisy.goals=[\"up\"]",
            "attack `noisy` with --set, line 2, column 10: unknown variant `up`",
        ),
        (
            "metric.mean_change.goals=[\"second\"]",
            "metric `mean_change` with --set, line 1, column 1: metric `mean_change` is about the \
             outcomes of attacks: it takes no `goals`",
        ),
        (
            "model.bands.sides=1",
            "model `bands` with --set, line 2, column 10: parameters of `bands`: unknown parameter \
             `sides`",
        ),
        (
            "attack.nosy.epsilon=1",
            "--set attack.nosy.epsilon=1: the study has no attack `nosy`, did you mean `noisy`?; \
             there are: step, nudge, noisy",
        ),
    ] {
        let error = format!("{:#}", set(&[setting]).err().unwrap());
        assert!(error.starts_with(expected), "{setting}: {error}");
    }
}

#[test]
fn a_pattern_of_no_use_is_a_mistake() {
    let error = |keys: &str, options: StudyOptions| {
        format!("{:#}", open(&format!("{keys}\n{NAMED}"), options).err().unwrap())
    };
    let expected = "toys.toml, line 1, column 12: `othe` matches nothing that could take part, did \
                    you mean `other`?";
    assert!(error("include = [\"othe\"]", StudyOptions::default()).starts_with(expected));
    let expected = "toys.toml, line 1, column 12: `modle:*`: `modle` is no kind: use `model`, \
                    `attack` or `metric`";
    assert!(error("exclude = [\"modle:*\"]", StudyOptions::default()).starts_with(expected));
    let given = |include: &str, exclude: &str| StudyOptions {
        include: include.split_whitespace().map(String::from).collect(),
        exclude: exclude.split_whitespace().map(String::from).collect(),
        ..StudyOptions::default()
    };
    assert_eq!(
        error("", given("attack:affine", "")),
        "--include: `attack:affine` matches nothing that could take part"
    );
    assert_eq!(
        error("", given("", "[")),
        "--exclude: `[` is no pattern: Pattern syntax error near position 0: invalid range pattern"
    );
    let none = error("", given("", "model:*"));
    assert_eq!(none, "toys.toml: a study needs at least one model ([[models]])");
    assert_eq!(MemberKind::Attack.to_string(), "attack");
}
