//! The section "What is missing": cells without a result, invalid answers, scores, images and parts
//! left out.

use crate::report::figure::escape;
use crate::report::html::page::Page;
use crate::report::html::view::View;
use crate::report::html::words::goal_words;
use std::fmt::Write;

pub(super) fn missing(view: &View, page: &mut Page) {
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
    let invalid = summary.campaigns.iter().filter(|campaign| campaign.invalid > 0).map(|one| {
        (
            format!("{} ({}) on {}", one.attack, goal_words(one.goal), one.model),
            format!(
                "{} of {} answers are no images, and count as failures",
                one.invalid, one.attacked
            ),
        )
    });
    let unscored = summary.scores.iter().filter(|score| score.invalid > 0).map(|one| {
        (
            format!("{} ({}) of {}", one.metric, goal_words(one.goal), one.model),
            format!(
                "on {} of {} images the score, or a number that comes with it, is not finite: \
                 means and quantiles are over the other {}",
                one.invalid,
                one.invalid + one.scored,
                one.scored
            ),
        )
    });
    let body = list("Cells without a result", missing.collect())
        + &list("Invalid answers of attacks", invalid.collect())
        + &list("Scores left out", unscored.collect())
        + &list("Images passed over", left(&summary.study.skipped))
        + &list(
            "Models, attacks and metrics that could take part and do not",
            left(&summary.study.left_out),
        );
    let body = if body.is_empty() {
        "<p>Nothing: every cell has its result, every answer and score is valid, and no image was \
         passed over.</p>"
            .to_owned()
    } else {
        body
    };
    page.section("missing", "What is missing", &body);
}
