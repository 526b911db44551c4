//! Checks of metrics.

use super::affine::Affine;
use super::report::{Checker, Event, Report, images, skip, untouched};
use crate::attack::{Cases, Goal};
use crate::generator;
use crate::metric::Scope;
use crate::model::{ImageShape, Model};
use crate::oracle::{Oracle, Settings};
use crate::registry::{DynMetric, MetricEntry};
use anyhow::{Context, Result, ensure};
use tch::{Device, Kind, Tensor};
use toml::Table;

/// Height and width of the images: those of Fashion-MNIST, on which the mini zoo is trained.
const SIDE: i64 = 28;
/// Number of pairs of images, or of cases.
const ROWS: usize = 4;
/// Greatest change of a value that another batch may cause, as a fraction of the value. Float32
/// sums depend on the shape of the batch.
const TOLERANCE: f64 = 1e-4;

impl Report {
    /// Checks a metric with all its parameters. `watch` is told of the progress.
    pub fn of_metric(
        entry: &MetricEntry,
        parameters: &Table,
        watch: &mut dyn FnMut(&Event),
    ) -> Self {
        let mut checker = Checker::new("metric", &entry.entry, watch);
        checker.check_parameters(&entry.entry, |parameters| entry.make(parameters).map(drop));
        checker.check("it has a unit", || {
            ensure!(
                !entry.unit.trim().is_empty(),
                "the unit is empty; a number without one says nothing"
            );
            Ok(())
        });
        let metric =
            checker.check("it can be made with these parameters", || entry.make(parameters));
        if let Some(metric) = metric {
            match entry.scope {
                Scope::Outcome => check_outcome(&mut checker, entry, metric.as_ref()),
                Scope::Model => check_model(&mut checker, entry, metric.as_ref()),
            }
        }
        checker.end()
    }
}

/// The values without their extras.
fn values(entry: &MetricEntry, rows: usize, found: Vec<f64>) -> Result<Vec<f64>> {
    let per_row = 1 + entry.extras.len();
    ensure!(
        found.len() == rows * per_row,
        "{} numbers for {rows} rows, expected {per_row} for each",
        found.len()
    );
    Ok(found.into_iter().step_by(per_row).collect())
}

fn finite(values: &[f64]) -> Result<()> {
    let fault = values.iter().position(|value| !value.is_finite());
    fault.map_or(Ok(()), |n| Err(anyhow::anyhow!("row {n} has the value {}", values[n])))
}

fn alike(found: &[f64], expected: &[f64], tolerance: f64) -> Result<()> {
    for (n, (a, b)) in found.iter().zip(expected).enumerate() {
        let same = a == b || (a - b).abs() <= tolerance * a.abs().max(b.abs()).max(tolerance);
        ensure!(same, "row {n} has the value {a}, then {b}");
    }
    Ok(())
}

fn index(members: &[usize]) -> Tensor {
    Tensor::from_slice(&members.iter().map(|&n| n as i64).collect::<Vec<_>>())
}

fn check_outcome(checker: &mut Checker, entry: &MetricEntry, metric: &dyn DynMetric) {
    // Four pairs: another image, a grey level more everywhere, one changed element, black and
    // white.
    let pair = |shape: ImageShape| {
        let both = images(2 * ROWS, shape);
        [0, 1].map(|half| both.narrow(0, half * ROWS as i64, ROWS as i64).copy())
    };
    let [original, adversarial] = pair(ImageShape::rgb(SIDE));
    adversarial.get(1).copy_(&(original.get(1) + 1.0 / 255.0));
    adversarial.get(2).copy_(&original.get(2));
    let _ = adversarial.get(2).view([-1]).get(5).fill_(1.0);
    let _ = (original.get(3).fill_(0.0), adversarial.get(3).fill_(1.0));
    let measure = |a: &Tensor, b: &Tensor| {
        let found = untouched("the originals", a, || {
            untouched("the adversarials", b, || metric.outcome(a, b))
        })?;
        values(entry, a.size()[0] as usize, found)
    };

    let together =
        checker.check("one value per row, and its extras", || measure(&original, &adversarial));
    let together = together.as_ref();
    checker.check_with(
        "values are finite, of the smallest change and of the greatest",
        together,
        |found| finite(found),
    );
    checker.check("an image beside itself has the value that is stated", || {
        let expected = entry.at_identity.ok_or_else(|| skip("none is stated"))?;
        let found = measure(&original, &original)?;
        let fault =
            found.iter().position(|value| *value != expected && (value - expected).abs() > 1e-6);
        fault.map_or(Ok(()), |n| {
            Err(anyhow::anyhow!("row {n} has the value {}, expected {expected}", found[n]))
        })
    });
    checker.check_with("original and adversarial can change places", together, |found| {
        if !entry.symmetric {
            return Err(skip("it is not stated to be symmetric"));
        }
        alike(found, &measure(&adversarial, &original)?, TOLERANCE)
    });
    checker.check_with("the same images give the same values", together, |found| {
        let _generator = generator::lock();
        tch::manual_seed(1);
        alike(found, &measure(&original, &adversarial)?, 0.0)
    });
    checker.check_with("a value depends neither on batch nor on order", together, |found| {
        for members in [vec![3, 1, 0, 2], vec![2], vec![0, 3]] {
            let [a, b] =
                [&original, &adversarial].map(|images| images.index_select(0, &index(&members)));
            let expected: Vec<f64> = members.iter().map(|&n| found[n]).collect();
            alike(&measure(&a, &b)?, &expected, TOLERANCE)
                .with_context(|| format!("rows {members:?} of the batch"))?;
        }
        Ok(())
    });
    checker.check("larger images are measured too", || {
        let [a, b] = pair(ImageShape::rgb(64));
        finite(&measure(&a, &b)?)
    });
    checker.check("grey images that are not square are measured too", || {
        let [a, b] = pair(ImageShape { channels: 1, height: SIDE, width: SIDE + 3 });
        finite(&measure(&a, &b)?)
    });
    checker.check("no rows, no values", || {
        let none = Tensor::zeros([0, 3, SIDE, SIDE], (Kind::Float, Device::Cpu));
        measure(&none, &none).map(drop)
    });
}

fn check_model(checker: &mut Checker, entry: &MetricEntry, metric: &dyn DynMetric) {
    let model = Affine::new(4, 6, 11);
    let pixels = images(ROWS, model.card().shape());
    let ranks = model.logits(&pixels).argsort(1, true);
    let rank = |n: usize, place: i64| ranks.int64_value(&[n as i64, place]);
    let goals: Vec<Goal> = (0..ROWS)
        .map(|n| if n % 2 == 0 { Goal::Away(rank(n, 0)) } else { Goal::Towards(rank(n, 1)) })
        .collect();
    let measure = |members: &[usize], lanes: usize| {
        let cases = Cases::new(
            pixels.index_select(0, &index(members)),
            members.iter().map(|&n| goals[n]).collect(),
        )?;
        let streams = members.iter().map(|&n| n as u64 + 1).collect();
        let oracle = Oracle::new(&model, streams, Settings { lanes, ..Settings::default() });
        let found = untouched("`cases.pixels`", &cases.pixels, || metric.model(&oracle, &cases))?;
        values(entry, members.len(), found)
    };
    let all: Vec<usize> = (0..ROWS).collect();

    let together = checker.check("one value per case, and its extras", || measure(&all, 32));
    let together = together.as_ref();
    checker.check_with("values are finite", together, |found| finite(found));
    checker.check_with("the same seed gives the same values", together, |found| {
        let _generator = generator::lock();
        tch::manual_seed(1);
        alike(&measure(&all, 32)?, found, 0.0).context("draw from `oracle.rng(case)` alone")
    });
    checker.check_with(
        "a value depends neither on batch nor on order nor on neighbours",
        together,
        |found| {
            for (members, lanes) in [(vec![3, 2, 1, 0], 3), (vec![1, 2], 1)] {
                let expected: Vec<f64> = members.iter().map(|&n| found[n]).collect();
                alike(&measure(&members, lanes)?, &expected, TOLERANCE)
                    .with_context(|| format!("cases {members:?} with {lanes} lanes"))?;
            }
            Ok(())
        },
    );
    checker.check("no cases, no values", || measure(&[], 32).map(drop));
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;
    use crate::registry::MetricEntry;
    use crate::testing::{CheckOutcome, Report, check_metric};
    use toml::Table;

    /// The mean change, with the mistake number `FAULT`.
    struct Mean<const FAULT: usize>;

    impl<const FAULT: usize> Metric for Mean<FAULT> {
        const NAME: &'static str = "mean";
        const SUMMARY: &'static str = "mean change";
        const UNIT: &'static str = if FAULT == UNITLESS { "" } else { "pixel range" };
        const SCOPE: Scope = Scope::Outcome;
        const DIRECTION: Direction = Direction::HigherIsMoreRobust;
        const AT_IDENTITY: Option<f64> = Some(0.0);
        const SYMMETRIC: bool = true;
        type Params = NoParams;

        fn new(_: NoParams) -> Result<Self> {
            Ok(Self)
        }

        fn outcome(&self, original: &Tensor, adversarial: &Tensor) -> Result<Vec<f64>> {
            match FAULT {
                WRITES => drop(original.shallow_clone().g_sub_(adversarial)),
                WRITES_TO_ADVERSARIAL => drop(adversarial.data().g_sub_(original)),
                _ => {}
            }
            let change = match FAULT {
                SIGNED => (original - adversarial).clamp_min(0.0),
                _ => (original - adversarial).abs(),
            };
            let mut values =
                Vec::try_from(change.flatten(1, -1).mean_dim([1].as_slice(), false, Kind::Double))?;
            match FAULT {
                INFINITE => values.iter_mut().for_each(|value| *value /= 1.0 - *value),
                OFFSET => values.iter_mut().for_each(|value| *value += 0.1),
                HERD => values.reverse(),
                COUNT => values.push(0.0),
                _ => {}
            }
            Ok(values)
        }
    }

    const SOUND: usize = 0;
    const UNITLESS: usize = 1;
    const SIGNED: usize = 2;
    const INFINITE: usize = 3;
    const OFFSET: usize = 4;
    const HERD: usize = 5;
    const COUNT: usize = 6;
    const WRITES: usize = 7;
    const WRITES_TO_ADVERSARIAL: usize = 8;

    fn report<const FAULT: usize>() -> Report {
        Report::of_metric(&MetricEntry::of::<Mean<FAULT>>(""), &Table::new(), &mut |_| ())
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
        check_metric::<Mean<SOUND>>(NoParams {}).unwrap();
        assert_eq!(failed::<UNITLESS>(), ["it has a unit"]);
        assert_eq!(failed::<SIGNED>(), ["original and adversarial can change places"]);
        assert_eq!(
            failed::<INFINITE>(),
            ["values are finite, of the smallest change and of the greatest"]
        );
        assert_eq!(failed::<OFFSET>(), ["an image beside itself has the value that is stated"]);
        assert_eq!(failed::<HERD>(), ["a value depends neither on batch nor on order"]);
        assert_eq!(failed::<COUNT>()[0], "one value per row, and its extras");
        for (report, what) in [
            (report::<WRITES>(), "the originals"),
            (report::<WRITES_TO_ADVERSARIAL>(), "the adversarials"),
        ] {
            let said = report.to_string();
            let expected = format!(
                "FAILED   one value per row, and its extras: {what} were changed; work on a copy"
            );
            assert!(said.contains(&expected), "{said}");
        }
    }
}
