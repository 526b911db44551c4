//! The search for all signs.

use crate::analysis::flags::sign::{Check, Findings, Flag, Sign, Signal};
use crate::analysis::flags::{answers, comparisons, control, failures, gradients, inputs, labels};
use crate::analysis::tables::Tables;
use crate::study::Study;

/// Looks for every sign.
pub(in crate::analysis) fn find(study: &Study, tables: &Tables) -> Findings {
    let mut all = inputs::signs(study, &tables.pixels);
    all.extend(labels::signs(study, tables));
    all.extend(answers::signs(study, tables));
    all.extend(gradients::signs(study, tables));
    all.extend(comparisons::signs(study, tables));
    all.extend(control::signs(study, tables));
    all.extend(failures::signs(study, tables));
    let check = |&flag: &Sign| {
        let of = |signal: &&Signal| signal.flag.flag == flag;
        Check {
            flag,
            looked_at: all.iter().filter(of).count(),
            raised: all.iter().filter(of).filter(|signal| signal.raised).count(),
            meaning: flag.advice().meaning.into(),
        }
    };
    let checks = Sign::ALL.iter().map(check).collect();
    Findings { flags: raised(all), checks }
}

/// The flags of a study's inputs, which are known before any cell is computed: its images (by their
/// files), weights, bounds and preprocessing.
pub fn of_inputs(study: &Study) -> Vec<Flag> {
    raised(inputs::signs(study, &[]))
}

/// The flags that are raised, those of the study first, then by model.
fn raised(signals: Vec<Signal>) -> Vec<Flag> {
    let mut raised: Vec<Signal> = signals.into_iter().filter(|signal| signal.raised).collect();
    raised.sort_by_key(|signal| (signal.model, signal.flag.flag));
    raised.into_iter().map(|signal| signal.flag).collect()
}
