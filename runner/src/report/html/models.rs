//! Models against each other: distortion against error, the frontier, curves, scores, depth.

use crate::report::figure::{
    Axis, Curve, Curves, Fit, Interval, Intervals, Kind, Scatter, ScatterPoint, Whisker, short,
};
use crate::report::html::page::{Data, Page, Shown, View, counted, ends, listed, percent, plain};
use crate::study::GoalKind;
use crate::summary::{
    CampaignSummary, DepthEffect, DistortionSummary, Law, NORMS, Point, ScoreSummary, Subset,
};
use anyhow::Result;

fn distortion<'a>(campaign: &'a CampaignSummary, metric: &str) -> Option<&'a DistortionSummary> {
    campaign.distortions.iter().find(|distortion| distortion.metric == metric)
}

/// Whether an attack moves every image equally far in some norm, as one of a fixed ε does.
fn constant(view: &View, attack: &str, goal: GoalKind) -> bool {
    let campaigns = || {
        view.summary
            .campaigns
            .iter()
            .filter(|campaign| campaign.attack == attack && campaign.goal == goal)
    };
    NORMS.into_iter().any(|metric| {
        let ends = campaigns().filter_map(|campaign| {
            let quantiles = distortion(campaign, metric)?.quantiles;
            Some((quantiles.q10?, quantiles.q90?))
        });
        ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
            .is_some_and(|(low, high)| high - low < 0.02 * high)
    })
}

fn worded(goal: GoalKind) -> String {
    goal.name().replace('_', " ")
}

fn with_unit(what: &str, unit: &str) -> String {
    if unit.is_empty() { what.to_owned() } else { format!("{what} ({unit})") }
}

fn about_interval(interval: Option<(f64, f64)>) -> String {
    interval.map_or_else(String::new, |(low, high)| {
        format!(" (95 % interval {} to {})", short(low), short(high))
    })
}

/// The laws worth a figure: of every attack and goal the one of its own metric.
fn chosen<'a>(view: &'a View) -> impl Iterator<Item = &'a Law> {
    view.summary.laws.iter().filter(|law| {
        law.points.len() > 1
            && view.summary.own_metric(&law.attack, law.goal) == Some(&law.metric)
            && !constant(view, &law.attack, law.goal)
    })
}

const FIXED: &str = "An attack that moves every image equally far has no figure here.";

pub(super) fn laws(view: &View, page: &mut Page) -> Result<()> {
    let shown: Vec<Shown> = chosen(view).map(|law| law_figure(view, law)).collect::<Result<_>>()?;
    let about = format!(
        "The 2018 study: distortion is linear in ln(error), less for models that err less; here a \
         straight line since the error’s axis is logarithmic. The error is \
         (wrong + ½) / (n + 1). Means over successes; each attack by the norm in which it is \
         nearest to the best of all attacks. \
         Bands and whiskers are 95 % intervals. Its line through 18 models is said to lean on \
         AlexNet and VGG, so it is fitted without them too. {FIXED} \
         study.json has the laws of every metric."
    );
    page.gallery(
        "law",
        "Distortion against error",
        &about,
        shown,
        "At least two models with successful attacks are needed.",
    )
}

fn points(view: &View, law: &Law) -> Vec<ScatterPoint> {
    let point = |point: &Point| {
        let n = view.model(&point.model)?;
        let membership = point.membership.map_or_else(String::new, |share| {
            format!("; on the frontier in {} of resamples", percent(Some(share)))
        });
        Some(ScatterPoint {
            name: view.names[n].clone(),
            at: (point.ln_error.exp(), point.distortion),
            across: point.ln_error_interval.map(|(low, high)| (low.exp(), high.exp())),
            up: point.distortion_interval,
            ring: point.on_frontier,
            tip: format!(
                "{}: error {}, mean {} {}{}{membership}",
                point.model,
                percent(Some(point.ln_error.exp())),
                law.metric,
                short(point.distortion),
                about_interval(point.distortion_interval)
            ),
        })
    };
    law.points.iter().filter_map(point).collect()
}

fn scatter<'a>(view: &'a View, law: &Law, what: &str) -> Scatter<'a> {
    Scatter {
        title: format!(
            "{what}: mean {} distortion of {}, {}, against top-1 error",
            law.metric,
            law.attack,
            worded(law.goal)
        ),
        x: Axis::percent("top-1 error (%, logarithmic)", Kind::Log),
        y: Axis::new(
            with_unit(&format!("mean {} distortion", law.metric), view.unit(&law.metric)),
            Kind::Linear,
        ),
        points: points(view, law),
        fits: Vec::new(),
        frontier: None,
        ring: Some("on the frontier"),
        joined: Vec::new(),
        families: &view.families,
    }
}

fn law_figure(view: &View, law: &Law) -> Result<Shown> {
    let mut data = Data::new([
        "what",
        "name",
        "ln_error",
        "distortion",
        "low",
        "high",
        "slope",
        "intercept",
        "r2",
    ])?;
    let none = String::new;
    for point in &law.points {
        let [low, high] = ends(point.distortion_interval);
        let (x, y) = (point.ln_error.to_string(), point.distortion.to_string());
        data.row(["model".into(), point.model.clone(), x, y, low, high, none(), none(), none()])?;
    }
    let mut figure = scatter(view, law, "Distortion against error");
    let mut said = Vec::new();
    for fit in law.fits.iter().filter(|fit| fit.band.len() > 1) {
        let name = match fit.subset {
            Subset::All => "all models",
            Subset::Frontier => "frontier",
            Subset::WithoutAlexnetAndVgg => "without AlexNet and VGG",
        };
        let (slope, intercept, r2) = (fit.slope.value, fit.intercept.value, fit.r2.value);
        for band in &fit.band {
            let [low, high] = ends(band.interval);
            let (x, y) = (band.ln_error.to_string(), band.line.to_string());
            data.row([
                "line".into(),
                name.into(),
                x,
                y,
                low,
                high,
                plain(slope),
                plain(intercept),
                plain(r2),
            ])?;
        }
        let line =
            fit.band.iter().map(|band| (band.ln_error.exp(), band.line, band.interval)).collect();
        // A line through two points explains them.
        let worth =
            r2.filter(|_| fit.models > 2).map_or_else(String::new, |r2| format!(", R² {r2:.2}"));
        figure.fits.push(Fit { name: format!("{name} (n = {}{worth})", fit.models), line });
        if let (Some(slope), Some((low, high))) = (slope, fit.slope.interval) {
            let sure = match fit.subset {
                Subset::Frontier => "which rises in any case",
                _ if low > 0.0 => "so it rises",
                _ if high < 0.0 => "so it falls",
                _ => "so it may do either",
            };
            said.push(format!(
                "{name} (n = {}): slope {} per e-fold of the error{}, {sure}{worth}",
                fit.models,
                short(slope),
                about_interval(Some((low, high)))
            ));
        }
    }
    let reading = if said.is_empty() {
        "There are too few different points for a line.".to_owned()
    } else {
        format!("As the error grows, distortion by the line through {}.", said.join("; through "))
    };
    let stem = format!("law-{}-{}-{}", law.attack, law.goal.name(), law.metric);
    Ok(Shown {
        stem,
        title: format!("{}, {}, {}", law.attack, worded(law.goal), law.metric),
        reading,
        figure: figure.draw(),
        data,
    })
}

pub(super) fn frontiers(view: &View, page: &mut Page) -> Result<()> {
    let shown: Vec<Shown> = chosen(view).map(|law| frontier(view, law)).collect::<Result<_>>()?;
    let about = format!(
        "A model is on the Pareto frontier when no other is at least as accurate and at least as \
         robust, and better in one. \
         How sure that is, is the share of bootstrap resamples of the images in which it holds. \
         {FIXED}"
    );
    page.gallery(
        "frontier",
        "Accuracy and robustness: the frontier",
        &about,
        shown,
        "At least two models with successful attacks are needed.",
    )
}

fn frontier(view: &View, law: &Law) -> Result<Shown> {
    let mut data =
        Data::new(["model", "error", "distortion", "low", "high", "on_frontier", "membership"])?;
    for point in &law.points {
        let [low, high] = ends(point.distortion_interval);
        let error = plain(Some(point.ln_error.exp()));
        data.row([
            point.model.clone(),
            error,
            point.distortion.to_string(),
            low,
            high,
            point.on_frontier.to_string(),
            plain(point.membership),
        ])?;
    }
    let mut figure = scatter(view, law, "Pareto frontier");
    let mut best: Vec<&Point> = law.points.iter().filter(|point| point.on_frontier).collect();
    best.sort_by(|a, b| a.ln_error.total_cmp(&b.ln_error));
    // Between two models of the frontier nothing is known to be reached but what the left one
    // reaches.
    let mut corners = Vec::new();
    for pair in best.windows(2) {
        let [(x, y), next] =
            [pair[0], pair[1]].map(|point| (point.ln_error.exp(), point.distortion));
        corners.extend([(x, y), (next.0, y)]);
    }
    corners.extend(best.last().map(|point| (point.ln_error.exp(), point.distortion)));
    figure.frontier = Some(("Pareto frontier", corners));
    let firm: Vec<String> = best
        .iter()
        .filter_map(|point| {
            Some(format!("{} ({})", view.name(&point.model), percent(Some(point.membership?))))
        })
        .collect();
    let near = law
        .points
        .iter()
        .filter(|point| !point.on_frontier && point.membership.is_some_and(|share| share > 0.25))
        .count();
    let close = if near == 0 {
        String::new()
    } else {
        format!(" In more than a quarter of them also: {}.", counted(near, "other model"))
    };
    let reading =
        format!("On the frontier, with the share of resamples: {}.{close}", listed(&firm));
    let stem = format!("frontier-{}-{}-{}", law.attack, law.goal.name(), law.metric);
    Ok(Shown {
        stem,
        title: format!("{}, {}, {}", law.attack, worded(law.goal), law.metric),
        reading,
        figure: figure.draw(),
        data,
    })
}

pub(super) fn curves(view: &View, page: &mut Page) -> Result<()> {
    let mut shown = Vec::new();
    for attack in &view.summary.attacks {
        for &goal in &attack.goals {
            let Some(metric) = view.summary.own_metric(&attack.label, goal) else { continue };
            if !constant(view, &attack.label, goal) {
                shown.extend(curve_figure(view, &attack.label, goal, metric)?);
            }
        }
    }
    let about = format!(
        "Share of the images attacked whose goal is met within a distortion: a curve further right \
         is a more robust model. {FIXED}"
    );
    page.gallery(
        "curves",
        "Success against distortion",
        &about,
        shown,
        "No attack of the study succeeded at distortions that differ.",
    )
}

fn curve_figure(view: &View, attack: &str, goal: GoalKind, metric: &str) -> Result<Option<Shown>> {
    let mut data = Data::new(["model", metric, "share"])?;
    let (mut curves, mut medians, mut never) = (Vec::new(), Vec::new(), Vec::new());
    for &n in &view.order {
        let label = &view.summary.models[n].label;
        let campaign = view
            .summary
            .campaigns
            .iter()
            .find(|one| one.model == *label && one.attack == attack && one.goal == goal);
        let Some(curve) =
            campaign.and_then(|campaign| distortion(campaign, metric)?.curve.as_ref())
        else {
            continue;
        };
        let points: Vec<(f64, f64)> = curve.points().collect();
        if points.is_empty() {
            continue;
        }
        for (distance, share) in &points {
            data.row([label.clone(), distance.to_string(), share.to_string()])?;
        }
        // Over all images attacked: a failure is farther than any success.
        let half = points.iter().find(|(_, share)| *share >= 0.5).map(|(distance, _)| *distance);
        match half {
            Some(half) => medians.push((half, n)),
            None => never.push(view.names[n].text.clone()),
        }
        let reached = percent(points.last().map(|(_, share)| *share));
        let half = half.map_or_else(
            || "half is never reached".to_owned(),
            |half| format!("half within {metric} {}", short(half)),
        );
        curves.push(Curve {
            name: view.names[n].clone(),
            tip: format!("{label}: {half}; {reached} in the end, of {} images", curve.attacked),
            points,
        });
    }
    if curves.is_empty() {
        return Ok(None);
    }
    medians.sort_by(|a, b| a.0.total_cmp(&b.0));
    let reading = match medians.as_slice() {
        [(least, soft), .., (most, firm)] => format!(
            "Half of the images fall within {metric} {} for {}, and only within {} for {}: {:.1} \
             times as far.",
            short(*least),
            view.names[*soft].text,
            short(*most),
            view.names[*firm].text,
            most / least
        ),
        [(half, n)] => format!(
            "Half of the images fall within {metric} {} for {}.",
            short(*half),
            view.names[*n].text
        ),
        [] => "Against no model does the attack succeed on half of the images.".to_owned(),
    };
    let firm = if never.is_empty() || medians.is_empty() {
        String::new()
    } else {
        format!(" Half is never reached for {}.", listed(&never))
    };
    let reading = reading + &firm;
    // Attacks that search have a long tail to the right.
    let positive = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|point| point.0)
        .filter(|value| *value > 0.0);
    let ends = positive
        .fold((f64::INFINITY, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    let kind = if ends.1 > 20.0 * ends.0 { Kind::Log } else { Kind::Linear };
    let scale = if kind == Kind::Log { "logarithmic" } else { "" };
    let inside: Vec<&str> =
        [view.unit(metric), scale].into_iter().filter(|text| !text.is_empty()).collect();
    let figure = Curves {
        title: format!(
            "Success of {attack}, {}, against {metric} distortion, a curve for each model",
            worded(goal)
        ),
        x: Axis::new(with_unit(&format!("{metric} distortion"), &inside.join(", ")), kind),
        y: Axis::percent("images attacked whose goal is met (%)", Kind::Linear),
        rising: curves,
        families: &view.families,
    };
    let stem = format!("curves-{attack}-{}-{metric}", goal.name());
    Ok(Some(Shown {
        stem,
        title: format!("{attack}, {}, {metric}", worded(goal)),
        reading,
        figure: figure.draw(),
        data,
    }))
}

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
            if values.iter().any(|one| one.mean.value.is_some()) {
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
        "The study has no metric of models, such as clever_l2.",
    )
}

fn score_figure(
    view: &View,
    score: &str,
    goal: GoalKind,
    values: &[&ScoreSummary],
) -> Result<Option<Shown>> {
    // A score that is named after a norm is held against that norm.
    let Some(norm) = NORMS
        .into_iter()
        .find(|norm| score.ends_with(norm))
        .or_else(|| view.summary.metrics.iter().find(|m| m.of_outcomes).map(|m| m.label.as_str()))
    else {
        return Ok(None);
    };
    let attacks = view.summary.attacks.iter().filter(|attack| attack.goals.contains(&goal));
    let best = |label: &str| {
        let campaigns = view
            .summary
            .campaigns
            .iter()
            .filter(|campaign| campaign.attack == label && campaign.goal == goal);
        campaigns
            .filter_map(|campaign| distortion(campaign, norm)?.gap)
            .map(|gap| gap.best)
            .sum::<usize>()
    };
    let Some(attack) = attacks.rev().max_by_key(|attack| best(&attack.label)) else {
        return Ok(None);
    };
    let mut data = Data::new(["model", score, "low", "high", "attack", norm, "low", "high"])?;
    let mut points = Vec::new();
    for value in values {
        let campaign =
            view.summary.campaigns.iter().find(|one| {
                one.model == value.model && one.attack == attack.label && one.goal == goal
            });
        let (Some(n), Some(x), Some(y)) = (
            view.model(&value.model),
            value.mean.value,
            campaign.and_then(|campaign| distortion(campaign, norm)).map(|one| one.mean),
        ) else {
            continue;
        };
        let Some(at) = y.value else { continue };
        let ([low, high], [under, over]) = (ends(value.mean.interval), ends(y.interval));
        data.row([
            value.model.clone(),
            x.to_string(),
            low,
            high,
            attack.label.clone(),
            at.to_string(),
            under,
            over,
        ])?;
        points.push(ScatterPoint {
            name: view.names[n].clone(),
            at: (x, at),
            across: value.mean.interval,
            up: y.interval,
            ring: false,
            tip: format!(
                "{}: mean {score} {}{}, mean {norm} of {} {}{}; n = {}",
                value.model,
                short(x),
                about_interval(value.mean.interval),
                attack.label,
                short(at),
                about_interval(y.interval),
                value.scored
            ),
        });
    }
    if points.is_empty() {
        return Ok(None);
    }
    let at: Vec<(f64, f64)> = points.iter().map(|point| point.at).collect();
    let below = at.iter().filter(|(x, y)| y < x).count();
    let order = spearman(&at).map_or_else(String::new, |rho| {
        format!("The ranks of both agree with Spearman’s ρ = {rho:.2} over {} models. ", at.len())
    });
    // CLEVER says of each fit whether it passes a Kolmogorov-Smirnov test.
    let fits: Vec<f64> =
        values.iter().filter_map(|value| value.extras.get("good_fit").copied().flatten()).collect();
    let poor = (!fits.is_empty()).then(|| 1.0 - fits.iter().sum::<f64>() / fits.len() as f64);
    let poor = poor.map_or_else(String::new, |poor| {
        format!(" Of the fits of its distribution {} are poor.", percent(Some(poor)))
    });
    let reading = format!(
        "{order}For {below} of {} the attack needed less than the mean score.{poor}",
        counted(at.len(), "model")
    );
    let (low, high) =
        at.iter().fold((f64::INFINITY, 0.0f64), |(low, high), (x, _)| (low.min(*x), high.max(*x)));
    let figure = Scatter {
        title: format!(
            "Mean {score} against mean {norm} distortion of {}, {}",
            attack.label,
            worded(goal)
        ),
        x: Axis::new(with_unit(&format!("mean {score}"), view.unit(score)), Kind::Linear),
        y: Axis::new(
            with_unit(&format!("mean {norm} distortion of {}", attack.label), view.unit(norm)),
            Kind::Linear,
        ),
        points,
        fits: Vec::new(),
        frontier: Some(("distortion = score", vec![(low, low), (high, high)])),
        ring: None,
        joined: Vec::new(),
        families: &view.families,
    };
    let stem = format!("score-{score}-{}-{}", attack.label, goal.name());
    Ok(Some(Shown {
        stem,
        title: format!("{score} and {}, {}", attack.label, worded(goal)),
        reading,
        figure: figure.draw(),
        data,
    }))
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

pub(super) fn depth(view: &View, page: &mut Page) -> Result<()> {
    let mut shown = Vec::new();
    for attack in &view.summary.attacks {
        for &goal in &attack.goals {
            let Some(metric) = view.summary.own_metric(&attack.label, goal) else { continue };
            let effects: Vec<&DepthEffect> = view
                .summary
                .depth
                .iter()
                .filter(|effect| {
                    effect.attack == attack.label
                        && effect.goal == goal
                        && effect.metric == metric
                        && effect.ratio.value.is_some()
                })
                .collect();
            if !effects.is_empty() && !constant(view, &attack.label, goal) {
                shown.push(depth_figure(view, &effects)?);
            }
        }
    }
    let about = format!(
        "Each model against the next less deep one of its family, over the images on which the \
         attack succeeds against both: mean distortion \
         of the deeper over that of the other. Above 1, depth makes more robust. {FIXED}"
    );
    page.gallery(
        "depth",
        "Depth within families",
        &about,
        shown,
        "No family has two models of known depth with successful attacks.",
    )
}

fn depth_figure(view: &View, effects: &[&DepthEffect]) -> Result<Shown> {
    let DepthEffect { attack, goal, metric, .. } = effects[0];
    let mut data = Data::new([
        "family", "shallow", "layers", "deep", "layers", "images", "ratio", "low", "high",
    ])?;
    let mut rows: Vec<Interval> = Vec::new();
    let (mut more, mut less) = (0, 0);
    let mut last = "";
    for effect in effects {
        let (Some(value), interval) = (effect.ratio.value, effect.ratio.interval) else { continue };
        more += usize::from(interval.is_some_and(|ends| ends.0 > 1.0));
        less += usize::from(interval.is_some_and(|ends| ends.1 < 1.0));
        let [low, high] = ends(interval);
        let layers = [effect.shallow_depth, effect.deep_depth].map(|depth| depth.to_string());
        let [under, over] = layers.clone();
        data.row([
            effect.family.clone(),
            effect.shallow.clone(),
            under,
            effect.deep.clone(),
            over,
            effect.images.to_string(),
            value.to_string(),
            low,
            high,
        ])?;
        let whisker = Whisker {
            series: view
                .families
                .iter()
                .position(|family| *family == effect.family)
                .unwrap_or_default(),
            value,
            interval,
            tip: format!(
                "{} ({} layers) over {} ({} layers): {value:.3}{}, {} images",
                effect.deep,
                layers[1],
                effect.shallow,
                layers[0],
                about_interval(interval),
                effect.images
            ),
        };
        rows.push(Interval {
            name: format!("{} / {}", view.name(&effect.deep), view.name(&effect.shallow)),
            heading: (effect.family != last).then(|| effect.family.clone()),
            whiskers: vec![whisker],
        });
        last = &effect.family;
    }
    let reading = format!(
        "Of {} of neighbours, the deeper model is more robust in {more} and less robust in {less} \
         (interval beside 1); the rest is undecided.",
        counted(rows.len(), "pair")
    );
    let figure = Intervals {
        title: format!(
            "Mean {metric} distortion of {attack}, {}, of deeper over less deep models",
            worded(*goal)
        ),
        x: Axis::new(
            format!("ratio of mean {metric} distortions, deeper / less deep"),
            Kind::Linear,
        ),
        least: None,
        rows,
        series: &[],
        reference: Some(1.0),
    };
    let stem = format!("depth-{attack}-{}-{metric}", goal.name());
    Ok(Shown {
        stem,
        title: format!("{attack}, {}, {metric}", worded(*goal)),
        reading,
        figure: figure.draw(),
        data,
    })
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
