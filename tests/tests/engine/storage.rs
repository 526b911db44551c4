//! Stored cells that are damaged, gone, or written by another run at the same time.

use crate::{Run, STUDY, files, folder, parse, tables};
use gauntlet_core::device::Device;
use gauntlet_runner::Session;
use gauntlet_runner::engine::{RunOptions, Silent};
use gauntlet_tests::toys;
use std::fs;
use std::sync::atomic::Ordering;

#[test]
fn damaged_files_are_computed_again() {
    let out = folder();
    Run::of(STUDY, 40, out.path(), 2).unwrap();
    let before = tables(out.path());
    let mut damaged = 0;
    for (kind, damage) in
        [("clean", 0), ("craft", 1), ("measure", 2), ("transfer", 3), ("score", 0), ("probe", 0)]
    {
        let path = &files(out.path(), kind, "parquet")[0];
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        match damage {
            0 => bytes.truncate(middle),
            1 => bytes[6] ^= 0xff,
            2 => bytes.clear(),
            _ => bytes = fs::read(&files(out.path(), kind, "parquet")[1]).unwrap(),
        }
        fs::write(path, bytes).unwrap();
        damaged += 1;
    }
    let run = Run::of(STUDY, 40, out.path(), 2).unwrap();
    assert_eq!((run.missing, run.outcome.computed), (damaged, damaged));
    assert_eq!(run.warnings.len(), damaged, "{:?}", run.warnings);
    assert!(
        run.warnings
            .iter()
            .all(|warning| warning.contains("is damaged and will be computed again: ")),
        "{:?}",
        run.warnings
    );
    assert_eq!(tables(out.path()), before);
}

#[test]
fn damaged_pixels_are_crafted_again_when_they_are_needed() {
    let out = folder();
    Run::of(STUDY, 20, out.path(), 2).unwrap();
    let before = tables(out.path());
    let damage = |bit: u8| {
        for path in files(out.path(), "craft", "safetensors") {
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= bit;
            fs::write(&path, bytes).unwrap();
        }
    };
    damage(0x10);
    let run = Run::of(STUDY, 20, out.path(), 2).unwrap();
    assert_eq!(run.missing, 0, "nothing needs their content but the examples");
    assert!(
        run.warnings
            .iter()
            .all(|warning| warning.contains(" are damaged and will be computed again"))
            && !run.warnings.is_empty()
    );
    assert_eq!(tables(out.path()), before);
    damage(0x20);
    let transfer = &run.plan.cells[run.plan.campaigns[0].transfers[0].1[0]].address;
    fs::remove_file(out.path().join("cells/transfer").join(format!("{}.parquet", transfer.key)))
        .unwrap();
    let run = Run::of(STUDY, 20, out.path(), 2).unwrap();
    assert_eq!((run.missing, run.outcome.computed), (2, 2), "the transfer and its craft cell");
    assert_eq!(tables(out.path()), before);
}

#[test]
fn pixels_that_are_gone_are_crafted_again() {
    let out = folder();
    Run::of(STUDY, 40, out.path(), 2).unwrap();
    let before = tables(out.path());
    let pixels = files(out.path(), "craft", "safetensors");
    let whole: Vec<Vec<u8>> = pixels.iter().map(|path| fs::read(path).unwrap()).collect();
    fs::remove_file(&pixels[0]).unwrap();
    for (n, length) in [(1, 0), (2, 20), (3, whole[3].len() - 1)] {
        fs::write(&pixels[n], &whole[n][..length]).unwrap();
    }
    let run = Run::of(STUDY, 40, out.path(), 2).unwrap();
    assert_eq!(
        (run.missing, run.outcome.computed, run.warnings.len()),
        (4, 4, 4),
        "{:?}",
        run.warnings
    );
    assert!(pixels.iter().zip(&whole).all(|(path, bytes)| fs::read(path).unwrap() == *bytes));
    assert_eq!(tables(out.path()), before);
}

#[test]
fn cancelled_before_it_begins_a_run_does_nothing() {
    let out = folder();
    let (registry, study) = (toys::registry().unwrap(), parse(STUDY, 40));
    let options = RunOptions::on(Device::Cpu);
    let session = Session::open(&study, &registry, out.path(), options.clone(), &Silent).unwrap();
    options.cancel.store(true, Ordering::Relaxed);
    let outcome = session.run().unwrap();
    assert_eq!((outcome.computed, outcome.left), (0, session.plan().cells.len()));
    assert_eq!(session.report().unwrap().accuracy[0].missing, 40);
    options.cancel.store(false, Ordering::Relaxed);
    assert_eq!(session.run().unwrap().left, 0, "a session can go on");
    assert_eq!(session.run().unwrap().found, session.plan().cells.len());
}

#[test]
fn what_has_appeared_meanwhile_is_not_computed_again() {
    let out = folder();
    let registry = toys::registry().unwrap();
    let study = parse(STUDY, 40);
    let session =
        Session::open(&study, &registry, out.path(), RunOptions::on(Device::Cpu), &Silent).unwrap();
    let other = Run::of(STUDY, 32, out.path(), 2).unwrap();
    let outcome = session.run().unwrap();
    assert_eq!(
        (outcome.found, outcome.computed),
        (other.plan.cells.len(), session.to_compute() - other.plan.cells.len())
    );
}

#[test]
fn two_runs_may_share_a_folder() {
    let (alone, shared) = (folder(), folder());
    Run::of(STUDY, 40, alone.path(), 1).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                assert!(Run::of(STUDY, 40, shared.path(), 1).unwrap().outcome.failures.is_empty());
            });
        }
    });
    assert_eq!(tables(alone.path()), tables(shared.path()));
    assert_eq!(Run::of(STUDY, 40, shared.path(), 1).unwrap().missing, 0);
}
