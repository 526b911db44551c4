//! Signs in the rows of a model's probe.

use crate::analysis::flags::sign::{Flag, Severity, Sign, Signal};
use crate::analysis::rate::Rate;
use crate::analysis::tables::Tables;
use crate::store::rows::ProbeRow;
use crate::study::Study;
use gauntlet_core::logits::TOLERANCE;

/// Looks at the probe of every model.
pub(super) fn signs(study: &Study, tables: &Tables) -> Vec<Signal> {
    let of_model = |probe: &crate::analysis::tables::Probe| {
        let rows: Vec<&ProbeRow> = probe.cases.iter().flatten().collect();
        if rows.is_empty() { Vec::new() } else { of_rows(study, probe.model, &rows) }
    };
    tables.probes.iter().flat_map(of_model).collect()
}

/// How many of some rows have a property.
fn count(rows: &[&ProbeRow], has: impl Fn(&ProbeRow) -> bool) -> Rate {
    Rate::new(rows.iter().filter(|row| has(row)).count(), rows.len())
}

fn of_rows(study: &Study, model: usize, rows: &[&ProbeRow]) -> Vec<Signal> {
    let signal = |sign: Sign, found: Rate, raised: bool, severity: Severity, reading: String| {
        let flag = Flag { severity, ..Flag::new(study, sign, Some(model), found, reading) };
        Signal { model: Some(model), flag, raised }
    };
    let by_share =
        |found: Rate| if 2 * found.k >= found.n { Severity::Error } else { Severity::Warning };
    let on = |found: Rate| format!("on {} of {} images", found.k, found.n);

    let zero = count(rows, |row| row.margin.is_none_or(|slope| slope == 0.0));
    let detached = rows.iter().all(|row| row.margin.is_none());
    let what = if detached {
        "the logits have no gradient"
    } else {
        "the gradient of the margin is exactly zero"
    };
    let broken = count(rows, |row| {
        [row.margin, row.cross_entropy].iter().flatten().any(|slope| slope.is_nan())
    });
    let saturated = count(rows, |row| {
        row.cross_entropy == Some(0.0) && row.margin.is_some_and(|slope| slope > 0.0)
    });
    let mut signals = vec![
        signal(
            Sign::ZeroGradients,
            zero,
            zero.k > 0,
            by_share(zero),
            format!("{what} {}", on(zero)),
        ),
        signal(
            Sign::NanGradients,
            broken,
            broken.k > 0,
            by_share(broken),
            format!("the gradient is not finite {}", on(broken)),
        ),
        signal(
            Sign::SaturatedCrossEntropy,
            saturated,
            saturated.k > 0,
            Severity::Warning,
            format!(
                "the gradient of cross entropy is exactly zero {}, that of the margin is not",
                on(saturated)
            ),
        ),
    ];

    let unlike = |difference: Option<f64>| {
        difference.is_some_and(|apart| apart > TOLERANCE || apart.is_nan())
    };
    let again = count(rows, |row| row.again != Some(0.0));
    let random = rows.iter().any(|row| row.again_differs || unlike(row.again));
    let answers = rows.iter().filter(|row| row.again_differs).count();
    let reading = format!(
        "logits of the same batch differ from one time to the next {}, by up to {} of their \
         spread, {}",
        on(again),
        largest(rows, |row| row.again),
        if answers == 0 {
            "the answer on none".to_owned()
        } else {
            format!("the answer on {answers}")
        }
    );
    let severity = if random { Severity::Error } else { Severity::Note };
    let mut flag = signal(Sign::NondeterministicLogits, again, again.k > 0, severity, reading);
    if !random {
        flag.flag.meaning = "It is no more than float32 noise: answers repeat, bits do not.".into();
        flag.flag.remedy = "None is needed, unless bits matter.".into();
    }
    signals.push(flag);

    // Logits of a random model differ anyway: nothing shows what the batch adds.
    let asked: Vec<&ProbeRow> = rows.iter().copied().filter(|row| row.alone.is_some()).collect();
    if !asked.is_empty() && !random {
        let alone = count(&asked, |row| unlike(row.alone));
        let reading = format!(
            "by itself an image has other logits than in a batch {}, by up to {} of their spread",
            on(alone),
            largest(&asked, |row| row.alone)
        );
        signals.push(signal(
            Sign::AnswerDependsOnBatch,
            alone,
            alone.k > 0,
            Severity::Error,
            reading,
        ));
    }

    signals.extend(of_outputs(rows, &signal));
    signals
}

/// Outputs that are probabilities, of all classes together or of each by itself.
fn of_outputs(
    rows: &[&ProbeRow],
    signal: &dyn Fn(Sign, Rate, bool, Severity, String) -> Signal,
) -> [Signal; 2] {
    let probabilities = count(rows, |row| row.probabilities);
    let sigmoids = count(rows, |row| {
        !row.probabilities
            && !row.outputs.is_empty()
            && row.outputs.iter().all(|output| (0.0..=1.0).contains(output))
    });
    [
        (Sign::ProbabilitiesNotLogits, probabilities, "sum to 1"),
        (Sign::SigmoidsNotLogits, sigmoids, "do not sum to 1"),
    ]
    .map(|(sign, found, sum)| {
        let reading =
            format!("the outputs are within [0, 1] and {sum} on {} of {} images", found.k, found.n);
        signal(sign, found, found.k == rows.len(), Severity::Warning, reading)
    })
}

/// The greatest of some differences, in two digits; `NaN` if one of them is.
fn largest(rows: &[&ProbeRow], of: impl Fn(&ProbeRow) -> Option<f64>) -> String {
    let values = rows.iter().filter_map(|row| of(row));
    let worst = values.fold(0.0, |worst: f64, value| {
        if worst.is_nan() || value.is_nan() { f64::NAN } else { worst.max(value) }
    });
    format!("{worst:.1e}")
}
