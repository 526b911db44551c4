//! Folders of images, label files and class files, as studies of them see them.

use gauntlet_core::registry::Registry;
use gauntlet_plugins as _;
use gauntlet_runner::analysis::flags::{Severity, Sign, of_inputs};
use gauntlet_runner::{Study, StudyOptions};
use image::RgbImage;
use std::fs;
use std::path::Path;

/// A small image with pixels of its own for each number.
fn save(path: &Path, number: u8) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage::from_fn(9, 9, |x, y| image::Rgb([(x * 9) as u8, (y * 7) as u8, number]));
    image.save(path).unwrap();
}

/// A study of `vgg_16`, whose weights need not be there.
fn plan(place: &Path, data: &str) -> Study {
    let text = format!(
        "name = \"s\"\nmetrics = []\n[data]\n{data}\n[[models]]\nname = \"vgg_16\"\n\
         [[attacks]]\nname = \"fgsm\"\n"
    );
    let options = StudyOptions { plan_only: true, ..StudyOptions::default() };
    Study::parse(&text, "s.toml", place, &Registry::linked().unwrap(), options).unwrap()
}

fn readings(study: &Study) -> Vec<(Sign, Severity, String)> {
    let flags = of_inputs(study).into_iter();
    flags.map(|flag| (flag.flag, flag.severity, flag.reading)).collect()
}

#[test]
fn byte_order_marks_are_read_over() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    save(&at("photos/n01440764/a.png"), 1);
    save(&at("photos/n01443537/b.png"), 2);
    // The marks of UTF-8 and UTF-16.
    fs::write(at("classes.txt"), "\u{feff}n01440764\nn01443537\n").unwrap();
    let units = "\u{feff}file\tlabel\nn01443537/b.png\tn01440764\n".encode_utf16();
    fs::write(at("labels.txt"), units.flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).unwrap();
    let study = r#"name = "s"
metrics = []
[data]
folder = "photos"
classes = "classes.txt"
[[models]]
name = "vgg_16"
params = { classes = 2 }
[[attacks]]
name = "fgsm"
"#;
    let open = |text: &str| {
        fs::write(at("study.toml"), format!("\u{feff}{text}")).unwrap();
        let options = StudyOptions { plan_only: true, ..StudyOptions::default() };
        let name = at("study.toml");
        Study::open(name.to_str().unwrap(), &Registry::linked().unwrap(), options).unwrap()
    };
    let labels = |study: Study| -> Vec<(String, i64)> {
        let mut labels: Vec<_> =
            study.data.pictures.into_iter().map(|picture| (picture.name, picture.label)).collect();
        labels.sort();
        labels
    };
    assert_eq!(labels(open(study)), [("n01440764/a.png".into(), 0), ("n01443537/b.png".into(), 1)]);
    let with_labels = study.replace("[[models]]", "labels = \"labels.txt\"\n[[models]]");
    assert_eq!(labels(open(&with_labels)), [("n01443537/b.png".into(), 0)]);
}

#[test]
fn a_picture_under_two_labels_is_flagged() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join("photos").join(name);
    save(&at("n01440764/a.png"), 1);
    save(&at("n01443537/b.png"), 2);
    std::os::unix::fs::symlink("../n01443537/b.png", at("n01440764/linked.png")).unwrap();
    let study = plan(place.path(), "folder = \"photos\"");
    let told = readings(&study);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].0, told[0].1), (Sign::ContradictoryLabels, Severity::Error));
    assert!(told[0].2.starts_with("1 of 3 images repeat an earlier one under another label"));
    assert!(
        told[0].2.contains("`n01440764/linked.png` has the label 0")
            || told[0].2.contains("`n01440764/linked.png` the label 0"),
        "{told:?}"
    );
}

#[test]
fn imagenets_classes_in_another_order_are_flagged() {
    let place = tempfile::tempdir().unwrap();
    save(&place.path().join("photos/n01440764/a.png"), 1);
    let imagenet = gauntlet_runner::data::Classes::imagenet();
    let id = |class: i64| imagenet.get(class).unwrap().id.clone().unwrap();
    let name = |class: i64| imagenet.name(class).to_owned();
    let open = |line: &dyn Fn(i64) -> String| {
        let lines: Vec<String> = (0..1000).map(line).collect();
        fs::write(place.path().join("classes.txt"), lines.join("\n")).unwrap();
        readings(&plan(place.path(), "folder = \"photos\"\nclasses = \"classes.txt\""))
    };
    assert_eq!(open(&id), []);
    let backwards = open(&|class| id(999 - class));
    assert_eq!(
        backwards,
        [(
            Sign::ClassesInAnotherOrder,
            Severity::Warning,
            "the classes are ImageNet's, but in reverse: class 0 is `n15075141`, which is 999 in \
             the order of the WordNet ids"
                .into()
        )]
    );
    // Names alone are enough, and so are names beside the ids.
    let backwards = open(&|class| format!("{} {}", id(999 - class), name(999 - class)));
    assert!(backwards[0].2.contains("class 0 is `toilet tissue`, which is 999"), "{backwards:?}");
    save(&place.path().join("photos/tench/a.png"), 1);
    fs::remove_dir_all(place.path().join("photos/n01440764")).unwrap();
    assert_eq!(open(&name), []);
    let shifted = open(&|class| name((class + 1) % 1000));
    assert!(shifted[0].2.contains("but shifted by 1: class 0 is `goldfish`"), "{shifted:?}");
}
