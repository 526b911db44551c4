//! Signs in a model's answers: logits that are not finite.

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
            model,
            Rate::new(clean + later, images + attacked),
            format!(
                "logits are not finite at {clean} of {images} unperturbed images, and at {later} \
                 of {attacked} adversarials"
            ),
        );
        flag.severity = Severity::Error;
        Signal { model, flag, raised: clean + later > 0 }
    };
    (0..tables.accuracy.len()).map(of_model).collect()
}
