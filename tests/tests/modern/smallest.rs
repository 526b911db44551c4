//! Attacks that look for the nearest adversarial.

use crate::golden::{Faults, GOLDEN, Run, Tolerance, answers, oracle, tiny, untargeted};
use gauntlet_core::attack::{Attack, Norm};
use gauntlet_modern::attacks::{
    Ddn, DdnParams, DeepFool, DeepFoolParams, Fab, FabParams, Fmn, FmnNorm, FmnParams, Pdpgd,
    PdpgdParams,
};

/// No bound.
const ANY: f64 = f64::INFINITY;

fn fmn_norm(run: &Run) -> FmnNorm {
    match run.norm.as_str() {
        "l0" => FmnNorm::L0,
        "l1" => FmnNorm::L1,
        "l2" => FmnNorm::L2,
        _ => FmnNorm::Linf,
    }
}

#[test]
fn fmn_does_what_the_peers_code_does() {
    let mut faults = Faults::default();
    for run in &GOLDEN.fmn {
        let (iterations, step) = (run.steps.unwrap(), run.alpha_init.unwrap());
        let params = FmnParams {
            norm: fmn_norm(run),
            iterations,
            step,
            growing: false,
            confidence: 0.0,
            ..FmnParams::default()
        };
        let tolerance = match fmn_norm(run) {
            FmnNorm::L0 => Tolerance { norm: [1e-9, 1e-9], logits: [1e-4, 1e-4] },
            // Steps this long are chaotic.
            FmnNorm::Linf if step > 1.0 && iterations >= 100 => {
                let norm = if run.targeted() { [0.15, 0.15] } else { [5e-4, 5e-4] };
                Tolerance { norm, logits: [ANY, ANY] }
            }
            _ => Tolerance { norm: [5e-5, 1e-3], logits: [2e-3, 0.1] },
        };
        faults.compare(run, &answers::<Fmn, _>(params, run), tolerance);
    }
    faults.report();
}

#[test]
fn ddn_does_what_the_peers_code_does() {
    let mut faults = Faults::default();
    for run in &GOLDEN.ddn {
        let (iterations, levels) = (run.steps.unwrap(), run.levels.unwrap_or(0));
        let params = DdnParams { iterations, levels, confidence: 0.0, ..DdnParams::default() };
        let tolerance = match (levels, iterations) {
            (0, _) => Tolerance { norm: [2e-6, 1.3e-3], logits: [2e-2, 0.5] },
            (_, 20) => Tolerance { norm: [2e-4, 2e-4], logits: [1e-2, 1e-2] },
            _ => Tolerance { norm: [3e-3, 3e-3], logits: [0.7, 0.7] },
        };
        faults.compare(run, &answers::<Ddn, _>(params, run), tolerance);
    }
    faults.report();
}

#[test]
fn pdpgd_and_pdgd_do_what_the_peers_code_does() {
    let mut faults = Faults::default();
    for run in &GOLDEN.pdpgd {
        let iterations = run.steps.unwrap();
        if run.norm == "l0" {
            continue; // Pdpgd has no l0
        }
        let params = PdpgdParams {
            norm: run.norm(),
            iterations,
            proximal: run.source == "adv-lib pdpgd",
            confidence: 0.0,
            ..PdpgdParams::default()
        };
        let tolerance = match (iterations, run.norm()) {
            (..=100, _) => Tolerance { norm: [3e-5, 3e-5], logits: [1e-4, 1e-4] },
            (_, Norm::L2) => Tolerance { norm: [2e-3, 3e-2], logits: [2e-3, 1.0] },
            _ => Tolerance { norm: [5e-5, 3e-2], logits: [2e-3, 1.0] },
        };
        faults.compare(run, &answers::<Pdpgd, _>(params, run), tolerance);
    }
    faults.report();
}

#[test]
fn deepfool_does_what_the_peers_code_does() {
    let mut faults = Faults::default();
    // The authors' code leaves [0, 1], and `sdf` is another attack.
    let peers = ["adv-lib df", "foolbox L2DeepFoolAttack", "foolbox LinfDeepFoolAttack"];
    for run in GOLDEN.deepfool.iter().filter(|run| peers.contains(&run.source.as_str())) {
        let params = DeepFoolParams {
            norm: run.norm(),
            iterations: run.steps.unwrap(),
            ..DeepFoolParams::default()
        };
        let tolerance = Tolerance { norm: [1e-5, 2e-4], logits: [1e-4, 1e-4] };
        faults.compare(run, &answers::<DeepFool, _>(params, run), tolerance);
    }
    faults.report();
}

#[test]
fn fab_and_fab_t_do_what_the_authors_code_does() {
    let mut faults = Faults::default();
    for run in GOLDEN.fab.iter().chain(&GOLDEN.fab_t) {
        let params = FabParams {
            norm: run.norm(),
            iterations: run.n_iter.unwrap(),
            epsilon: run.eps.unwrap_or(0.0),
            targets: if run.eps.is_some() { 9 } else { 0 },
            ..FabParams::default()
        };
        let logits = if run.norm() == Norm::L2 { 1e-4 } else { 1e-2 };
        let tolerance = Tolerance { norm: [2e-5, 3e-4], logits: [logits, logits] };
        if run.targeted() {
            // The authors' code counts any class beside the label.
            let (model, cases) = (tiny(), untargeted());
            let fab = Fab::new(params).unwrap();
            let answers = fab.toward(&oracle(&model, &cases), &cases, run.classes()).unwrap();
            faults.compare(run, &answers, tolerance);
        } else {
            faults.compare(run, &answers::<Fab, _>(params, run), tolerance);
        }
    }
    faults.report();
}
