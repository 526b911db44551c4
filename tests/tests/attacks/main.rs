//! The four attacks against what the authors' code gave on the tiny network (see
//! `fixtures/golden/README.md`).
//!
//! Tolerances are the deviations that float32 noise in the weights causes in the authors' own code,
//! with one exception: [`penalty::Tolerance::chaotic`].

mod faults;
mod modern;
mod penalty;
mod published;
mod sign;

use faults::{Faults, norms, relative, row};
use gauntlet_core::attack::{Attack, Cases, Goal};
use gauntlet_core::metric::Metric;
use gauntlet_core::model::Model;
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_core::params::preset;
use gauntlet_plugins::metrics::{L0, L1, L2, Linf};
use gauntlet_tests::golden::{self, tiny_images};
use gauntlet_tests::tiny::TinyNet;
use published::{Golden, Network, Tie};
use std::sync::LazyLock;
use tch::Tensor;

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    // The network is too small for several threads, and tests run in parallel.
    tch::set_num_threads(1);
    golden::read("attacks.json")
});

fn model(network: &Network) -> TinyNet {
    TinyNet::new(&GOLDEN.meta.seed, network.kernel_constant, network.logit_multiplier)
}

fn goal(mode: &str, target: i64) -> Goal {
    if mode == "untargeted" { Goal::Away(target) } else { Goal::Towards(target) }
}

fn oracle(model: &TinyNet) -> Oracle<'_> {
    Oracle::new(model, (0..6).collect(), Settings::default())
}

fn eccv2018<A: Attack>() -> A::Params {
    preset(A::presets(), Some("eccv2018")).unwrap()
}

#[test]
fn the_tiny_network_has_the_golden_logits_and_gradients() {
    for network in [&GOLDEN.network, &GOLDEN.orig_constants.network] {
        let model = model(network);
        let mut faults = Faults::default();
        let logits = model.logits(&tiny_images());
        let goals = network.labels.iter().map(|&l| Goal::Away(l)).collect();
        let cases = Cases::new(tiny_images(), goals).unwrap();
        let labels = Tensor::from_slice(&network.labels).unsqueeze(1);
        let all: Vec<usize> = (0..6).collect();
        let gradients = oracle(&model)
            .gradient(&all, &cases.pixels, |z| z.gather(1, &labels, false).squeeze_dim(1))
            .unwrap()
            .pixels;
        for n in 0..6 {
            let found = row(&logits.get(n as i64));
            let deviation = found
                .iter()
                .zip(&network.logits[n])
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max);
            faults.close("network", n, "logits", deviation, 5e-5);
            let golden = &network.input_gradient_of_true_logit;
            for (found, golden) in norms(&gradients.get(n as i64)).into_iter().zip([
                golden.l1[n],
                golden.l2[n],
                golden.linf[n],
            ]) {
                faults.close("network", n, "gradient norm", relative(found, golden), 1e-6);
            }
        }
        faults.report();
    }
}

#[test]
fn a_target_within_a_thousandth_of_the_top_counts_as_the_authors_count_it() {
    for Tie { logits, target, success } in &GOLDEN.quirks.tie_rule {
        assert_eq!(
            Goal::Towards(*target).met_within(logits, 1e-3),
            *success,
            "{logits:?} towards {target}"
        );
    }
}

fn flat(value: &serde_json::Value) -> Vec<f32> {
    value.as_array().map_or_else(
        || vec![value.as_f64().unwrap() as f32],
        |values| values.iter().flat_map(flat).collect(),
    )
}

#[test]
fn norms_are_those_of_the_authors_code() {
    let mut compared = 0;
    for pair in &GOLDEN.norms.pairs {
        let (Some(a), Some(b)) = (&pair.a, &pair.b) else { continue };
        let [a, b] = [a, b].map(|v| Tensor::from_slice(&flat(v)).unsqueeze(0));
        if a == b && pair.l0 > 0.0 {
            continue;
        }
        let found =
            [L0.outcome(&b, &a), L1.outcome(&b, &a), L2.outcome(&b, &a), Linf.outcome(&b, &a)]
                .map(|v| v.unwrap()[0]);
        for (found, expected) in found.into_iter().zip([pair.l0, pair.l1, pair.l2, pair.linf]) {
            assert!(
                (found - expected).abs() <= 1e-6 * expected.max(1e-3),
                "{}: {found}, expected {expected}",
                pair.name
            );
        }
        compared += 1;
    }
    assert!(compared >= 3);
}
