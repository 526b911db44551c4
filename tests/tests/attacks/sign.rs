//! FGSM and I-FGSM.

use crate::faults::{Faults, compare_image, relative};
use crate::{GOLDEN, eccv2018, goal, model, oracle};
use gauntlet_core::attack::{Answer, Attack, Cases, Goal, Norm};
use gauntlet_core::model::Model;
use gauntlet_core::oracle::Oracle;
use gauntlet_plugins::attacks::{Fgsm, FgsmParams, Ifgsm, IfgsmParams, Objective};
use gauntlet_tests::golden::tiny_images;
use gauntlet_tests::tiny::TinyNet;
use tch::{Device, Kind, Tensor};

#[test]
fn fgsm_agrees_with_the_authors_code() {
    let mut faults = Faults::default();
    for (network, runs) in [
        (&GOLDEN.network, &GOLDEN.main.fgsm),
        (&GOLDEN.orig_constants.network, &GOLDEN.orig_constants.section.fgsm),
    ] {
        let model = model(network);
        for run in runs {
            let objective = match run.objective.as_deref() {
                Some("logit") | None => Objective::Logit,
                Some("ce_on_logits") => Objective::CrossEntropy,
                Some("ce_on_probs") => Objective::CrossEntropyOfProbabilities,
                other => panic!("objective {other:?}"),
            };
            let norm = match run.ord.as_ref().map(ToString::to_string).as_deref() {
                Some("\"inf\"") | None => Norm::Linf,
                Some("1") => Norm::L1,
                Some("2") => Norm::L2,
                other => panic!("ord {other:?}"),
            };
            let params = FgsmParams { epsilon: run.eps.unwrap(), objective, norm };
            let cases = run.cases();
            let answers = Fgsm::new(params).unwrap().run(&oracle(&model), &cases).unwrap();
            for (n, (answer, expected)) in answers.into_iter().zip(&run.images).enumerate() {
                let Answer::Pixels(pixels) = answer else { panic!("FGSM always answers") };
                let pixels = if objective == Objective::CrossEntropyOfProbabilities {
                    let logits = expected.logits.as_ref().unwrap();
                    with_open_signs(&mut faults, &run.name(), &model, &cases, n, &pixels, logits)
                } else {
                    pixels
                };
                compare_image(
                    &mut faults,
                    &run.name(),
                    n,
                    &model,
                    cases.goals[n],
                    expected,
                    &pixels,
                );
            }
        }
    }
    faults.report();
}

/// Most pixels of an image whose direction float32 may leave open.
const OPEN: usize = 12;

/// The answer, with those pixels moved as in the golden value whose direction float32 leaves open.
///
/// Where a model is sure, float32 keeps three digits of the gradient of a softmax taken twice. The
/// sign of an element that is smaller than the error then depends on the processor, of ours and of
/// the one that made the golden value. All other pixels must have moved as the gradient in float64
/// says, and the directions of the few that are open must be such that the golden logits come out.
fn with_open_signs(
    faults: &mut Faults,
    run: &str,
    model: &TinyNet,
    cases: &Cases,
    n: usize,
    pixels: &Tensor,
    expected: &[f64],
) -> Tensor {
    let image = cases.image(n);
    let gradient = |model: &TinyNet, kind: Kind| {
        let x = image.unsqueeze(0).to_kind(kind).set_requires_grad(true);
        let (class, sign) = match cases.goals[n] {
            Goal::Away(class) => (class, 1.0),
            Goal::Towards(class) => (class, -1.0),
        };
        let cost = model.logits(&x).softmax(1, kind).log_softmax(1, kind).select(1, class) * sign;
        Tensor::run_backward(&[cost.sum(kind)], &[&x], false, false)
            .remove(0)
            .squeeze_dim(0)
            .to_kind(Kind::Double)
    };
    let exact = gradient(&model.in_double(), Kind::Double);
    let error = (gradient(model, Kind::Float) - &exact).abs().max();
    let open = exact.abs().le_tensor(&error).view([-1]);
    let change = pixels - &image;
    let against = change.sign().not_equal_tensor(&(-exact.sign()).to_kind(Kind::Float)).view([-1]);
    let wrong = against.logical_and(&open.logical_not()).sum(Kind::Int64).int64_value(&[]);
    faults.same(run, n, "pixels moved against the gradient", &wrong, &0);

    let open = Vec::<i64>::try_from(open.nonzero().view([-1])).unwrap();
    faults.check(open.len() <= OPEN, || {
        format!("{run}: image {n}: float32 leaves {} directions open, expected {OPEN}", open.len())
    });
    let choices = 1i64 << open.len().min(OPEN);
    let signs = Tensor::ones([choices, change.numel() as i64], (Kind::Float, Device::Cpu));
    for (bit, &pixel) in open.iter().take(OPEN).enumerate() {
        let turned: Vec<f32> =
            (0..choices).map(|choice| if choice >> bit & 1 == 1 { -1.0 } else { 1.0 }).collect();
        signs.select(1, pixel).copy_(&Tensor::from_slice(&turned));
    }
    let size = [choices, image.size()[0], image.size()[1], image.size()[2]];
    let variants = &image + signs.view(size) * &change;
    let expected = Tensor::from_slice(expected).to_kind(Kind::Float);
    let deviation = (model.logits(&variants) - expected).abs().amax([1], false);
    variants.get(deviation.argmin(0, false).int64_value(&[]))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one comparison after the other")]
fn ifgsm_agrees_with_the_authors_code() {
    let mut faults = Faults::default();
    for (network, runs) in [
        (&GOLDEN.network, &GOLDEN.main.ifgsm),
        (&GOLDEN.orig_constants.network, &GOLDEN.orig_constants.section.ifgsm),
    ] {
        let model = model(network);
        for run in &runs.fixed {
            let params = IfgsmParams {
                epsilon: run.eps.unwrap(),
                iterations: run.iters.unwrap(),
                search_tries: 0,
                ..eccv2018::<Ifgsm>()
            };
            let cases = run.cases();
            let found = Ifgsm::new(params).unwrap().trace(&oracle(&model), &cases).unwrap();
            for (n, (found, expected)) in found.into_iter().zip(&run.images).enumerate() {
                compare_image(
                    &mut faults,
                    &run.name(),
                    n,
                    &model,
                    cases.goals[n],
                    expected,
                    &found.pixels.unwrap(),
                );
            }
        }
        for run in &runs.search {
            let params = IfgsmParams {
                epsilon: run.initial_eps.unwrap(),
                iterations: run.iters.unwrap(),
                search_tries: run.max_attempts.unwrap(),
                ..eccv2018::<Ifgsm>()
            };
            let cases = run.cases();
            let found = Ifgsm::new(params).unwrap().trace(&oracle(&model), &cases).unwrap();
            for (n, (found, expected)) in found.into_iter().zip(&run.images).enumerate() {
                let trace = expected.eps_trace.as_ref().unwrap();
                let deviation = found
                    .epsilons
                    .iter()
                    .zip(trace)
                    .map(|(a, b)| relative(*a, *b))
                    .fold(0.0, f64::max);
                faults.same(&run.name(), n, "number of tries", &found.epsilons.len(), &trace.len());
                faults.close(&run.name(), n, "ε trace", deviation, 1e-6);
                faults.same(
                    &run.name(),
                    n,
                    "no adversarial",
                    &found.pixels.is_none(),
                    &expected.nan,
                );
                if let (Some(pixels), Some(best)) = (&found.pixels, expected.best_eps) {
                    faults.close(
                        &run.name(),
                        n,
                        "best ε",
                        relative(found.best_epsilon.unwrap(), best),
                        1e-6,
                    );
                    compare_image(
                        &mut faults,
                        &run.name(),
                        n,
                        &model,
                        cases.goals[n],
                        expected,
                        pixels,
                    );
                }
            }
        }
        for run in &runs.fixed_via_attack {
            let targets: Vec<i64> = runs
                .fixed
                .iter()
                .find(|f| f.mode == run.mode)
                .unwrap()
                .images
                .iter()
                .map(|i| i.target)
                .collect();
            let cases =
                Cases::new(tiny_images(), targets.iter().map(|&t| goal(&run.mode, t)).collect())
                    .unwrap();
            let params = IfgsmParams {
                epsilon: run.eps_val[0][0],
                iterations: 10,
                search_tries: 1,
                ..eccv2018::<Ifgsm>()
            };
            for (n, found) in Ifgsm::new(params)
                .unwrap()
                .trace(&oracle(&model), &cases)
                .unwrap()
                .into_iter()
                .enumerate()
            {
                faults.same(
                    &run.mode,
                    n,
                    "no adversarial after one try",
                    &found.pixels.is_none(),
                    &run.nan[n],
                );
                faults.same(&run.mode, n, "tries", &found.epsilons, &run.eps_val[n]);
            }
        }
    }
    faults.report();
}

/// All tries start from the image, so they share the first gradient. That saves one pass for each
/// further try and changes nothing else.
#[test]
fn the_tries_of_an_ifgsm_search_are_those_that_start_from_the_image() {
    let model = model(&GOLDEN.network);
    let run = &GOLDEN.main.ifgsm.search[0];
    let passes = |oracle: &Oracle| oracle.passes()[0].backward;
    for params in [IfgsmParams::default(), eccv2018::<Ifgsm>()] {
        let params = IfgsmParams { iterations: 12, search_tries: 6, ..params };
        for (n, goal) in run.cases().goals.iter().enumerate() {
            let case = || Cases::new(tiny_images().narrow(0, n as i64, 1), vec![*goal]).unwrap();
            let whole = oracle(&model);
            let found =
                Ifgsm::new(params.clone()).unwrap().trace(&whole, &case()).unwrap().remove(0);
            let (mut last, mut sum) = (None, 0);
            for epsilon in &found.epsilons {
                let alone = oracle(&model);
                let attempt = IfgsmParams { epsilon: *epsilon, search_tries: 1, ..params.clone() };
                let attempt =
                    Ifgsm::new(attempt).unwrap().trace(&alone, &case()).unwrap().remove(0);
                last = attempt.pixels.or(last);
                sum += passes(&alone);
            }
            assert_eq!(found.pixels, last, "image {n}");
            assert_eq!(passes(&whole), sum - 5, "image {n}");
        }
    }
}
