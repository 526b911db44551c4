//! The program itself, with the built-in models and attacks, on a few images.

use gauntlet_core::registry::Registry;
use gauntlet_plugins as _;
use gauntlet_runner::engine::plan::Plan;
use gauntlet_runner::study::{BUILT_IN, GoalKind, Policy, Study, StudyOptions};
use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Output};

const STUDY: &str = r#"
name = "few"
seed = 1
metrics = ["l2", "linf"]
[data]
source = "fashion-mnist"
images = 8
[[models]]
name = "mini_vgg_16"
[[models]]
name = "mini_mobilenet_v1_025"
[[attacks]]
name = "fgsm"
goals = ["untargeted", "random"]
[transfer]
policy = "crop_or_pad"
"#;

fn runner(arguments: &[&str], place: &std::path::Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runner")).args(arguments).current_dir(place).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_built_ins_are_linked_in() {
    let place = tempfile::tempdir().unwrap();
    for (kind, names) in [
        ("attacks", &["cw_l2", "ead_l1", "fgsm", "ifgsm"][..]),
        #[cfg(feature = "modern")]
        ("attacks", &["autoattack", "apgd", "fmn", "transfer_fgsm", "[gauntlet-modern "]),
        ("metrics", &["l0", "l1", "l2", "linf"]),
        ("models", &["mini_vgg_16", "mini_resnet_v2_50", "vgg_16", "mobilenet_v1_100"]),
    ] {
        let list = said(&runner(&["list", kind], place.path()));
        for name in names {
            assert!(list.contains(name), "{name} is not among\n{list}");
        }
    }
}

#[test]
fn a_study_with_the_minis_runs_once() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("few.toml"), STUDY).unwrap();
    let first = said(&runner(&["run", "few.toml", "--workers", "1"], place.path()));
    // 2 clean, 2 probe, 4 craft, 8 measure and 4 transfer cells
    assert!(
        first.starts_with(
            "few: 8 images, 2 models, 1 attack, transfer crop_or_pad\n20 of 20 cells to compute\n"
        ),
        "{first}"
    );
    let tables =
        |name: &str| fs::read_to_string(place.path().join("results/few").join(name)).unwrap();
    let before = tables("transfer.csv");
    assert_eq!(before.lines().count(), 1 + 2 * (2 + 4), "a line per pair, goal, depth and rank");
    let second = said(&runner(&["run", "few.toml", "--workers", "2"], place.path()));
    assert_eq!(second, first.replacen("20 of 20", "0 of 20", 1));
    assert_eq!(tables("transfer.csv"), before);
    let latex = tables("tables.tex");
    // accuracy, 2 goals of success, and of transfer 1 + 2 ranks
    assert_eq!(latex.matches("\\begin{tabular}").count(), 1 + 2 + 3);
    assert!(latex.contains("mini\\_vgg\\_16"), "{latex}");
    assert_eq!(
        tables("matrices.csv").lines().count(),
        1 + 3 * 2 * 2 * 3,
        "rate, control and excess; two depths, two sources, three matrices"
    );
    assert!(tables("provenance.json").contains("\"device\": \"cpu\""));

    // Row 9: the second image given to the other model.
    let again = said(&runner(&["rerun", "results/few", "9"], place.path()));
    assert!(
        again.starts_with(
            "row 9: fgsm (untargeted) on mini_vgg_16, given to \
             mini_mobilenet_v1_025, image fashion-0001\n"
        ),
        "{again}"
    );
    assert!(again.ends_with("The row agrees, bit for bit.\n"), "{again}");
    let beyond = runner(&["rerun", "results/few", "64"], place.path());
    assert_eq!(beyond.status.code(), Some(2));
    let error = String::from_utf8_lossy(&beyond.stderr).into_owned();
    assert_eq!(error, "error: there is no row 64: the folder has 64, counted from 0\n");

    let differ = said(&runner(&["diff", "results/few", "results/few"], place.path()));
    assert!(differ.starts_with("64 outcomes in both, 0 in A alone, 0 in B alone\n"), "{differ}");
    assert!(differ.contains("Transfer: 0 of 4 pairs changed, 0 significantly"), "{differ}");

    let other = place.path().join("results/other");
    fs::create_dir(&other).unwrap();
    fs::copy(place.path().join("results/few/outcomes.parquet"), other.join("outcomes.parquet"))
        .unwrap();
    let study = fs::read_to_string(place.path().join("results/few/study.toml")).unwrap();
    let epsilon = study.lines().find_map(|line| line.strip_prefix("epsilon = ")).unwrap();
    fs::write(
        other.join("study.toml"),
        study.replacen(&format!("epsilon = {epsilon}"), "epsilon = 0.75", 1),
    )
    .unwrap();
    let differ = said(&runner(&["diff", "results/few", "results/other"], place.path()));
    assert!(
        differ.contains(&format!(
            "\nattack fgsm differs: params.epsilon is {epsilon} in A, 0.75 in B\n"
        )),
        "{differ}"
    );

    let all = said(&runner(&["export", "results/few", "files"], place.path()));
    assert!(all.ends_with(" images in 4 files under files\n"), "{all}");
    said(&runner(
        &["export", "results/few", "files", "--png", "--successes", "--model", "mini_vgg_16"],
        place.path(),
    ));
    let png = fs::read_dir(place.path().join("files/mini_vgg_16/fgsm/untargeted"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let picture = image::open(png).unwrap();
    assert_eq!((picture.width(), picture.height()), (28, 28));
    let unknown = runner(&["export", "results/few", "files", "--model", "vgg"], place.path());
    let error = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(
        error,
        "error: the study has no model `vgg`; it has mini_vgg_16, mini_mobilenet_v1_025\n"
    );
    let craft = fs::read_dir(place.path().join("results/few/cells/craft"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    fs::write(
        craft.filter(|path| path.extension().is_some_and(|e| e == "parquet")).min().unwrap(),
        "damaged",
    )
    .unwrap();
    let damaged = runner(&["export", "results/few", "again"], place.path());
    let error = String::from_utf8_lossy(&damaged.stderr).into_owned();
    assert_eq!(damaged.status.code(), Some(1));
    assert!(
        error.starts_with(
            "1 cell could not be read; `runner run` computes what is missing\n  fgsm ("
        ),
        "{error}"
    );
}

#[test]
fn plugins_join_the_built_in_study() {
    let place = tempfile::tempdir().unwrap();
    let built = std::env::current_exe().unwrap().with_file_name("libgauntlet_sample.so");
    fs::create_dir(place.path().join("plugins")).unwrap();
    fs::copy(built, place.path().join("plugins/sample.so")).unwrap();
    // All but one of the study's own models and attacks are left out, to save time.
    let few = [
        "--images",
        "6",
        "--exclude",
        "mini_[!m]*,mini_mobilenet_v1_050,mini_mobilenet_v1_100,ifgsm,cw_l2,ead_l1",
    ];
    let out =
        said(&runner(&[&["--plugins", "plugins", "run", "mini"][..], &few].concat(), place.path()));
    assert!(
        out.starts_with(
            "mini: 6 images, 2 models, 2 attacks, transfer crop_or_pad\nplugins \
             gauntlet-sample 1.2.3\n"
        ),
        "{out}"
    );
    assert!(
        out.contains(
            "\njoined by model bands, attack noisy (untargeted, random), metric goal_margin \
             (untargeted), metric mean_change\n"
        ),
        "{out}"
    );
    assert!(out.contains("\nleft out: model patch: no weights"), "{out}");
    let transfer = fs::read_to_string(place.path().join("results/mini/transfer.csv")).unwrap();
    for pair in [
        "bands,mini_mobilenet_v1_025,fgsm,untargeted,",
        "mini_mobilenet_v1_025,bands,noisy,random,",
    ] {
        assert!(transfer.contains(pair), "{pair}\n{transfer}");
    }
}

#[test]
fn built_in_studies_are_sound_and_say_what_they_are() {
    let registry = Registry::linked().unwrap();
    for built_in in BUILT_IN {
        let options = StudyOptions { plan_only: true, ..StudyOptions::default() };
        let study = Study::open(built_in.name, &registry, options).unwrap();
        assert_eq!(study.name, built_in.name);
        assert!(
            built_in.text.starts_with("# ") && built_in.summary().len() > 20,
            "{}",
            built_in.summary()
        );
    }
}

#[test]
fn the_published_study_is_whole() {
    let registry = Registry::linked().unwrap();
    let study = Study::open(
        "eccv2018",
        &registry,
        StudyOptions { plan_only: true, ..StudyOptions::default() },
    )
    .unwrap();
    assert_eq!(
        (study.models.len(), study.classes, study.data.pictures.len(), study.seed),
        (18, 1000, 1000, 1215)
    );
    assert_eq!((study.tie_tolerance, study.transfer), (0.001, Some(Policy::CropOrPad)));
    assert!(study.models.iter().all(|model| !model.part.name.starts_with("mini_")));
    assert!(
        study.attacks.iter().all(|attack| attack.goals
            == [GoalKind::Untargeted, GoalKind::Random, GoalKind::LeastLikely])
    );
    let values = |name: &str, parameter: &str| -> Vec<f64> {
        let of = study
            .attacks
            .iter()
            .filter(|attack| attack.part.name == name)
            .map(|attack| &attack.part.parameters[parameter]);
        of.map(|value| value.as_float().or(value.as_integer().map(|i| i as f64)).unwrap()).collect()
    };
    assert_eq!(values("fgsm", "epsilon"), [0.1, 0.2, 0.3]);
    assert_eq!(values("ifgsm", "epsilon"), [0.02, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3]);
    assert_eq!(
        values("ifgsm", "iterations"),
        [50.0, 10.0, 30.0, 50.0, 10.0, 30.0, 50.0, 10.0, 30.0, 50.0]
    );
    for (attack, rate) in [("cw_l2", 2e-3), ("ead_l1", 1e-2)] {
        assert_eq!(values(attack, "kappa"), [0.0, 20.0, 40.0]);
        let rates_of =
            study.attacks.iter().filter_map(|attack| attack.part.parameters.get("rate_of"));
        assert!(rates_of.map(|of| of.as_str()).all(|of| of == Some("pixel")));
        for (parameter, value) in [
            ("learning_rate", rate),
            ("search_steps", 9.0),
            ("iterations", 1000.0),
            ("initial_c", 0.01),
        ] {
            assert_eq!(values(attack, parameter), [value; 3], "{attack}: {parameter}");
        }
    }
    assert_eq!(values("cw_l2", "growth"), [1.0; 3]);
}

#[test]
fn the_mini_studies_cover_all_306_pairs_of_all_18_miniatures() {
    let registry = Registry::linked().unwrap();
    for name in ["mini", "mini-quick"] {
        let study = Study::open(name, &registry, StudyOptions::default()).unwrap();
        let models: BTreeSet<&str> =
            study.models.iter().map(|model| model.part.name.as_str()).collect();
        let minis = registry
            .models()
            .map(|model| model.entry.name.as_str())
            .filter(|name| name.starts_with("mini_"));
        assert_eq!(models, minis.collect());
        assert_eq!(
            study.attacks.iter().map(|attack| attack.part.name.as_str()).collect::<Vec<_>>(),
            ["fgsm", "ifgsm", "cw_l2", "ead_l1"]
        );
        let plan = Plan::new(&study, "cpu");
        for attack in 0..4 {
            for goal in [GoalKind::Untargeted, GoalKind::Random] {
                let of_this = plan
                    .campaigns
                    .iter()
                    .filter(|campaign| (campaign.attack, campaign.goal) == (attack, goal));
                let pairs: BTreeSet<_> = of_this
                    .flat_map(|c| c.transfers.iter().map(|(target, _)| (c.model, *target)))
                    .collect();
                assert_eq!(pairs.len(), 306, "{name}: attack {attack}, {}", goal.name());
            }
        }
    }
}

#[test]
fn a_dry_run_names_what_is_missing_and_how_to_get_it() {
    let place = tempfile::tempdir().unwrap();
    let arguments = [
        "run",
        "eccv2018",
        "--dry-run",
        "--workers",
        "1",
        "--set",
        r#"models=[{ name = "mobilenet_v1_025" }]"#,
    ];
    let output = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(arguments)
        .args(["--set", "data.images=40"])
        .env("GAUNTLET_HOME", place.path().join("home"))
        .current_dir(place.path())
        .output()
        .unwrap();
    let text = said(&output);
    let images = place.path().join("home/images/eccv2018");
    for expected in [
        "eccv2018: 40 images, 1 model, 19 attacks, transfer crop_or_pad\n",
        "mobilenet_v1_025  missing, measured with made-up ones",
        "\nMissing\n  weights of 1 model: mobilenet_v1_025\n",
        "  runner weights pull mobilenet_v1_025\n",
        &format!("  images (6.7 GB): there is no folder {}\n", images.display()),
        "  curl -fLO -C - http://download.huan-zhang.com/datasets/adv/img.tar.gz\n",
        "\nAbout ",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    // 19 attacks, three goals, two slices.
    let craft = text.lines().find(|line| line.trim_start().starts_with("craft")).unwrap();
    assert_eq!(craft.split_whitespace().nth(1), Some("114"), "{craft}");
    assert!(
        !text.contains("not counted") && fs::read_dir(place.path()).unwrap().count() == 0,
        "{text}"
    );
}
