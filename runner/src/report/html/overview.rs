//! What was run and found, in words; the models as they are; what is missing; where it comes from.

use crate::analysis::Rate;
use crate::report::figure::{Axis, Interval, Intervals, Kind, Whisker, escape, short};
use crate::report::html::page::{
    Data, Page, Shown, View, counted, ends, listed, percent, plain, rate, table,
};
use crate::summary::{Finding, Match, Pixels};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

pub(super) fn headline(view: &View, page: &mut Page) {
    let summary = view.summary;
    let facts = &summary.study;
    let mut lines = vec![format!(
        "{} of {} attacked by {} on {}.",
        counted(summary.models.len(), "model"),
        if view.families.len() == 1 {
            "1 family".to_owned()
        } else {
            format!("{} families", view.families.len())
        },
        listed(&summary.attacks.iter().map(|attack| attack.label.as_str()).collect::<Vec<_>>()),
        counted(facts.images, "image"),
    )];
    let known =
        summary.models.iter().filter_map(|model| Some((model.top1.rate?, view.name(&model.label))));
    if let (Some(best), Some(worst)) =
        (known.clone().max_by(|a, b| a.0.total_cmp(&b.0)), known.min_by(|a, b| a.0.total_cmp(&b.0)))
    {
        lines.push(format!(
            "Without an attack the answers are right for {} ({}) to {} ({}) of the images.",
            percent(Some(worst.0)),
            worst.1,
            percent(Some(best.0)),
            best.1
        ));
    }
    for attack in &summary.attacks {
        let pooled = |goal, rounded: bool| {
            let of = summary
                .campaigns
                .iter()
                .filter(|campaign| campaign.attack == attack.label && campaign.goal == goal);
            let (k, n) = of.fold((0, 0), |(k, n), campaign| {
                let rate = if rounded { campaign.success_8bit } else { campaign.success };
                (k + rate.k, n + rate.n)
            });
            Rate::new(k, n)
        };
        let goals: Vec<String> = attack
            .goals
            .iter()
            .map(|&goal| {
                let (float, rounded) = (pooled(goal, false), pooled(goal, true));
                let after = if float.k == rounded.k {
                    String::new()
                } else {
                    format!(", {} once rounded to 8 bits", percent(rounded.rate))
                };
                format!(
                    "{} {} (n = {}{after})",
                    goal.name().replace('_', " "),
                    percent(float.rate),
                    float.n
                )
            })
            .collect();
        lines.push(format!(
            "{} meets its goal on the model that it attacks: {}.",
            attack.label,
            listed(&goals)
        ));
    }
    let matrices = summary
        .transfer
        .iter()
        .filter(|matrix| matrix.pixels == Pixels::Float && matrix.matching == Match::Top1);
    let means: Vec<String> = matrices
        .filter_map(|matrix| {
            let counts = matrix.denominators.get(&matrix.published)?;
            let pairs = (0..summary.models.len())
                .flat_map(|a| (0..summary.models.len()).map(move |b| (a, b)))
                .filter(|(a, b)| a != b);
            let (k, n) =
                pairs.fold((0, 0), |(k, n), (a, b)| (k + counts.k[a][b], n + counts.n[a][b]));
            Some(format!(
                "{} {} {}",
                matrix.attack,
                matrix.goal.name().replace('_', " "),
                percent(Rate::new(k, n).rate)
            ))
        })
        .collect();
    if !means.is_empty() {
        let pairs = summary.models.len() * (summary.models.len() - 1);
        lines.push(format!(
            "Over all {pairs} ordered pairs, adversarials of one model deceive \
             another at these rates: {}.",
            listed(&means)
        ));
    }
    let flags = &summary.findings.flags;
    if !flags.is_empty() {
        let models: BTreeSet<&str> = flags.iter().map(|flag| flag.model.as_str()).collect();
        lines.push(format!(
            "{} on {}: see which numbers they are about.",
            counted(flags.len(), "flag"),
            counted(models.len(), "model")
        ));
    }
    if !summary.missing.is_empty() {
        lines.push(format!(
            "{} without a result: see what is missing.",
            counted(summary.missing.len(), "cell")
        ));
    }
    let body = lines.iter().fold(String::from("<ul class=\"headline\">"), |mut body, line| {
        let _ = write!(body, "<li>{}</li>", escape(line));
        body
    });
    let intervals = format!(
        "<p class=\"about\">Intervals are of {:.0} %: Wilson's for rates, a bootstrap over images \
         ({} resamples) for all else. \
         Hover, tap or use the arrow keys on a figure for the numbers behind each mark.</p>",
        100.0 * facts.confidence,
        facts.resamples
    );
    page.section("overview", "Overview", &format!("{body}</ul>{intervals}"));
}

pub(super) fn verdicts(view: &View, page: &mut Page) {
    if view.summary.verdicts.is_empty() {
        return;
    }
    let mut body = String::from(
        "<p class=\"about\">The four claims of Su et al. (ECCV 2018), held against these results \
         alone.</p><ol class=\"verdicts\">",
    );
    for verdict in &view.summary.verdicts {
        let (class, word) = word(verdict.finding);
        let _ = write!(
            body,
            "<li><p><span class=\"finding {class}\">{word}</span> <strong>{}</strong></p><p \
             class=\"about\">{}</p>",
            escape(&verdict.statement),
            escape(&verdict.rule)
        );
        let rows: Vec<Vec<(String, Option<f64>)>> = verdict
            .evidence
            .iter()
            .map(|evidence| {
                let interval = evidence.value.interval.map_or_else(
                    || "–".into(),
                    |(low, high)| format!("{} to {}", short(low), short(high)),
                );
                let value = evidence.value.value;
                let word = self::word(evidence.finding).1;
                vec![
                    (evidence.what.clone(), None),
                    (value.map_or_else(|| "–".into(), short), value),
                    (interval, evidence.value.interval.map(|ends| ends.0)),
                    (word.to_owned(), None),
                ]
            })
            .collect();
        if rows.is_empty() {
            let _ = write!(body, "<p>{}</p>", escape(&verdict.reading));
        } else {
            let numbers = table("", &["number", "value", "interval", "by itself"], 1, &rows);
            let _ = write!(
                body,
                "<details><summary>{}</summary>{numbers}</details>",
                counted(rows.len(), "number")
            );
        }
        body.push_str("</li>\n");
    }
    page.section("claims", "The study’s claims", &format!("{body}</ol>"));
}

fn word(finding: Finding) -> (&'static str, &'static str) {
    match finding {
        Finding::Supported => ("supported", "supported"),
        Finding::NotSupported => ("not-supported", "not supported"),
        Finding::Undecided => ("undecided", "undecided"),
    }
}

pub(super) fn accuracy(view: &View, page: &mut Page) -> anyhow::Result<()> {
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

pub(super) fn gaps(view: &View, page: &mut Page) {
    let summary = view.summary;
    let list = |title: &str, items: Vec<(String, String)>| {
        if items.is_empty() {
            return String::new();
        }
        let mut html = format!(
            "<details{}><summary>{}: {}</summary><ul>",
            if items.len() <= 8 { " open=\"open\"" } else { "" },
            title,
            items.len()
        );
        for (what, why) in items {
            let _ = write!(html, "<li><strong>{}</strong>: {}</li>", escape(&what), escape(&why));
        }
        html + "</ul></details>"
    };
    let missing = summary.missing.iter().map(|missing| {
        (
            missing.cell.clone(),
            missing
                .reason
                .clone()
                .unwrap_or_else(|| "a cell that it needs has failed, or it was not tried".into()),
        )
    });
    let left = |list: &[crate::summary::Left]| {
        list.iter().map(|left| (left.name.clone(), left.reason.clone())).collect()
    };
    let body = list("Cells without a result", missing.collect())
        + &list("Images passed over", left(&summary.study.skipped))
        + &list(
            "Models, attacks and metrics that could take part and do not",
            left(&summary.study.left_out),
        );
    let body = if body.is_empty() {
        "<p>Nothing: every cell has its result, and no image was passed over.</p>".to_owned()
    } else {
        body
    };
    page.section("missing", "What is missing", &body);
}

pub(super) fn provenance(view: &View, folder: &Path, page: &mut Page) {
    let (summary, facts) = (view.summary, &view.summary.study);
    let mut body = String::from("<dl>");
    let transfer = facts.transfer.map_or("none", crate::study::Policy::name);
    for (what, value) in [
        ("program", format!("Gauntlet {}", facts.program)),
        ("study", facts.name.clone()),
        ("seed", facts.seed.to_string()),
        ("images", facts.images.to_string()),
        ("classes", facts.classes.to_string()),
        ("transfer between sizes", transfer.to_owned()),
        ("tie tolerance", facts.tie_tolerance.to_string()),
    ] {
        let _ = write!(body, "<dt>{what}</dt><dd>{}</dd>", escape(&value));
    }
    body.push_str("</dl>");
    let text = |value: &str| (value.to_owned(), None);
    let models: Vec<Vec<(String, Option<f64>)>> = summary
        .models
        .iter()
        .map(|model| {
            let count = |value: Option<f64>| {
                (value.map_or_else(|| "–".to_owned(), |value| value.to_string()), value)
            };
            vec![
                text(&model.label),
                text(&model.family),
                count(Some(model.side as f64)),
                count(model.depth.map(f64::from)),
                count(model.parameters.map(|n| n as f64)),
                text(&model.source),
            ]
        })
        .collect();
    body.push_str(&table(
        "Models",
        &["model", "family", "side (pixels)", "layers", "parameters", "source"],
        2,
        &models,
    ));
    for attack in &summary.attacks {
        let _ = write!(
            body,
            "<details><summary>{} [{}]</summary><pre>{}</pre></details>",
            escape(&attack.label),
            escape(&attack.origin),
            attack.parameters.lines().map(escape).collect::<Vec<_>>().join("\n")
        );
    }
    for file in ["provenance.json", "study.toml"] {
        if let Ok(text) = fs::read_to_string(folder.join(file)) {
            let text = text.lines().map(escape).collect::<Vec<_>>().join("\n");
            let _ = write!(body, "<details><summary>{file}</summary><pre>{text}</pre></details>");
        }
    }
    page.section("provenance", "Provenance", &body);
}
