//! The section "Depth within families": deeper models against less deep ones.

use crate::report::figure::{Axis, Interval, Intervals, Kind, Whisker};
use crate::report::html::page::{Data, Page, Shown, ends};
use crate::report::html::view::{EQUAL_LEFT_OUT, View};
use crate::report::html::words::{counted, goal_words, interval_words};
use crate::summary::DepthEffect;
use anyhow::Result;

pub(super) fn depth(view: &View, page: &mut Page) -> Result<()> {
    let mut shown = Vec::new();
    for attack in &view.summary.attacks {
        for &goal in &attack.goals {
            for metric in view.shown_metrics(&attack.label, goal) {
                let is_shown = |effect: &&DepthEffect| {
                    effect.attack == attack.label
                        && effect.goal == goal
                        && effect.metric == metric
                        && effect.ratio.value.is_some()
                };
                let effects: Vec<&DepthEffect> =
                    view.summary.depth.iter().filter(is_shown).collect();
                if !effects.is_empty() {
                    shown.push(depth_figure(view, &effects)?);
                }
            }
        }
    }
    let about = format!(
        "Each model against the next less deep one of its family, over the images on which the \
         attack succeeds against both: mean distortion of the deeper over that of the other. Above \
         1 the deeper model is more robust. {EQUAL_LEFT_OUT}"
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
                interval_words(interval),
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
            goal_words(*goal)
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
        title: format!("{attack}, {}, {metric}", goal_words(*goal)),
        reading,
        figure: figure.draw(),
        data,
    })
}
