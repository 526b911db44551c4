//! Flags: signs that a model is broken, that its gradients are masked, or that an attack on it is
//! too weak, so that a success rate says less of the model than it seems to.
//!
//! What is looked for comes from Athalye, Carlini and Wagner, "Obfuscated Gradients Give a False
//! Sense of Security" (ICML 2018, section 3.1); Carlini et al., "On Evaluating Adversarial
//! Robustness" (2019); Pintor et al., "Indicators of Attack Failure" (`NeurIPS` 2022). Some of it
//! is seen by the probe of every model, the rest in outcomes that a study has anyway. Comparisons
//! are flagged beyond chance alone: [`LEVEL`] is kept by all comparisons of a kind together (Holm).

mod comparisons;
mod gradients;
pub(super) mod sign;

use crate::analysis::flags::sign::Signal;
use crate::analysis::tables::Tables;
use crate::study::Study;
pub use sign::{Check, Findings, Flag, LEVEL, Severity, Sign};

/// Looks for every sign.
pub(crate) fn find(study: &Study, tables: &Tables) -> Findings {
    let mut all = gradients::signs(study, tables);
    all.extend(comparisons::signs(study, tables));
    let checks = Sign::ALL.map(|flag| {
        let of = |signal: &&Signal| signal.flag.flag == flag;
        let raised = all.iter().filter(of).filter(|signal| signal.raised).count();
        Check {
            flag,
            looked_at: all.iter().filter(of).count(),
            raised,
            meaning: flag.meaning().into(),
        }
    });
    let mut raised: Vec<Signal> = all.into_iter().filter(|signal| signal.raised).collect();
    raised.sort_by_key(|signal| (signal.model, signal.flag.flag));
    Findings {
        flags: raised.into_iter().map(|signal| signal.flag).collect(),
        checks: checks.into(),
    }
}
