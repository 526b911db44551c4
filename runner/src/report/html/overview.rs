//! The section "Overview": what was run and found, in sentences.

use crate::analysis::Rate;
use crate::report::figure::escape;
use crate::report::html::page::Page;
use crate::report::html::view::View;
use crate::report::html::words::{counted, goal_words, listed, percent, pool};
use crate::study::GoalKind;
use crate::summary::{Attack, CampaignSummary, Match, Pixels};
use std::collections::BTreeSet;
use std::fmt::Write;

pub(super) fn headline(view: &View, page: &mut Page) {
    let (summary, facts) = (view.summary, &view.summary.study);
    let mut lines = vec![participants(view)];
    lines.extend(accuracies(view));
    lines.extend(summary.attacks.iter().map(|attack| successes(view, attack)));
    lines.extend(transfer(view));
    let flags = &summary.findings.flags;
    if !flags.is_empty() {
        let models: BTreeSet<&str> =
            flags.iter().filter_map(|flag| flag.model.as_deref()).collect();
        let place = if models.is_empty() {
            String::new()
        } else {
            format!(" on {}", counted(models.len(), "model"))
        };
        lines.push(format!(
            "{}{place}: see which numbers {} about.",
            counted(flags.len(), "flag"),
            if flags.len() == 1 { "it is" } else { "they are" }
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

/// How many models, attacked by what, on how many images.
fn participants(view: &View) -> String {
    let summary = view.summary;
    format!(
        "{} of {} attacked by {} on {}.",
        counted(summary.models.len(), "model"),
        if view.families.len() == 1 {
            "1 family".to_owned()
        } else {
            format!("{} families", view.families.len())
        },
        listed(&summary.attacks.iter().map(|attack| attack.label.as_str()).collect::<Vec<_>>()),
        counted(summary.study.images, "image"),
    )
}

/// The least and the greatest accuracy.
fn accuracies(view: &View) -> Option<String> {
    let models = view.summary.models.iter();
    let known = models.filter_map(|model| Some((model.top1.rate?, view.name(&model.label))));
    let best = known.clone().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let worst = known.min_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(format!(
        "Without an attack the answers are right for {} ({}) to {} ({}) of the images.",
        percent(Some(worst.0)),
        worst.1,
        percent(Some(best.0)),
        best.1
    ))
}

/// How often an attack meets its goals, over all models.
fn successes(view: &View, attack: &Attack) -> String {
    let campaigns = |goal| {
        let all = view.summary.campaigns.iter();
        all.filter(move |campaign| campaign.attack == attack.label && campaign.goal == goal)
    };
    let pooled = |goal, of: fn(&CampaignSummary) -> Rate| pool(campaigns(goal).map(of));
    let success = |&goal: &GoalKind| {
        let float = pooled(goal, |campaign| campaign.success);
        let rounded = pooled(goal, |campaign| campaign.success_8bit);
        let after = if float.k == rounded.k {
            String::new()
        } else {
            format!(", {} once rounded to 8 bits", percent(rounded.rate))
        };
        let invalid: usize = campaigns(goal).map(|campaign| campaign.invalid).sum();
        let invalid = match invalid {
            0 => String::new(),
            count => format!(", {} invalid", counted(count, "answer")),
        };
        format!("{} {} (n = {}{after}{invalid})", goal_words(goal), percent(float.rate), float.n)
    };
    let goals: Vec<String> = attack.goals.iter().map(success).collect();
    format!("{} meets its goal on the model that it attacks: {}.", attack.label, listed(&goals))
}

/// How often adversarials deceive a model that they were not made for, by attack and goal.
fn transfer(view: &View) -> Option<String> {
    let count = view.summary.models.len();
    let pairs =
        || (0..count).flat_map(move |a| (0..count).map(move |b| (a, b))).filter(|(a, b)| a != b);
    let matrices = view
        .summary
        .transfer
        .iter()
        .filter(|matrix| matrix.pixels == Pixels::Float && matrix.matching == Match::Top1);
    let means: Vec<String> = matrices
        .filter_map(|matrix| {
            let counts = matrix.denominators.get(&matrix.published)?;
            let rate = pool(pairs().map(|(a, b)| counts.rate(a, b)));
            let control = pool(pairs().map(|(a, b)| matrix.control.rate(a, b)));
            let without = if control.k == 0 {
                String::new()
            } else {
                format!(" ({} without the attack)", percent(control.rate))
            };
            let goal = goal_words(matrix.goal);
            Some(format!("{} {goal} {}{without}", matrix.attack, percent(rate.rate)))
        })
        .collect();
    (!means.is_empty()).then(|| {
        format!(
            "Over all {} ordered pairs, adversarials of one model deceive \
             another at these rates: {}.",
            pairs().count(),
            listed(&means)
        )
    })
}
