//! What the rows of cells, the tables and the summary say, and that they agree.

use crate::{Run, STUDY, folder, outcomes, tables};
use gauntlet_runner::analysis::{Denominator, SplitCounts, Transfer};
use gauntlet_runner::engine::plan::{CellId, Scoring};
use gauntlet_runner::store::Lookup;
use gauntlet_runner::store::rows::{CleanRow, CraftRow, MeasureRow, ScoreRow, Status, TransferRow};
use gauntlet_runner::store::table_rows::OutcomeRow;
use gauntlet_runner::study::GoalKind;
use gauntlet_runner::summary::{Match, Pixels, Summary, Timing, example_pixels};

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
            .all(|row| ![row.second, row.least_likely].contains(&Some(row.label)) && row.top5)
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
                GoalKind::LeastLikely => clean.least_likely,
                GoalKind::Second => clean.second,
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
    // With a tolerance so wide every class counts as tied, except for the background of toy_12.
    let wide = Run::of(&tolerant("100.0"), 40, out.path(), 2).unwrap();
    assert!(wide.study.to_toml().contains("tie_tolerance = 100.0"));
    let mut ties = 0;
    for (before, after) in strict.craft("step").iter().zip(&wide.craft("step")) {
        assert_eq!(
            (before.prediction, before.prediction_8bit),
            (after.prediction, after.prediction_8bit)
        );
        // The published rule never looks at the last class.
        let tied =
            after.prediction.is_some() && after.target_class.is_some_and(|target| target < 3);
        assert_eq!(
            (after.success, after.success_8bit),
            (before.success || tied, before.success_8bit || tied),
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
        let [all, source_correct, source_success, target_correct, both, all_correct, control] =
            row.images.iter().collect::<Vec<_>>().try_into().unwrap();
        assert_eq!(all, 40);
        assert!(
            source_correct < all
                && target_correct <= source_correct
                && both <= source_success.min(target_correct),
            "{row:?}"
        );
        assert!(0 < all_correct && all_correct <= target_correct, "{row:?}");
        assert!(0 < control && control <= source_correct, "{row:?}");
        let SplitCounts { unfooled, different_mistake, same_mistake } = row.split;
        assert_eq!(unfooled + different_mistake + same_mistake, both);
        assert!(row.transferred.iter().zip(row.images.iter()).all(|(part, whole)| part <= whole));
    }
    let differ = |a: Denominator, b: Denominator| {
        a == b || run.tables.transfer.iter().any(|row| row.images[a] != row.images[b])
    };
    let distinct = |a: Denominator| Denominator::ALL.iter().all(|&b| differ(a, b));
    assert!(Denominator::ALL.iter().all(|&a| distinct(a)), "no two denominators are the same");
    let cells = &run.plan.campaigns[0].transfers[0];
    let rows: Vec<TransferRow> = cells.1.iter().flat_map(|&id| run.rows(id)).collect();
    let both = rows.iter().filter(|row| row.source_success && row.target_correct).count();
    assert_eq!(run.tables.transfer[0].images[Denominator::Both], both);
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
    let members: [(&str, Member); 7] = [
        ("all", |_| true),
        ("source_correct", |row| row.status.attempted()),
        ("source_success", |row| row.source_success_8bit),
        ("target_correct", |row| row.status.attempted() && row.target_correct),
        ("both", |row| row.source_success_8bit && row.target_correct),
        ("all_correct", |row| row.all_correct),
        ("control", |row| row.status.attempted() && row.control_correct_8bit),
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
            assert_eq!(campaign.shape.side(), sides[*target]);
            assert!(
                cells
                    .iter()
                    .all(|&cell| run.plan.cells[cell].address.spec.contains("\"policy\":\"none\"")),
                "images are neither cropped nor resized"
            );
        }
        let found: Vec<CraftRow> = campaign.craft.iter().flat_map(|&cell| run.rows(cell)).collect();
        assert!(found.iter().any(|row| row.success), "{campaign:?}");
    }
    // Every ordered pair has one row for each goal, rank and depth, and an attack counts at the side
    // of its own model only.
    assert_eq!(run.tables.transfer.len(), 3 * 2 * 7 * 2);
    let whole = |row: &Transfer| row.images[Denominator::All] == 40 && row.missing == 0;
    assert!(run.tables.transfer.iter().all(whole));
    assert_eq!(run.tables.success.len(), 3 * 4);
    assert_eq!(outcomes(one.path()).len(), 3 * 4 * 3 * 40);
    let cropped = folder();
    let cropped = Run::of(STUDY, 40, cropped.path(), 2).unwrap();
    let rates =
        |run: &Run| run.tables.transfer.iter().map(|row| row.transferred).collect::<Vec<_>>();
    assert_ne!(rates(&run), rates(&cropped));
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
fn what_comes_of_an_attack_names_it_and_its_goal() {
    let out = folder();
    let run = Run::of(STUDY, 4, out.path(), 2).unwrap();
    let campaign =
        run.plan.campaigns.iter().find(|campaign| campaign.goal == GoalKind::Random).unwrap();
    let address = |id: CellId| &run.plan.cells[id].address;
    let Lookup::Whole(measure) =
        run.store.read::<MeasureRow>(address(campaign.measures[0].1[0])).unwrap()
    else {
        panic!("no measure cell")
    };
    let Lookup::Whole(transfer) =
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
