//! CLEVER's fit against the authors' own, and its score on the tiny network (see
//! `fixtures/golden/README.md`).

use gauntlet_core::attack::{Cases, Goal};
use gauntlet_core::metric::Metric;
use gauntlet_core::oracle::{Oracle, Settings};
use gauntlet_plugins::metrics::{Clever, CleverParams, INFINITY, fit};
use gauntlet_tests::golden::{self, tiny_images};
use gauntlet_tests::tiny::TinyNet;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Golden {
    meta: Meta,
    network: Network,
    clever: Scores,
}

#[derive(Deserialize)]
struct Meta {
    seed: String,
}

#[derive(Deserialize)]
struct Network {
    kernel_constant: f64,
    logit_multiplier: f64,
}

#[derive(Deserialize)]
struct Scores {
    images: Vec<Sampled>,
}

/// Fifty maxima of gradient norms around an image, and the authors' estimates from them.
#[derive(Deserialize)]
struct Sampled {
    sample_norm: String,
    image: usize,
    #[serde(rename = "true")]
    label: i64,
    target: i64,
    g_x0: f64,
    #[serde(rename = "G1")]
    l1: Vec<f64>,
    #[serde(rename = "G2")]
    l2: Vec<f64>,
    #[serde(rename = "Gi")]
    linf: Vec<f64>,
    bnd: BTreeMap<String, f64>,
    fit: BTreeMap<String, Fitted>,
}

#[derive(Deserialize)]
struct Fitted {
    loc: f64,
    ks: f64,
    #[serde(rename = "pVal")]
    p: f64,
}

#[test]
fn the_same_maxima_give_the_same_estimate() {
    let golden: Golden = golden::read("attacks.json");
    let [mut deviations, mut distances, mut values_of_p] = [const { Vec::new() }; 3];
    for sampled in &golden.clever.images {
        for (maxima, name) in [(&sampled.l1, "G1"), (&sampled.l2, "G2"), (&sampled.linf, "Gi")] {
            let (found, expected) = (fit(maxima).expect("a fit"), &sampled.fit[name]);
            let what = format!(
                "image {} in the {} ball, {name}: {found:?}",
                sampled.image, sampled.sample_norm
            );
            deviations.push((found.end / -expected.loc - 1.0).abs());
            assert!(deviations.last().unwrap() < &5e-3, "{what} against {}", -expected.loc);
            // The authors' simplex sometimes stops short of the optimum.
            assert!((found.distance - expected.ks).abs() < 1e-2, "{what} against {}", expected.ks);
            distances.push((found.distance - expected.ks).abs());
            values_of_p.push((found.p - expected.p).abs());
        }
    }
    assert_eq!(deviations.len(), 54);
    for values in [&mut deviations, &mut distances, &mut values_of_p] {
        values.sort_by(f64::total_cmp);
    }
    println!(
        "relative deviation of the end point: median {:e}, greatest {:e}",
        deviations[27], deviations[53]
    );
    assert!(
        deviations[27] < 1e-6 && distances[27] < 1e-5 && values_of_p[27] < 1e-3,
        "{} {} {}",
        deviations[27],
        distances[27],
        values_of_p[27]
    );
}

#[test]
fn the_score_is_the_authors_within_the_sampling_error() {
    tch::set_num_threads(1);
    let golden: Golden = golden::read("attacks.json");
    let Network { kernel_constant, logit_multiplier } = golden.network;
    let net = TinyNet::new(&golden.meta.seed, kernel_constant, logit_multiplier);
    let score = |sampled: &Sampled| match sampled.sample_norm.as_str() {
        "l1" => (of::<1>(&net, sampled), "L1"),
        "l2" => (of::<2>(&net, sampled), "L2"),
        _ => (of::<INFINITY>(&net, sampled), "Li"),
    };
    let mut ratios = Vec::new();
    for sampled in &golden.clever.images {
        let (values, bound) = score(sampled);
        let [found, low, high, lipschitz, _, good] = values[..] else { panic!("{values:?}") };
        let expected = sampled.bnd[bound];
        let what = format!(
            "image {} in the {} ball: {values:?} against {expected}",
            sampled.image, sampled.sample_norm
        );
        assert!((found * lipschitz / sampled.g_x0 - 1.0).abs() < 1e-4, "{what}");
        // Fifty maxima give an end point to about a quarter. The median over all images shows
        // whether it is biased.
        assert!((0.7..1.4).contains(&(found / expected)), "{what}");
        assert!(low <= found && found <= high && good == 1.0, "{what}");
        ratios.push(found / expected);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "score against the authors': median {}, from {} to {}",
        ratios[9], ratios[0], ratios[17]
    );
    assert!((0.95..1.05).contains(&ratios[9]), "{ratios:?}");
}

fn of<const P: usize>(net: &TinyNet, sampled: &Sampled) -> Vec<f64> {
    // As many batches and samples as in the golden.
    let params =
        CleverParams { batches: 50, samples: 128, resamples: 50, ..CleverParams::<P>::default() };
    let cases = Cases::new(
        tiny_images().narrow(0, sampled.image as i64, 1),
        vec![Goal::Towards(sampled.target)],
    )
    .unwrap();
    assert_ne!(sampled.label, sampled.target);
    let oracle = Oracle::new(
        net,
        vec![sampled.image as u64],
        Settings { lanes: 128, ..Settings::default() },
    );
    Clever::new(params).unwrap().model(&oracle, &cases).unwrap()
}
