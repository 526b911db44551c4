//! The keys of cells: what changes one, and which cells a change makes anew.

use crate::{Run, STUDY, folder, parse, tables};
use gauntlet_runner::engine::plan::{Plan, Work};

#[test]
fn only_what_is_missing_is_computed() {
    let out = folder();
    let first = Run::of(STUDY, 40, out.path(), 2).unwrap();
    let before = tables(out.path());
    let second = Run::of(STUDY, 40, out.path(), 1).unwrap();
    assert_eq!((second.missing, second.outcome.computed), (0, 0));
    assert_eq!(tables(out.path()), before);

    let missing = |text: &str, images: usize| Run::of(text, images, out.path(), 1).unwrap().missing;
    // 3 clean, 3 probe, 3 score, 12 craft, 12 measure, 3 control and 24 transfer cells per slice:
    // toy_12 is given images of side 8, and each of the other two images of side 12.
    assert_eq!(first.plan.cells.len(), 2 * 60);
    assert_eq!(
        missing(
            &STUDY.replace(
                "\"largest\", ",
                "\"largest\", { name = \"largest\", label = \"again\" }, "
            ),
            40
        ),
        0,
        "a label is not in the key"
    );
    assert_eq!(
        missing(&STUDY.replace("crop_or_pad", "resize"), 40),
        2 * (16 + 3),
        "only pairs of different sides are fitted"
    );
    assert_eq!(missing(STUDY, 32), 0, "fewer images need fewer slices");
    assert_eq!(missing(STUDY, 45), 60, "the last slice is longer");
    assert_eq!(
        missing(&STUDY.replace("seed = 9", "seed = 10"), 40),
        2 * (1 + 1 + 1 + 4 + 4 + 16 + 1),
        "one model has other weights"
    );
}

#[test]
fn every_setting_is_in_the_key() {
    let key = |text: &str, images: usize, device: &str, wanted: fn(&Work) -> bool| {
        let plan = Plan::new(&parse(text, images), device);
        plan.cells.iter().find(|cell| wanted(&cell.work)).unwrap().address.key.clone()
    };
    let change = |old: &str, new: &str| {
        assert!(STUDY.contains(old), "{old}");
        STUDY.replacen(old, new, 1)
    };
    let same = STUDY.to_owned();
    let clean = |work: &Work| matches!(work, Work::Clean { model: 0, .. });
    let craft = |work: &Work| matches!(work, Work::Craft { model: 0, .. });
    let probe = |work: &Work| matches!(work, Work::Probe { model: 0, .. });
    let transfer = |work: &Work| matches!(work, Work::Transfer { target: 1, .. });
    let measure = |work: &Work| matches!(work, Work::Measure { .. });
    let model = change("name = \"toy_8\"\n", "name = \"toy_8\"\nparams = { seed = 6 }\n");
    let attack = change("name = \"step\"", "name = \"nudge\"");
    let parameters = attack.replace("\"nudge\"", "\"nudge\"\nparams = { amount = 0.2 }");
    let goal = change("\"untargeted\", ", "");
    let seed = change("seed = 3", "seed = 4");
    let ties = change("seed = 3", "seed = 3\ntie_tolerance = 0.001");
    let policy = change("crop_or_pad", "resize");
    let target = change("name = \"toy_12\"", "name = \"toy_12\"\nparams = { seed = 6 }");
    for (what, cell, texts) in [
        ("clean", clean as fn(&Work) -> bool, vec![&same, &model]),
        ("craft", craft, vec![&same, &model, &attack, &parameters, &goal, &seed, &ties]),
        ("probe", probe, vec![&same, &model, &seed]),
        (
            "transfer",
            transfer,
            vec![&same, &model, &attack, &parameters, &goal, &seed, &policy, &target],
        ),
        ("measure", measure, vec![&same, &model, &attack, &parameters, &goal, &seed]),
    ] {
        let mut keys: Vec<String> = texts.iter().map(|text| key(text, 40, "cpu", cell)).collect();
        keys.push(key(&same, 20, "cpu", cell));
        keys.push(key(&same, 40, "cuda", cell));
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count, "{what}");
    }
    assert_eq!(
        key(&seed, 40, "cpu", clean),
        key(&same, 40, "cpu", clean),
        "clean answers are not random"
    );
    assert_eq!(key(&policy, 40, "cpu", craft), key(&same, 40, "cpu", craft));
}
