//! The section "Cost and optimality": what attacks cost, and how near each comes to the best of
//! all.

use crate::analysis::NORMS;
use crate::analysis::Rate;
use crate::report::figure::{Axis, Interval, Intervals, Kind, Whisker, short};
use crate::report::html::page::{Data, Page, Shown, ends, plain, table};
use crate::report::html::view::{View, distortion};
use crate::report::html::words::{self, goal_words, percent, pool};
use crate::summary::{CampaignSummary, Timing};
use anyhow::Result;

/// A cell of a table: its text, and the number that it is sorted by.
type Entry = (String, Option<f64>);

pub(super) fn cost(view: &View, times: &[Timing], page: &mut Page) -> Result<()> {
    let columns = Columns::new(view, times);
    let (mut pooled, mut single) = (Vec::new(), Vec::new());
    for attack in &view.summary.attacks {
        for &goal in &attack.goals {
            let campaigns: Vec<&CampaignSummary> = view
                .summary
                .campaigns
                .iter()
                .filter(|one| one.attack == attack.label && one.goal == goal)
                .collect();
            pooled.push(columns.row(&[&attack.label, &goal_words(goal)], &campaigns));
            for campaign in campaigns {
                let first = [&campaign.model, &attack.label, &goal_words(goal)];
                single.push(columns.row(&first.map(String::as_str), &[campaign]));
            }
        }
    }
    let mut body = String::from(
        "<p class=\"about\">Passes per image attacked. Distortions are means over successes. “/ \
         best”: mean ratio to the smallest distortion \
         that any attack of the study found for the same image, model and goal; 1 is the best. A \
         heading sorts.</p>",
    );
    let title = "All models: means of the models’ own";
    body.push_str(&columns.table(title, &["attack", "goal"], &pooled));
    body.push_str("<details><summary>Each model by itself</summary>");
    body.push_str(&columns.table("Each model by itself", &["model", "attack", "goal"], &single));
    body.push_str("</details>");
    for metric in &columns.with_gap {
        if let Some(shown) = optimality(view, metric)? {
            body.push_str(&page.figure(shown)?);
        }
    }
    page.section("cost", "Cost and optimality", &body);
    Ok(())
}

/// The columns of the tables of costs, after those that name the campaign.
struct Columns<'a> {
    times: &'a [Timing],
    /// The metrics of distortions.
    metrics: Vec<&'a str>,
    /// The heads of their means, with units.
    means: Vec<String>,
    /// Those of them for which a campaign has a gap to the best attack.
    with_gap: Vec<&'a str>,
    /// Whether there is a column of invalid answers: a campaign has some.
    invalid: bool,
}

impl<'a> Columns<'a> {
    fn new(view: &View<'a>, times: &'a [Timing]) -> Self {
        let metrics = view.summary.metrics.iter().filter(|metric| metric.of_outcomes);
        let metrics: Vec<&str> = metrics.map(|metric| metric.label.as_str()).collect();
        let with_gap = metrics.iter().copied().filter(|metric| has_gap(view, metric)).collect();
        let means =
            metrics.iter().map(|metric| format!("mean {}", view.metric_words(metric))).collect();
        let invalid = view.summary.campaigns.iter().any(|campaign| campaign.invalid > 0);
        Self { times, metrics, means, with_gap, invalid }
    }

    /// A table of `rows`, whose first columns are `first`.
    fn table(&self, caption: &str, first: &[&str], rows: &[Vec<Entry>]) -> String {
        let mut head: Vec<String> = first.iter().map(|&head| head.to_owned()).collect();
        head.extend(["success", "8-bit"].map(str::to_owned));
        head.extend(self.invalid.then(|| "invalid".to_owned()));
        head.extend(["forward", "backward"].map(str::to_owned));
        head.extend((!self.times.is_empty()).then(|| "s / image".to_owned()));
        head.extend(self.means.iter().cloned());
        head.extend(self.with_gap.iter().map(|metric| format!("{metric} / best")));
        let head: Vec<&str> = head.iter().map(String::as_str).collect();
        table(caption, &head, first.len(), rows)
    }

    /// The row of `campaigns`, which share an attack and a goal, with `first` before it.
    fn row(&self, first: &[&str], campaigns: &[&CampaignSummary]) -> Vec<Entry> {
        let each = |of: &dyn Fn(&CampaignSummary) -> Option<f64>| {
            number(mean(campaigns.iter().map(|campaign| of(campaign))))
        };
        let mut entries: Vec<Entry> = first.iter().map(|&text| (text.to_owned(), None)).collect();
        entries.extend([
            share(campaigns, |campaign| campaign.success),
            share(campaigns, |campaign| campaign.success_8bit),
        ]);
        entries.extend(self.invalid.then(|| {
            let count: usize = campaigns.iter().map(|campaign| campaign.invalid).sum();
            (count.to_string(), Some(count as f64))
        }));
        entries.extend([
            each(&|campaign| campaign.cost.forward_mean),
            each(&|campaign| campaign.cost.backward_mean),
        ]);
        entries.extend((!self.times.is_empty()).then(|| number(self.seconds(campaigns))));
        for metric in &self.metrics {
            entries.push(each(&|campaign| distortion(campaign, metric)?.mean.value));
        }
        for metric in &self.with_gap {
            entries.push(each(&|campaign| distortion(campaign, metric)?.gap?.mean_ratio));
        }
        entries
    }

    /// Seconds per image attacked.
    fn seconds(&self, campaigns: &[&CampaignSummary]) -> Option<f64> {
        let of_campaigns = self.times.iter().filter(|time| {
            campaigns.iter().any(|campaign| {
                (&time.model, &time.attack, time.goal)
                    == (&campaign.model, &campaign.attack, campaign.goal)
            })
        });
        let (sum, images) = of_campaigns.fold((0.0, 0), |(sum, images), time| {
            (sum + time.attack_seconds, images + time.source_correct)
        });
        (images > 0).then(|| sum / images as f64)
    }
}

fn share(campaigns: &[&CampaignSummary], of: fn(&CampaignSummary) -> Rate) -> Entry {
    let pooled = pool(campaigns.iter().map(|campaign| of(campaign))).rate;
    (percent(pooled), pooled)
}

fn number(value: Option<f64>) -> Entry {
    (value.map_or_else(|| "–".to_owned(), short), value)
}

fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) =
        values.flatten().fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

fn has_gap(view: &View, metric: &str) -> bool {
    view.summary
        .campaigns
        .iter()
        .flat_map(|campaign| &campaign.distortions)
        .any(|one| one.metric == metric && one.gap.is_some())
}

/// How often each attack finds the smallest distortion. Only norms have this figure, since attacks
/// minimise no other metric.
fn optimality(view: &View, metric: &str) -> Result<Option<Shown>> {
    if !NORMS.contains(&metric) || view.summary.attacks.len() < 2 {
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
            let goal = goal_words(goal);
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
                    tip: format!("{}, {goal}: {}", attack.label, words::rate(&rate)),
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
