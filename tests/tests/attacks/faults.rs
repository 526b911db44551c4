//! Deviations from the goldens, gathered so that one report names all.

use crate::published::Image;
use gauntlet_core::attack::Goal;
use gauntlet_core::model::Model;
use gauntlet_tests::golden::tiny_images;
use gauntlet_tests::tiny::TinyNet;
use std::fmt::Debug;
use tch::{Kind, Tensor};

pub fn row(tensor: &Tensor) -> Vec<f64> {
    Vec::try_from(tensor.to_kind(Kind::Double).view([-1])).unwrap()
}

/// The l1, l2 and l∞ norm of a change, in float64.
pub fn norms(change: &Tensor) -> [f64; 3] {
    let change = change.to_kind(Kind::Double);
    [change.abs().sum(Kind::Double), change.square().sum(Kind::Double).sqrt(), change.abs().max()]
        .map(|t| t.double_value(&[]))
}

pub fn relative(found: f64, expected: f64) -> f64 {
    (found - expected).abs() / expected.abs().max(f64::MIN_POSITIVE)
}

/// Deviations of a whole section, reported together.
#[derive(Default)]
pub struct Faults(Vec<String>);

impl Faults {
    pub fn check(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.0.push(text());
        }
    }

    pub fn same<T: PartialEq + Debug>(
        &mut self,
        run: &str,
        image: usize,
        what: &str,
        found: &T,
        expected: &T,
    ) {
        self.check(found == expected, || {
            format!("{run}: image {image}: {what} {found:?}, expected {expected:?}")
        });
    }

    pub fn close(&mut self, run: &str, image: usize, what: &str, deviation: f64, tolerance: f64) {
        self.check(deviation <= tolerance, || {
            format!(
                "{run}: image {image}: {what} deviates by {deviation:.2e}, tolerance \
                 {tolerance:.0e}"
            )
        });
    }

    pub fn report(self) {
        assert!(self.0.is_empty(), "{} deviations:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// The success rule of the authors' drivers: the goal is met, or a target is within 0.001 of the
/// top.
pub fn success(goal: Goal, logits: &[f64]) -> bool {
    goal.met_within(&logits.iter().map(|&z| z as f32).collect::<Vec<_>>(), 1e-3)
}

/// Compares the adversarial that an attack gave for image `n`.
pub fn compare_image(
    faults: &mut Faults,
    run: &str,
    n: usize,
    model: &TinyNet,
    goal: Goal,
    expected: &Image,
    pixels: &Tensor,
) {
    let logits = row(&model.logits(&pixels.unsqueeze(0)));
    let answer = (0..10).fold(0, |best, k| if logits[k] > logits[best] { k } else { best }) as i64;
    // The sign of a gradient element that is almost zero is noise, and its pixel may go either way.
    let noisy = expected.n_tiny_grad.is_some_and(|count| count > 0);
    faults.same(run, n, "answer", &Some(answer), &expected.pred);
    faults.same(run, n, "success", &success(goal, &logits), &expected.success);
    if let Some(golden) = &expected.logits {
        let deviation = logits.iter().zip(golden).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        faults.close(run, n, "logits", deviation, if noisy { 0.2 } else { 1e-4 });
    }
    let found = norms(&(pixels - tiny_images().get(n as i64)));
    for ((name, found), golden) in
        ["l1", "l2", "linf"].iter().zip(found).zip([expected.l1, expected.l2, expected.linf])
    {
        // Pixels are p in [0, 1] here and p − 0.5 in the authors' code. Half a float32 step of p
        // counts where the whole change is small.
        let tolerance = (1e-8 / expected.linf.unwrap()).max(1e-6)
            + if *name == "linf" { 6e-8 / golden.unwrap() } else { 0.0 };
        faults.close(
            run,
            n,
            name,
            relative(found, golden.unwrap()),
            if noisy { 1e-4 } else { tolerance },
        );
    }
    if let (Some(x12), false) = (&expected.x12, noisy) {
        // The golden has x = p − 0.5 in the order height, width, channel.
        let found =
            row(&(pixels.permute([1, 2, 0]).contiguous().view([-1]).narrow(0, 0, 12) - 0.5));
        let deviation = found.iter().zip(x12).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        faults.close(run, n, "first pixels", deviation, 1e-6);
    }
}
