//! The section "Provenance": program, study, models, attacks.

use crate::report::figure::escape;
use crate::report::html::page::{Page, table};
use crate::report::html::view::View;
use std::fmt::Write;
use std::fs;
use std::path::Path;

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
                (model.shape().to_string(), Some(model.shape().values() as f64)),
                count(model.depth.map(f64::from)),
                count(model.parameters.map(|n| n as f64)),
                text(&model.source),
            ]
        })
        .collect();
    body.push_str(&table(
        "Models",
        &["model", "family", "images (pixels)", "layers", "parameters", "source"],
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
