//! The section "Examples": originals, adversarials and their differences.

use crate::report::figure::{escape, short};
use crate::report::html::page::Page;
use crate::report::html::view::View;
use crate::report::html::words::goal_words;
use crate::report::png::png;
use crate::summary::{Example, example_pixels};
use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fmt::Write;
use std::path::Path;
use tch::Tensor;

pub(super) fn examples(view: &View, folder: &Path, page: &mut Page) -> Result<()> {
    let examples = &view.summary.examples;
    if examples.is_empty() {
        page.section(
            "examples",
            "Examples",
            "<p class=\"none\">No attack of the study succeeded.</p>",
        );
        return Ok(());
    }
    let pixels = match example_pixels(folder) {
        Ok(pixels) => pixels,
        Err(error) => {
            let why = format!(
                "<p class=\"none\">The pixels of the examples cannot be read: {}</p>",
                escape(&format!("{error:#}"))
            );
            page.section("examples", "Examples", &why);
            return Ok(());
        }
    };
    let mut body = String::from(
        "<p class=\"about\">For every attack and goal, the successes at the 0.1-, 0.5- and \
         0.9-quantile of distortion, in the norm in which the \
         attack is nearest to the best of all attacks. The third picture is the difference, grey \
         where nothing changed, amplified until its largest change fills the \
         range.</p><div class=\"examples\">",
    );
    for example in examples {
        let tensor = |end: &str| {
            let name = format!("{}.{end}", example.tensor);
            pixels
                .get(&name)
                .with_context(|| format!("no tensor `{name}` in {}", crate::summary::EXAMPLES))
        };
        body.push_str(&panel(view, example, tensor("original")?, tensor("adversarial")?)?);
    }
    page.section("examples", "Examples", &(body + "</div>"));
    Ok(())
}

fn panel(
    view: &View,
    example: &Example,
    original: &Tensor,
    adversarial: &Tensor,
) -> Result<String> {
    let difference = adversarial - original;
    let largest = difference.abs().max().double_value(&[]);
    let amplified = &difference * (0.5 / largest.max(f64::MIN_POSITIVE)) + 0.5;
    let times = short(0.5 / largest.max(f64::MIN_POSITIVE));
    let aim =
        example.target_class.map_or_else(String::new, |class| format!(", aimed at class {class}"));
    let goal = goal_words(example.goal);
    let about = format!("{} on {}, {goal}{aim}", example.attack, view.name(&example.model));
    let mut html = String::from("<figure class=\"panel\"><div>");
    for (pixels, alt, below) in [
        (
            original,
            format!("the original image {}", example.image),
            format!("class {}", example.label),
        ),
        (
            adversarial,
            format!("the adversarial image by {about}"),
            format!("class {}", example.prediction),
        ),
        (
            &amplified,
            format!("the difference, amplified {times} times"),
            format!("difference × {times}"),
        ),
    ] {
        let data = BASE64_STANDARD.encode(png(pixels)?);
        let _ = write!(
            html,
            "<span><img alt=\"{}\" src=\"data:image/png;base64,{data}\"/><small>{}</small></span>",
            escape(&alt),
            escape(&below)
        );
    }
    let distortions: Vec<String> = example
        .distortions
        .iter()
        .filter_map(|(metric, value)| Some(format!("{metric} {}", short((*value)?))))
        .collect();
    let rounded = if example.success_8bit { "" } else { "; no longer adversarial in 8 bits" };
    let _ = writeln!(
        html,
        "</div><figcaption><strong>{}</strong><br/>{}: {}{rounded}</figcaption></figure>",
        escape(&about),
        escape(&example.image),
        escape(&distortions.join(", "))
    );
    Ok(html)
}
