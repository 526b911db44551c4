//! What attacks cost, and how near each comes to the best of all.

use crate::analysis::Rate;
use crate::report::figure::{Axis, Interval, Intervals, Kind, Whisker, short};
use crate::report::html::page::{Data, Page, Shown, View, ends, percent, plain, table};
use crate::summary::{CampaignSummary, Timing};
use anyhow::Result;

/// Something in a table: what it says and what it is sorted by.
type Entry = (String, Option<f64>);

fn value(value: Option<f64>) -> Entry {
    (value.map_or_else(|| "–".to_owned(), short), value)
}

fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) =
        values.flatten().fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

pub(super) fn cost(view: &View, times: &[Timing], page: &mut Page) -> Result<()> {
    let metrics: Vec<&str> = view
        .summary
        .metrics
        .iter()
        .filter(|metric| metric.of_outcomes)
        .map(|metric| metric.label.as_str())
        .collect();
    let seconds = |of: &dyn Fn(&Timing) -> bool| {
        let chosen = times.iter().filter(|time| of(time));
        let (sum, images) = chosen.fold((0.0, 0), |(sum, images), time| {
            (sum + time.attack_seconds, images + time.source_correct)
        });
        (images > 0).then(|| sum / images as f64)
    };
    let mut head =
        vec!["success".to_owned(), "8-bit".to_owned(), "forward".to_owned(), "backward".to_owned()];
    head.extend((!times.is_empty()).then(|| "s / image".to_owned()));
    head.extend(metrics.iter().map(|metric| format!("mean {metric}")));
    head.extend(
        metrics
            .iter()
            .filter(|metric| has_gap(view, metric))
            .map(|metric| format!("{metric} / best")),
    );
    let row = |campaigns: &[&CampaignSummary], seconds: Option<f64>| {
        let pooled = |of: fn(&CampaignSummary) -> Rate| {
            let (k, n) = campaigns
                .iter()
                .map(|campaign| of(campaign))
                .fold((0, 0), |(k, n), rate| (k + rate.k, n + rate.n));
            Rate::new(k, n).rate
        };
        let share = |rate: Option<f64>| (percent(rate), rate);
        let each = |of: &dyn Fn(&CampaignSummary) -> Option<f64>| {
            value(mean(campaigns.iter().map(|campaign| of(campaign))))
        };
        let mut entries = vec![
            share(pooled(|campaign| campaign.success)),
            share(pooled(|campaign| campaign.success_8bit)),
        ];
        entries.extend([
            each(&|campaign| campaign.cost.forward_mean),
            each(&|campaign| campaign.cost.backward_mean),
        ]);
        entries.extend((!times.is_empty()).then(|| value(seconds)));
        let by = |campaign: &CampaignSummary, metric: &str| {
            campaign.distortions.iter().position(|one| one.metric == metric)
        };
        for metric in &metrics {
            entries.push(each(&|campaign| campaign.distortions[by(campaign, metric)?].mean.value));
        }
        for metric in metrics.iter().filter(|metric| has_gap(view, metric)) {
            entries.push(each(&|campaign| {
                campaign.distortions[by(campaign, metric)?].gap?.mean_ratio
            }));
        }
        entries
    };
    let text = |text: &str| (text.replace('_', " "), None);
    let mut pooled = Vec::new();
    let mut single = Vec::new();
    for attack in &view.summary.attacks {
        for &goal in &attack.goals {
            let campaigns: Vec<&CampaignSummary> = view
                .summary
                .campaigns
                .iter()
                .filter(|one| one.attack == attack.label && one.goal == goal)
                .collect();
            let mut entries: Vec<Entry> = vec![(attack.label.clone(), None), text(goal.name())];
            entries.extend(row(
                &campaigns,
                seconds(&|time| time.attack == attack.label && time.goal == goal),
            ));
            pooled.push(entries);
            for campaign in campaigns {
                let mut entries: Vec<Entry> = vec![
                    (campaign.model.clone(), None),
                    (attack.label.clone(), None),
                    text(goal.name()),
                ];
                entries.extend(row(
                    &[campaign],
                    seconds(&|time| {
                        time.attack == attack.label
                            && time.goal == goal
                            && time.model == campaign.model
                    }),
                ));
                single.push(entries);
            }
        }
    }
    let heads = |first: &[&'static str]| -> Vec<String> {
        first.iter().map(|head| (*head).to_owned()).chain(head.iter().cloned()).collect()
    };
    let shown = |caption: &str, first: &[&'static str], rows: &[Vec<Entry>]| {
        let head = heads(first);
        table(caption, &head.iter().map(String::as_str).collect::<Vec<_>>(), first.len(), rows)
    };
    let mut body = String::from(
        "<p class=\"about\">Passes per image attacked. Distortions are means over successes. “/ \
         best”: mean ratio to the smallest distortion \
         that any attack of the study found for the same image, model and goal; 1 is the best. A \
         heading sorts.</p>",
    );
    body.push_str(&shown("All models: means of the models’ own", &["attack", "goal"], &pooled));
    body.push_str("<details><summary>Each model by itself</summary>");
    body.push_str(&shown("Each model by itself", &["model", "attack", "goal"], &single));
    body.push_str("</details>");
    for metric in metrics.iter().filter(|metric| has_gap(view, metric)) {
        if let Some(shown) = optimality(view, metric)? {
            body.push_str(&page.figure(shown)?);
        }
    }
    page.section("cost", "Cost and optimality", &body);
    Ok(())
}

fn has_gap(view: &View, metric: &str) -> bool {
    view.summary
        .campaigns
        .iter()
        .flat_map(|campaign| &campaign.distortions)
        .any(|one| one.metric == metric && one.gap.is_some())
}

/// How often each attack finds the smallest distortion; only for norms that attacks minimise.
fn optimality(view: &View, metric: &str) -> Result<Option<Shown>> {
    if !["l1", "l2", "linf"].contains(&metric) || view.summary.attacks.len() < 2 {
        return Ok(None);
    }
    let mut data = Data::new(["attack", "goal", "best", "images", "share", "low", "high"])?;
    let (mut rows, mut series, mut winners) = (Vec::new(), Vec::new(), Vec::new());
    for attack in &view.summary.attacks {
        let mut whiskers = Vec::new();
        for &goal in &attack.goals {
            let of = view
                .summary
                .campaigns
                .iter()
                .filter(|one| one.attack == attack.label && one.goal == goal);
            let gaps = of
                .flat_map(|campaign| &campaign.distortions)
                .filter(|one| one.metric == metric)
                .filter_map(|one| one.gap);
            let (best, images) =
                gaps.fold((0, 0), |(best, images), gap| (best + gap.best, images + gap.images));
            let rate = Rate::new(best, images);
            let [low, high] = ends(rate.interval);
            data.row([
                attack.label.clone(),
                goal.name().into(),
                best.to_string(),
                images.to_string(),
                plain(rate.rate),
                low,
                high,
            ])?;
            let goal = goal.name().replace('_', " ");
            let n = series.iter().position(|known| *known == goal).unwrap_or_else(|| {
                series.push(goal.clone());
                series.len() - 1
            });
            if let Some(value) = rate.rate {
                winners.push((value, format!("{} ({goal})", attack.label)));
                whiskers.push(Whisker {
                    series: n,
                    value,
                    interval: rate.interval,
                    tip: format!(
                        "{}, {goal}: {}",
                        attack.label,
                        crate::report::html::page::rate(&rate)
                    ),
                });
            }
        }
        rows.push(Interval { name: attack.label.clone(), heading: None, whiskers });
    }
    winners.sort_by(|a, b| b.0.total_cmp(&a.0));
    let Some((share, winner)) = winners.first() else { return Ok(None) };
    let reading = format!(
        "{winner} finds the smallest {metric}, within 1 %, for {} of the images that any attack \
         succeeds on.",
        percent(Some(*share))
    );
    let figure = Intervals {
        title: format!("How often each attack finds the smallest {metric} distortion"),
        x: Axis::percent(
            format!("images on which the attack is within 1 % of the smallest {metric} (%)"),
            Kind::Linear,
        ),
        least: Some((0.0, 1.0)),
        rows,
        series: &series,
        reference: None,
    };
    let title = format!("Who finds the smallest {metric}");
    Ok(Some(Shown {
        stem: format!("optimality-{metric}"),
        title,
        reading,
        figure: figure.draw(),
        data,
    }))
}
