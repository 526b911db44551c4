//! The section "Distortion against error": a scatter of the models, and lines through them.

use crate::report::figure::{Axis, Fit, FitPoint, Kind, Scatter, ScatterPoint, short};
use crate::report::html::page::{Data, Page, Shown, ends, plain};
use crate::report::html::view::{EQUAL_LEFT_OUT, View};
use crate::report::html::words::{goal_words, interval_words, percent, with_unit};
use crate::summary::{Band, Law, Point, Subset};
use anyhow::Result;

pub(super) fn laws(view: &View, page: &mut Page) -> Result<()> {
    let shown: Vec<Shown> = chosen(view).map(|law| law_figure(view, law)).collect::<Result<_>>()?;
    let about = format!(
        "The 2018 study found that distortion is linear in ln(error): models that err less are \
         less robust. The error’s axis is logarithmic, so this law is a straight line here. The \
         error is (wrong + ½) / (n + 1). Distortions are means over successes, in the norm in \
         which the attack is nearest to the best of all attacks. Bands and whiskers are 95 % \
         intervals. The 2018 study’s line through 18 models is said to lean on AlexNet and VGG, so \
         there is a line without them too. {EQUAL_LEFT_OUT} \
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
        let point = |band: &Band| FitPoint {
            x: band.ln_error.exp(),
            y: band.line,
            interval: band.interval,
        };
        let line = fit.band.iter().map(point).collect();
        // R² of a line through two points is 1 and says nothing.
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
                interval_words(Some((low, high)))
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
        title: format!("{}, {}, {}", law.attack, goal_words(law.goal), law.metric),
        reading,
        figure: figure.draw(),
        data,
    })
}

/// The laws that get a figure: of every attack and goal those of its own metric and of metrics that
/// are not built in.
pub(super) fn chosen<'a>(view: &'a View) -> impl Iterator<Item = &'a Law> {
    view.summary.laws.iter().filter(|law| {
        law.points.len() > 1
            && view.shown_metrics(&law.attack, law.goal).contains(&law.metric.as_str())
    })
}

pub(super) fn scatter<'a>(view: &'a View, law: &Law, what: &str) -> Scatter<'a> {
    Scatter {
        title: format!(
            "{what}: mean {} distortion of {}, {}, against top-1 error",
            law.metric,
            law.attack,
            goal_words(law.goal)
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
                interval_words(point.distortion_interval)
            ),
        })
    };
    law.points.iter().filter_map(point).collect()
}
