//! The section "Robust accuracy": how many images stay classified rightly whatever the attack.

use crate::report::figure::{Axis, Curve, Curves, Kind, short};
use crate::report::html::page::{Data, Page, Shown, ends, plain};
use crate::report::html::view::View;
use crate::report::html::words::{listed, percent, with_unit};
use crate::summary::{ModelRobustness, NormRobustness, RobustAccuracy};
use anyhow::Result;

pub(super) fn robustness(view: &View, page: &mut Page) -> Result<()> {
    let shown = view
        .summary
        .robustness
        .iter()
        .map(|norm| figure(view, norm))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();
    let about = "Share of all images that are classified rightly and of which no attack of the \
                 study on that model, with whatever goal, found a misclassified image within a \
                 distortion. It can only fall as attacks are added: read it as an upper bound. \
                 Where a curve begins, no attack is made.";
    page.gallery(
        "robustness",
        "Robust accuracy",
        about,
        shown,
        "The study has no attack, or measures none of ℓ∞, ℓ2 and ℓ1.",
    )
}

fn figure(view: &View, norm: &NormRobustness) -> Result<Option<Shown>> {
    let mut data = Data::new([
        "model",
        "norm",
        "budget",
        "epsilon",
        "robust",
        "images",
        "robust_accuracy",
        "low",
        "high",
        "robust_accuracy_8bit",
    ])?;
    let place = |model: &str| view.summary.models.iter().position(|one| one.label == model);
    let mut curves = Vec::new();
    for (n, model) in norm.ranking.iter().filter_map(|model| Some((place(&model.model)?, model))) {
        for RobustAccuracy { epsilon, text, robust, robust_8bit } in &model.budgets {
            let [low, high] = ends(robust.interval);
            data.row([
                model.model.clone(),
                norm.norm.clone(),
                text.clone(),
                epsilon.to_string(),
                robust.k.to_string(),
                robust.n.to_string(),
                plain(robust.rate),
                low,
                high,
                plain(robust_8bit.rate),
            ])?;
        }
        let within = |point: &(f64, f64)| point.0 <= norm.limit;
        let points: Vec<(f64, f64)> = model.fallen.points().filter(within).collect();
        curves.push(Curve { name: view.names[n].clone(), tip: tip(norm, model), points });
    }
    if curves.iter().all(|curve| curve.points.is_empty()) {
        return Ok(None);
    }
    let unit = view.unit(&norm.norm);
    let figure = Curves {
        title: format!("Robust accuracy against {} distortion, a curve for each model", norm.norm),
        x: Axis::new(with_unit(&format!("{} distortion", norm.norm), unit), Kind::Linear),
        y: Axis::percent("images that no attack changes (%)", Kind::Linear),
        rising: curves,
        falls: true,
        families: &view.families,
    };
    Ok(Some(Shown {
        stem: format!("robustness-{}", norm.norm),
        title: norm.norm.clone(),
        reading: reading(view, norm),
        figure: figure.draw(),
        data,
    }))
}

fn tip(norm: &NormRobustness, model: &ModelRobustness) -> String {
    let budget = |one: &RobustAccuracy| format!("{} at {}", percent(one.robust.rate), one.text);
    let budgets: Vec<String> = model.budgets.iter().map(budget).collect();
    format!("{}, {}: {}", model.model, norm.norm, budgets.join(", "))
}

/// The ranking's ends, and how many pairs are apart.
fn reading(view: &View, norm: &NormRobustness) -> String {
    let name = |model: &str| {
        let place = view.summary.models.iter().position(|one| one.label == model);
        place.map_or_else(|| model.to_owned(), |n| view.names[n].text.clone())
    };
    let [best, .., worst] = norm.ranking.as_slice() else {
        return String::new();
    };
    let mean = |model: &ModelRobustness| {
        format!("{} ({})", name(&model.model), short(model.mean.unwrap_or_default()))
    };
    let models = norm.ranking.len();
    let pairs = models * (models - 1) / 2;
    let tied: Vec<String> = norm
        .ranking
        .iter()
        .skip(1)
        .filter(|model| {
            !norm
                .apart
                .iter()
                .any(|apart| (&apart.better, &apart.worse) == (&best.model, &model.model))
        })
        .map(|model| name(&model.model))
        .collect();
    let tied = match tied.len() {
        0 => "No other model is as robust beyond chance.".to_owned(),
        n if n == models - 1 => "No model is beyond chance from the first.".to_owned(),
        n if n <= 4 => format!("Not apart from the first: {}.", listed(&tied)),
        n => format!("{n} models are not apart from the first."),
    };
    format!(
        "Most robust by the mean of the smallest known distortions (each at most {}): {}; least: \
         {}. {} of {pairs} pairs of models are apart (Wilcoxon's test, Holm's correction). {tied}",
        short(norm.limit),
        mean(best),
        mean(worst),
        norm.apart.len(),
    )
}
