//! Flags: signs that a study's inputs are not what they should be, that a model is broken, that its
//! gradients are masked, or that an attack on it is too weak. A flagged success rate says less of
//! the model than it seems to.
//!
//! The signs come from Athalye, Carlini and Wagner, "Obfuscated Gradients Give a False Sense of
//! Security" (ICML 2018, section 3.1); Carlini et al., "On Evaluating Adversarial Robustness"
//! (2019); Pintor et al., "Indicators of Attack Failure" (`NeurIPS` 2022). The probe of every model
//! shows some of them; the study itself and its outcomes show the others. A comparison is flagged only when its
//! difference is beyond chance: all comparisons of a kind together keep [`LEVEL`] (Holm).

mod answers;
mod class_order;
mod comparisons;
mod control;
mod failures;
mod find;
mod gradients;
mod inputs;
mod labels;
mod sign;

pub(super) use find::find;
pub use find::of_inputs;
pub use sign::{Advice, Check, Findings, Flag, LEVEL, Severity, Sign};
