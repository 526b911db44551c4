//! The program itself, with the built-in models and attacks, on a few images.

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
    // 2 clean, 4 craft, 8 measure and 4 transfer cells
    assert!(first.starts_with("few: 8 images, 2 models, 1 attack, transfer crop_or_pad\n18 of 18 cells to compute\n"), "{first}");
    let tables = |name: &str| fs::read_to_string(place.path().join("results/few").join(name)).unwrap();
    let before = tables("transfer.csv");
    assert_eq!(before.lines().count(), 1 + 2 * (2 + 4), "a line per pair, goal, depth and rank");
    let second = said(&runner(&["run", "few.toml", "--workers", "2"], place.path()));
    assert_eq!(second, first.replacen("18 of 18", "0 of 18", 1));
    assert_eq!(tables("transfer.csv"), before);
}

#[test]
fn the_built_in_study_is_sound() {
    use gauntlet_plugins as _;
    use gauntlet_runner::study::{BUILT_IN, Options, Study};
    let registry = gauntlet_core::registry::Registry::linked().unwrap();
    for (name, _) in BUILT_IN {
        let study = Study::open(name, &registry, Options::default()).unwrap();
        assert_eq!(study.name, name);
    }
}
