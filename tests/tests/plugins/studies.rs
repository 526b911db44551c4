//! Plugins in a study: their cells, their probes, and who joins.

use crate::{STUDY, hash, install, place, said, with_attacks};
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use std::fs::{self, File};
use std::path::Path;

#[test]
fn a_rebuilt_plugin_computes_its_own_cells_again() {
    let place = place();
    let at = place.path();
    let path = install(at, "sample");
    fs::write(
        at.join("study.toml"),
        with_attacks("[[attacks]]\nname = \"noisy\"")
            .replace("[\"largest\"]", "[\"largest\", \"mean_change\"]"),
    )
    .unwrap();
    let cells = |arguments: &[&str]| {
        let out = said(at, &[&["run", "study.toml", "--plugins", "plugins"], arguments].concat());
        out.lines().find(|line| line.ends_with("cells to compute")).unwrap().to_owned()
    };
    // 2 clean, 2 probe and 2 control cells, and for each of the two attacks 2 craft, 4 measure and 2
    // transfer.
    assert_eq!(cells(&[]), "22 of 22 cells to compute");
    let provenance = |file: &Path, key: &str| -> Value {
        let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
        let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
        serde_json::from_str(
            metadata.iter().find(|entry| entry.key == key).unwrap().value.as_ref().unwrap(),
        )
        .unwrap()
    };
    let whole: Value =
        serde_json::from_slice(&fs::read(at.join("results/toys/provenance.json")).unwrap())
            .unwrap();
    let plugin = |part: &Value| {
        (part["name"].as_str().unwrap().to_owned(), part["origin"].clone(), part["plugin"].clone())
    };
    let (noisy, step) = (plugin(&whole["attacks"][0]), plugin(&whole["attacks"][1]));
    assert_eq!(noisy, ("noisy".to_owned(), "gauntlet-sample 1.2.3".into(), hash(&path).into()));
    assert_eq!(step, ("step".to_owned(), "toys 1.0.0".into(), Value::Null));
    let crafted =
        fs::read_dir(at.join("results/toys/cells/craft")).unwrap().map(|file| file.unwrap().path());
    let crafted = crafted.filter(|path| path.extension().is_some_and(|kind| kind == "parquet"));
    let mut attacks: Vec<(String, Value)> = crafted
        .map(|file| provenance(&file, "gauntlet.provenance")["attack"].clone())
        .map(|attack| (attack["name"].as_str().unwrap().to_owned(), attack["plugin"].clone()))
        .collect();
    attacks.sort_by(|a, b| a.0.cmp(&b.0));
    attacks.dedup();
    assert_eq!(
        attacks,
        [("noisy".to_owned(), hash(&path).into()), ("step".to_owned(), Value::Null)]
    );

    assert_eq!(cells(&["--isolate", "never"]), "0 of 22 cells to compute");
    let mut rebuilt = fs::read(&path).unwrap();
    rebuilt.push(0);
    fs::write(&path, rebuilt).unwrap();
    // Of the other attack only the cells of the plugin's metric are computed again.
    assert_eq!(cells(&[]), "10 of 22 cells to compute");
}

#[test]
fn a_model_of_a_library_is_probed_like_any_other() {
    let place = place();
    let at = place.path();
    install(at, "unruly");
    // Its logits are 0 for all pixels.
    let flat = "[[models]]\nname = \"fragile\"\nparams = \
                { calls = 10000, scale = 0.0, classes = 4 }\n[[attacks]]";
    fs::write(at.join("study.toml"), STUDY.replacen("[[attacks]]", flat, 1)).unwrap();
    let out = said(at, &["run", "study.toml", "--plugins", "plugins"]);
    assert!(
        out.contains(
            "\n  error zero_gradients: 1 of 3\n    fragile: the gradient of the margin is \
             exactly zero on 3 of 3 images\n"
        ),
        "{out}"
    );
    let flags = fs::read_to_string(at.join("results/toys/flags.csv")).unwrap();
    assert!(flags.contains("\nzero_gradients,error,fragile,,,3,3,1,,,,"), "{flags}");
}

#[test]
fn a_study_with_lists_takes_plugins_in_when_asked() {
    let place = place();
    let at = place.path();
    install(at, "sample");
    let run = |arguments: &[&str]| {
        said(at, &[&["--plugins", "plugins", "run", "study.toml"], arguments].concat())
    };
    let left_out = run(&[]);
    assert!(
        left_out.contains(
            "left out: attack noisy: the study names its attacks: name it there too, \
             or say `--include 'attack:*'`\n"
        ),
        "{left_out}"
    );
    let joined = run(&["--include", "attack:*"]);
    assert!(
        joined.contains("\nplugins gauntlet-sample 1.2.3\njoined by attack noisy (untargeted)\n")
            && joined.contains("\nnoisy, untargeted: "),
        "{joined}"
    );
    let set = run(&["--include", "attack:*", "--set", "attack.noisy.epsilon=0.2"]);
    // The attack's cells are computed again, and the probes, which try the radius that it declares.
    assert!(set.contains("\n8 of 18 cells to compute"), "{set}");
    let written = fs::read_to_string(at.join("results/toys/study.toml")).unwrap();
    assert!(written.contains("epsilon = 0.2"), "{written}");
    // A study without lists takes in all that fits, and gives a reason for each of the rest.
    let text = "name = \"open\"\ninclude = [\"noisy\"]\nexclude = \
                [\"broken\", \"fatal\"]\n[data]\nfolder = \"images\"\n";
    fs::write(at.join("open.toml"), text).unwrap();
    let open = said(at, &["--plugins", "plugins", "run", "open.toml"]);
    for line in [
        "left out: model patch: no weights, see `runner weights list`\n",
        "left out: model bands: it has 10 classes, and the study 4\n",
        "joined by model toy_12, model toy_8, attack noisy (untargeted), metric goal_margin \
         (untargeted), metric largest, metric mean_change\n",
    ] {
        assert!(open.contains(line), "{line}\n{open}");
    }
}
