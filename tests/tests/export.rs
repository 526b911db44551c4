//! `runner export`: what it writes, from the results folder alone.

use gauntlet_core::weights::read_safetensors;
use gauntlet_tests::processes::ended;
use gauntlet_tests::toys;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use tch::{Kind, Tensor};
use tempfile::TempDir;

const STUDY: &str = r#"name = "toys"
metrics = []
[data]
folder = "images"
labels = "labels.csv"
[[models]]
name = "toy_8"
[[attacks]]
name = "step"
goals = ["untargeted", "given"]
"#;

/// Exit code, standard output and standard error.
fn session(place: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toy-runner"));
    ended(command.current_dir(place).args(arguments).output().unwrap())
}

/// A results folder whose images, labels and study are gone. Two names of images differ only in a
/// character that names of files do not have, two only in their ending.
fn results() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at("images/a")).unwrap();
    toys::save_pictures(4, &at("images"));
    let mut labels = String::from("file,label,target\n");
    let mut saved: Vec<_> =
        fs::read_dir(at("images")).unwrap().map(|entry| entry.unwrap().path()).collect();
    saved.retain(|path| path.is_file());
    saved.sort();
    for (path, name) in saved.iter().zip(["a/b.png", "a_b.png", "c.png", "c.jpg"]) {
        let label = path.file_name().unwrap().to_str().unwrap().split('.').next().unwrap();
        let label: i64 = label.parse::<i64>().unwrap() - 1;
        fs::rename(path, at("images").join(name)).unwrap();
        let target = (label + 1) % 3;
        writeln!(labels, "{name},{label},{target}").unwrap();
    }
    fs::write(at("labels.csv"), labels).unwrap();
    fs::write(at("study.toml"), STUDY).unwrap();
    let (code, _, err) = session(place.path(), &["run", "study.toml", "--out", "results"]);
    assert_eq!(code, 0, "{err}");
    fs::remove_dir_all(at("images")).unwrap();
    fs::remove_file(at("labels.csv")).unwrap();
    fs::remove_file(at("study.toml")).unwrap();
    place
}

#[test]
fn the_results_folder_is_enough_and_every_image_gets_a_file() {
    let place = results();
    let tensors = |goal: &str| {
        let path = place.path().join(format!("float/toy_8/step/{goal}.safetensors"));
        read_safetensors(fs::read(path).unwrap()).unwrap()
    };
    let (code, out, err) = session(place.path(), &["export", "results", "float"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let (untargeted, given) = (tensors("untargeted"), tensors("given"));
    assert!(
        out.starts_with(&format!("{} images in 2 files", untargeted.len() + given.len())),
        "{out}"
    );
    let (code, out, err) = session(place.path(), &["export", "results", "png", "--png"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("`a_b.png` is a_b-2.png"), "{out}");
    assert!(out.contains("`c.png` is c-2.png"), "{out}");
    let mut compared = 0;
    for (image, file) in
        [("a/b.png", "a_b"), ("a_b.png", "a_b-2"), ("c.png", "c-2"), ("c.jpg", "c")]
    {
        for (goal, tensors) in [("untargeted", &untargeted), ("given", &given)] {
            let path = place.path().join(format!("png/toy_8/step/{goal}/{file}.png"));
            let Some(pixels) = tensors.get(image) else {
                assert!(!path.exists(), "{}", path.display());
                continue;
            };
            let png = image::open(path).unwrap().into_rgb8();
            let levels = Tensor::from_slice(png.as_raw()).view([8, 8, 3]).permute([2, 0, 1]);
            let difference = (pixels * 255.0 - levels.to_kind(Kind::Float)).abs();
            // The 8-bit image is rounded inside the attack's budget.
            assert!(difference.max().double_value(&[]) <= 1.001, "{image}");
            compared += 1;
        }
    }
    assert!(compared >= 6, "{compared}");
}

#[test]
fn cells_that_are_gone_are_named() {
    let place = results();
    fs::remove_dir_all(place.path().join("results/cells/craft")).unwrap();
    let (code, out, err) = session(place.path(), &["export", "results", "float"]);
    assert_eq!((code, out.as_str()), (1, "0 images in 0 files under float\n"));
    assert!(err.contains("2 cells could not be read"), "{err}");
    assert!(err.contains("step (untargeted) on toy_8, images 1–4: "), "{err}");
    let (code, _, err) = session(place.path(), &["export", "results", "x", "--model", "toy"]);
    assert_eq!(code, 2);
    assert!(err.contains("the study has no model `toy`; it has toy_8"), "{err}");
}
