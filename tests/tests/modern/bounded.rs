//! Attacks inside a ball.

use crate::golden::{Faults, GOLDEN, Run, Tolerance, answers};
use gauntlet_core::attack::Norm;
use gauntlet_modern::attacks::{Kept, Pgd, PgdParams};
use gauntlet_modern::parts::Loss;

fn loss(run: &Run) -> Loss {
    match run.loss.as_str() {
        "ce" => Loss::CrossEntropy,
        "dl" => Loss::Margin,
        "dlr" => Loss::Dlr,
        other => panic!("the loss `{other}`"),
    }
}

#[test]
fn pgd_does_what_the_peers_code_does() {
    let mut faults = Faults::default();
    for run in &GOLDEN.pgd {
        let (epsilon, iterations) = (run.eps.unwrap(), run.steps.unwrap());
        let advlib = run.source.starts_with("adv-lib");
        let part = run.step_size.unwrap() / epsilon;
        // Goldens have six digits: adv-lib's steps are a thirtieth of ε.
        let part = if advlib { 0.01 / 0.3 } else { part };
        let params = PgdParams {
            norm: run.norm(),
            epsilon,
            iterations,
            step: part * f64::from(iterations),
            loss: loss(run),
            random_start: false,
            kept: if advlib { Kept::Met } else { Kept::Last },
            ..PgdParams::default()
        };
        let tolerance = match run.norm() {
            Norm::Linf => Tolerance { norm: [1e-6, 1e-6], logits: [1e-4, 2e-2] },
            _ => Tolerance { norm: [5e-6, 3e-4], logits: [5e-4, 1e-2] },
        };
        faults.compare(run, &answers::<Pgd>(params, run, 0), tolerance);
    }
    faults.report();
}
