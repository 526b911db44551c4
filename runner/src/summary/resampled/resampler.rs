//! The counts of a study and the resamples of its images.

use crate::analysis::stats::{self, Bootstrap, Interval};
use crate::analysis::{Estimate, Success, Tables, interval, number};
use crate::study::{GoalKind, Study};

/// Number of resamples behind every interval.
pub(in crate::summary) const RESAMPLES: usize = 1000;

/// The counts of a study, and statistics of every resample of its images.
pub(in crate::summary) struct Resampler<'a> {
    pub study: &'a Study,
    pub tables: &'a Tables,
    bootstrap: Bootstrap,
    /// ln(error) per model and resample.
    pub(super) ln_errors: Vec<Vec<f64>>,
    /// Mean distortion of the successes per campaign, metric of outcomes and resample; none without
    /// a success in the resample.
    pub(super) means: Vec<Vec<Vec<Option<f64>>>>,
}

impl<'a> Resampler<'a> {
    /// Draws the resamples, and computes errors and mean distortions in each of them.
    pub fn new(study: &'a Study, tables: &'a Tables) -> Self {
        let bootstrap = Bootstrap::new(study.seed, study.data.pictures.len(), RESAMPLES);
        let ln_errors = tables.correct.iter().map(|correct| {
            bootstrap.resamples().map(|counts| drawn_ln_error(correct, counts)).collect()
        });
        let ln_errors = ln_errors.collect();
        let means = |success: &Success| -> Vec<Vec<Option<f64>>> {
            let of = |cases: &[Option<f64>]| {
                bootstrap.resamples().map(|counts| stats::drawn_mean(cases, counts)).collect()
            };
            success.distortions.iter().map(|distortion| of(&distortion.cases)).collect()
        };
        let means = tables.success.iter().map(means).collect();
        Self { study, tables, bootstrap, ln_errors, means }
    }

    /// The label of a model.
    pub fn label(&self, model: usize) -> &'a str {
        &self.study.models[model].part.label
    }

    /// The family of a model.
    pub fn family(&self, model: usize) -> &'a str {
        &self.study.models[model].card.family
    }

    /// ln(error) of a model on all images; none when none is classified.
    pub fn ln_error(&self, model: usize) -> Option<f64> {
        let row = &self.tables.accuracy[model];
        (row.images > 0).then(|| ln_error((row.images - row.correct) as f64, row.images as f64))
    }

    /// Every attack of the study with each of its goals.
    pub(super) fn attacks_and_goals(&self) -> impl Iterator<Item = (usize, GoalKind)> {
        self.study
            .attacks
            .iter()
            .enumerate()
            .flat_map(|(index, attack)| attack.goals.iter().map(move |&goal| (index, goal)))
    }

    /// The interval of ln(error) of a model. Where all its answers are right, or all are wrong,
    /// every resample has the same error: its interval is Wilson's then.
    pub(super) fn ln_error_interval(&self, model: usize) -> Option<Interval> {
        let row = &self.tables.accuracy[model];
        let wrong = row.images - row.correct;
        if wrong > 0 && wrong < row.images {
            return stats::percentiles(self.ln_errors[model].clone());
        }
        let (low, high) = stats::wilson(wrong, row.images)?;
        let ln = |rate: f64| ln_error(rate * row.images as f64, row.images as f64);
        Some((ln(low), ln(high)))
    }

    /// A statistic of all images, with its interval from the resamples. `statistic` is given how
    /// often each image counts.
    pub fn estimate(&self, statistic: impl Fn(&[u32]) -> Option<f64>) -> Estimate {
        let all = vec![1; self.study.data.pictures.len()];
        estimate(statistic(&all), self.bootstrap.resamples().map(statistic))
    }
}

/// Without its interval, a mean over fewer than two values: all resamples give the one value.
pub(super) fn of_several(mean: Estimate, values: usize) -> Estimate {
    Estimate { interval: mean.interval.filter(|_| values > 1), ..mean }
}

/// A value with the interval of its resampled values; neither without a value.
pub(super) fn estimate(
    value: Option<f64>,
    resampled: impl Iterator<Item = Option<f64>>,
) -> Estimate {
    let Some(value) = value.and_then(number) else { return Estimate::default() };
    Estimate {
        value: Some(value),
        interval: stats::percentiles(resampled.flatten().collect()).and_then(interval),
    }
}

/// ln of the error. Half an image is added to either count, which keeps it finite.
fn ln_error(wrong: f64, images: f64) -> f64 {
    ((wrong + 0.5) / (images + 1.0)).ln()
}

/// ln of the error on the images drawn. `correct` is none for an image that is not classified.
fn drawn_ln_error(correct: &[Option<bool>], counts: &[u32]) -> f64 {
    let (mut wrong, mut images) = (0, 0);
    for (correct, &count) in correct.iter().zip(counts) {
        if let Some(correct) = correct {
            wrong += u32::from(!correct) * count;
            images += count;
        }
    }
    ln_error(f64::from(wrong), f64::from(images))
}
