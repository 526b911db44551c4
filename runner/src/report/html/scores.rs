//! The section of scores of the models themselves, such as CLEVER.

use crate::analysis::Estimate;
use crate::analysis::NORMS;
use crate::report::figure::{Axis, Kind, Scatter, ScatterPoint, short};
use crate::report::html::page::{Data, Page, Shown, ends};
use crate::report::html::view::{View, distortion};
use crate::report::html::words::{counted, goal_words, interval_words, percent, with_unit};
use crate::study::GoalKind;
use crate::summary::ScoreSummary;
use anyhow::Result;

pub(super) fn scores(view: &View, page: &mut Page) -> Result<()> {
    let mut shown = Vec::new();
    let metrics = view.summary.metrics.iter().filter(|metric| !metric.of_outcomes);
    for score in metrics {
        for goal in
            [GoalKind::Untargeted, GoalKind::Random, GoalKind::LeastLikely, GoalKind::Second]
        {
            let values: Vec<&ScoreSummary> = view
                .summary
                .scores
                .iter()
                .filter(|one| one.metric == score.label && one.goal == goal)
                .collect();
            if values.iter().any(|one| one.scored > 0) {
                shown.extend(score_figure(view, &score.label, goal, &values)?);
            }
        }
    }
    let about = "A score of the model itself, such as CLEVER (an estimate of the smallest \
                 distortion that could deceive it), against the mean \
                 distortion that the best attack needed. A lower bound would stand above the \
                 dashed line, where both are equal.";
    page.gallery(
        "scores",
        "CLEVER against attacks",
        about,
        shown,
        "No score can be held against an attack: that takes a metric of models, such as \
         clever_l2, the distortion that it bounds, such as l2, and an attack that succeeds with \
         the same goal.",
    )
}

fn score_figure(
    view: &View,
    score: &str,
    goal: GoalKind,
    values: &[&ScoreSummary],
) -> Result<Option<Shown>> {
    let Some(norm) = norm_of(view, score) else { return Ok(None) };
    let Some(attack) = strongest(view, goal, norm) else { return Ok(None) };
    let pairs: Vec<Pair> =
        values.iter().filter_map(|&score| Pair::new(view, score, attack, norm)).collect();
    if pairs.is_empty() {
        return Ok(None);
    }
    let mut data = Data::new(["model", score, "low", "high", "attack", norm, "low", "high"])?;
    for pair in &pairs {
        let [low, high] = ends(pair.score.mean.interval);
        let [under, over] = ends(pair.distortion.interval);
        data.row([
            pair.score.model.clone(),
            pair.at.0.to_string(),
            low,
            high,
            attack.to_owned(),
            pair.at.1.to_string(),
            under,
            over,
        ])?;
    }
    let at: Vec<(f64, f64)> = pairs.iter().map(|pair| pair.at).collect();
    let (low, high) =
        at.iter().fold((f64::INFINITY, 0.0f64), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
    let figure = Scatter {
        title: format!(
            "Mean {score} against mean {norm} distortion of {attack}, {}",
            goal_words(goal)
        ),
        x: Axis::new(with_unit(&format!("mean {score}"), view.unit(score)), Kind::Linear),
        y: Axis::new(
            with_unit(&format!("mean {norm} distortion of {attack}"), view.unit(norm)),
            Kind::Linear,
        ),
        points: pairs.iter().map(|pair| pair.point(view, attack, norm)).collect(),
        fits: Vec::new(),
        frontier: Some(("distortion = score", vec![(low, low), (high, high)])),
        ring: None,
        joined: Vec::new(),
        families: &view.families,
    };
    Ok(Some(Shown {
        stem: format!("score-{score}-{attack}-{}", goal.name()),
        title: format!("{score} and {attack}, {}", goal_words(goal)),
        reading: reading(&at, values),
        figure: figure.draw(),
        data,
    }))
}

/// The norm that a score is held against: the one that it is named after, else the study's first
/// metric of distortions.
fn norm_of<'a>(view: &'a View, score: &str) -> Option<&'a str> {
    let metrics = || view.summary.metrics.iter();
    NORMS
        .into_iter()
        .find(|norm| score.ends_with(norm))
        .or_else(|| metrics().find(|metric| metric.of_outcomes).map(|metric| metric.label.as_str()))
}

/// The attack that finds the smallest distortion most often.
fn strongest<'a>(view: &'a View, goal: GoalKind, norm: &str) -> Option<&'a str> {
    let best = |label: &str| {
        let campaigns = view
            .summary
            .campaigns
            .iter()
            .filter(|campaign| campaign.attack == label && campaign.goal == goal);
        let gaps = campaigns.filter_map(|campaign| distortion(campaign, norm)?.gap);
        gaps.map(|gap| gap.best).sum::<usize>()
    };
    let attacks = view.summary.attacks.iter().filter(|attack| attack.goals.contains(&goal));
    // `max_by_key` keeps the last of equals. The list is reversed so that the study's first wins.
    attacks.rev().max_by_key(|attack| best(&attack.label)).map(|attack| attack.label.as_str())
}

/// A model's score and the mean distortion of the attack on it.
struct Pair<'a> {
    score: &'a ScoreSummary,
    distortion: Estimate,
    /// Index of the model.
    model: usize,
    /// The score and the distortion.
    at: (f64, f64),
}

impl<'a> Pair<'a> {
    fn new(view: &View, score: &'a ScoreSummary, attack: &str, norm: &str) -> Option<Self> {
        let campaign = view.summary.campaigns.iter().find(|one| {
            one.model == score.model && one.attack == attack && one.goal == score.goal
        })?;
        let distortion = distortion(campaign, norm)?.mean;
        let at = (score.mean.value?, distortion.value?);
        Some(Self { score, distortion, model: view.model(&score.model)?, at })
    }

    fn point(&self, view: &View, attack: &str, norm: &str) -> ScatterPoint {
        let Self { score, distortion, model, at } = self;
        ScatterPoint {
            name: view.names[*model].clone(),
            at: *at,
            across: score.mean.interval,
            up: distortion.interval,
            ring: false,
            tip: format!(
                "{}: mean {} {}{}, mean {norm} of {attack} {}{}; n = {}",
                score.model,
                score.metric,
                short(at.0),
                interval_words(score.mean.interval),
                short(at.1),
                interval_words(distortion.interval),
                score.scored
            ),
        }
    }
}

fn reading(at: &[(f64, f64)], values: &[&ScoreSummary]) -> String {
    let order = spearman(at).map_or_else(String::new, |rho| {
        format!("The ranks of both agree with Spearman’s ρ = {rho:.2} over {} models. ", at.len())
    });
    let below = at.iter().filter(|(x, y)| y < x).count();
    // CLEVER says of each fit whether it passes a Kolmogorov-Smirnov test.
    let fits: Vec<f64> =
        values.iter().filter_map(|value| value.extras.get("good_fit").copied().flatten()).collect();
    let poor = (!fits.is_empty()).then(|| 1.0 - fits.iter().sum::<f64>() / fits.len() as f64);
    let poor = poor.map_or_else(String::new, |poor| {
        format!(" Of the fits of its distribution {} are poor.", percent(Some(poor)))
    });
    format!(
        "{order}For {below} of {} the attack needed less than the mean score.{poor}",
        counted(at.len(), "model")
    )
}

/// Spearman's rank correlation; equal values share their ranks.
fn spearman(points: &[(f64, f64)]) -> Option<f64> {
    let ranks = |values: Vec<f64>| -> Vec<f64> {
        let rank = |v: f64| {
            let (less, same) = values.iter().fold((0.0, 0.0), |(l, s), &o| {
                (l + f64::from(u8::from(o < v)), s + f64::from(u8::from(o == v)))
            });
            less + (same - 1.0) / 2.0
        };
        values.iter().map(|&v| rank(v)).collect()
    };
    let (a, b) =
        (ranks(points.iter().map(|p| p.0).collect()), ranks(points.iter().map(|p| p.1).collect()));
    let middle = (points.len() as f64 - 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| {
        x.iter().zip(y).map(|(x, y)| (x - middle) * (y - middle)).sum::<f64>()
    };
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (points.len() > 2 && spread > 0.0).then(|| product(&a, &b) / spread)
}

#[cfg(test)]
mod tests {
    use super::spearman;

    #[test]
    fn ranks_correlate() {
        assert_eq!(spearman(&[(1.0, 10.0), (2.0, 100.0), (3.0, 1000.0)]), Some(1.0));
        assert_eq!(spearman(&[(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)]), Some(-1.0));
        assert_eq!(spearman(&[(1.0, 1.0), (2.0, 1.0), (3.0, 1.0)]), None);
        // Ranks 1.5 1.5 3 4 against 1 2 3 4.
        let tied = spearman(&[(1.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)]).unwrap();
        assert!((tied - 0.9486832980505138).abs() < 1e-12, "{tied}");
    }
}
