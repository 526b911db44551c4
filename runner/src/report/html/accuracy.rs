//! The section "Accuracy": how often models are right without an attack.

use crate::report::figure::{Axis, Interval, Intervals, Kind, Whisker};
use crate::report::html::page::{Data, Page, Shown, ends, plain};
use crate::report::html::view::View;
use crate::report::html::words::{percent, rate};
use anyhow::Result;

pub(super) fn accuracy(view: &View, page: &mut Page) -> Result<()> {
    let models = || view.order.iter().map(|&n| (n, &view.summary.models[n]));
    let mut data = Data::new([
        "model",
        "family",
        "k",
        "n",
        "top1",
        "low",
        "high",
        "top5",
        "published_top1_percent",
    ])?;
    let mut rows = Vec::new();
    for (n, model) in models() {
        let [low, high] = ends(model.top1.interval);
        data.row([
            model.label.clone(),
            model.family.clone(),
            model.top1.k.to_string(),
            model.top1.n.to_string(),
            plain(model.top1.rate),
            low,
            high,
            plain(model.top5.rate),
            plain(model.published_top1),
        ])?;
        let whiskers = model.top1.rate.map(|value| Whisker {
            series: view.names[n].family,
            value,
            interval: model.top1.interval,
            tip: format!(
                "{}, top-1: {}; top-5: {}",
                model.label,
                rate(&model.top1),
                rate(&model.top5)
            ),
        });
        rows.push(Interval {
            name: view.names[n].text.clone(),
            heading: None,
            whiskers: whiskers.into_iter().collect(),
        });
    }
    let low = models().filter_map(|(_, model)| Some(model.top1.interval?.0)).fold(1.0, f64::min);
    let known = models().filter_map(|(n, model)| Some((n, model.top1.rate?, model.top1.interval?)));
    let best = known.clone().max_by(|a, b| a.1.total_cmp(&b.1));
    let reading = best.map_or_else(String::new, |(best, value, interval)| {
        let close: Vec<&str> = known
            .filter(|(n, _, ends)| *n != best && ends.1 >= interval.0)
            .map(|(n, ..)| view.names[n].text.as_str())
            .collect();
        format!(
            "{} is right most often ({}); the intervals of {} overlap its own.",
            view.names[best].text,
            percent(Some(value)),
            if close.is_empty() {
                "no others".to_owned()
            } else {
                format!("{} of the others", close.len())
            }
        )
    });
    let figure = Intervals {
        title: "Accuracy of each model on the images as they are".into(),
        x: Axis::percent("top-1 accuracy (%), without an attack", Kind::Linear),
        least: Some(((low * 20.0).floor() / 20.0, 1.0)),
        rows,
        series: &view.families,
        reference: None,
    };
    let shown = Shown {
        stem: "accuracy".into(),
        title: "Top-1 accuracy without an attack".into(),
        reading,
        figure: figure.draw(),
        data,
    };
    let html = page.figure(shown)?;
    page.section("accuracy", "Accuracy", &html);
    Ok(())
}
