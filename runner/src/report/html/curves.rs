//! The section "Success against distortion": a rising curve for each model.

use crate::report::figure::{Axis, Curve, Curves, Kind, short};
use crate::report::html::page::{Data, Page, Shown};
use crate::report::html::view::{EQUAL_LEFT_OUT, View, distortion};
use crate::report::html::words::{goal_words, listed, percent, with_unit};
use crate::study::GoalKind;
use anyhow::Result;

pub(super) fn curves(view: &View, page: &mut Page) -> Result<()> {
    let mut shown = Vec::new();
    for attack in &view.summary.attacks {
        for &goal in &attack.goals {
            for metric in view.shown_metrics(&attack.label, goal) {
                shown.extend(curve_figure(view, &attack.label, goal, metric)?);
            }
        }
    }
    let about = format!(
        "Share of the images attacked whose goal is met within a distortion: a curve further right \
         is a more robust model. {EQUAL_LEFT_OUT}"
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
        // The median is over all images attacked: a failure counts as farther than any success.
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
    // Distortions of attacks that search have a long tail to the right.
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
            goal_words(goal)
        ),
        x: Axis::new(with_unit(&format!("{metric} distortion"), &inside.join(", ")), kind),
        y: Axis::percent("images attacked whose goal is met (%)", Kind::Linear),
        rising: curves,
        falls: false,
        families: &view.families,
    };
    let stem = format!("curves-{attack}-{}-{metric}", goal.name());
    Ok(Some(Shown {
        stem,
        title: format!("{attack}, {}, {metric}", goal_words(goal)),
        reading,
        figure: figure.draw(),
        data,
    }))
}
