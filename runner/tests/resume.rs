//! A study that is killed again and again ends as one that was left alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Instant;

const STUDY: &str = r#"
name = "few"
seed = 3
metrics = ["linf"]
[data]
source = "fashion-mnist"
images = 70
[[models]]
name = "mini_vgg_16"
[[models]]
name = "mini_mobilenet_v1_025"
[[attacks]]
name = "fgsm"
goals = ["untargeted", "random"]
[transfer]
policy = "resize"
"#;

const TABLES: [&str; 8] = [
    "accuracy.csv",
    "flags.csv",
    "success.csv",
    "transfer.csv",
    "scores.csv",
    "study.json",
    "outcomes.parquet",
    "examples.safetensors",
];

fn runner(study: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command.arg("run").arg(study).arg("--out").arg(out).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Every Parquet file of the store with its time of writing.
fn cells(out: &Path) -> BTreeMap<String, std::time::SystemTime> {
    let kinds = fs::read_dir(out.join("cells")).into_iter().flatten().flatten();
    let files = kinds.flat_map(|kind| fs::read_dir(kind.path()).into_iter().flatten().flatten());
    files
        .filter(|file| file.path().extension().is_some_and(|e| e == "parquet"))
        .map(|file| {
            (
                file.file_name().to_string_lossy().into_owned(),
                file.metadata().unwrap().modified().unwrap(),
            )
        })
        .collect()
}

#[test]
fn killed_at_any_instant_a_study_ends_the_same() {
    let place = tempfile::tempdir().unwrap();
    let study = place.path().join("study.toml");
    fs::write(&study, STUDY).unwrap();

    let alone = place.path().join("alone");
    let start = Instant::now();
    assert!(runner(&study, &alone).status().unwrap().success());
    let mut length = start.elapsed();
    let whole = cells(&alone);

    let killed = place.path().join("killed");
    let mut instant = 0.05;
    let mut unfinished = 0;
    for round in 0..100 {
        if unfinished == 20 {
            break;
        }
        // Instants spread over the whole run by the golden ratio.
        instant = (instant + 0.618_034) % 1.0;
        if round % 5 == 4 || cells(&killed).len() == whole.len() {
            // A run that came to its end tells nothing; and the beginning is to be interrupted
            // often.
            let _ = fs::remove_dir_all(killed.join("cells")); // not there when the last was killed at once
        } else if round % 2 == 1 {
            for cell in cells(&killed).keys().step_by(2) {
                for kind in ["clean", "craft", "measure", "probe", "transfer"] {
                    let _ = fs::remove_file(killed.join("cells").join(kind).join(cell));
                }
            }
        }
        let before = cells(&killed);
        let mut child = runner(&study, &killed).spawn().unwrap();
        sleep(length.mul_f64(instant));
        // The machine may have been busier when the length was taken: a whole run that has ended
        // by itself took less than that.
        if before.is_empty() && child.try_wait().unwrap().is_some() {
            length = length.mul_f64(instant.max(0.1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let after = cells(&killed);
        unfinished += usize::from(after.len() < whole.len());
        for (cell, written) in before {
            assert_eq!(
                after.get(&cell),
                Some(&written),
                "round {round}: what is there is left alone"
            );
        }
    }
    assert_eq!(unfinished, 20, "runs that were killed before their end, in 100 rounds");
    // Something is left to be done in any case.
    let first = cells(&killed).into_keys().next();
    if let Some(first) = first {
        for kind in ["clean", "craft", "measure", "probe", "transfer"] {
            let _ = fs::remove_file(killed.join("cells").join(kind).join(&first));
        }
    }
    let before = cells(&killed);
    let finished = runner(&study, &killed).stdout(Stdio::piped()).output().unwrap();
    assert!(finished.status.success());
    let said = String::from_utf8(finished.stdout).unwrap();
    let expected = format!("{} of {} cells to compute\n", whole.len() - before.len(), whole.len());
    assert!(said.contains(&expected), "{expected}{said}");

    let after = cells(&killed);
    assert!(before.iter().all(|(cell, written)| after[cell] == *written));
    assert!(whole.keys().eq(after.keys()), "the same cells");
    for table in TABLES {
        assert!(
            fs::read(killed.join(table)).unwrap() == fs::read(alone.join(table)).unwrap(),
            "{table} differs"
        );
    }
}
