//! Checks of models.

use super::report::{Checker, Event, Report, distance, images, skip, untouched};
use crate::generator;
use crate::logits::{TOLERANCE, are_probabilities, relative_difference};
use crate::model::{Model, ModelCard};
use crate::registry::ModelEntry;
use crate::weights::{Misfit, Role, Source, Weights};
use anyhow::{Result, ensure};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use tch::{Device, Kind, Tensor};
use toml::Table;

/// Greatest difference between the mean slope that the gradient promises and that of the logits, as
/// a fraction of the slope. The mean is taken at [`POINTS`] points; kinks of rectifiers and of
/// maxima lie between them.
const SLOPE_TOLERANCE: f64 = 0.05;
/// Number of points at which the gradient is asked for.
const POINTS: i64 = 32;
/// What a model may not change.
const PIXELS: &str = "the pixels that the model was given";
/// Number of points in a batch.
const AT_A_TIME: i64 = 8;
/// Half the lengths of the segments on which slopes are compared: Euclidean, pixels in [0, 1].
const STEPS: [f64; 3] = [0.3, 0.1, 0.03];
/// Rounding error of the logits, as a fraction of their size.
const NOISE: f64 = 1e-6;

impl Report {
    /// Checks a model with all its parameters. The weights are those given, or else those that are
    /// part of the model, or else random ones. `watch` is told of the progress.
    pub fn of_model(
        entry: &ModelEntry,
        parameters: &Table,
        weights: Option<Weights>,
        watch: &mut dyn FnMut(&Event),
    ) -> Self {
        let mut checker = Checker::new("model", &entry.entry, watch);
        checker.check_parameters(&entry.entry, |parameters| (entry.describe)(parameters).map(drop));
        let card =
            checker.check("the card can be right", || entry.card(parameters).and_then(possible));
        let name = match (&weights, entry.embedded_weights) {
            (Some(_), _) => "it loads with the weights that are given, and uses each",
            (None, Some(_)) => "it loads with its own weights, and uses each",
            (None, None) => "it loads with weights that are drawn (it has none of its own)",
        };
        let model = checker.check(name, || match weights {
            Some(weights) => entry.load(parameters, weights),
            None if entry.embedded_weights.is_some() => {
                entry.load_embedded(parameters, Device::Cpu)
            }
            None => entry.load(parameters, Weights::new(Drawn, Device::Cpu)),
        });
        if let (Some(card), Some(model)) = (card, model) {
            check(&mut checker, &card, model.as_ref());
        }
        checker.end()
    }
}

/// Fails where a card cannot be right.
fn possible(card: ModelCard) -> Result<ModelCard> {
    ensure!(!card.name.is_empty() && !card.family.is_empty(), "`name` or `family` is empty");
    card.check()?;
    for (name, value) in [("top1", card.top1), ("top5", card.top5)] {
        ensure!(
            value.is_none_or(|value| (0.0..=100.0).contains(&value)),
            "`{name}` is {value:?}, expected per cent"
        );
    }
    let ordered = card.top1.zip(card.top5).is_none_or(|(top1, top5)| top1 <= top5);
    ensure!(ordered, "`top1` is {:?} and `top5` {:?}, expected no less", card.top1, card.top5);
    Ok(card)
}

fn check(checker: &mut Checker, card: &ModelCard, model: &dyn Model) {
    checker.check("the loaded model has the card that was promised", || {
        ensure!(model.card() == card, "found {:?}, expected {card:?}", model.card());
        Ok(())
    });
    let pixels = images(3, card.shape());
    let logits = |pixels: &Tensor| -> Result<Tensor> {
        let logits = untouched(PIXELS, pixels, || Ok(tch::no_grad(|| model.logits(pixels))))?;
        let expected = [pixels.size()[0], card.classes];
        ensure!(
            logits.size() == expected,
            "logits have shape {:?}, expected {expected:?}",
            logits.size()
        );
        ensure!(logits.kind() == Kind::Float, "logits are {:?}, expected Float", logits.kind());
        let broken = logits.isfinite().logical_not().sum(Kind::Int64).int64_value(&[]);
        ensure!(broken == 0, "{broken} of the logits are not finite numbers");
        Ok(logits)
    };
    let together = checker.check("logits are N×classes float32, finite", || logits(&pixels));
    let Some(together) = together else { return };
    checker.check("black, grey, white and single images have logits too", || {
        let even: Vec<Tensor> =
            [0.0, 0.5, 1.0].iter().map(|&grey| Tensor::full_like(&pixels.get(0), grey)).collect();
        let _ = logits(&Tensor::stack(&even, 0))?;
        logits(&pixels.narrow(0, 0, 1)).map(drop)
    });
    checker.check("logits tell images apart", || {
        let apart =
            (1..3).map(|n| distance(&together.get(0), &together.get(n))).fold(0.0, f64::max);
        ensure!(apart > 0.0, "three different images have the same logits");
        Ok(())
    });
    checker.check("they are logits, not probabilities", || {
        let probabilities = are_probabilities(&together).into_iter().all(|row| row);
        ensure!(
            !probabilities,
            "every row is from 0 up and sums to 1; leave the softmax out: it flattens the gradient"
        );
        Ok(())
    });
    checker.check("the same pixels give the same logits", || {
        let _generator = generator::lock();
        tch::manual_seed(1);
        let first = logits(&pixels)?;
        tch::manual_seed(2);
        let apart = distance(&first, &logits(&pixels)?);
        ensure!(
            apart == 0.0,
            "two passes differ by {apart:.1e}; is something random (dropout) or counted along \
             (batch norm)? A model that is random on purpose needs `samples` in studies"
        );
        Ok(())
    });
    checker.check("a row of logits depends on its own image alone", || {
        let reversed = Tensor::from_slice(&[2i64, 1, 0]);
        let turned = logits(&pixels.index_select(0, &reversed))?.index_select(0, &reversed);
        let alone: Vec<Tensor> =
            (0..3).map(|n| logits(&pixels.narrow(0, n, 1))).collect::<Result<_>>()?;
        for (how, found) in [("in reverse order", turned), ("one by one", Tensor::cat(&alone, 0))] {
            let apart = relative_difference(&together, &found).into_iter().fold(0.0, f64::max);
            ensure!(
                apart <= TOLERANCE,
                "{how} they differ by {apart:.1e} of their spread, expected {TOLERANCE:.0e} at the \
                 most"
            );
        }
        Ok(())
    });
    checker.check("weights are frozen", || {
        let follow = || tch::with_grad(|| model.logits(&pixels).requires_grad());
        let follows = untouched(PIXELS, &pixels, || Ok(follow()))?;
        ensure!(
            !follows,
            "logits want a gradient although the pixels do not: a weight requires one; load it \
             without"
        );
        Ok(())
    });
    let gradient =
        checker.check("logits have a finite gradient with respect to the pixels", || {
            let gradient = gradient(model, &pixels, &weighting(&together))?;
            ensure!(distance(&gradient, &gradient) == 0.0, "the gradient is not finite");
            for n in 0..3 {
                let length = gradient.get(n).abs().max().double_value(&[]);
                ensure!(length > 0.0, "image {n}: the gradient is zero everywhere");
            }
            Ok(gradient)
        });
    checker.check_with(
        "the gradient agrees with finite differences",
        gradient.as_ref(),
        |gradient| {
            slope(
                model,
                &pixels.narrow(0, 0, 1),
                &gradient.narrow(0, 0, 1),
                &weighting(&together).narrow(0, 0, 1),
            )
        },
    );
}

/// N×K factors of the logits, whose weighted sum is differentiated. They sum to zero in each row,
/// so that a shift of all logits does not count.
fn weighting(logits: &Tensor) -> Tensor {
    let place = Tensor::arange(logits.numel() as i64, (Kind::Float, Device::Cpu)).view_as(logits);
    let waves = (place * 1.7).cos();
    &waves - waves.mean_dim([1].as_slice(), true, Kind::Float)
}

fn gradient(model: &dyn Model, pixels: &Tensor, weights: &Tensor) -> Result<Tensor> {
    tch::with_grad(|| {
        let pixels = pixels.copy().set_requires_grad(true);
        let logits = untouched(PIXELS, &pixels, || Ok(model.logits(&pixels)))?;
        ensure!(
            logits.requires_grad(),
            "logits have no graph behind them: is something detached, rounded, or computed under \
             `no_grad`?"
        );
        Ok(Tensor::f_run_backward(
            &[(logits * weights).sum(Kind::Float)],
            &[&pixels],
            false,
            false,
        )?
        .remove(0))
    })
}

/// Compares the slope of the logits between two points with the mean of the gradient on the segment
/// between them. Both are equal for a correct gradient.
///
/// The gradient at a single point says little. Rectifiers and maxima have kinks everywhere, and on
/// a segment that is too short to meet one, float32 cannot tell the difference from noise.
fn slope(
    model: &dyn Model,
    image: &Tensor,
    gradient_here: &Tensor,
    weights: &Tensor,
) -> Result<()> {
    let waves = (Tensor::arange(image.numel() as i64, (Kind::Float, Device::Cpu)) * 2.3)
        .sin()
        .view_as(image);
    let unit = |direction: &Tensor| {
        direction / direction.square().sum(Kind::Double).sqrt().to_kind(Kind::Float)
    };
    // The waves get the gradient's signs, so that their slopes do not cancel.
    let directions = [
        ("along the gradient", unit(gradient_here)),
        ("across it", unit(&(waves.abs() * gradient_here.sign()))),
    ];
    for (name, direction) in directions {
        let mut best: Option<(f64, String)> = None;
        for step in STEPS {
            let ends = Tensor::cat(&[image + &direction * step, image - &direction * step], 0);
            let logits = tch::no_grad(|| model.logits(&ends));
            let values = (&logits * weights).sum_dim_intlist(1, false, Kind::Double);
            let found = (values.double_value(&[0]) - values.double_value(&[1])) / (2.0 * step);
            let noise = NOISE * (logits.abs() * weights.abs()).sum(Kind::Double).double_value(&[])
                / (2.0 * step);

            let places = (Tensor::arange(POINTS, (Kind::Float, Device::Cpu)) + 0.5)
                * (2.0 * step / POINTS as f64)
                - step;
            let mut promised = 0.0;
            for first in (0..POINTS).step_by(AT_A_TIME as usize) {
                let points =
                    image + &direction * places.narrow(0, first, AT_A_TIME).view([-1, 1, 1, 1]);
                promised += (gradient(model, &points, weights)? * &direction)
                    .sum(Kind::Double)
                    .double_value(&[])
                    / POINTS as f64;
            }
            let size = found.abs().max(promised.abs());
            if size < 20.0 * noise {
                continue;
            }
            let apart = (found - promised).abs() / size;
            if best.as_ref().is_none_or(|(least, _)| apart < *least) {
                best = Some((
                    apart,
                    format!(
                        "{name} the logits' slope is {found:.4e} over a way of {:.2}, that of the \
                         gradient {promised:.4e}",
                        2.0 * step
                    ),
                ));
            }
            if apart <= SLOPE_TOLERANCE {
                break;
            }
        }
        let (apart, text) =
            best.ok_or_else(|| skip("the gradient is too small for float32 to show differences"))?;
        ensure!(
            apart <= SLOPE_TOLERANCE,
            "{text}; is a part of the network detached from the pixels?"
        );
    }
    Ok(())
}

/// Random weights, which depend on their names alone. Kernels keep the scale of their inputs.
struct Drawn;

impl Source for Drawn {
    fn tensor(&self, name: &str, shape: &[i64], role: Role) -> Result<Tensor, Misfit> {
        let count = shape.iter().product::<i64>().max(0);
        let seed =
            blake3::hash(name.as_bytes()).as_bytes()[..8].try_into().map_or(0, u64::from_le_bytes);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let last = shape.last().copied().unwrap_or(1).max(1);
        let (centre, spread) = match role {
            Role::Kernel => (0.0, (6.0 * last as f64 / count.max(1) as f64).sqrt()),
            Role::Depthwise => {
                (0.0, (6.0 / shape.iter().take(2).product::<i64>().max(1) as f64).sqrt())
            }
            Role::Gamma | Role::Variance => (1.0, 0.2),
            Role::Bias | Role::Beta | Role::Mean => (0.0, 0.1),
        };
        let mut uniform = || f64::from(random.next_u32()) / f64::from(1u32 << 31) - 1.0;
        let values: Vec<f32> = (0..count).map(|_| (centre + spread * uniform()) as f32).collect();
        Ok(Tensor::from_slice(&values).view(shape))
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;
    use crate::registry::ModelEntry;
    use crate::testing::{CheckOutcome, Report, check_model};
    use crate::weights::Role;
    use toml::Table;

    /// A convolution, a rectifier and a dense layer, with the mistake number `FAULT`.
    struct Net<const FAULT: usize> {
        card: ModelCard,
        kernel: Tensor,
        dense: Tensor,
    }

    impl<const FAULT: usize> Model for Net<FAULT> {
        fn card(&self) -> &ModelCard {
            &self.card
        }

        fn logits(&self, pixels: &Tensor) -> Tensor {
            let x = match FAULT {
                ROUNDS => (pixels * 255.0).round() / 255.0,
                NEIGHBOURS => pixels - pixels.mean(Kind::Float),
                DETACHED => pixels + pixels.detach(),
                DROPS => pixels.dropout(0.5, true),
                _ => pixels.shallow_clone(),
            };
            match FAULT {
                WRITES => drop(pixels.shallow_clone().fill_(0.5)),
                WRITES_THROUGH_DATA => drop(pixels.data().g_mul_scalar_(0.5)),
                WRITES_WITH_GRADIENT if pixels.requires_grad() => {
                    tch::no_grad(|| drop(pixels.shallow_clone().g_mul_scalar_(0.5)));
                }
                _ => {}
            }
            let logits = x
                .conv2d(&self.kernel, None::<&Tensor>, [2, 2], [1, 1], [1, 1], 1)
                .relu()
                .flatten(1, -1)
                .matmul(&self.dense);
            match FAULT {
                SOFTMAX => logits.softmax(1, Kind::Float),
                SHAPE => logits.narrow(1, 0, 2),
                _ => logits,
            }
        }
    }

    impl<const FAULT: usize> Architecture for Net<FAULT> {
        const NAME: &'static str = "net";
        type Params = NoParams;

        fn describe(_: &NoParams) -> ModelCard {
            let label_offset = if FAULT == OFFSET { 5 } else { 0 };
            ModelCard {
                name: "net".into(),
                family: "net".into(),
                side: 12,
                classes: 4,
                label_offset,
                ..ModelCard::default()
            }
        }

        fn load(params: NoParams, weights: &Weights) -> Result<Self> {
            let dense = weights.root().tensor("dense", &[5 * 36, 4], Role::Kernel);
            let kernel = weights
                .root()
                .tensor("kernel", &[3, 3, 3, 5], Role::Kernel)
                .permute([3, 2, 0, 1])
                .contiguous();
            Ok(Self {
                card: Self::describe(&params),
                kernel: kernel.set_requires_grad(FAULT == TRAINS),
                dense,
            })
        }
    }

    const SOUND: usize = 0;
    const ROUNDS: usize = 1;
    const NEIGHBOURS: usize = 2;
    const DETACHED: usize = 3;
    const DROPS: usize = 4;
    const WRITES: usize = 5;
    const SOFTMAX: usize = 6;
    const SHAPE: usize = 7;
    const OFFSET: usize = 8;
    const TRAINS: usize = 9;
    const WRITES_THROUGH_DATA: usize = 10;
    const WRITES_WITH_GRADIENT: usize = 11;

    fn report<const FAULT: usize>() -> Report {
        Report::of_model(&ModelEntry::of::<Net<FAULT>>(""), &Table::new(), None, &mut |_| ())
    }

    fn failed<const FAULT: usize>() -> Vec<String> {
        let failed = report::<FAULT>()
            .checks
            .into_iter()
            .filter(|check| matches!(check.outcome, CheckOutcome::Failed(_)));
        failed.map(|check| check.name).collect()
    }

    #[test]
    fn every_fault_is_found() {
        check_model::<Net<SOUND>>(NoParams {}).unwrap();
        assert_eq!(
            failed::<ROUNDS>(),
            ["logits have a finite gradient with respect to the pixels"]
        );
        assert_eq!(failed::<NEIGHBOURS>(), ["a row of logits depends on its own image alone"]);
        assert_eq!(failed::<DETACHED>(), ["the gradient agrees with finite differences"]);
        assert!(failed::<DROPS>().contains(&"the same pixels give the same logits".to_owned()));
        assert_eq!(failed::<WRITES>(), ["logits are N×classes float32, finite"]);
        assert_eq!(failed::<WRITES_THROUGH_DATA>(), failed::<WRITES>());
        assert_eq!(
            failed::<WRITES_WITH_GRADIENT>(),
            ["logits have a finite gradient with respect to the pixels"]
        );
        let said = report::<WRITES_WITH_GRADIENT>().to_string();
        let expected = "the pixels that the model was given were changed; work on a copy";
        assert!(said.contains(expected), "{said}");
        assert_eq!(failed::<SOFTMAX>(), ["they are logits, not probabilities"]);
        assert_eq!(failed::<SHAPE>(), ["logits are N×classes float32, finite"]);
        assert_eq!(failed::<OFFSET>(), ["the card can be right"]);
        assert_eq!(failed::<TRAINS>(), ["weights are frozen"]);
    }
}
