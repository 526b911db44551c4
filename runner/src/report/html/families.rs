//! The section "Within and across families": transfer, pooled.

use crate::report::figure::{Axis, Interval, Intervals, Kind, Whisker};
use crate::report::html::page::{Data, Page, Shown, ends, plain};
use crate::report::html::view::View;
use crate::report::html::words::{goal_words, listed, percent};
use crate::summary::{FamilyTransfer, Pooled};
use anyhow::Result;

pub(super) fn families(view: &View, page: &mut Page) -> Result<()> {
    let some = |transfer: &&FamilyTransfer| transfer.within.n + transfer.across.n > 0;
    let shown: Vec<Shown> =
        view.summary.families.iter().filter(some).map(within).collect::<Result<_>>()?;
    let about = "Pairs of different models, pooled: both of one family, or of two. Denominator and \
                 images are those above; intervals are by bootstrap over \
                 images, since the outcomes of one image depend on each other, and Wilson's over \
                 images where all images have the same rate.";
    page.gallery(
        "families",
        "Within and across families",
        about,
        shown,
        "The study has no transfer between models to compare.",
    )
}

fn within(transfer: &FamilyTransfer) -> Result<Shown> {
    let mut data = Data::new(["source_family", "pairs", "k", "n", "rate", "low", "high"])?;
    let mut rows = Vec::new();
    let all = std::iter::once(("all families", &transfer.within, &transfer.across));
    let each = transfer
        .sources
        .iter()
        .map(|source| (source.family.as_str(), &source.within, &source.across));
    for (family, within, across) in all.chain(each) {
        let mut whiskers = Vec::new();
        for (series, (pairs, pooled)) in
            [("within the family", within), ("to other families", across)].into_iter().enumerate()
        {
            let Pooled { k, n, rate } = *pooled;
            let [low, high] = ends(rate.interval);
            data.row([
                family.to_owned(),
                pairs.to_owned(),
                k.to_string(),
                n.to_string(),
                plain(rate.value),
                low,
                high,
            ])?;
            let around = rate.interval.map_or_else(String::new, |(low, high)| {
                format!("; 95 % interval {:.1} to {:.1} %", 100.0 * low, 100.0 * high)
            });
            let tip = format!("{family}, {pairs}: {} ({k} of {n}{around})", percent(rate.value));
            whiskers.extend(rate.value.map(|value| Whisker {
                series,
                value,
                interval: rate.interval,
                tip,
            }));
        }
        rows.push(Interval { name: family.to_owned(), heading: None, whiskers });
    }
    let goal = goal_words(transfer.goal);
    let figure = Intervals {
        title: format!(
            "Transfer of {}, {goal}, within and across families, by the family of the source",
            transfer.attack
        ),
        x: Axis::percent("images whose goal is met on another model (%)", Kind::Linear),
        least: Some((0.0, 1.0)),
        rows,
        series: &["within the family".into(), "to other families".into()],
        reference: None,
    };
    let wide: Vec<&str> = transfer
        .sources
        .iter()
        .filter(|source| {
            let (Some(across), Some(within)) =
                (source.across.rate.value, source.within.rate.interval)
            else {
                return false;
            };
            across >= within.0
        })
        .map(|source| source.family.as_str())
        .collect();
    let spread = match (transfer.difference.value, transfer.difference.interval) {
        (Some(value), Some((low, high))) => {
            let points = |rate: f64| format!("{:+.1}", 100.0 * rate).replace('-', "−");
            let sure = if low > 0.0 || high < 0.0 { "" } else { ", which may be chance" };
            format!(
                "Transfer within families less that across: {} points (95 % interval {} to \
                 {}){sure}",
                points(value),
                points(low),
                points(high)
            )
        }
        _ => "Within and across families cannot be compared".to_owned(),
    };
    let reading = if wide.is_empty() {
        format!("{spread}.")
    } else {
        format!(
            "{spread}. Adversarials of {} carry over to other families about as well as, or better \
             than, within.",
            listed(&wide)
        )
    };
    let stem = format!("families-{}-{}", transfer.attack, transfer.goal.name());
    Ok(Shown {
        stem,
        title: format!("{}, {goal}", transfer.attack),
        reading,
        figure: figure.draw(),
        data,
    })
}
