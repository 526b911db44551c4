//! The modern defaults against the published settings.

use crate::faults::{norms, row, success};
use crate::published::Run;
use crate::{GOLDEN, eccv2018, goal, model};
use gauntlet_core::attack::{Answer, Attack, Cases};
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_plugins::attacks::{CwL2, EadL1, Ifgsm};
use gauntlet_tests::golden::tiny_images;

/// What an attack reaches on the six images.
struct Reach {
    /// Median distortions for the goals untargeted, random and least likely, each in l1, l2, l∞.
    medians: [[f64; 3]; 3],
    /// Mean passes of an image.
    passes: f64,
}

fn reach<A: Attack>(params: A::Params) -> Reach {
    let network = &GOLDEN.network;
    let model = model(network);
    let runs: Vec<&Run> = ["untargeted", "random", "least"]
        .iter()
        .map(|mode| GOLDEN.main.ifgsm.search.iter().find(|run| run.mode == *mode).unwrap())
        .collect();
    let goals = runs
        .iter()
        .flat_map(|run| run.images.iter().map(|image| goal(&run.mode, image.target)))
        .collect();
    let cases = Cases::new(tiny_images().repeat([3, 1, 1, 1]), goals).unwrap();
    let oracle = Oracle::new(&model, (0..18).collect(), Settings::default());
    let mut found = [[0; 3]; 3].map(|row| row.map(|_| Vec::new()));
    for (case, answer) in
        A::new(params).unwrap().run(&oracle, &cases).unwrap().into_iter().enumerate()
    {
        let Answer::Pixels(pixels) = answer else { continue };
        let logits = row(&model.logits(&pixels.unsqueeze(0)));
        assert!(
            success(cases.goals[case], &logits),
            "{} case {case}: an adversarial that is none in a batch of its own",
            A::NAME
        );
        for (values, norm) in found[case / 6].iter_mut().zip(norms(&(&pixels - cases.image(case))))
        {
            values.push(norm);
        }
    }
    let passes =
        oracle.passes().iter().map(|p| (p.forward + p.backward) as f64).sum::<f64>() / 18.0;
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        // Failures count as infinitely far.
        values.resize(6, f64::INFINITY);
        f64::midpoint(values[2], values[3])
    };
    Reach { medians: found.map(|norms| norms.map(median)), passes }
}

/// Checks that the modern default takes at most `passes` times the passes of the published settings
/// and reaches at most `slack` times their distortion, and at most `bound` for each kind of goal.
fn improves<A: Attack>(norm: usize, passes: f64, slack: f64, bound: [f64; 3]) {
    let published = reach::<A>(eccv2018::<A>());
    let modern = reach::<A>(A::Params::default());
    assert!(
        modern.passes <= passes * published.passes,
        "{}: {} passes, published {}",
        A::NAME,
        modern.passes,
        published.passes
    );
    for (mode, bound) in bound.iter().enumerate() {
        let (found, before) = (modern.medians[mode][norm], published.medians[mode][norm]);
        println!(
            "{}: {found:.5}, published {before:.5}; passes {:.0}, published {:.0}",
            A::NAME,
            modern.passes,
            published.passes
        );
        assert!(found <= before * slack, "{}: {found}, published {before}", A::NAME);
        // The bounds were measured on the network of the public seed.
        assert!(
            found <= *bound || GOLDEN.meta.seed != "public",
            "{}: {found}, expected at most {bound}",
            A::NAME
        );
    }
}

// For comparison, the best medians that other implementations reach on these images (untargeted,
// random, least likely; see the fixtures' README): l2 0.668, 3.33, 6.18; l1 6.78, 52.1, 112.5 with
// FMN and 7.37, 55.9, 119 with EAD; l∞ 0.0300, 0.158, 0.341 with FMN.

#[test]
fn the_modern_cw_takes_fewer_passes_for_the_same_distortion() {
    improves::<CwL2>(1, 1.0, 1.002, [0.6695, 3.345, 6.20]);
}

// The published EAD is chaotic: noise of float32 decides whether a search step is given up early.
// The ratio of passes depends on the processor: 1.01 on one kind, 1.07 on another (AMD, AVX2).
#[test]
fn the_modern_ead_comes_closer_in_about_as_many_passes() {
    improves::<EadL1>(0, 1.1, 0.95, [6.85, 52.7, 113.0]);
}

#[test]
fn the_modern_ifgsm_search_comes_closer_in_fewer_passes() {
    improves::<Ifgsm>(2, 1.0, 0.65, [0.0303, 0.163, 0.44]);
}
