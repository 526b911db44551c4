//! Inputs that are refused.

use crate::Place;
use gauntlet_tests::processes::ended;
use std::fs;

#[test]
fn wrong_inputs_are_refused_before_anything_is_submitted() {
    let place = Place::new(12, &[]);
    let submit = ["submit", "study.toml", "--out", "out", "--cells-per-task", "9"];
    for (more, expected) in [
        (
            &["--engine", "pbs"][..],
            "invalid value 'pbs' for '--engine <ENGINE>'\n  [possible values: slurm]",
        ),
        (
            &["--time", "1h"],
            "invalid value '1h' for '--time <TIME>': found `1h`, expected a time such as 90 \
             (minutes), 1:30:00 (hours)",
        ),
        (&["--array-limit", "0"], "error: `--array-limit 0`: at least one is needed"),
        (&["--cpus-per-task", "0"], "error: `--cpus-per-task 0`: at least one is needed"),
        (
            &["--device", "cuda:1"],
            "error: `--device cuda:1`: which GPU a task has, Slurm decides; use `cuda`",
        ),
        (&["--device", "gpu"], "error: unknown device `gpu`: use `cpu`, `cuda` or `cuda:N`"),
        (
            &["--sbatch-arg", "long"],
            "error: `--sbatch-arg long`: an option of sbatch is expected, as in \
             `--sbatch-arg=--qos=long`",
        ),
        (
            &["--sbatch-arg=--array=1-3"],
            "error: `--sbatch-arg --array=1-3`: `--array` is for `runner submit` to set",
        ),
        (&["--partition", "a\n#SBATCH --wrap=b"], "an option of sbatch cannot have line breaks"),
        (&["--setup", "a\nb"], "error: `--setup \"a\\nb\"`: one line is expected"),
        (&["--images", "0"], "error: `--images 0`: at least one is needed"),
        (
            &["--task-minutes", "5"],
            "the argument '--cells-per-task <N>' cannot be used with '--task-minutes <MINUTES>'",
        ),
    ] {
        let refusal = place.refusal(&[&submit, more].concat());
        assert!(refusal.contains(expected), "{expected}\n{refusal}");
    }
    for (size, expected) in [
        (["--cells-per-task", "1,2"], "error: `--cells-per-task` has 2 numbers, expected 1 or 3"),
        (["--cells-per-task", "0"], "error: `--cells-per-task`: at least one is needed"),
        (["--task-minutes", "0"], "error: `--task-minutes 0`: a number above 0 is expected"),
        (["--task-minutes", "nan"], "error: `--task-minutes NaN`: a number above 0 is expected"),
        (
            ["--device", "cuda"],
            "error: how long cells take on a GPU cannot be measured on this machine: give \
             `--cells-per-task N`, and `--time`",
        ),
    ] {
        let refusal =
            place.refusal(&[&["submit", "study.toml", "--out", "out"], &size[..]].concat());
        assert!(refusal.contains(expected), "{expected}\n{refusal}");
    }
    for command in ["status", "cancel"] {
        let refusal = place.refusal(&[command, "out"]);
        assert_eq!(
            refusal,
            "error: nothing was submitted to out: `runner submit STUDY --out DIR` does that\n"
        );
    }
    assert!(!place.path("out").exists() && !place.path("slurm/last").exists());
    let bare = place.command(&submit).env("PATH", "/usr/nowhere").output().unwrap();
    let (code, _, err) = ended(bare);
    assert!(code == 2 && !place.path("out").exists());
    assert!(err.starts_with("error: there is no `sbatch` on PATH: "), "{err}");

    assert!(
        place
            .refusal(&["work", "--job", "study.toml", "--report"])
            .starts_with("error: study.toml cannot be read: a job.json is expected")
    );
    place.hold();
    place.submit(&[]);
    fs::write(place.path("list"), "clean/0123\n").unwrap();
    let refusal = place.refusal(&["work", "--job", "out/slurm/1/job.json", "--cells", "list"]);
    assert_eq!(refusal, "error: list: the study has no cell `clean/0123`\n");
    fs::write(place.path("out/slurm/1/submission.json"), "{").unwrap();
    assert!(
        place
            .refusal(&["status", "out"])
            .starts_with("error: the record out/slurm/1/submission.json cannot be read: ")
    );
}
