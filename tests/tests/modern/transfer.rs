//! Attacks that are made to transfer.

use crate::golden::{Faults, GOLDEN, Run, Tolerance, answers, oracle, tiny, twenty};
use gauntlet_core::attack::{Answer, Attack, Goals, Norm};
use gauntlet_core::model::Model;
use gauntlet_modern::attacks::{TransferFgsm, TransferFgsmParams};
use gauntlet_modern::parts::Loss;
use tch::{Kind, Tensor};

/// The published settings of a run. Its name says which parts are on: `I`, `MI`, `SINI`, `VNI`, ….
fn params<I>(run: &Run<I>) -> TransferFgsmParams {
    let is = |name: &str| run.attack.split(',').next().unwrap().starts_with(name);
    TransferFgsmParams {
        norm: if run.norm == "l2" { Norm::L2 } else { Norm::Linf },
        epsilon: if run.norm == "l2" { run.eps.unwrap() } else { 16.0 / 255.0 },
        decay: if run.attack == "I" { 0.0 } else { 1.0 },
        nesterov: is("NI") || is("SINI") || is("VNI"),
        diversity: run.diversity_prob.unwrap_or(0.0),
        resize: run.resize_rate.unwrap_or(1.1),
        kernel: run.kernel_size.unwrap_or(0),
        scales: run.num_scale.unwrap_or(1),
        neighbours: run.num_neighbor.unwrap_or(0),
        beta: run.beta.unwrap_or(0.0),
        random_start: run.random_start,
        ..TransferFgsmParams::default()
    }
}

#[test]
fn attacks_without_chance_do_what_the_published_code_does() {
    let mut faults = Faults::default();
    for run in &GOLDEN.transfer {
        let tolerance = Tolerance { norm: [1e-6, 1e-6], logits: [1e-4, 1.8] };
        faults.compare(run, &answers::<TransferFgsm, _>(params(run), run), tolerance);
    }
    faults.report();
}

#[test]
fn attacks_with_chance_spread_as_the_published_code_does() {
    let mut faults = Faults::default();
    for run in &GOLDEN.transfer_random {
        let (model, cases) = (tiny(), twenty(&run.cases()));
        let attack = TransferFgsm::new(params(run)).unwrap();
        let found = attack.run(&oracle(&model, &cases), &cases).unwrap();
        let pixels: Vec<&Tensor> = found
            .iter()
            .map(|answer| match answer {
                Answer::Pixels(pixels) => pixels,
                Answer::NotFound => panic!("a single attempt is always an answer"),
            })
            .collect();
        let logits = tch::no_grad(|| model.logits(&Tensor::stack(&pixels, 0)));
        let goals = Goals::new(&cases.goals, &logits);
        // A row for each seed, a column for each image.
        let by_seed = |values: Tensor| values.to_kind(Kind::Double).view([20, 6]);
        let met = by_seed(goals.met(&logits, 0.0));
        let margins = by_seed(goals.margin(&logits) * &goals.sign);
        let entropies = by_seed(-Loss::CrossEntropy.cost(&goals, &logits) * &goals.sign);
        for (n, image) in run.images.iter().enumerate() {
            let mean =
                |values: &Tensor| values.select(1, n as i64).mean(Kind::Double).double_value(&[]);
            let name = format!("{}: image {n}", run.name());
            let rate = mean(&met);
            faults.check((rate - image.success_rate).abs() <= 0.3, || {
                format!("{name}: rate {rate}, not {}", image.success_rate)
            });
            for (what, found, expected, spread) in [
                ("margin", mean(&margins), image.margin_mean, image.margin_std),
                ("cross entropy", mean(&entropies), image.ce_mean, image.ce_std),
            ] {
                faults.check((found - expected).abs() <= 1.3 * spread + 0.05, || {
                    format!("{name}: {what} {found}, not {expected} ± {spread}")
                });
            }
        }
    }
    faults.report();
}
