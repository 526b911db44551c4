//! Tasks that fail, die, are stopped, or run twice.

use crate::Place;
use gauntlet_tests::libraries::{altered, library};
use gauntlet_tests::processes::{ended, send, until};
use gauntlet_tests::results::is_temporary;
use std::fs;
use std::process::Stdio;

#[test]
fn a_cell_that_fails_costs_what_needs_it_alone() {
    let place = Place::new(40, &["moody"]); // fails on slices of fewer than ten images
    place.sized("4,8,24", &[]);
    place.same_as_here("out");
    let (code, phases, said) = place.status();
    // Of each model one of moody's two cells fails, and with it a metric and a transfer cell.
    assert_eq!(
        (code, phases),
        (1, vec![[4, 4, 0, 0, 0, 0], [20, 18, 0, 0, 2, 0], [24, 20, 0, 0, 0, 4]]),
        "{said}"
    );
    let failure = "\nfailed: moody (untargeted) on toy_8, images 33–40: attack `moody` panicked at \
         tests/src/toys.rs:";
    assert!(said.contains(failure), "{said}");
    assert!(place.read("out/slurm/1/logs/report.log").contains("\n6 cells not there; "));
    let codes = place.read("slurm/ended");
    assert!(
        codes.lines().any(|line| line.starts_with("102 ") && line.ends_with(" 0 1")),
        "{codes}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&place.session(&["status", "out", "--json"]).1).unwrap();
    assert_eq!(
        (&json["phases"][1]["failed"], &json["failures"][0][0]),
        (&2.into(), &"moody (untargeted) on toy_12, images 33–40".into())
    );
    assert!(place.sized("100", &[]).contains("\n6 of 48 cells to submit\n"));
}

#[test]
fn a_task_that_dies_begins_anew_and_costs_the_cell_that_killed_it() {
    let place = Place::new(12, &["abort"]);
    place.submit(&["--requeue", "1"]);
    let ended = place.read("slurm/ended");
    // 134 is SIGABRT. The fake Slurm kills what it requeues (137), as Slurm does.
    let requeued: Vec<&str> =
        ended.lines().filter(|line| line.starts_with("102 ") && line.ends_with(" 0 137")).collect();
    let failed: Vec<&str> =
        ended.lines().filter(|line| line.starts_with("102 ") && line.ends_with(" 1 1")).collect();
    assert!(!requeued.is_empty() && requeued.len() == failed.len(), "{ended}");
    let log: String =
        (0..3).map(|task| place.read(&format!("out/slurm/1/logs/attacks-{task}.log"))).collect();
    assert_eq!(log.matches("ended with exit code 134, requeued").count(), requeued.len(), "{log}");
    place.same_as_here("out");
    let (_, phases, said) = place.status();
    assert_eq!(phases[1], [10, 8, 0, 0, 2, 0], "{said}");
    assert!(
        said.contains(
            "failed: abort (untargeted) on toy_12, images 1–12: the process that \
             computed it died of SIGABRT"
        ),
        "{said}"
    );

    // A task that is neither isolated nor requeued dies, and the cells after the fatal one are left.
    let place = Place::new(12, &["abort"]);
    place.submit(&["--requeue", "0", "--isolate", "never"]);
    let ended = place.read("slurm/ended");
    let once = ended.lines().all(|line| line.split(' ').nth(2) == Some("0"));
    assert!(once && ended.lines().any(|line| line.ends_with(" 134")), "{ended}");
    let (_, phases, said) = place.status();
    assert!(phases[1][5] >= 2 && phases[1][4] == 0, "{said}");
}

#[test]
fn lists_are_worked_on_by_any_number_at_once() {
    let place = Place::new(70, &[]);
    place.hold();
    place.sized("100", &[]);
    for phase in ["clean-answers", "attacks", "transfer-and-metrics"] {
        let list = format!("out/slurm/1/cells/{phase}/0.txt");
        let arguments =
            ["work", "--job", "out/slurm/1/job.json", "--cells", &list, "--workers", "2"];
        let both = [0, 1].map(|_| {
            place.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        });
        for worker in both {
            let (code, out, _) = ended(worker.wait_with_output().unwrap());
            assert_eq!(code, 0, "{out}");
        }
        let said = place.said(&arguments);
        assert!(said.contains(": 0 cells computed, "), "{said}");
    }
    place.said(&["work", "--job", "out/slurm/1/job.json", "--report"]);
    place.same_as_here("out");
    let kinds = fs::read_dir(place.path("out/cells")).unwrap().flatten();
    let files = kinds.flat_map(|kind| fs::read_dir(kind.path()).unwrap().flatten());
    assert!(
        files.map(|file| file.path()).all(|path| !is_temporary(&path)),
        "temporary files are left"
    );
}

#[test]
fn tasks_compute_with_the_plugins_that_were_submitted_or_not_at_all() {
    let place = Place::new(12, &["noisy"]);
    let plugins = place.path("plugins");
    fs::create_dir(&plugins).unwrap();
    let file = plugins.join("libgauntlet_sample.so");
    fs::copy(library("sample"), &file).unwrap();
    place.hold();
    place.submit(&["--plugins", "plugins"]);
    // A new file, so that processes that have loaded the old one keep its bytes.
    fs::remove_file(&file).unwrap();
    altered("sample", &plugins, "panic = \"unwind\"\n", "panic = \"abort\" \n");
    let task = [
        "work",
        "--job",
        "out/slurm/1/job.json",
        "--cells",
        "out/slurm/1/cells/clean-answers/0.txt",
    ];
    let refusal = place.refusal(&task);
    assert!(
        refusal
            .contains("libgauntlet_sample.so: the program, a plugin or weights have changed since"),
        "{refusal}"
    );
    fs::remove_file(&file).unwrap();
    fs::copy(library("sample"), &file).unwrap();
    place.said(&task);
    place.release();
    fs::write(
        place.path("study.toml"),
        format!("{}\n[plugins]\nfrom = [\"plugins\"]\n", place.read("study.toml")),
    )
    .unwrap();
    place.same_as_here("out");
}

#[test]
fn a_worker_that_is_stopped_drops_its_cell_and_the_rest_goes_on() {
    let place = Place::new(12, &["endless"]);
    place.hold();
    place.sized("100", &[]);
    let job = ["work", "--job", "out/slurm/1/job.json"];
    let attacks = ["--cells", "out/slurm/1/cells/attacks/0.txt"];
    // The clean answers are missing, and the message names them.
    let (code, out, err) = place.session(&[&job[..], &attacks].concat());
    assert_eq!(
        (code, out.as_str()),
        (1, "out/slurm/1/cells/attacks/0.txt: 0 cells computed, 0 there already\n"),
        "{err}"
    );
    assert!(
        err.starts_with(
            "0 cells failed, 10 could not be tried\n  step (untargeted) on toy_8, \
             images 1–12: it needs clean answers of toy_8, images 1–12 (clean/"
        ),
        "{err}"
    );
    let notes: serde_json::Value =
        serde_json::from_str(&place.read("out/slurm/1/cells/attacks/0.failed.json")).unwrap();
    assert_eq!(
        (notes["held_up"].as_array().unwrap().len(), notes["failed"].as_array().unwrap().len()),
        (10, 0)
    );

    place.said(&[&job[..], &["--cells", "out/slurm/1/cells/clean-answers/0.txt"]].concat());
    let stoppable = [&job[..], &attacks, &["--workers", "1", "--isolate", "always"]].concat();
    let worker =
        place.command(&stoppable).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the attack begins", || place.path("endless").exists());
    assert!(send("TERM", worker.id()));
    let (code, out, err) = ended(worker.wait_with_output().unwrap());
    assert!(code == 143 && err.contains("stopped by SIGTERM: "), "{out}{err}");
    let whole: usize = place.status().1.iter().map(|phase| phase[1]).sum();
    assert!((2..8).contains(&whole), "{whole}");
}

#[test]
fn a_task_that_comes_to_its_time_limit_is_requeued_and_one_that_is_cancelled_is_not() {
    let place = Place::new(12, &["endless"]);
    place.hold();
    place.sized("100", &["--isolate", "always"]);
    place.said(&[
        "work",
        "--job",
        "out/slurm/1/job.json",
        "--cells",
        "out/slurm/1/cells/clean-answers/0.txt",
    ]);
    let task = |signal: &str| {
        let _ = fs::remove_file(place.path("endless"));
        let mut script = place.with_cluster("bash");
        script.arg("out/slurm/1/attacks.sh").stdout(Stdio::piped()).stderr(Stdio::piped());
        script.envs([
            ("SLURM_JOB_ID", "102"),
            ("SLURM_ARRAY_JOB_ID", "102"),
            ("SLURM_ARRAY_TASK_ID", "0"),
        ]);
        let script = script.spawn().unwrap();
        until("the attack begins", || place.path("endless").exists());
        assert!(send(signal, script.id()));
        script.wait_with_output().unwrap()
    };
    let warned = task("USR1");
    let said = String::from_utf8_lossy(&warned.stdout).into_owned();
    assert!(said.ends_with("ended with exit code 143, requeued\n"), "{said}");
    assert_eq!(place.read("slurm/102.0.task"), "1\n", "it was requeued once");
    assert!(
        !place.path("out/slurm/1/cells/attacks/0.died").exists(),
        "only a task that dies is marked as died"
    );
    let cancelled = task("TERM");
    let said = String::from_utf8_lossy(&cancelled.stdout).into_owned();
    assert_eq!(
        (cancelled.status.code(), place.read("slurm/102.0.task").as_str()),
        (Some(143), "1\n"),
        "{said}"
    );
}
