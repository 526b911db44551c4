//! The section "Transfer": matrices of who deceives whom.

use crate::analysis::Rate;
use crate::report::figure::{HeatCell, HeatMap, Name};
use crate::report::html::page::{Data, Page, Shown, ends, plain};
use crate::report::html::view::View;
use crate::report::html::words::{goal_words, percent, pool, rate};
use crate::report::terminal::MANY_CLASSES;
use crate::study::Policy;
use crate::summary::{Match, Matrix, Pixels};
use anyhow::Result;
use std::fmt::Write;

pub(super) fn matrices(view: &View, page: &mut Page) -> Result<()> {
    let wanted = |matrix: &&Matrix| {
        matrix.pixels == Pixels::Float
            && (matrix.matching == Match::Top1 || view.summary.study.classes >= MANY_CLASSES)
    };
    let shown: Vec<Shown> = view
        .summary
        .transfer
        .iter()
        .filter(wanted)
        .map(|matrix| heat_map(view, matrix))
        .collect::<Result<_>>()?;
    let published = view.summary.transfer.first().map_or("", |matrix| matrix.published.as_str());
    let about = format!(
        "Adversarials of a row’s model are shown to a column’s model. A cell is the share that \
         meets the goal, of the {}, as the 2018 \
         study counted; the other denominators stand in the tip and in the data. Outlined: the \
         attack on its own model. \
         Where the images of source and target differ in shape, the smaller number is the control: the share of \
         the same images that meets the goal without the attack, brought to the target in the \
         same way. \
         Images as they are, not rounded to 8 bits; study.json has both.",
        meaning(published)
    );
    let none = if view.summary.models.len() < 2 {
        "The study has one model, and transfer needs two."
    } else {
        "The study was run without transfer."
    };
    page.gallery("transfer", "Transfer", &about, shown, none)
}

fn heat_map(view: &View, matrix: &Matrix) -> Result<Shown> {
    let labels = |n: usize| view.summary.models[n].label.as_str();
    let data = data(view, matrix)?;
    let published = |source: usize, target: usize| {
        matrix
            .denominators
            .get(&matrix.published)
            .map_or_else(|| Rate::new(0, 0), |counts| counts.rate(source, target))
    };
    let shape = |model: usize| view.summary.models[model].shape();
    let brought = view.summary.study.transfer != Some(Policy::Native);
    let across = |source: usize, target: usize| brought && shape(source) != shape(target);
    let cell = |source: usize, target: usize| {
        let value = published(source, target);
        let mut tip = format!("{} → {}: {}", labels(source), labels(target), rate(&value));
        if source != target {
            for (denominator, counts) in
                matrix.denominators.iter().filter(|(name, _)| **name != matrix.published)
            {
                let (k, n) = (counts.k[source][target], counts.n[source][target]);
                let _ = write!(tip, "; of {}: {k} of {n}", meaning(denominator));
            }
        }
        let control = across(source, target).then(|| matrix.control.rate(source, target));
        if let Some(control) = &control {
            let excess = matrix.excess[source][target];
            let _ = write!(tip, "; without the attack: {}", rate(control));
            if let (Some(value), Some((low, high))) = (excess.value, excess.interval) {
                let [value, low, high] = [value, low, high].map(|part| percent(Some(part)));
                let _ = write!(tip, "; excess over that: {value} ({low} to {high})");
            }
        }
        let [low, high] = ends(value.interval);
        let data = vec![
            ("source", labels(source).to_owned()),
            ("target", labels(target).to_owned()),
            ("k", value.k.to_string()),
            ("n", value.n.to_string()),
            ("low", low),
            ("high", high),
            ("control", control.as_ref().map_or_else(String::new, |control| control.k.to_string())),
        ];
        HeatCell { value: value.rate, control: control.and_then(|control| control.rate), tip, data }
    };
    let names: Vec<Name> = view.order.iter().map(|&n| view.names[n].clone()).collect();
    let goal = goal_words(matrix.goal);
    let top5 = if matrix.matching == Match::Top5 { ", among the first five" } else { "" };
    let title = format!("{}, {goal}{top5}", matrix.attack);
    let figure = HeatMap {
        title: format!(
            "Transfer of {title}: share of adversarials of each model that deceive each other model"
        ),
        rows: "adversarials of",
        columns: "shown to",
        values: "images whose goal is met (%)",
        controls: "below: without the attack, where shapes differ (%)",
        names: &names,
        families: &view.families,
        cells: view
            .order
            .iter()
            .map(|&source| view.order.iter().map(|&target| cell(source, target)).collect())
            .collect(),
    };
    let mean = |of: &dyn Fn(usize) -> Rate| {
        let mut means: Vec<(f64, usize)> =
            view.order.iter().filter_map(|&n| Some((of(n).rate?, n))).collect();
        means.sort_by(|a, b| a.0.total_cmp(&b.0));
        means
    };
    let others = |n: usize| view.order.iter().copied().filter(move |&other| other != n);
    let sources = mean(&|n| pool(others(n).map(|other| published(n, other))));
    let targets = mean(&|n| pool(others(n).map(|other| published(other, n))));
    let told =
        |(value, n): &(f64, usize)| format!("{} ({})", view.names[*n].text, percent(Some(*value)));
    let reading = match (sources.as_slice(), targets.as_slice()) {
        ([weak, .., strong], [firm, .., soft]) => format!(
            "Adversarials of {} deceive the other models most often, those of {} least; {} is \
             deceived most by others, {} least.",
            told(strong),
            told(weak),
            told(soft),
            told(firm)
        ),
        _ => "There are not enough results to compare models.".to_owned(),
    };
    let suffix = if matrix.matching == Match::Top5 { "-top5" } else { "" };
    let stem = format!("transfer-{}-{}{suffix}", matrix.attack, matrix.goal.name());
    Ok(Shown { stem, title, reading, figure: figure.draw(), data })
}

/// The data behind a heat map: a line for each pair and denominator.
fn data(view: &View, matrix: &Matrix) -> Result<Data> {
    let labels = |n: usize| view.summary.models[n].label.as_str();
    let mut data = Data::new(["source", "target", "denominator", "k", "n", "rate", "low", "high"])?;
    for &source in &view.order {
        for &target in &view.order {
            let control = [("without the attack", &matrix.control)];
            let denominators = matrix.denominators.iter().map(|(name, of)| (name.as_str(), of));
            for (denominator, counts) in denominators.chain(control) {
                let rate = counts.rate(source, target);
                let [low, high] = ends(rate.interval);
                let (source, target) = (labels(source).to_owned(), labels(target).to_owned());
                data.row([
                    source,
                    target,
                    denominator.to_owned(),
                    rate.k.to_string(),
                    rate.n.to_string(),
                    plain(rate.rate),
                    low,
                    high,
                ])?;
            }
        }
    }
    Ok(data)
}

/// A denominator in words.
fn meaning(denominator: &str) -> &str {
    match denominator {
        "all" => "all images",
        "source_correct" => "images attacked",
        "source_success" => "adversarials that deceive the source",
        "target_correct" => "images attacked that the target classifies correctly",
        "both" => "adversarials that deceive the source and that the target classifies correctly",
        "all_correct" => "images that all models classify correctly",
        "control" => {
            "images attacked that the target classifies correctly when brought unperturbed"
        }
        other => other,
    }
}
