//! What one machine has computed, the others find.

use crate::{Place, Server, refused, said, stores};
use gauntlet_tests::cluster;
use gauntlet_tests::processes::until;
use gauntlet_tests::results::is_temporary;
use std::fs;
use std::time::{Duration, Instant};

#[test]
fn what_one_machine_has_computed_another_finds() {
    for place in stores(40, &[]) {
        let first = place.run("one");
        assert!(first.contains("\n40 of 40 cells to compute\n"), "{first}");
        let second = place.run("two");
        assert!(second.contains("\n0 of 40 cells to compute\n"), "{second}");
        place.same_as_alone(&["one", "two"]);
        // The folder remembers its store, so a later run needs no `--store`.
        fs::remove_dir_all(place.path("two/cells")).unwrap();
        let again = said(place.command(&["run", "study.toml", "--out", "two"]).output().unwrap());
        assert!(again.contains("\n0 of 40 cells to compute\n"), "{again}");
        said(place.command(&["rerun", "two", "3"]).output().unwrap());
        // Pixels that are not needed are not fetched.
        let pixels = |out: &str| {
            place
                .cells(out)
                .iter()
                .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
                .count()
        };
        assert!(pixels("two") < pixels("one"), "{} of {}", pixels("two"), pixels("one"));
    }
}

#[test]
fn machines_share_the_work_and_may_be_killed() {
    for place in stores(40, &["slow"]) {
        let mut killed = place.start("one");
        until("the first cells", || place.cells("one").len() > 4);
        let other = place.start("two");
        until("the first cells", || place.cells("two").len() > 4);
        killed.kill().unwrap();
        killed.wait().unwrap();
        said(other.wait_with_output().unwrap());
        let rest = place.run("one");
        assert!(rest.contains("\n0 of "), "{rest}");
        place.same_as_alone(&["one", "two"]);
        let temporary = |out: &str| place.cells(out).iter().any(|path| is_temporary(path));
        assert!(!temporary("one") && !temporary("two"));
    }
}

#[test]
fn isolated_cells_go_there_too() {
    for place in stores(10, &[]) {
        said(place.machine("one").args(["--isolate", "always"]).output().unwrap());
        assert!(place.run("two").contains("\n0 of "));
        place.same_as_alone(&["one", "two"]);
    }
}

#[test]
fn a_store_that_goes_away_costs_nothing_but_time() {
    for mut place in stores(40, &["slow"]) {
        let Some(server) = place.server.take() else { continue };
        let port = server.port;
        place.server = Some(server);
        let running = place.start("one");
        until("the first cells", || place.cells("one").len() > 4);
        place.server = None;
        let start = Instant::now();
        let error = refused(running.wait_with_output().unwrap());
        assert!(start.elapsed() < Duration::from_mins(1), "waiting requests are given up together");
        let unreachable = [
            "error: a result cannot be stored: writing s3://cells/a%20path/cells/",
            "error: reading s3://cells/a%20path/cells/",
        ];
        assert!(unreachable.iter().any(|text| error.contains(text)), "{error}");
        assert!(!error.contains("damaged") && !error.contains("failed;"), "{error}");
        let kept = place.cells("one").len();
        // The new server has no cells. The folder still has them.
        place.server = Some(Server::start(std::env::var_os("MOTO").unwrap().as_ref(), Some(port)));
        place.run("one");
        assert!(place.cells("one").len() > kept);
        assert!(place.run("two").contains("\n0 of "));
        place.same_as_alone(&["one", "two"]);
    }
}

#[test]
fn what_is_damaged_on_either_side_is_mended() {
    let place = Place::new(40, &[]);
    place.run("one");
    let there = place.cells("store");
    assert_eq!(there.len(), place.cells("one").len());
    let whole: Vec<Vec<u8>> = there.iter().map(|path| fs::read(path).unwrap()).collect();
    // Damaged files of the folder are fetched from the store.
    for path in place.cells("one") {
        fs::write(&path, "damaged").unwrap();
    }
    assert!(place.run("one").contains("\n0 of 40 cells to compute\n"));
    // Files that the store lacks are put there from the folder.
    for path in &there {
        fs::remove_file(path).unwrap();
    }
    assert!(place.run("one").contains("\n0 of 40 cells to compute\n"));
    assert!(there.iter().zip(&whole).all(|(path, bytes)| fs::read(path).unwrap() == *bytes));
    // What another machine finds damaged in the store it computes again, and puts there.
    for path in there.iter().step_by(3) {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let output = place.machine("two").output().unwrap();
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains(" is damaged and will be computed again: "),
        "{output:?}"
    );
    said(output);
    assert!(place.run("three").contains("\n0 of 40 cells to compute\n"));
    place.same_as_alone(&["one", "two", "three"]);
}

#[test]
fn pixels_that_are_damaged_in_the_store_cost_one_more_run() {
    let place = Place::new(10, &[]);
    place.run("one");
    for path in place
        .cells("store")
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "safetensors"))
    {
        let mut bytes = fs::read(path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(path, bytes).unwrap();
    }
    // The transfer cells need the pixels. Damage shows only when pixels are read.
    for path in
        place.cells("store").iter().filter(|path| path.parent().unwrap().ends_with("transfer"))
    {
        fs::remove_file(path).unwrap();
    }
    let first = place.machine("two").output().unwrap();
    assert_eq!(first.status.code(), Some(1), "{first:?}");
    assert!(
        String::from_utf8_lossy(&first.stderr).contains("the content does not match the checksum"),
        "{first:?}"
    );
    place.run("two");
    place.same_as_alone(&["two"]);
}

#[test]
fn a_cluster_s_tasks_use_the_store_of_their_folder() {
    let place = Place::new(10, &[]);
    fs::create_dir(place.path("slurm")).unwrap();
    let run = |arguments: &[&str]| {
        said(
            place
                .command(arguments)
                .env("PATH", cluster::path())
                .env("FAKE_SLURM", place.path("slurm"))
                .output()
                .unwrap(),
        )
    };
    run(&[
        "submit",
        "study.toml",
        "--out",
        "tasks",
        "--store",
        &place.url(),
        "--cells-per-task",
        "5",
        "--patience",
        "0",
    ]);
    assert!(
        place.run("one").contains("\n0 of 20 cells to compute\n"),
        "the tasks have put their cells into the store"
    );
    place.same_as_alone(&["one", "tasks"]);
    // A later task puts cells into the store that only the folder has.
    for path in place.cells("store") {
        fs::remove_file(path).unwrap();
    }
    run(&["submit", "study.toml", "--out", "tasks", "--cells-per-task", "5", "--patience", "0"]);
    assert!(place.run("two").contains("\n0 of 20 cells to compute\n"));
    // The next folder holds nothing but the name of the store.
    fs::create_dir(place.path("three")).unwrap();
    fs::copy(place.path("one/store.toml"), place.path("three/store.toml")).unwrap();
    let text = run(&["submit", "study.toml", "--out", "three", "--print", "--cells-per-task", "5"]);
    assert!(text.contains("\n0 of 20 cells to submit\n"), "{text}");
    let error = refused(
        place
            .command(&["submit", "study.toml", "--out", "four", "--print", "--store", &place.url()])
            .output()
            .unwrap(),
    );
    assert!(error.contains("leave it out"), "{error}");
    let text = said(place.machine("three").args(["--dry-run"]).output().unwrap());
    assert!(text.contains("\n  transfer      4     4 "), "{text}");
}
