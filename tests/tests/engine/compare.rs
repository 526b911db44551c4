//! Results compared with those of another study, and with outcomes computed again.

use crate::{Run, STUDY, folder};
use gauntlet_core::device::Device;
use gauntlet_runner::engine::{RunOptions, Silent};
use gauntlet_runner::store::Lookup;
use gauntlet_runner::store::rows::CraftRow;
use gauntlet_runner::{report::outcomes, results::diff, results::rerun};
use gauntlet_tests::toys;
use std::fs;

#[test]
fn a_row_computed_again_agrees_unless_what_is_stored_is_wrong() {
    let out = folder();
    let run = Run::of(STUDY, 40, out.path(), 2).unwrap();
    let registry = toys::registry().unwrap();
    let options = RunOptions { workers: 1, ..RunOptions::on(Device::Cpu) };
    let again = |outcome: &outcomes::Outcome| {
        rerun::rerun(&run.study, &run.plan, &run.store, &registry, &options, &Silent, outcome)
    };
    let mut found = None;
    outcomes::read(out.path(), |_, outcome| {
        if outcome.row.source == "other" && outcome.row.target == "toy_12" && outcome.row.success {
            found.get_or_insert(outcome);
        }
        Ok(())
    })
    .unwrap();
    let outcome = found.unwrap();
    let row = &outcome.row;
    let parts = again(&outcome).unwrap();
    let cells: Vec<&str> = parts.iter().map(|part| part.cell.as_str()).collect();
    assert_eq!(
        cells.len(),
        7,
        "the row, clean answers of both, control, attack, distortion, transfer: {cells:?}"
    );
    assert!(parts.iter().all(|part| part.differences.is_empty()), "{parts:?}");

    let mut wrong = outcome.clone();
    wrong.row.success = false;
    let measured = wrong.distortions.insert("distortion_largest".into(), 7.0).unwrap();
    let parts = again(&wrong).unwrap();
    assert_eq!(
        parts[0].differences,
        [
            "success: false, true".to_owned(),
            format!("distortion_largest: Some(7.0), Some({measured:?})")
        ]
    );

    let image =
        run.study.data.pictures.iter().position(|picture| picture.hash == row.image_hash).unwrap();
    let (slice, place) = run.plan.place(image);
    let campaign =
        run.plan.campaigns.iter().find(|c| c.model == 2 && c.goal.name() == row.goal).unwrap();
    let address = &run.plan.cells[campaign.craft[slice]].address;
    let Lookup::Whole(mut stored) = run.store.read::<CraftRow>(address).unwrap() else {
        panic!("it is there")
    };
    stored.rows[place].forward += 1;
    run.store.write(address, &stored).unwrap();
    let differences: Vec<String> =
        again(&outcome).unwrap().into_iter().flat_map(|part| part.differences).collect();
    let forward = stored.rows[place].forward;
    assert_eq!(
        differences,
        [
            format!("forward: {}, {forward}", forward - 1),
            format!("forward: {forward}, {}", forward - 1)
        ]
    );

    let mut unknown = outcome.clone();
    unknown.row.attack = "none".into();
    let error = again(&unknown).unwrap_err().to_string();
    assert!(error.starts_with("the study has no none ("), "{error}");
    fs::remove_file(
        out.path().join("cells").join(address.kind.name()).join(format!("{}.parquet", address.key)),
    )
    .unwrap();
    let error = again(&outcome).unwrap_err().to_string();
    assert!(error.starts_with("the results have no whole step ("), "{error}");
}

#[test]
fn two_studies_are_compared_image_by_image() {
    let (first, second) = (folder(), folder());
    Run::of(STUDY, 40, first.path(), 2).unwrap();
    let other = STUDY.replace("seed = 9", "seed = 10").replace(", \"second\"]", "]");
    Run::of(&other, 36, second.path(), 2).unwrap();
    let same = diff::compare(first.path(), first.path()).unwrap();
    assert_eq!((same.common, same.first_only, same.second_only), (3 * 4 * 3 * 40, 0, 0));
    assert!(
        same.attacks
            .iter()
            .chain(&same.transfer)
            .all(|pairing| pairing.changed == [0, 0] && pairing.p == 1.0)
    );
    assert_eq!((same.attacks.len(), same.transfer.len()), (12, 24));

    let changed = diff::compare(first.path(), second.path()).unwrap();
    // Random targets depend on the seed. Images whose target differs are not compared.
    let both = 3 * 3 * 3 * 36;
    assert_eq!(changed.common + changed.second_only, both);
    assert!(changed.second_only > 0 && changed.second_only < both / 3, "{}", changed.second_only);
    assert_eq!(changed.names[0].len(), 4, "images: {:?}", changed.names);
    let of = |model: &str| {
        changed.attacks.iter().find(|p| p.source == model && p.goal == "untargeted").unwrap()
    };
    assert_eq!(of("toy_8").changed, [0, 0], "its weights are the same");
    assert!(of("toy_8").distortions["largest"].means[0] > 0.0);
    let moved = changed
        .attacks
        .iter()
        .chain(&changed.transfer)
        .filter(|p| p.source == "other" || p.target == "other");
    assert!(moved.map(|pairing| pairing.changed[0] + pairing.changed[1]).sum::<usize>() > 0);
    assert!(changed.corrected(0.0) <= changed.corrected(0.01) && changed.corrected(0.01) <= 1.0);
}
