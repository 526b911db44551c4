//! Attacks inside a ball.

use crate::golden::{Faults, GOLDEN, Run, Tolerance, answers, oracle, tiny, twenty, untargeted};
use gauntlet_core::attack::Norm;
use gauntlet_core::attack::{Answer, Attack, Cases};
use gauntlet_modern::attacks::{
    Apgd, ApgdOutcome, ApgdParams, Kept, Pgd, PgdParams, Square, SquareParams,
};
use gauntlet_modern::parts::Loss;

fn loss<I>(run: &Run<I>) -> Loss {
    match run.loss.as_str() {
        "ce" => Loss::CrossEntropy,
        "dl" => Loss::Margin,
        "dlr" | "dlr-targeted" => Loss::Dlr,
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
        faults.compare(run, &answers::<Pgd, _>(params, run), tolerance);
    }
    faults.report();
}

/// The published settings of a run of APGD, from the image itself.
fn apgd<I>(run: &Run<I>) -> ApgdParams {
    ApgdParams {
        norm: run.norm(),
        epsilon: run.eps.unwrap(),
        iterations: run.n_iter.unwrap(),
        loss: if run.loss.is_empty() { Loss::Dlr } else { loss(run) },
        random_start: false,
        stop_early: false,
        ..ApgdParams::default()
    }
}

fn trace(params: ApgdParams, cases: &Cases, targets: Option<&[i64]>) -> Vec<ApgdOutcome> {
    let model = tiny();
    Apgd::new(params).unwrap().trace(&oracle(&model, cases), cases, targets).unwrap()
}

/// In ℓ2 a run that stands still halves its step wherever float32 noise says so; 100 steps of the
/// targeted ratio are chaotic there.
fn tolerance(run: &Run) -> Tolerance {
    match (run.n_iter.unwrap(), run.norm()) {
        (20, Norm::L2) => Tolerance { norm: [1e-6, 1e-6], logits: [2e-3, 2e-2] },
        (20, _) => Tolerance { norm: [1e-6, 1e-6], logits: [2e-4, 2e-2] },
        (_, Norm::L2) => Tolerance { norm: [2e-5, 6e-3], logits: [5e-3, 3.0] },
        _ => Tolerance { norm: [2e-5, 2e-5], logits: [5e-3, 3.0] },
    }
}

#[test]
fn apgd_takes_the_steps_of_the_authors_code() {
    let mut faults = Faults::default();
    let (mut equal, mut compared) = (0, 0);
    for run in &GOLDEN.apgd {
        // In l1 the authors' run from the image itself tells it that no value has changed.
        if run.norm() == Norm::L1 && run.start == "x_init" {
            continue;
        }
        // Their targeted attack counts any class beside the label.
        let targets = run.targeted().then(|| run.classes());
        let outcomes = trace(apgd(run), &untargeted(), targets);
        for (n, (image, outcome)) in run.images.iter().zip(&outcomes).enumerate() {
            if run.n_iter != Some(20) {
                continue;
            }
            // Where the loss stands still, noise decides when the last steps are halved.
            let early = |steps: &[(u32, f64)]| steps.iter().filter(|s| s.0 < 9).copied().collect();
            let [found, expected]: [Vec<(u32, f64)>; 2] =
                [early(&outcome.steps), early(&image.steps)];
            faults.check(same(&found, &expected), || {
                format!("{}: image {n}: steps {found:?}, expected {expected:?}", run.name())
            });
            compared += 1;
            equal += usize::from(same(&outcome.steps, &image.steps));
            let expected = image.best_loss.unwrap();
            let apart = (outcome.best_loss - expected).abs();
            faults.check(apart < 1e-4 * expected.abs().max(1.0), || {
                format!("{}: image {n}: loss {}, not {expected}", run.name(), outcome.best_loss)
            });
        }
        if run.n_iter == Some(100) && run.norm() == Norm::L2 && run.targeted() {
            continue;
        }
        faults.compare(run, &answers_of(outcomes), tolerance(run));
    }
    assert!(equal * 10 >= compared * 8, "{equal} of {compared} runs take the same steps");
    faults.report();
}

/// Whether steps are the same, begun at the same iterations.
fn same(a: &[(u32, f64)], b: &[(u32, f64)]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() < 1e-5 * b.1)
}

fn answers_of(outcomes: Vec<ApgdOutcome>) -> Vec<Answer> {
    let answer =
        |outcome: ApgdOutcome| outcome.adversarial.map_or(Answer::NotFound, Answer::Pixels);
    outcomes.into_iter().map(answer).collect()
}

#[test]
fn apgd_t_and_larger_radii_do_what_the_authors_code_does() {
    let mut faults = Faults::default();
    for run in &GOLDEN.apgd_t {
        let params = ApgdParams {
            targets: run.n_target_classes.unwrap_or(0),
            larger_radii: run.use_largereps,
            ..apgd(run)
        };
        let mut tolerance = tolerance(run);
        if run.use_largereps {
            // In three runs noise of the first decides which values the last one changes.
            tolerance.logits[1] = 1.5;
        }
        faults.compare(run, &answers::<Apgd, _>(params, run), tolerance);
    }
    faults.report();
}

#[test]
fn apgd_reaches_every_target_that_the_peers_reach() {
    let mut faults = Faults::default();
    for run in GOLDEN.apgd_advlib.iter().filter(|run| run.targeted()) {
        if run.norm() == Norm::L1 && run.start == "x_init" {
            continue;
        }
        let answers = answers_of(trace(apgd(run), &run.cases(), None));
        let found = answers.iter().filter(|a| matches!(a, Answer::Pixels(_))).count();
        let expected = run.images.iter().filter(|image| image.success).count();
        faults.check(found >= expected, || {
            format!("{}: {found} of 6 reach their targets, expected {expected}", run.name())
        });
    }
    faults.report();
}

#[test]
fn apgd_from_random_starts_spreads_as_the_authors_code_does() {
    let mut faults = Faults::default();
    for run in &GOLDEN.apgd_random {
        let params = ApgdParams { random_start: true, ..apgd(run) };
        let outcomes = trace(params, &twenty(&untargeted()), None);
        for (n, image) in run.images.iter().enumerate() {
            let of = |number: fn(&ApgdOutcome) -> f64| -> f64 {
                outcomes.iter().skip(n).step_by(6).map(number).sum::<f64>() / 20.0
            };
            let rate = of(|outcome| f64::from(u8::from(outcome.adversarial.is_some())));
            faults.check((rate - image.success_rate).abs() <= 0.3, || {
                format!("{}: image {n}: rate {rate}, not {}", run.name(), image.success_rate)
            });
            let loss = of(|outcome| outcome.best_loss);
            let allowed = 1.3 * image.best_loss_std + 3e-3 * image.best_loss_mean.abs().max(0.1);
            // The ratio is flat at 1, where the label is third; a run may get past that.
            let stuck = image.best_loss_mean == 1.0 && loss > 1.0;
            faults.check(stuck || (loss - image.best_loss_mean).abs() <= allowed, || {
                format!("{}: image {n}: loss {loss}, not {}", run.name(), image.best_loss_mean)
            });
        }
    }
    faults.report();
}

#[test]
fn square_succeeds_as_often_and_as_soon_as_the_authors_code() {
    let mut faults = Faults::default();
    for run in &GOLDEN.square.runs {
        let params = SquareParams {
            norm: run.norm(),
            epsilon: run.eps.unwrap(),
            queries: run.n_queries.unwrap(),
            loss: if run.targeted() { Loss::CrossEntropy } else { Loss::Margin },
            rescale: run.resc_schedule,
            whole: false,
            ..SquareParams::default()
        };
        let (model, cases) = (tiny(), twenty(&run.cases()));
        let attack = Square::new(params).unwrap();
        let outcomes = attack.trace(&oracle(&model, &cases), &cases).unwrap();
        for (n, image) in run.images.iter().enumerate() {
            let name = format!("{}: image {n}", run.name());
            let seeds = || outcomes.iter().skip(n).step_by(6);
            // The authors' code does not look at the image itself.
            let met: Vec<f64> = seeds()
                .filter(|outcome| outcome.met)
                .map(|outcome| f64::from(outcome.queries - 1))
                .collect();
            let rate = met.len() as f64 / 20.0;
            faults.check((rate - image.success_rate).abs() <= 0.3, || {
                format!("{name}: rate {rate}, not {}", image.success_rate)
            });
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            if let (Some(expected), Some(spread), 3..) =
                (image.queries_mean_of_successes, image.queries_std_of_successes, met.len())
            {
                let found = mean(&met);
                faults.check((found - expected).abs() <= 1.3 * spread.max(10.0), || {
                    format!("{name}: {found} queries, not {expected} ± {spread}")
                });
            }
            if !run.targeted() {
                let losses: Vec<f64> = seeds().map(|outcome| outcome.loss).collect();
                let (found, expected) = (mean(&losses), image.final_margin_mean);
                // In l∞ some starts end in a valley of another class; how many of twenty do varies.
                let stuck = run.norm() == Norm::Linf;
                faults.check(
                    stuck || (found - expected).abs() <= 1.3 * image.final_margin_std,
                    || {
                        format!(
                            "{name}: margin {found}, not {expected} ± {}",
                            image.final_margin_std
                        )
                    },
                );
            }
        }
    }
    faults.report();
}
