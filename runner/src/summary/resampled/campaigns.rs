//! Estimates of campaigns and scores.

use crate::analysis::{Rate, Score, Success, number, stats};
use crate::summary::campaigns::{
    CampaignSummary, Cost, Curve, DistortionSummary, Gap, Quantiles, ScoreSummary,
};
use crate::summary::resampled::resampler::{Resampler, estimate, of_several};
use gauntlet_core::metric::Direction;

impl Resampler<'_> {
    /// A campaign: `row` is the `index`th of [`Tables::success`](crate::analysis::Tables::success).
    pub fn campaign(&self, index: usize, row: &Success) -> CampaignSummary {
        CampaignSummary {
            model: self.label(row.model).into(),
            attack: self.study.attacks[row.attack].part.label.clone(),
            goal: row.goal,
            missing: row.missing,
            attacked: row.source_correct,
            found: row.found,
            invalid: row.invalid,
            success: Rate::new(row.success, row.source_correct),
            success_8bit: Rate::new(row.success_8bit, row.source_correct),
            distortions: (0..row.distortions.len())
                .map(|n| self.distortion(index, row, n))
                .collect(),
            cost: Cost {
                forward_mean: row.passes.forward.mean.and_then(number),
                forward_median: row.passes.forward.median.and_then(number),
                backward_mean: row.passes.backward.mean.and_then(number),
                backward_median: row.passes.backward.median.and_then(number),
            },
        }
    }

    /// Distortions by the `n`th metric of outcomes.
    fn distortion(&self, campaign: usize, row: &Success, n: usize) -> DistortionSummary {
        let distortion = &row.distortions[n];
        let metric = &self.study.metrics[distortion.metric];
        let sorted = stats::sorted(distortion.cases.iter().copied().flatten().collect());
        // A metric that falls as perturbations grow has no "within a distortion".
        let is_distance = metric.direction == Direction::HigherIsMoreRobust;
        DistortionSummary {
            metric: metric.part.label.clone(),
            images: sorted.len(),
            mean: of_several(
                estimate(distortion.float.mean, self.means[campaign][n].iter().copied()),
                sorted.len(),
            ),
            quantiles: Quantiles::of(&sorted),
            mean_8bit: distortion.rounded.mean.and_then(number),
            median_8bit: distortion.rounded.median.and_then(number),
            curve: is_distance.then(|| Curve::of(&sorted, row.source_correct)),
            gap: is_distance.then(|| self.gap(row, n)),
        }
    }

    /// Distances from the smallest distortion per image that any attack on the same model with the
    /// same goal found.
    fn gap(&self, row: &Success, n: usize) -> Gap {
        let rivals = self
            .tables
            .success
            .iter()
            .filter(|other| (other.model, other.goal) == (row.model, row.goal));
        let rivals: Vec<&[Option<f64>]> =
            rivals.map(|other| other.distortions[n].cases.as_slice()).collect();
        let mut ratios = Vec::new();
        for (image, own) in row.distortions[n].cases.iter().enumerate() {
            let least = rivals.iter().filter_map(|cases| cases[image]).min_by(f64::total_cmp);
            ratios.extend(least.map(|least| {
                own.map_or(f64::INFINITY, |own| if own == least { 1.0 } else { own / least })
            }));
        }
        let ratios = stats::sorted(ratios);
        let finite: Vec<f64> = ratios.iter().copied().filter(|ratio| ratio.is_finite()).collect();
        Gap {
            images: ratios.len(),
            best: ratios.iter().filter(|ratio| **ratio <= 1.01).count(),
            median_ratio: stats::quantile(&ratios, 0.5).and_then(number),
            mean_ratio: stats::mean(&finite).and_then(number),
        }
    }

    /// A metric of a model.
    pub fn score(&self, score: &Score) -> ScoreSummary {
        let metric = &self.study.metrics[score.metric];
        let sorted = stats::sorted(score.cases.iter().copied().flatten().collect());
        let extras = metric
            .extras
            .iter()
            .cloned()
            .zip(score.extras.iter().map(|mean| mean.and_then(number)));
        ScoreSummary {
            metric: metric.part.label.clone(),
            model: self.label(score.model).into(),
            goal: score.goal,
            missing: score.missing,
            scored: score.scored,
            invalid: score.invalid,
            mean: of_several(
                self.estimate(|counts| stats::drawn_mean(&score.cases, counts)),
                score.scored,
            ),
            quantiles: Quantiles::of(&sorted),
            extras: extras.collect(),
        }
    }
}
