//! Signs in a model's answers: logits that are not finite, answers that change.

use crate::analysis::flags::sign::{Flag, Severity, Sign, Signal};
use crate::analysis::rate::Rate;
use crate::analysis::tables::Tables;
use crate::study::Study;

/// Looks at the answers of every model.
pub(super) fn signs(study: &Study, tables: &Tables) -> Vec<Signal> {
    let of_model = |model: usize| {
        let accuracy = &tables.accuracy[model];
        let adversarials = tables.adversarials[model];
        let (images, attacked) = (accuracy.images, adversarials.of as usize);
        let (clean, later) = (accuracy.invalid, adversarials.hits as usize);
        let mut flag = Flag::new(
            study,
            Sign::NonfiniteLogits,
            Some(model),
            Rate::new(clean + later, images + attacked),
            format!(
                "logits are not finite at {clean} of {images} unperturbed images, and at {later} \
                 of {attacked} adversarials"
            ),
        );
        flag.severity = Severity::Error;
        Signal { model: Some(model), flag, raised: clean + later > 0 }
    };
    let models = 0..tables.accuracy.len();
    models.clone().map(of_model).chain(models.filter_map(|m| changed(study, tables, m))).collect()
}

/// Answers to the originals that changed during an attack. The probe looks for the same sign in
/// every model; this is more than it can see.
fn changed(study: &Study, tables: &Tables, model: usize) -> Option<Signal> {
    let repeated = tables.repeated[model];
    let (k, n) = (repeated.hits as usize, repeated.of as usize);
    let reading =
        format!("the answer to the original changed during the attack on {k} of {n} images");
    let flag =
        Flag::new(study, Sign::NondeterministicLogits, Some(model), Rate::new(k, n), reading);
    let flag = Flag { severity: Severity::Error, ..flag };
    (k > 0).then_some(Signal { model: Some(model), flag, raised: true })
}
