//! `tables.tex`: the study's tables for a paper, with booktabs. Each is a `tabular` of its own, to
//! be put into a `table` with a caption.

use crate::analysis::Rate;
use crate::study::GoalKind;
use crate::summary::{CampaignSummary, Match, Pixels, Summary};
use std::fmt::Write as _;

/// All tables of a study, as LaTeX.
pub(super) fn tables(summary: &Summary) -> String {
    let mut text = String::from(
        "% Needs \\usepackage{booktabs}. Intervals are of 95 %.\n\
         % Labels in other than Latin letters need LuaLaTeX or XeLaTeX.\n",
    );
    text += &accuracy(summary);
    for attack in &summary.attacks {
        for &goal in &attack.goals {
            text += &success(summary, &attack.label, goal);
        }
    }
    for matrix in summary.transfer.iter().filter(|matrix| matrix.pixels == Pixels::Float) {
        let labels: Vec<String> = (1..=summary.models.len()).map(|n| n.to_string()).collect();
        let matching = if matrix.matching == Match::Top1 { "top-1" } else { "top-5" };
        let title = format!(
            "Transfer of {}, {}, {matching}, per cent; sources down, targets across, of images \
             that source and target know",
            matrix.attack,
            words(matrix.goal)
        );
        let counts = &matrix.denominators[&matrix.published];
        let rows = summary.models.iter().enumerate().map(|(source, model)| {
            let rate = |target| {
                counts
                    .rate(source, target)
                    .rate
                    .map_or_else(|| "--".into(), |rate| format!("{:.0}", rate * 100.0))
            };
            let name = format!("{} {}", source + 1, model.label);
            std::iter::once(name).chain((0..summary.models.len()).map(rate)).collect()
        });
        text +=
            &tabular(&title, std::iter::once("source".to_owned()).chain(labels).collect(), rows);
    }
    text
}

fn words(goal: GoalKind) -> String {
    goal.name().replace('_', " ")
}

fn accuracy(summary: &Summary) -> String {
    let head = ["model", "family", "parameters", "top-1", "top-5", "published top-1"]
        .map(str::to_owned)
        .to_vec();
    let rows = summary.models.iter().map(|model| {
        vec![
            model.label.clone(),
            model.family.clone(),
            model.parameters.map_or_else(String::new, |n| format!("{:.2} M", n as f64 / 1e6)),
            percent(model.top1),
            percent(model.top5),
            model.published_top1.map_or_else(String::new, |top1| format!("{top1:.1}")),
        ]
    });
    tabular(
        &format!("Accuracy without an attack, per cent, {} images", summary.study.images),
        head,
        rows,
    )
}

fn success(summary: &Summary, attack: &str, goal: GoalKind) -> String {
    let campaigns: Vec<&CampaignSummary> =
        summary.campaigns.iter().filter(|c| c.attack == attack && c.goal == goal).collect();
    let some_invalid = campaigns.iter().any(|campaign| campaign.invalid > 0);
    let mut head = ["model", "n", "success", "8-bit"].map(str::to_owned).to_vec();
    head.extend(some_invalid.then(|| "invalid".to_owned()));
    let with_unit = |label: &str| {
        let metric = summary.metrics.iter().find(|metric| metric.label == label);
        let unit = metric.map_or("", |metric| metric.unit.as_str());
        if unit.is_empty() { label.to_owned() } else { format!("{label} ({unit})") }
    };
    head.extend(
        campaigns.first().into_iter().flat_map(|c| &c.distortions).map(|d| with_unit(&d.metric)),
    );
    let rows = campaigns.iter().map(|c| {
        let mut row = vec![
            c.model.clone(),
            c.attacked.to_string(),
            percent(c.success),
            percent(c.success_8bit),
        ];
        row.extend(some_invalid.then(|| c.invalid.to_string()));
        row.extend(
            c.distortions.iter().map(|d| d.mean.value.map_or_else(|| "--".into(), significant)),
        );
        row
    });
    tabular(
        &format!(
            "{attack}, {}: success, per cent, and mean distortion of the successes",
            words(goal)
        ),
        head,
        rows,
    )
}

/// A rate in per cent with its interval: `92.5 [80.1, 97.4]`.
fn percent(rate: Rate) -> String {
    let Some((value, (low, high))) = rate.rate.zip(rate.interval) else { return "--".into() };
    format!("{:.1} [{:.1}, {:.1}]", value * 100.0, low * 100.0, high * 100.0)
}

/// A number with three significant digits.
fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let digits = (2.0 - value.abs().log10().floor()).clamp(0.0, 8.0) as usize;
    format!("{value:.digits$}")
}

/// A `tabular`: the first column aligned to the left, all others to the right.
fn tabular(title: &str, head: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = String::new();
    let line = |cells: &[String]| {
        format!("{} \\\\\n", cells.iter().map(|cell| escaped(cell)).collect::<Vec<_>>().join(" & "))
    };
    let _ = write!(
        text,
        "\n% {}\n\\begin{{tabular}}{{l{}}}\n\\toprule\n",
        title.replace(char::is_control, " "),
        "r".repeat(head.len() - 1)
    );
    text += &line(&head);
    text += "\\midrule\n";
    for row in rows {
        text += &line(&row);
    }
    text + "\\bottomrule\n\\end{tabular}\n"
}

/// Text with the special characters of LaTeX escaped: labels are free text.
fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => format!("\\{c}"),
            '~' => "\\textasciitilde{}".into(),
            '^' => "\\textasciicircum{}".into(),
            '\\' => "\\textbackslash{}".into(),
            // After `\\` a bare bracket would begin an optional argument.
            '[' => "{[}".into(),
            // In LaTeX's default encoding of fonts these would be other characters.
            '<' => "\\textless{}".into(),
            '>' => "\\textgreater{}".into(),
            '|' => "\\textbar{}".into(),
            // The symbols that names of attacks and norms often have, for pdfLaTeX.
            'ε' => "\\ensuremath{\\varepsilon}".into(),
            'κ' => "\\ensuremath{\\kappa}".into(),
            'ℓ' => "\\ensuremath{\\ell}".into(),
            '∞' => "\\ensuremath{\\infty}".into(),
            '≤' => "\\ensuremath{\\le}".into(),
            c if c.is_control() => " ".into(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_booktabs_and_labels_are_escaped() {
        let text = tabular(
            "t",
            vec!["model".into(), "l_2".into()],
            [
                vec!["a & b\\".to_owned(), "[1]".to_owned()],
                vec!["<ε>\n".to_owned(), "|".to_owned()],
            ]
            .into_iter(),
        );
        let expected = "\n% t\n\\begin{tabular}{lr}\n\\toprule\nmodel & \
                        l\\_2 \\\\\n\\midrule\na \\& b\\textbackslash{} & \
                        {[}1] \\\\\n\\textless{}\\ensuremath{\\varepsilon}\\textgreater{}  & \
                        \\textbar{} \\\\\n\\bottomrule\n\\end{tabular}\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(percent(Rate::new(37, 40)), "92.5 [80.1, 97.4]");
        assert_eq!(percent(Rate::new(0, 0)), "--");
        assert_eq!([0.012345, 1234.5, 0.0].map(significant), ["0.0123", "1234", "0"]);
    }
}
