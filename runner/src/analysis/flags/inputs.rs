//! Signs in the study itself, before any cell is computed: images, weights, bounds, preprocessing.

use crate::analysis::flags::class_order;
use crate::analysis::flags::sign::{Flag, Severity, Sign, Signal};
use crate::analysis::rate::Rate;
use crate::data::Picture;
use crate::study::torchscript::Script;
use crate::study::{Study, StudyAttack, StudyModel};
use crate::weights::WeightsPlace;
use gauntlet_core::attack::{Budget, Norm};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Looks at all that a study names.
/// `pixels` are the hashes of the images' pixels, as far as they are known.
pub(super) fn signs(study: &Study, pixels: &[Option<String>]) -> Vec<Signal> {
    let mut signals: Vec<Signal> = images(study, pixels).into();
    signals.extend(class_order::signal(study));
    signals.extend(study.attacks.iter().filter_map(|attack| bound(study, attack)));
    signals.extend((0..study.models.len()).filter_map(|model| same_weights(study, model)));
    signals.extend((0..study.models.len()).filter_map(|model| mean(study, model)));
    signals
}

/// Greatest number of pairs that a reading names.
const NAMED: usize = 3;

/// Images of equal content: under one label, and under different labels. Content is the pixels
/// where they are known, otherwise the file.
fn images(study: &Study, pixels: &[Option<String>]) -> [Signal; 2] {
    let pictures = &study.data.pictures;
    let mut first: BTreeMap<&str, &Picture> = BTreeMap::new();
    let (mut equal, mut contradictory) = (Vec::new(), Vec::new());
    for (n, picture) in pictures.iter().enumerate() {
        let content = pixels.get(n).and_then(Option::as_ref).unwrap_or(&picture.hash);
        let earlier = *first.entry(content).or_insert(picture);
        if std::ptr::eq(earlier, picture) {
            continue;
        }
        if earlier.label == picture.label {
            equal.push(format!("`{}` is `{}`", picture.name, earlier.name));
        } else {
            contradictory.push(format!(
                "`{}` has the label {}, `{}` the label {}",
                earlier.name, earlier.label, picture.name, picture.label
            ));
        }
    }
    let signal = |sign: Sign, severity: Severity, what: &str, pairs: &[String]| {
        let (count, more) = (pairs.len(), pairs.len().saturating_sub(NAMED));
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        let named = pairs.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
        let reading = format!("{count} of {} images {what}: {named}{more}", pictures.len());
        let found = Rate::new(count, pictures.len());
        let flag = Flag { severity, ..Flag::new(study, sign, None, found, reading) };
        Signal { model: None, flag, raised: count > 0 }
    };
    [
        signal(Sign::EqualImages, Severity::Warning, "repeat an earlier one", &equal),
        signal(
            Sign::ContradictoryLabels,
            Severity::Error,
            "repeat an earlier one under another label",
            &contradictory,
        ),
    ]
}

/// An attack's bound against the distance between the two images that are farthest apart, of the
/// largest model. None for an attack without a bound.
fn bound(study: &Study, attack: &StudyAttack) -> Option<Signal> {
    let Budget { norm, radius } = attack.budget()?;
    let values = study.models.iter().map(|model| model.card.shape().values()).max()? as f64;
    let (name, farthest) = match norm {
        Norm::L1 => ("ℓ1", values),
        Norm::L2 => ("ℓ2", values.sqrt()),
        Norm::Linf => ("ℓ∞", 1.0),
    };
    let reading = format!(
        "the bound is {radius} in {name}, but pixels are in [0, 1]: no two images are more than \
         {farthest:.0} apart"
    );
    let sign = Sign::BoundBeyondPixels;
    let flag = Flag {
        severity: Severity::Error,
        attack: Some(attack.part.label.clone()),
        ..Flag::new(study, sign, None, Rate::new(0, 0), reading)
    };
    Some(Signal { model: None, flag, raised: radius > farthest })
}

/// A model against those before it: the same network with the same parameters and weights. None for
/// the first model, and for one whose weights are not there.
fn same_weights(study: &Study, model: usize) -> Option<Signal> {
    let this = &study.models[model];
    if model == 0 || matches!(this.weights, WeightsPlace::Absent(_)) {
        return None;
    }
    let alike = |other: &&StudyModel| {
        let (one, two) = (&this.part, &other.part);
        (&one.name, &one.plugin, &one.parameters) == (&two.name, &two.plugin, &two.parameters)
            && (this.weights_hash == other.weights_hash || equal_content(this, other))
    };
    let twin = study.models[..model].iter().find(alike);
    let label = twin.map(|twin| twin.part.label.clone());
    let reading = format!(
        "network, parameters and weights are those of {}",
        label.as_deref().unwrap_or("no other model")
    );
    let raised = label.is_some();
    let flag = Flag {
        against: label,
        ..Flag::new(study, Sign::SameWeights, Some(model), Rate::new(0, 0), reading)
    };
    Some(Signal { model: Some(model), flag, raised })
}

/// Whether two files that differ hold the same weights: another format, or another archive.
fn equal_content(one: &StudyModel, two: &StudyModel) -> bool {
    // Headers tell the numbers of values; everything is read only where these agree.
    one.parameters == two.parameters
        && one.content().is_some_and(|content| Some(content) == two.content())
}

/// How many standard deviations the inputs of a network span, generously: 2 to 5 are usual, and 255
/// where only the mean is subtracted from 8-bit levels.
const USUAL_SPAN: RangeInclusive<f64> = 0.1..=500.0;

/// The means and standard deviations of a TorchScript module's preprocessing, against the range that
/// it spreads pixels over. None for another model.
fn mean(study: &Study, model: usize) -> Option<Signal> {
    let this = &study.models[model];
    let WeightsPlace::TorchScript(_) = this.weights else { return None };
    let script: Script = this.part.parameters.clone().try_into().ok()?;
    let (range, mean) = (script.preprocessing.range, script.preprocessing.mean);
    let std = script.preprocessing.std;
    let (low, high) = (range[0].min(range[1]), range[0].max(range[1]));
    let odd = std.iter().any(|std| !USUAL_SPAN.contains(&((high - low) / std.abs())));
    let outside = mean.iter().any(|mean| !(low..=high).contains(mean));
    let reading = if odd && !outside {
        format!(
            "`std` is {std:?}, but `range` is {range:?}: inputs span {:.3} standard deviations",
            (high - low) / std[0]
        )
    } else {
        format!("`mean` is {mean:?}, but `range` is {range:?}")
    };
    let found = Rate::new(0, 0);
    let flag = Flag::new(study, Sign::MeanOutsideRange, Some(model), found, reading);
    Some(Signal { model: Some(model), flag, raised: outside || odd })
}
