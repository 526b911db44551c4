//! What sections know of the study: its summary, and how models stand in figures.

use crate::analysis::NORMS;
use crate::report::figure::Name;
use crate::report::html::words::with_unit;
use crate::study::GoalKind;
use crate::summary::{CampaignSummary, DistortionSummary, Metric, Summary};

/// A summary, and how its models stand in figures.
pub(super) struct View<'a> {
    pub(super) summary: &'a Summary,
    /// The families, in the order of their first models.
    pub(super) families: Vec<String>,
    /// The models' names in figures, without the beginning that all of them share.
    pub(super) names: Vec<Name>,
    /// Indices of the models, one family after the other.
    pub(super) order: Vec<usize>,
}

impl<'a> View<'a> {
    pub(super) fn new(summary: &'a Summary) -> Self {
        let mut families: Vec<String> = Vec::new();
        for model in &summary.models {
            if !families.contains(&model.family) {
                families.push(model.family.clone());
            }
        }
        let prefix = common_prefix(summary.models.iter().map(|model| model.label.as_str()));
        let names: Vec<Name> = summary
            .models
            .iter()
            .map(|model| Name {
                text: model.label[prefix..].to_owned(),
                family: families
                    .iter()
                    .position(|family| *family == model.family)
                    .unwrap_or_default(),
            })
            .collect();
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_by_key(|&n| names[n].family);
        Self { summary, families, names, order }
    }

    /// The index of a model.
    pub(super) fn model(&self, label: &str) -> Option<usize> {
        self.summary.models.iter().position(|model| model.label == label)
    }

    /// A model's name in figures.
    pub(super) fn name<'b>(&'b self, label: &'b str) -> &'b str {
        self.model(label).map_or(label, |n| &self.names[n].text)
    }

    /// The metrics by which an attack with a goal has figures: its own, and those that are not
    /// built in. [`Left out`](EQUAL_LEFT_OUT) are those by which it moves all images equally.
    pub(super) fn shown_metrics(&self, attack: &str, goal: GoalKind) -> Vec<&'a str> {
        let own = self
            .summary
            .own_metric(attack, goal)
            .filter(|_| !moves_all_equally(self, attack, goal));
        let others = (self.summary.metrics.iter())
            .filter(|metric| metric.of_outcomes && !is_built_in(metric))
            .map(|metric| metric.label.as_str())
            .filter(|label| Some(*label) != own && !all_are_equal(self, attack, goal, label));
        own.into_iter().chain(others).collect()
    }

    /// A metric's name with its unit in parentheses, if it has one.
    pub(super) fn metric_words(&self, metric: &str) -> String {
        with_unit(metric, self.unit(metric))
    }

    /// The unit of a metric.
    pub(super) fn unit(&self, metric: &str) -> &str {
        self.summary
            .metrics
            .iter()
            .find(|known| known.label == metric)
            .map_or("", |known| &known.unit)
    }
}

pub(super) fn distortion<'a>(
    campaign: &'a CampaignSummary,
    metric: &str,
) -> Option<&'a DistortionSummary> {
    campaign.distortions.iter().find(|distortion| distortion.metric == metric)
}

/// Why there is no figure of attacks for which [`moves_all_equally`] holds.
pub(super) const EQUAL_LEFT_OUT: &str =
    "Fixed-ε attacks are left out: all their distortions are equal.";

/// Whether an attack moves every image equally far in some norm, as one of a fixed ε does.
pub(super) fn moves_all_equally(view: &View, attack: &str, goal: GoalKind) -> bool {
    NORMS.into_iter().any(|metric| all_are_equal(view, attack, goal, metric))
}

/// Whether all distortions of an attack by a metric are equal, within 2 %.
fn all_are_equal(view: &View, attack: &str, goal: GoalKind, metric: &str) -> bool {
    let campaigns = view
        .summary
        .campaigns
        .iter()
        .filter(|campaign| campaign.attack == attack && campaign.goal == goal);
    let ends = campaigns.filter_map(|campaign| {
        let quantiles = distortion(campaign, metric)?.quantiles;
        Some((quantiles.q10?, quantiles.q90?))
    });
    ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
        .is_some_and(|(low, high)| high - low < 0.02 * high)
}

/// Whether a metric is one of the program's own.
fn is_built_in(metric: &Metric) -> bool {
    NORMS.contains(&metric.name.as_str()) || metric.origin.starts_with("gauntlet-plugins ")
}

/// Length in bytes of the beginning that all names share, up to and including an underscore; 0 for
/// a single name.
pub(super) fn common_prefix<'a>(names: impl Iterator<Item = &'a str> + Clone) -> usize {
    let first = names.clone().next().unwrap_or_default();
    let shared =
        |end: usize| names.clone().all(|name| name.len() > end && name.starts_with(&first[..end]));
    let ends = first.match_indices('_').map(|(n, _)| n + 1);
    ends.rev().find(|&end| names.clone().count() > 1 && shared(end)).unwrap_or(0)
}
