//! Campaigns: success, distortions and cost of an attack on a model; and scores of models.

use crate::analysis::stats;
use crate::analysis::{Estimate, Rate, number};
use crate::study::GoalKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An attack on a model with a goal, over all images.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Campaign")]
pub struct CampaignSummary {
    /// The model.
    pub model: String,
    /// The attack.
    pub attack: String,
    /// The goal.
    pub goal: GoalKind,
    /// Number of images without an outcome, because their cell failed.
    pub missing: usize,
    /// Number of images that were attacked: those that the model classifies correctly.
    pub attacked: usize,
    /// Number of images for which the attack gave pixels.
    pub found: usize,
    /// Number of images for which the attack's answer was outside the model's domain.
    pub invalid: usize,
    /// Share of the attacked images whose goal is met.
    pub success: Rate,
    /// Share of the attacked images whose goal is met after rounding to 8 bits.
    pub success_8bit: Rate,
    /// One for every metric of outcomes.
    pub distortions: Vec<DistortionSummary>,
    /// Passes through the network per attacked image.
    pub cost: Cost,
}

/// Distortions of a campaign by a metric.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Distortion")]
pub struct DistortionSummary {
    /// The metric.
    pub metric: String,
    /// Number of images that mean, quantiles and curve are over: those whose goal is met and whose
    /// value is finite.
    pub images: usize,
    /// Mean over the images whose goal is met.
    pub mean: Estimate,
    /// Quantiles over the images whose goal is met.
    pub quantiles: Quantiles,
    /// Mean of the rounded images, over those whose goal is met after rounding to 8 bits.
    pub mean_8bit: Option<f64>,
    /// Median of the rounded images, over those whose goal is met after rounding to 8 bits.
    pub median_8bit: Option<f64>,
    /// Success against distortion: the share of attacked images whose goal is met within a
    /// distortion. Null for a metric whose values fall as perturbations grow, such as SSIM.
    pub curve: Option<Curve>,
    /// Distance from the smallest distortions that any attack of the study found. Null where
    /// `curve` is.
    pub gap: Option<Gap>,
}

/// Quantiles of some values, linear between neighbours; null when there are no values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantiles {
    /// Least value.
    pub min: Option<f64>,
    /// 0.1-quantile.
    pub q10: Option<f64>,
    /// 0.25-quantile.
    pub q25: Option<f64>,
    /// Median.
    pub median: Option<f64>,
    /// 0.75-quantile.
    pub q75: Option<f64>,
    /// 0.9-quantile.
    pub q90: Option<f64>,
    /// Greatest value.
    pub max: Option<f64>,
}

impl Quantiles {
    /// The quantiles of values in ascending order.
    pub fn of(sorted: &[f64]) -> Self {
        let at = |q| stats::quantile(sorted, q).and_then(number);
        Self {
            min: at(0.0),
            q10: at(0.1),
            q25: at(0.25),
            median: at(0.5),
            q75: at(0.75),
            q90: at(0.9),
            max: at(1.0),
        }
    }
}

/// A curve of success against distortion: `rank[i]` of `attacked` images have a success of at most
/// `distortion[i]`. It has a point per success; of more than 200 successes, 200 that are evenly
/// spaced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Curve {
    /// Number of images that were attacked.
    pub attacked: usize,
    /// Distortions of successes, ascending.
    pub distortion: Vec<f64>,
    /// Number of successes with at most the distortion.
    pub rank: Vec<usize>,
}

impl Curve {
    /// Greatest number of points.
    const POINTS: usize = 200;

    /// The curve of distortions in ascending order, those of the successes among `attacked` images.
    pub fn of(sorted: &[f64], attacked: usize) -> Self {
        let (count, points) = (sorted.len(), sorted.len().min(Self::POINTS));
        let ranks =
            (0..points).map(|n| if points < 2 { 1 } else { 1 + n * (count - 1) / (points - 1) });
        let (rank, distortion) =
            ranks.filter_map(|rank| Some((rank, number(sorted[rank - 1])?))).unzip();
        Self { attacked, distortion, rank }
    }

    /// Distortions in ascending order, each with the share of attacked images that are deceived
    /// within it.
    pub fn points(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.distortion
            .iter()
            .zip(&self.rank)
            .map(|(&distortion, &rank)| (distortion, rank as f64 / self.attacked as f64))
    }
}

/// Distance of an attack from the lower envelope, which is per image the smallest distortion of any
/// successful attack of the study with the same model and goal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// Number of images on which any attack succeeded.
    pub images: usize,
    /// Number of these on which this attack is within 1 % of the smallest.
    pub best: usize,
    /// Median of distortion / smallest over those images. A failure counts as infinity, and null
    /// stands for infinity.
    pub median_ratio: Option<f64>,
    /// Mean of distortion / smallest over this attack's successes.
    pub mean_ratio: Option<f64>,
}

/// Passes through the network per attacked image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Mean of the forward passes.
    pub forward_mean: Option<f64>,
    /// Median of the forward passes.
    pub forward_median: Option<f64>,
    /// Mean of the backward passes.
    pub backward_mean: Option<f64>,
    /// Median of the backward passes.
    pub backward_median: Option<f64>,
}

/// A metric of a model, over the images that it classifies correctly.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Score")]
pub struct ScoreSummary {
    /// The metric.
    pub metric: String,
    /// The model.
    pub model: String,
    /// The goal that the metric was computed for.
    pub goal: GoalKind,
    /// Number of images without a score, because their cell failed.
    pub missing: usize,
    /// Number of images that were scored: those whose value and extra numbers are all finite.
    pub scored: usize,
    /// Number of images that are left out, since the value or an extra number is not finite.
    #[serde(default)]
    pub invalid: usize,
    /// Mean over the scored images.
    pub mean: Estimate,
    /// Quantiles over the scored images.
    pub quantiles: Quantiles,
    /// Mean of each extra number of the metric over the scored images, by its name. CLEVER's are `low` and `high` (ends of
    /// an image's own interval), `lipschitz`, `ks_p`, and `good_fit`, the share of images whose fit
    /// is good.
    pub extras: BTreeMap<String, Option<f64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_keeps_its_ends_and_at_most_200_points() {
        let few = Curve::of(&[0.5, 1.0, 4.0], 10);
        assert_eq!(few.points().collect::<Vec<_>>(), [(0.5, 0.1), (1.0, 0.2), (4.0, 0.3)]);
        let many: Vec<f64> = (1..=999).map(f64::from).collect();
        let curve = Curve::of(&many, 1000);
        assert_eq!((curve.rank.len(), curve.rank[0], curve.rank[199]), (200, 1, 999));
        assert!(
            curve
                .rank
                .iter()
                .zip(&curve.distortion)
                .all(|(rank, distortion)| *rank as f64 == *distortion)
        );
        assert_eq!(Curve::of(&[], 3).points().count(), 0);
        assert_eq!(Curve::of(&[2.0], 4).points().collect::<Vec<_>>(), [(2.0, 0.25)]);
    }
}
