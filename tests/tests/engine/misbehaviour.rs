//! Models and attacks that lie, panic or answer nonsense.

use crate::{Run, STUDY, folder, study_of};
use gauntlet_runner::store::rows::{MeasureRow, Status};
use gauntlet_tests::libraries::without_lines;

#[test]
fn nothing_is_believed() {
    let out = folder();
    let run = Run::of(&study_of(&["liar", "sloppy", "vandal"]), 40, out.path(), 1).unwrap();
    assert!(run.outcome.failures.is_empty());

    for row in run.craft("liar").iter().filter(|row| row.status.attempted()) {
        assert_eq!(
            (&row.status, row.success, row.prediction),
            (&Status::NotAdversarial, false, Some(row.label))
        );
    }
    let expected = [
        "invalid: 192 of the pixels are not finite numbers",
        "invalid: the pixels have shape [3, 5, 8], expected [3, 8, 8]",
        "invalid: the pixels run from 1.",
        "invalid: the pixels are Double, expected Float",
        "invalid: no tensor",
        "not_found",
    ];
    let sloppy = run.craft("sloppy");
    for (n, row) in sloppy[..32].iter().filter(|row| row.status.attempted()).enumerate() {
        assert!(row.status.to_string().starts_with(expected[n % 6]), "{}", row.status);
        assert!(
            !row.success && !row.success_8bit && row.slot.is_none() && row.prediction.is_none()
        );
    }
    // `vandal` blackens the images that it is given. The engine measures against its own copies.
    let campaign = run
        .plan
        .campaigns
        .iter()
        .find(|c| run.study.attacks[c.attack].part.label == "vandal")
        .unwrap();
    let measured: Vec<MeasureRow> =
        campaign.measures[0].1.iter().flat_map(|&id| run.rows(id)).collect();
    assert!(measured.iter().filter_map(|row| row.value).all(|value| value > 0.3));
}

#[test]
fn a_step_below_half_a_level_does_not_survive_rounding() {
    let out = folder();
    let text = study_of(&["nudge"])
        .replace("name = \"nudge\"\n", "name = \"nudge\"\nparams = { amount = 0.0015 }\n");
    let run = Run::of(&text, 40, out.path(), 1).unwrap();
    let measured: Vec<MeasureRow> =
        run.plan.campaigns[0].measures[0].1.iter().flat_map(|&id| run.rows(id)).collect();
    for row in measured.iter().filter(|row| row.value.is_some()) {
        assert!(
            (row.value.unwrap() - 0.0015).abs() < 1e-6 && row.value_8bit.unwrap() < 1e-6,
            "{row:?}"
        );
    }
}

#[test]
fn a_failing_cell_costs_itself_and_what_needs_it() {
    let out = folder();
    let text = format!("{STUDY}[[attacks]]\nname = \"moody\"\n[[attacks]]\nname = \"forgetful\"\n");
    let run = Run::of(&text, 40, out.path(), 2).unwrap();
    let moody = |attack: &str| {
        run.outcome.failures.iter().filter(|f| f.what.starts_with(attack)).collect::<Vec<_>>()
    };
    assert_eq!(moody("moody").len(), 3, "the second slice of each model");
    assert_eq!(moody("moody")[0].what, "moody (untargeted) on toy_8, images 33–40");
    let reason = without_lines(&moody("moody")[0].reason);
    assert!(
        reason.starts_with("attack `moody` panicked at tests/src/toys.rs:_: only ")
            && reason.ends_with(" images"),
        "{reason}"
    );
    assert_eq!(moody("forgetful").len(), 6);
    // Of each failed craft cell, one measure cell and two transfer cells.
    assert_eq!(run.outcome.held_up, 9 * 3);
    assert_eq!(
        run.outcome.computed + run.outcome.failures.len() + run.outcome.held_up,
        run.plan.cells.len()
    );
    let row = run
        .tables
        .success
        .iter()
        .find(|row| run.study.attacks[row.attack].part.label == "moody")
        .unwrap();
    assert_eq!((row.images, row.missing), (32, 8));

    let again = Run::of(&text, 40, out.path(), 1).unwrap();
    assert_eq!(again.missing, 9 * 4, "what failed is tried again, nothing else");
    assert_eq!(again.outcome.computed, 0);
}

#[test]
fn a_model_that_panics_costs_its_own_cells() {
    let out = folder();
    let text = STUDY.replace("[[attacks]]", "[[models]]\nname = \"broken\"\n[[attacks]]");
    let run = Run::of(&text, 10, out.path(), 2).unwrap();
    assert_eq!(run.outcome.failures.len(), 1, "{:?}", run.outcome.failures);
    assert_eq!(run.outcome.failures[0].what, "clean answers of broken, images 1–10");
    assert_eq!(
        without_lines(&run.outcome.failures[0].reason),
        "model `broken` panicked at tests/src/toys.rs:_: out of order"
    );
    assert_eq!(run.tables.accuracy[3].missing, 10);
    assert_eq!(run.tables.success.iter().filter(|row| row.missing == 10).count(), 4);
}
