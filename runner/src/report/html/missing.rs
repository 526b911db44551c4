//! The section "What is missing": cells without a result, images and parts left out.

use crate::report::figure::escape;
use crate::report::html::page::Page;
use crate::report::html::view::View;
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
