//! The search for all signs.

use crate::analysis::flags::sign::{Check, Findings, Sign, Signal};
use crate::analysis::flags::{answers, comparisons, control, gradients};
use crate::analysis::tables::Tables;
use crate::study::Study;

/// Looks for every sign.
pub(in crate::analysis) fn find(study: &Study, tables: &Tables) -> Findings {
    let mut all = answers::signs(study, tables);
    all.extend(gradients::signs(study, tables));
    all.extend(comparisons::signs(study, tables));
    all.extend(control::signs(study, tables));
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
    let mut raised: Vec<Signal> = all.into_iter().filter(|signal| signal.raised).collect();
    raised.sort_by_key(|signal| (signal.model, signal.flag.flag));
    Findings { flags: raised.into_iter().map(|signal| signal.flag).collect(), checks }
}
