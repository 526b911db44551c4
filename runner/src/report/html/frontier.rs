//! The section on the Pareto frontier of accuracy and robustness.

use crate::report::html::law::{chosen, scatter};
use crate::report::html::page::{Data, Page, Shown, ends, plain};
use crate::report::html::view::{EQUAL_LEFT_OUT, View};
use crate::report::html::words::{counted, goal_words, listed, percent};
use crate::summary::{Law, Point};
use anyhow::Result;

pub(super) fn frontiers(view: &View, page: &mut Page) -> Result<()> {
    let shown: Vec<Shown> = chosen(view).map(|law| frontier(view, law)).collect::<Result<_>>()?;
    let about = format!(
        "A model is on the Pareto frontier when no other is at least as accurate and at least as \
         robust, and better in one. \
         The share of bootstrap resamples of the images in which this holds says how sure it is. \
         {EQUAL_LEFT_OUT}"
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
    // Between two models of the frontier only the left one's robustness is known to be reachable,
    // so the line is a staircase.
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
        title: format!("{}, {}, {}", law.attack, goal_words(law.goal), law.metric),
        reading,
        figure: figure.draw(),
        data,
    })
}
