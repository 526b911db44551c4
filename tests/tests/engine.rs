//! The study engine with toy models and attacks that break the rules.

use anyhow::Result;
use gauntlet_core::device::Device;
use gauntlet_core::model::{Model, ModelCard};
use gauntlet_runner::analysis::Tables;
use gauntlet_runner::execute::{Options, Outcome, Progress, Silent};
use gauntlet_runner::outcomes;
use gauntlet_runner::plan::{CellId, Plan, Scoring, Work};
use gauntlet_runner::rows::{
    CleanRow, CraftRow, MeasureRow, OutcomeRow, Row, ScoreRow, Status, TransferRow,
};
use gauntlet_runner::store::{Found, Store};
use gauntlet_runner::study::{self, Builder, GoalKind, Member, Policy};
use gauntlet_runner::summary::{Match, Pixels, Summary, Timing, example_pixels};
use gauntlet_runner::{Session, Study, diff, rerun};
use gauntlet_tests::toys::{self, Toy, ToyParams};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use tempfile::TempDir;

const STUDY: &str = r#"
name = "toys"
seed = 3
metrics = ["largest", "margin"]
[[models]]
name = "toy_8"
[[models]]
name = "toy_12"
[[models]]
name = "toy_8"
label = "other"
params = { seed = 9 }
[[attacks]]
name = "step"
goals = ["untargeted", "random", "least_likely", "second"]
[transfer]
policy = "crop_or_pad"
"#;

/// A study of `attacks` on one model.
fn study_of(attacks: &[&str]) -> String {
    let attacks: Vec<String> =
        attacks.iter().map(|name| format!("[[attacks]]\nname = \"{name}\"\n")).collect();
    format!(
        "name = \"toys\"\nmetrics = [\"largest\"]\n[[models]]\nname = \"toy_8\"\n{}",
        attacks.concat()
    )
}

fn parse(text: &str, images: usize) -> Study {
    let options =
        study::Options { pictures: Some(toys::pictures(images)), ..study::Options::default() };
    Study::parse(text, "toys.toml", Path::new("."), &toys::registry().unwrap(), options).unwrap()
}

#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Progress for Warnings {
    fn warn(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_owned());
    }
}

struct Run {
    study: Study,
    plan: Plan,
    store: Store,
    missing: usize,
    outcome: Outcome,
    tables: Tables,
    warnings: Vec<String>,
}

impl Run {
    fn of(text: &str, images: usize, out: &Path, workers: usize) -> Result<Self> {
        let registry = toys::registry()?;
        let study = parse(text, images);
        let options = Options { workers, ..Options::on(Device::Cpu) };
        let warnings = Warnings::default();
        let session = Session::open(&study, &registry, out, options, &warnings)?;
        let (missing, outcome, tables) = (session.to_compute(), session.run()?, session.report()?);
        drop(session);
        let (plan, store) = (Plan::new(&study, "cpu"), Store::open(out)?);
        let warnings = warnings.0.into_inner().unwrap();
        Ok(Self { study, plan, store, missing, outcome, tables, warnings })
    }

    fn rows<R: Row>(&self, id: CellId) -> Vec<R> {
        match self.store.read(&self.plan.cells[id].address).unwrap() {
            Found::Whole(stored) => stored.rows,
            Found::Missing => panic!("missing"),
            Found::Damaged(reason) => panic!("{reason}"),
        }
    }

    /// All craft rows of an attack, whatever the goal.
    fn craft(&self, attack: &str) -> Vec<CraftRow> {
        let campaigns = self
            .plan
            .campaigns
            .iter()
            .filter(|c| self.study.attacks[c.attack].part.label == attack);
        campaigns.flat_map(|c| c.craft.iter().flat_map(|&id| self.rows(id))).collect()
    }
}

/// All files of a results' folder without times, as text: damage shows.
fn tables(out: &Path) -> BTreeMap<String, String> {
    let files =
        fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let tables: BTreeMap<String, String> = files
        .filter(|path| !name(path).starts_with("timing."))
        .map(|path| (name(&path), String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()))
        .collect();
    assert!(tables.len() >= 9, "{:?}", tables.keys());
    tables
}

/// All rows of `outcomes.parquet`.
fn outcomes(out: &Path) -> Vec<OutcomeRow> {
    let file = File::open(out.join("outcomes.parquet")).unwrap();
    let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    batches.flat_map(|batch| OutcomeRow::read(&batch.unwrap()).unwrap()).collect()
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn files(out: &Path, kind: &str, extension: &str) -> Vec<PathBuf> {
    let all =
        fs::read_dir(out.join("cells").join(kind)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        all.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

#[test]
fn every_row_says_what_happened() {
    let out = folder();
    let run = Run::of(STUDY, 40, out.path(), 2).unwrap();
    assert!(run.outcome.failures.is_empty(), "{:?}", run.outcome.failures);
    assert_eq!((run.outcome.computed, run.missing), (run.plan.cells.len(), run.plan.cells.len()));

    let clean: Vec<CleanRow> = run.plan.clean[0].iter().flat_map(|&id| run.rows(id)).collect();
    let correct = clean.iter().filter(|row| row.correct).count();
    assert!((20..40).contains(&correct), "{correct} of 40");
    assert!(
        clean
            .iter()
            .all(|row| row.second != row.label && row.least_likely != row.label && row.top5)
    );

    for campaign in run.plan.campaigns.iter().filter(|c| c.model == 0) {
        let rows: Vec<CraftRow> = campaign.craft.iter().flat_map(|&id| run.rows(id)).collect();
        assert_eq!(rows.len(), 40);
        for ((row, clean), picture) in rows.iter().zip(&clean).zip(&run.study.data.pictures) {
            assert_eq!(
                (row.status == Status::Misclassified, row.clean, &row.image),
                (!clean.correct, clean.prediction, &picture.hash)
            );
            let target = match campaign.goal {
                GoalKind::Untargeted => None,
                GoalKind::Random => Some(run.study.random_target(picture)),
                GoalKind::LeastLikely => Some(clean.least_likely),
                GoalKind::Second => Some(clean.second),
                GoalKind::Given => picture.target,
            };
            assert_eq!(row.target_class, target);
            if let Some(prediction) = row.prediction {
                assert_eq!(
                    row.success,
                    target.map_or(prediction != row.label, |target| prediction == target)
                );
                assert_eq!((row.forward, row.backward), (1, 1));
            }
        }
    }
    let success = &run.tables.success[0];
    assert_eq!((success.images, success.source_correct, success.found), (40, correct, correct));
    assert!(success.success > correct / 3);
    let distortion = success.distortions[0].float.mean.unwrap();
    assert!((0.04..0.0501).contains(&distortion), "{distortion}");
}

#[test]
fn targets_within_the_tie_tolerance_count() {
    let out = folder();
    let strict = Run::of(STUDY, 40, out.path(), 2).unwrap();
    let tolerant = |tolerance: &str| {
        STUDY.replace("seed = 3", &format!("seed = 3\ntie_tolerance = {tolerance}"))
    };
    assert_eq!(Run::of(&tolerant("0"), 40, out.path(), 2).unwrap().missing, 0, "0 is the default");
    // So wide that every class of toy_8 is level, but for the background of toy_12.
    let wide = Run::of(&tolerant("100.0"), 40, out.path(), 2).unwrap();
    assert!(wide.study.to_toml().contains("tie_tolerance = 100.0"));
    let mut ties = 0;
    for (before, after) in strict.craft("step").iter().zip(&wide.craft("step")) {
        assert_eq!(
            (before.prediction, before.prediction_8bit),
            (after.prediction, after.prediction_8bit)
        );
        // The published rule never looks at the last class.
        let level =
            after.prediction.is_some() && after.target_class.is_some_and(|target| target < 3);
        assert_eq!(
            (after.success, after.success_8bit),
            (before.success || level, before.success_8bit || level),
            "{after:?}"
        );
        assert_eq!(after.success, after.status == Status::Adversarial);
        ties += usize::from(after.success && !before.success);
    }
    assert!(ties > 20, "{ties}");
}

#[test]
fn transfer_has_every_denominator() {
    let out = folder();
    let run = Run::of(STUDY, 40, out.path(), 2).unwrap();
    // 3 sources × 2 targets × (untargeted + 3 targeted goals × 2 ranks) × 2 depths
    assert_eq!(run.tables.transfer.len(), 3 * 2 * 7 * 2);
    for row in &run.tables.transfer {
        let [all, source_correct, source_success, target_correct, both, all_correct] = row.images;
        assert_eq!(all, 40);
        assert!(
            source_correct < all
                && target_correct <= source_correct
                && both <= source_success.min(target_correct),
            "{row:?}"
        );
        assert!(0 < all_correct && all_correct <= target_correct, "{row:?}");
        assert_eq!(row.split.iter().sum::<usize>(), both);
        assert!(row.transferred.iter().zip(&row.images).all(|(part, whole)| part <= whole));
    }
    let differ =
        |a: usize, b: usize| run.tables.transfer.iter().any(|row| row.images[a] != row.images[b]);
    assert!((0..6).all(|a| (0..a).all(|b| differ(a, b))), "no two denominators are the same");
    let cells = &run.plan.campaigns[0].transfers[0];
    let rows: Vec<TransferRow> = cells.1.iter().flat_map(|&id| run.rows(id)).collect();
    let both = rows.iter().filter(|row| row.source_success && row.target_correct).count();
    assert_eq!(run.tables.transfer[0].images[4], both);
    let background =
        rows.iter().any(|row| row.prediction.is_some_and(|class| !(0..4).contains(&class)));
    assert!(!background, "predictions are counted in the dataset's classes");
}

#[test]
fn every_outcome_has_a_row_and_the_summary_counts_them() {
    type Member = fn(&OutcomeRow) -> bool;

    let out = folder();
    let run = Run::of(STUDY, 40, out.path(), 2).unwrap();
    let rows = outcomes(out.path());
    assert_eq!(rows.len(), 3 * 4 * 3 * 40, "source, goal, target, image");
    let summary = Summary::open(out.path()).unwrap();
    assert_eq!((summary.campaigns.len(), summary.transfer.len()), (3 * 4, 2 * 7));
    let matrix = summary
        .transfer
        .iter()
        .find(|m| {
            (m.goal, m.matching, m.pixels) == (GoalKind::Random, Match::Top1, Pixels::EightBit)
        })
        .unwrap();
    let members: [(&str, Member); 6] = [
        ("all", |_| true),
        ("source_correct", |row| row.status.attempted()),
        ("source_success", |row| row.source_success_8bit),
        ("target_correct", |row| row.status.attempted() && row.target_correct),
        ("both", |row| row.source_success_8bit && row.target_correct),
        ("all_correct", |row| row.all_correct),
    ];
    for (source, from) in summary.models.iter().enumerate() {
        for (target, to) in summary.models.iter().enumerate() {
            let of = |row: &&OutcomeRow| {
                (&row.source, &row.target, row.goal.as_str()) == (&from.label, &to.label, "random")
            };
            for (name, member) in members {
                let rate = matrix.denominators[name].rate(source, target);
                let images: Vec<&OutcomeRow> =
                    rows.iter().filter(of).filter(|row| member(row)).collect();
                assert_eq!(
                    (rate.k, rate.n),
                    (images.iter().filter(|row| row.success_8bit).count(), images.len()),
                    "{name} {source} {target}"
                );
            }
            let split = &matrix.split;
            let both = split.unfooled[source][target]
                + split.different_mistake[source][target]
                + split.same_mistake[source][target];
            assert_eq!(both, matrix.denominators["both"].n[source][target]);
        }
    }
    let campaign = &summary.campaigns[0];
    let distortion = campaign.distortions.iter().find(|d| d.metric == "largest").unwrap();
    let (low, high) = distortion.mean.interval.unwrap();
    assert!((low..=high).contains(&distortion.mean.value.unwrap()));
    let gap = distortion.gap.unwrap();
    assert_eq!(
        (gap.images, gap.best, gap.median_ratio),
        (campaign.success.k, campaign.success.k, Some(1.0)),
        "the only attack is the best"
    );
    assert_eq!(summary.scores.len(), 3);
    assert_eq!(summary.verdicts.iter().map(|v| v.claim).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert!(summary.missing.is_empty());

    let times = Timing::read(out.path()).unwrap();
    assert!(times.iter().zip(&summary.campaigns).all(|(time, c)| (
        &time.model,
        &time.attack,
        time.goal
    ) == (
        &c.model, &c.attack, c.goal
    )));
    let pixels = example_pixels(out.path()).unwrap();
    assert!(!summary.examples.is_empty());
    for example in &summary.examples {
        let [original, adversarial] =
            ["original", "adversarial"].map(|what| &pixels[&format!("{}.{what}", example.tensor)]);
        let largest = (original - adversarial).abs().max().double_value(&[]);
        assert!((largest - example.distortions["largest"].unwrap()).abs() < 1e-5, "{example:?}");
    }
    drop(run);
}

#[test]
fn native_adversarials_are_made_at_the_target_s_size() {
    let native = STUDY.replace("crop_or_pad", "native");
    let (one, two) = (folder(), folder());
    let run = Run::of(&native, 40, one.path(), 1).unwrap();
    Run::of(&native, 40, two.path(), 2).unwrap();
    assert_eq!(tables(one.path()), tables(two.path()));
    assert!(run.outcome.failures.is_empty(), "{:?}", run.outcome.failures);
    let sides: Vec<i64> = run.study.models.iter().map(|model| model.card.side).collect();
    assert_eq!(sides, [8, 12, 8]);
    for campaign in &run.plan.campaigns {
        for (target, cells) in &campaign.transfers {
            assert_eq!(campaign.side, sides[*target]);
            assert!(
                cells
                    .iter()
                    .all(|&cell| run.plan.cells[cell].address.spec.contains("\"policy\":\"none\"")),
                "nothing is fitted"
            );
        }
        let found: Vec<CraftRow> = campaign.craft.iter().flat_map(|&cell| run.rows(cell)).collect();
        assert!(found.iter().any(|row| row.success), "{campaign:?}");
    }
    // Every ordered pair once for each goal, rank and depth; and an attack counts at its own side
    // alone.
    assert_eq!(run.tables.transfer.len(), 3 * 2 * 7 * 2);
    assert!(run.tables.transfer.iter().all(|row| row.images[0] == 40 && row.missing == 0));
    assert_eq!(run.tables.success.len(), 3 * 4);
    assert_eq!(outcomes(one.path()).len(), 3 * 4 * 3 * 40);
    let cropped = folder();
    let cropped = Run::of(STUDY, 40, cropped.path(), 2).unwrap();
    let rates =
        |run: &Run| run.tables.transfer.iter().map(|row| row.transferred).collect::<Vec<_>>();
    assert_ne!(rates(&run), rates(&cropped));
}

#[test]
fn a_row_computed_again_agrees_unless_what_is_stored_is_wrong() {
    let out = folder();
    let run = Run::of(STUDY, 40, out.path(), 2).unwrap();
    let registry = toys::registry().unwrap();
    let options = Options { workers: 1, ..Options::on(Device::Cpu) };
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
        6,
        "the row, clean answers of both, attack, distortion, transfer: {cells:?}"
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
    let Found::Whole(mut stored) = run.store.read::<CraftRow>(address).unwrap() else {
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
        out.path().join("cells").join(address.kind).join(format!("{}.parquet", address.key)),
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
    // Random targets hang on the seed: those that are others now are not compared.
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
    // The engine measures against images of its own.
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
    let reason = &moody("moody")[0].reason;
    assert!(
        reason.starts_with("attack `moody` panicked: only ") && reason.ends_with(" images"),
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
    assert_eq!(run.outcome.failures[0].reason, "model `broken` panicked: out of order");
    assert_eq!(run.tables.accuracy[3].missing, 10);
    assert_eq!(run.tables.success.iter().filter(|row| row.missing == 10).count(), 4);
}

#[test]
fn scores_are_of_the_images_that_the_model_knows() {
    let out = folder();
    let run = Run::of(STUDY, 40, out.path(), 1).unwrap();
    let Scoring { metric, model, goal, cells } = &run.plan.scores[0];
    assert_eq!(
        (run.study.metrics[*metric].part.label.as_str(), *model, *goal),
        ("margin", 0, GoalKind::Untargeted)
    );
    let rows: Vec<ScoreRow> = cells.iter().flat_map(|&id| run.rows(id)).collect();
    let clean: Vec<CleanRow> = run.plan.clean[0].iter().flat_map(|&id| run.rows(id)).collect();
    for (row, clean) in rows.iter().zip(&clean) {
        assert_eq!(row.value.is_some(), clean.correct);
        assert!(row.value.is_none_or(|margin| margin > 0.0));
    }
    assert_eq!(run.tables.scores.len(), 3);
}

#[test]
fn a_study_built_in_code_is_the_same_as_its_file() {
    let other = Member::new("toy_8").label("other").params(&ToyParams { seed: 9 });
    let goals = [GoalKind::Untargeted, GoalKind::Random, GoalKind::LeastLikely, GoalKind::Second];
    let builder = Study::builder("toys")
        .seed(3)
        .model("toy_8")
        .model("toy_12")
        .model(other.clone())
        .attack(Member::new("step").goals(&goals))
        .metric("largest")
        .metric("margin")
        .transfer(Policy::CropOrPad);
    let open = |builder: Builder| {
        let options =
            study::Options { pictures: Some(toys::pictures(40)), ..study::Options::default() };
        builder.open(&toys::registry().unwrap(), options)
    };
    let fingerprint = |study: &Study| Plan::new(study, "cpu").fingerprint();
    assert_eq!(fingerprint(&open(builder.clone()).unwrap()), fingerprint(&parse(STUDY, 40)));

    let error = |builder: Builder| open(builder).err().unwrap().to_string();
    let twice = error(builder.clone().model(other));
    assert!(twice.contains("two models are called `other`: give one another `label"), "{twice}");
    assert!(
        error(builder.clone().attack("stepp"))
            .contains("unknown attack `stepp`, did you mean `step`?")
    );
    assert!(
        error(builder.clone().set("models", Vec::<String>::new()))
            .contains("a study needs at least one model")
    );
    assert!(
        error(builder.clone().attack(Member::new("nudge").goals(&[])))
            .contains("expected at least one goal")
    );
    assert!(error(builder.set("name", "a/b")).contains("`a/b` names a folder"));
    let none = study::Options { pictures: Some(Vec::new()), ..study::Options::default() };
    let error =
        Study::builder("toys").open(&toys::registry().unwrap(), none).err().unwrap().to_string();
    assert!(error.contains("a study needs at least one image"), "{error}");
}

#[test]
fn a_model_may_be_made_by_a_function() {
    let card = Toy::<8, 0>::new(5).card().clone();
    let open = |origin: &str, card: ModelCard| {
        let mut registry = toys::registry().unwrap();
        registry.model_with(ModelCard { name: "made".into(), ..card }, origin, |_| {
            Ok(Box::new(Toy::<8, 0>::new(5)))
        })?;
        let options =
            study::Options { pictures: Some(toys::pictures(10)), ..study::Options::default() };
        let study = Study::builder("toys")
            .model("toy_8")
            .model("made")
            .attack("step")
            .transfer(Policy::Resize)
            .open(&registry, options)?;
        anyhow::Ok((registry, study))
    };
    let (registry, study) = open("first", card.clone()).unwrap();
    let out = folder();
    let session =
        Session::open(&study, &registry, out.path(), Options::on(Device::Cpu), &Silent).unwrap();
    assert_eq!(session.run().unwrap().failures.len(), 0);
    let tables = session.report().unwrap();
    assert_eq!(tables.success[0].success, tables.success[1].success, "it is the same model");
    assert!(tables.success[0].success > 0);
    let again = open("second", card.clone()).unwrap().1;
    assert_ne!(Plan::new(&again, "cpu").fingerprint(), session.plan().fingerprint());
    let mut registry = toys::registry().unwrap();
    let error =
        registry.model_with(card, "me", |_| anyhow::bail!("never")).unwrap_err().to_string();
    assert!(error.starts_with("model `toy_8` is brought twice"), "{error}");
}

#[test]
fn only_what_is_missing_is_computed() {
    let out = folder();
    let first = Run::of(STUDY, 40, out.path(), 2).unwrap();
    let before = tables(out.path());
    let second = Run::of(STUDY, 40, out.path(), 1).unwrap();
    assert_eq!((second.missing, second.outcome.computed), (0, 0));
    assert_eq!(tables(out.path()), before);

    let missing = |text: &str, images: usize| Run::of(text, images, out.path(), 1).unwrap().missing;
    // 3 clean, 3 probe, 3 score, 12 craft, 12 measure and 24 transfer cells per slice.
    assert_eq!(first.plan.cells.len(), 2 * 57);
    assert_eq!(
        missing(
            &STUDY.replace(
                "\"largest\", ",
                "\"largest\", { name = \"largest\", label = \"again\" }, "
            ),
            40
        ),
        0,
        "a label"
    );
    assert_eq!(
        missing(&STUDY.replace("crop_or_pad", "resize"), 40),
        2 * 16,
        "pairs of different sides"
    );
    assert_eq!(missing(STUDY, 32), 0, "fewer images");
    assert_eq!(missing(STUDY, 45), 57, "a longer last slice");
    assert_eq!(
        missing(&STUDY.replace("seed = 9", "seed = 10"), 40),
        2 * (1 + 1 + 1 + 4 + 4 + 16),
        "another model"
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
    let options = Options::on(Device::Cpu);
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
        Session::open(&study, &registry, out.path(), Options::on(Device::Cpu), &Silent).unwrap();
    let other = Run::of(STUDY, 32, out.path(), 2).unwrap();
    let outcome = session.run().unwrap();
    assert_eq!(
        (outcome.found, outcome.computed),
        (other.plan.cells.len(), session.to_compute() - other.plan.cells.len())
    );
}

#[test]
fn what_comes_of_an_attack_names_it_and_its_goal() {
    let out = folder();
    let run = Run::of(STUDY, 4, out.path(), 2).unwrap();
    let campaign =
        run.plan.campaigns.iter().find(|campaign| campaign.goal == GoalKind::Random).unwrap();
    let address = |id: CellId| &run.plan.cells[id].address;
    let Found::Whole(measure) =
        run.store.read::<MeasureRow>(address(campaign.measures[0].1[0])).unwrap()
    else {
        panic!("no measure cell")
    };
    let Found::Whole(transfer) =
        run.store.read::<TransferRow>(address(campaign.transfers[0].1[0])).unwrap()
    else {
        panic!("no transfer cell")
    };
    for provenance in [measure.provenance, transfer.provenance] {
        assert!(
            provenance.contains("\"goal\":\"random\"") && provenance.contains("\"name\":\"step\""),
            "{provenance}"
        );
    }
}

#[test]
fn two_runs_may_share_a_folder() {
    let (alone, shared) = (folder(), folder());
    Run::of(STUDY, 40, alone.path(), 1).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                assert!(Run::of(STUDY, 40, shared.path(), 1).unwrap().outcome.failures.is_empty())
            });
        }
    });
    assert_eq!(tables(alone.path()), tables(shared.path()));
    assert_eq!(Run::of(STUDY, 40, shared.path(), 1).unwrap().missing, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn tensors_come_from_an_allocator_that_keeps_memory() {
    use gauntlet_tests::allocator;
    let setting = |name| allocator::read(name).unwrap();
    assert_eq!([setting(c"opt.dirty_decay_ms"), setting(c"opt.muzzy_decay_ms")], [-1, -1]);
    assert_eq!(setting(c"opt.oversize_threshold"), 1 << 20);
    let allocated = || allocator::read(c"thread.allocated").unwrap();
    let before = allocated();
    let tensor = tch::Tensor::zeros([1 << 20], (tch::Kind::Float, Device::Cpu));
    assert!(allocated() - before >= 4 << 20, "libtorch has its {tensor:?} from elsewhere");
}
