//! Robust accuracy, against a count of its own from the single outcomes.

use gauntlet_core::device::Device;
use gauntlet_core::registry::Registry;
use gauntlet_runner::engine::{RunOptions, Silent};
use gauntlet_runner::report;
use gauntlet_runner::report::outcomes::{self, OutcomeRow};
use gauntlet_runner::study::StudyOptions;
use gauntlet_runner::summary::Summary;
use gauntlet_runner::{Session, Study};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const STUDY: &str =
    "name = \"robust\"\nmetrics = [\"linf\", \"l2\", \"ssim\"]\nprobe = { images = 0 }
data = { source = \"fashion-mnist\", images = 40 }
[[models]]
name = \"mini_vgg_16\"
[[models]]
name = \"mini_mobilenet_v1_025\"
[[attacks]]
name = \"fgsm\"
params = { epsilon = 0.1 }
goals = [\"untargeted\", \"random\"]
[[attacks]]
name = \"ifgsm\"
params = { iterations = 8, search_tries = 3 }
";

/// The smallest distance of each image of each model, by the columns of `outcomes.parquet` alone.
fn by_hand(folder: &Path, column: &str) -> BTreeMap<(String, String), f64> {
    let mut nearest = BTreeMap::new();
    outcomes::read(folder, |_, outcome| {
        let OutcomeRow { source, image, label, source_clean, prediction, .. } = outcome.row;
        let known = nearest.entry((source, image)).or_insert(f64::INFINITY);
        if source_clean != Some(label) {
            *known = 0.0;
        } else if prediction.is_some_and(|class| class != label) {
            *known = known.min(outcome.distortions[column]);
        }
        Ok(())
    })
    .unwrap();
    nearest
}

#[test]
fn robust_accuracy_is_the_worst_case_over_all_attacks_and_goals() {
    use gauntlet_plugins as _;
    let registry = Registry::linked().unwrap();
    let options = StudyOptions::default();
    let study = Study::parse(STUDY, "robust.toml", Path::new("."), &registry, options).unwrap();
    let out = tempfile::tempdir().unwrap();
    let options = RunOptions { workers: 2, ..RunOptions::on(Device::Cpu) };
    let session = Session::open(&study, &registry, out.path(), options, &Silent).unwrap();
    assert!(session.run().unwrap().failures.is_empty());
    let tables = session.report().unwrap();
    drop(session);
    let summary = Summary::open(out.path()).unwrap();
    let screen = |width: usize| {
        let mut out = Vec::new();
        report::print_screen(&study, &tables, &summary, width, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let narrow = screen(64);
    assert!(narrow.lines().count() <= 40, "{narrow}");
    assert!(narrow.lines().all(|line| line.chars().count() <= 64), "{narrow}");
    let first = &summary.robustness[0].ranking[0].model;
    let model = narrow.lines().find(|line| line.trim_start().starts_with("mini_")).unwrap();
    assert!(model.trim_start().starts_with(first), "the most robust model stands first: {narrow}");
    assert!(narrow.contains("\n  4  undecided  "), "a line for each claim: {narrow}");
    let wide = screen(500);
    assert!(wide.contains("fgsm, random: success of n attacked images"), "tables that fit: {wide}");
    let norms: Vec<&str> = summary.robustness.iter().map(|norm| norm.norm.as_str()).collect();
    assert_eq!(norms, ["linf", "l2"], "SSIM is no norm");
    let csv = fs::read_to_string(out.path().join("robust_accuracy.csv")).unwrap();
    for norm in &summary.robustness {
        let nearest = by_hand(out.path(), &format!("distortion_{}", norm.norm));
        let mut means = Vec::new();
        for model in &norm.ranking {
            let of = |((source, _), far): (&(String, String), &f64)| {
                (*source == model.model).then_some(*far)
            };
            let far: Vec<f64> = nearest.iter().filter_map(of).collect();
            assert_eq!((far.len(), model.images), (40, 40));
            for budget in &model.budgets {
                let robust = far.iter().filter(|far| **far > budget.epsilon * 1.000_01).count();
                assert_eq!((budget.robust.k, budget.robust.n), (robust, 40), "{}", budget.text);
                let line = format!(
                    "\n{},{},{},{},40,{robust},",
                    norm.norm,
                    model.model,
                    short(budget.epsilon),
                    budget.text
                );
                assert!(csv.contains(&line), "{line:?} in {csv}");
            }
            let fallen = far.iter().filter(|far| far.is_finite()).count();
            assert_eq!(model.fallen.rank.last(), Some(&fallen));
            let limited = far.iter().map(|far| far.min(norm.limit)).sum::<f64>() / 40.0;
            assert!((model.mean.unwrap() - limited).abs() < 1e-6);
            means.push(limited);
            let attacked = far.iter().filter(|far| far.is_finite() && **far > 0.0).count();
            let by: usize = model.nearest_by.iter().map(|by| by.images).sum();
            assert_eq!(by, attacked);
            assert!(model.nearest_by[0].attack == "ifgsm", "a search comes nearer than one step");
        }
        assert!(means.is_sorted_by(|a, b| a >= b), "{means:?}");
    }
    // At a budget beyond all that the attacks allow, an image is robust only where they failed.
    let linf = &summary.robustness[0].ranking[0];
    let rates: Vec<f64> = linf.budgets.iter().map(|budget| budget.robust.rate.unwrap()).collect();
    assert!(rates.is_sorted_by(|a, b| a >= b) && rates[0] > rates[5], "{rates:?}");
    assert!(out.path().join("robustness.parquet").is_file());
}

/// A number as the tables write it.
fn short(value: f64) -> String {
    let text = format!("{value:.5e}");
    let value: f64 = text.parse().unwrap();
    value.to_string()
}
