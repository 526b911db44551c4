//! The four claims of the 2018 study, tested on the study's data.
//!
//! Each claim is tested by several pieces of evidence. A piece is an estimate and a border: it is
//! for the claim when its whole interval is on one side, against it when the whole interval is on
//! the other. The claim is supported when all pieces are for it, not supported when one is against
//! it, and undecided otherwise.

use crate::analysis::Estimate;
use crate::analysis::stats;
use crate::analysis::{Spread, Success};
use crate::study::GoalKind;
use crate::summary::laws::{DepthEffect, Fit, Law, Subset};
use crate::summary::resampled::{Resampler, added};
use crate::summary::verdicts::{Evidence, Finding, Verdict};
use std::collections::BTreeMap;

/// The attacks that search for small perturbations, each with the metric that it minimises, by
/// their registered names. The claims about distortion use their distortions.
const MINIMISING: [(&str, &str); 2] = [("ifgsm", "linf"), ("cw_l2", "l2")];
/// The metric of the claim about depth.
const LINF: &str = "linf";
/// The family of the claim about transfer.
const VGG: &str = "VGG";
/// Least R² of a law that counts as linear.
const LINEAR: f64 = 0.5;
/// Least number of models that can decide about lines and families.
const FEW: usize = 4;
/// Distortions that differ by less than this share of the greatest were set by the attack's bound,
/// not found by its search.
const FIXED: f64 = 0.01;
/// A model is surely on the frontier, or off it, when it is so in this share of the resamples.
const SURE: f64 = 0.95;

/// The verdicts on all claims.
pub(super) fn verdicts(resampler: &Resampler, laws: &[Law], depth: &[DepthEffect]) -> Vec<Verdict> {
    let laws: Vec<&Law> = laws
        .iter()
        .filter(|law| is_of(resampler, &law.attack, &law.metric, &MINIMISING) && varies(law))
        .collect();
    vec![
        linear(&laws),
        architecture(resampler, &laws),
        deeper(resampler, depth),
        transfer(resampler),
    ]
}

/// Whether attack and metric, given by their labels, are one of the pairs of registered names.
fn is_of(resampler: &Resampler, attack: &str, metric: &str, pairs: &[(&str, &str)]) -> bool {
    let attack = resampler
        .study
        .attacks
        .iter()
        .find(|a| a.part.label == attack)
        .map(|a| a.part.name.as_str());
    let metric = resampler
        .study
        .metrics
        .iter()
        .find(|m| m.part.label == metric)
        .map(|m| m.part.name.as_str());
    pairs.iter().any(|(a, m)| attack == Some(a) && metric == Some(m))
}

/// Whether the distortions of a law differ between models.
fn varies(law: &Law) -> bool {
    let distortions = stats::sorted(law.points.iter().map(|point| point.distortion).collect());
    let ends = distortions.first().zip(distortions.last());
    ends.is_some_and(|(least, most)| most - least > FIXED * most)
}

/// Whether an estimate is above `border` with its whole interval, or below it.
fn above(estimate: Estimate, border: f64) -> Finding {
    match estimate.interval {
        Some((low, _)) if low > border => Finding::Supported,
        Some((_, high)) if high < border => Finding::NotSupported,
        _ => Finding::Undecided,
    }
}

/// The finding of several pieces of evidence.
fn all_of(findings: impl IntoIterator<Item = Finding>) -> Finding {
    let findings: Vec<Finding> = findings.into_iter().collect();
    if findings.contains(&Finding::NotSupported) {
        Finding::NotSupported
    } else if findings.is_empty() || findings.contains(&Finding::Undecided) {
        Finding::Undecided
    } else {
        Finding::Supported
    }
}

/// What a claim says, and what decides it.
struct Claim {
    /// Number of the claim, from 1.
    number: u32,
    /// The claim in a sentence.
    statement: &'static str,
    /// The rule that decides the finding.
    rule: &'static str,
    /// The reading when there is no number.
    without: &'static str,
}

/// The verdict that some evidence gives.
fn verdict(claim: &Claim, evidence: Vec<Evidence>) -> Verdict {
    let finding = all_of(evidence.iter().map(|evidence| evidence.finding));
    let word = match finding {
        Finding::Supported => "Supported",
        Finding::NotSupported => "Not supported",
        Finding::Undecided => "Undecided",
    };
    let numbers: Vec<String> = evidence.iter().filter_map(said).collect();
    let reading = if numbers.is_empty() {
        format!("{word}: {}.", claim.without)
    } else {
        format!("{word}: {}.", numbers.join("; "))
    };
    Verdict {
        claim: claim.number,
        statement: claim.statement.into(),
        finding,
        rule: claim.rule.into(),
        reading,
        evidence,
    }
}

/// A piece of evidence in words, as `what 0.12 [0.1, 0.15]`; none without a number.
fn said(evidence: &Evidence) -> Option<String> {
    let short = |value: f64| {
        format!("{value:.2e}")
            .parse()
            .map_or_else(|_| value.to_string(), |value: f64| value.to_string())
    };
    let value = short(evidence.value.value?);
    let interval = evidence
        .value
        .interval
        .map_or_else(String::new, |(low, high)| format!(" [{}, {}]", short(low), short(high)));
    Some(format!("{} {value}{interval}", evidence.what))
}

/// The subject of a law, in words.
fn about(law: &Law) -> String {
    format!("{} of {} ({})", law.metric, law.attack, law.goal.name())
}

const LAW: Claim = Claim {
    number: 1,
    statement: "The l2 and l∞ distortion of minimal adversarials is linear in the logarithm of \
        the classification error, and less for models that err less.",
    rule: "Read off the l∞ distortion of I-FGSM and the l2 distortion of C&W. For each goal the \
        slope against ln(error) must be positive, over all models and without AlexNet and VGG, \
        by the bootstrap over images and by Student's interval for the scatter of the models, \
        and R² above 0.5. Supported when all of this holds with whole intervals, not supported \
        when one of it fails with its whole interval, undecided otherwise and with fewer than \
        four models. A low R² counts only where the slope's sign is certain: on few images the \
        error is too uncertain for any line to explain much.",
    without: "the study has no I-FGSM with l∞ and no C&W with l2 whose distortions vary",
};

/// Claim 1: slopes and R² of the laws.
fn linear(laws: &[&Law]) -> Verdict {
    let of = |law: &Law, subset, what: &str| {
        let fit: &Fit = law.fits.iter().find(|fit| fit.subset == subset)?;
        let slope = above(fit.slope, 0.0);
        let scatter = above(Estimate { value: None, interval: fit.slope_interval_t }, 0.0);
        // Few points decide nothing, nor do points that scatter.
        let finding = match (slope, scatter) {
            _ if fit.models < FEW => Finding::Undecided,
            (Finding::Supported, Finding::Supported) => Finding::Supported,
            (Finding::NotSupported, Finding::NotSupported) => Finding::NotSupported,
            _ => Finding::Undecided,
        };
        Some(Evidence {
            what: format!("slope of {} against ln(error), {what},", about(law)),
            value: fit.slope,
            finding,
        })
    };
    let r2 = |law: &Law, slope: Finding| {
        let fit = law
            .fits
            .iter()
            .find(|fit| fit.subset == Subset::All)
            .filter(|fit| fit.models >= FEW)?;
        // Where the slope's sign is uncertain, R² may be low from the noise of the errors alone.
        let finding = match above(fit.r2, LINEAR) {
            Finding::NotSupported if slope == Finding::Undecided => Finding::Undecided,
            finding => finding,
        };
        Some(Evidence { what: format!("R² of {}", about(law)), value: fit.r2, finding })
    };
    let evidence = laws.iter().flat_map(|law| {
        let slope = of(law, Subset::All, "all models");
        let r2 = r2(law, slope.as_ref().map_or(Finding::Undecided, |slope| slope.finding));
        [slope, of(law, Subset::WithoutAlexnetAndVgg, "without AlexNet and VGG"), r2]
            .into_iter()
            .flatten()
    });
    verdict(&LAW, evidence.collect())
}

const ARCHITECTURE: Claim = Claim {
    number: 2,
    statement: "Architecture matters more for robustness than model size, and accuracy and \
        robustness have a Pareto frontier.",
    rule: "Read off the l∞ distortion of I-FGSM and the l2 distortion of C&W. For each goal, \
        family must explain more of the variance of the models' mean distortions than a line on \
        the logarithm of the number of parameters (adjusted R², bootstrap over images), and at \
        least two models must be on the frontier and one off it in 95 % of resamples. Against it \
        speaks that size explains more, or that one model is ahead of all others in both.",
    without: "the study has no I-FGSM with l∞ and no C&W with l2 whose distortions vary",
};

/// Claim 2: family against size, and the frontiers.
fn architecture(resampler: &Resampler, laws: &[&Law]) -> Verdict {
    let mut evidence = Vec::new();
    for law in laws {
        evidence.extend(family_against_size(resampler, law));
        let sure = |on: &dyn Fn(f64) -> bool| {
            law.points.iter().filter(|point| point.membership.is_some_and(on)).count()
        };
        let (on, off) = (sure(&|share| share >= SURE), sure(&|share| share <= 1.0 - SURE));
        let finding = match (on, off) {
            _ if law.points.len() < FEW => Finding::Undecided,
            (2.., 1..) => Finding::Supported,
            (1, off) if off + 1 == law.points.len() => Finding::NotSupported,
            _ => Finding::Undecided,
        };
        let value = Estimate { value: Some(on as f64), interval: None };
        evidence.push(Evidence {
            what: format!("models surely on the frontier of {} ({off} surely off it)", about(law)),
            value,
            finding,
        });
    }
    verdict(&ARCHITECTURE, evidence)
}

/// Adjusted R² of families minus that of ln(parameters).
fn family_against_size(resampler: &Resampler, law: &Law) -> Option<Evidence> {
    let rows: Vec<(&Success, usize)> = resampler
        .tables
        .success
        .iter()
        .filter(|row| {
            resampler.study.attacks[row.attack].part.label == law.attack && row.goal == law.goal
        })
        .filter_map(|row| {
            Some((
                row,
                row.distortions
                    .iter()
                    .position(|d| resampler.study.metrics[d.metric].part.label == law.metric)?,
            ))
        })
        .collect();
    let mut families: BTreeMap<&str, usize> = BTreeMap::new();
    for (row, _) in &rows {
        *families.entry(resampler.family(row.model)).or_default() += 1;
    }
    if rows.len() < FEW || families.values().filter(|count| **count > 1).count() < 2 {
        return None;
    }
    let groups: Vec<usize> = rows
        .iter()
        .filter_map(|(row, _)| {
            families.keys().position(|family| *family == resampler.family(row.model))
        })
        .collect();
    let sizes: Vec<f64> = rows
        .iter()
        .map(|(row, _)| resampler.study.models[row.model].parameters.map(|n| (n as f64).ln()))
        .collect::<Option<_>>()?;
    let gain = |counts: &[u32]| {
        let means: Vec<f64> = rows
            .iter()
            .map(|(row, n)| stats::drawn_mean(&row.distortions[*n].cases, counts))
            .collect::<Option<_>>()?;
        let points: Vec<(f64, f64)> = sizes.iter().copied().zip(means.iter().copied()).collect();
        Some(stats::explained_by_groups(&means, &groups)? - stats::explained_by_line(&points)?)
    };
    let value = resampler.estimate(gain);
    let what = format!("adjusted R² of family less that of size, {},", about(law));
    Some(Evidence { what, value, finding: above(value, 0.0) })
}

const DEPTH: Claim = Claim {
    number: 3,
    statement: "Within a family, more depth raises the l∞ distortion slightly.",
    rule: "Read off the l∞ distortion of I-FGSM on models that differ from another of their \
        family in depth, each against the next less deep one, on the images on which the attack \
        succeeds against both. For each goal the geometric mean of the ratios must be above 1 \
        with its whole interval (bootstrap over images); below 1 speaks against it. DenseNet-161 \
        is also wider than its neighbours.",
    without: "the study has no two models of a family that differ in depth, with I-FGSM and l∞",
};

/// Claim 3: ratios of distortions within families.
fn deeper(resampler: &Resampler, depth: &[DepthEffect]) -> Verdict {
    let pairs: Vec<&DepthEffect> = depth
        .iter()
        .filter(|pair| is_of(resampler, &pair.attack, &pair.metric, &[("ifgsm", LINF)]))
        .filter(|pair| pair.ratio.value.is_some_and(|ratio| (ratio - 1.0).abs() > f64::EPSILON))
        .collect();
    let mut goals: Vec<(&str, GoalKind)> = Vec::new();
    for pair in &pairs {
        if !goals.contains(&(pair.attack.as_str(), pair.goal)) {
            goals.push((&pair.attack, pair.goal));
        }
    }
    let evidence = goals.into_iter().map(|(attack, goal)| {
        let of: Vec<&DepthEffect> = pairs
            .iter()
            .copied()
            .filter(|pair| (pair.attack.as_str(), pair.goal) == (attack, goal))
            .collect();
        let value = resampler.mean_ratio(&of);
        let what = format!(
            "geometric mean, over {} pairs, of the deeper model's l∞ over the other's, \
             {attack} ({}),",
            of.len(),
            goal.name()
        );
        Evidence { what, value, finding: above(value, 1.0) }
    });
    verdict(&DEPTH, evidence.collect())
}

const TRANSFER: Claim = Claim {
    number: 4,
    statement: "Adversarials of VGG transfer widely; those of most other models transfer within \
        their family alone.",
    rule: "Read off untargeted adversarials of all attacks, pooled over pairs of models, under \
        the published denominator. VGG's rate across families must be above that of all other \
        families, and the other families' rate within above their rate across, each with the \
        whole interval of the difference (bootstrap over images). A difference below 0 speaks \
        against the claim.",
    without: "the study has no transfer between models of VGG and of other families",
};

/// Claim 4: differences between rates of transfer.
fn transfer(resampler: &Resampler) -> Verdict {
    let untargeted: Vec<&Spread> = resampler
        .tables
        .spread
        .iter()
        .filter(|spread| spread.goal == GoalKind::Untargeted)
        .collect();
    // A family of one model has no transfer within.
    let families = || {
        untargeted
            .iter()
            .filter(|spread| spread.family != VGG && spread.within.iter().any(|tally| tally.of > 0))
    };
    let (within, across) = (
        added(families().map(|spread| spread.within.as_slice())),
        added(families().map(|spread| spread.across.as_slice())),
    );
    let vgg = added(
        untargeted
            .iter()
            .filter(|spread| spread.family == VGG)
            .map(|spread| spread.across.as_slice()),
    );
    let others = added(
        untargeted
            .iter()
            .filter(|spread| spread.family != VGG)
            .map(|spread| spread.across.as_slice()),
    );
    let mut evidence = Vec::new();
    for (what, value) in [
        (
            "rate of VGG's adversarials across families less that of all others'",
            resampler.difference(&vgg, &others),
        ),
        (
            "rate of the other families' adversarials within their family less that across",
            resampler.difference(&within, &across),
        ),
    ] {
        if value.value.is_some() {
            evidence.push(Evidence { what: what.into(), value, finding: above(value, 0.0) });
        }
    }
    if evidence.len() == 1 {
        // Half of the claim has no data.
        let value = Estimate::default();
        evidence.push(Evidence {
            what: "the other half of the claim".into(),
            value,
            finding: Finding::Undecided,
        });
    }
    verdict(&TRANSFER, evidence)
}
