//! A study on one screen: its models, its claims, its flags.

use crate::analysis::flags::Severity;
use crate::analysis::{Denominator, Match, Pixels, Rate, Tables};
use crate::report::grid::{Grid, Shape};
use crate::report::terminal;
use crate::study::{GoalKind, Study};
use crate::summary::{Evidence, Finding, ModelRobustness, NormRobustness, Summary};
use std::io::{self, Write};

/// Greatest number of lines.
const LINES: usize = 40;
/// Greatest number of models that are shown.
const MODELS: usize = 18;
/// Greatest number of kinds of flags that are shown.
const FLAGS: usize = 5;

/// Prints a finished study: all its tables if they fit on a screen of this width, otherwise what a
/// reader looks for first. `runner tables` prints all tables of a large study.
pub fn print_screen(
    study: &Study,
    tables: &Tables,
    summary: &Summary,
    width: usize,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut all = Vec::new();
    let attacks: Vec<usize> = (0..study.attacks.len()).collect();
    terminal::print_tables(study, tables, &attacks, Shape::Aligned, &mut all)?;
    let characters = |line: &str| line.chars().count();
    // Sentences may run over the end of a line, tables may not.
    let folded = |line: &str| characters(line).div_ceil(width).max(1);
    let narrow = String::from_utf8_lossy(&all).lines().all(|line| characters(line) <= width);
    terminal::flags(&tables.findings, &mut all)?;
    if narrow && String::from_utf8_lossy(&all).lines().map(folded).sum::<usize>() <= LINES {
        return out.write_all(&all);
    }
    let mut lines = Vec::new();
    models(tables, summary, &mut lines)?;
    claims(summary, &mut lines)?;
    flags(summary, &mut lines)?;
    writeln!(lines, "\nAll tables: `runner tables DIR`, or the CSV files of the results folder")?;
    for line in String::from_utf8_lossy(&lines).lines() {
        writeln!(out, "{}", cut(line, width))?;
    }
    Ok(())
}

/// A line of at most `width` characters.
fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A line for each model, the most robust first.
fn models(tables: &Tables, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let norms: Vec<&NormRobustness> =
        summary.robustness.iter().filter(|norm| ["linf", "l2"].contains(&&*norm.norm)).collect();
    let budgets: Vec<(&NormRobustness, usize)> =
        norms.iter().map(|norm| (*norm, telling_budget(norm))).collect();
    let order: Vec<usize> = norms.first().map_or_else(
        || (0..summary.models.len()).collect(),
        |norm| {
            let place = |one: &ModelRobustness| {
                summary.models.iter().position(|model| model.label == one.model)
            };
            norm.ranking.iter().filter_map(place).collect()
        },
    );
    let transfers = summary.models.len() > 1 && !tables.transfer.is_empty();
    let missing = tables.missing.len();
    let missing =
        if missing == 0 { String::new() } else { format!("; {missing} cells are missing") };
    let images = summary.study.images;
    writeln!(out, "\n{images} images, the most robust model first{missing}")?;
    let said =
        if budgets.is_empty() { "" } else { "robust accuracy; median smallest distortion; " };
    writeln!(out, "  {said}untargeted adversarials that transfer out and in")?;
    let mut head = vec!["model".to_owned(), "top-1".to_owned()];
    head.extend(budgets.iter().map(|(norm, n)| {
        format!("at {} {}", symbol(&norm.norm), norm.ranking[0].budgets[*n].text)
    }));
    head.extend(norms.iter().map(|norm| format!("median {}", symbol(&norm.norm))));
    if transfers {
        head.extend(["out".to_owned(), "in".to_owned()]);
    }
    let mut grid = Grid::new(head);
    for &n in order.iter().take(MODELS) {
        let model = &summary.models[n];
        let of = |norm: &NormRobustness| {
            norm.ranking.iter().find(|one| one.model == model.label).cloned()
        };
        let mut cells = vec![model.label.clone(), percent(&model.top1)];
        cells.extend(budgets.iter().map(|(norm, budget)| {
            of(norm).map_or_else(String::new, |one| percent(&one.budgets[*budget].robust))
        }));
        cells.extend(norms.iter().map(|norm| {
            let median = of(norm).and_then(|one| one.median);
            median.map_or_else(|| "–".to_owned(), |median| format!("{median:.3}"))
        }));
        if transfers {
            cells.extend([true, false].map(|from| percent(&transfer(tables, n, from))));
        }
        grid.row(cells);
    }
    grid.print(out, 1)?;
    if order.len() > MODELS {
        writeln!(out, "  … and {} more", order.len() - MODELS)?;
    }
    Ok(())
}

/// The quoted budget that tells most: at which the models' robust accuracy is nearest to a half.
fn telling_budget(norm: &NormRobustness) -> usize {
    let budgets = norm.ranking.first().map_or(0, |model| model.budgets.len());
    let from_half = |n: usize| {
        let rates = norm.ranking.iter().filter_map(|model| model.budgets[n].robust.rate);
        let (sum, count) = rates.fold((0.0, 0.0), |(sum, count), rate| (sum + rate, count + 1.0));
        (sum / f64::max(count, 1.0) - 0.5).abs()
    };
    (0..budgets).min_by(|a, b| from_half(*a).total_cmp(&from_half(*b))).unwrap_or(0)
}

/// How often untargeted adversarials of a model deceive the others (`from`), or those of the others
/// this one, over all attacks, of the published denominator.
fn transfer(tables: &Tables, model: usize, from: bool) -> Rate {
    let rows = tables.transfer.iter().filter(|row| {
        row.goal == GoalKind::Untargeted
            && (row.pixels, row.matching) == (Pixels::Float, Match::Top1)
            && model == if from { row.source } else { row.target }
    });
    let published = Denominator::PUBLISHED;
    let (k, n) = rows
        .fold((0, 0), |(k, n), row| (k + row.transferred[published], n + row.images[published]));
    Rate::new(k, n)
}

fn claims(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nClaims of the 2018 study")?;
    let mut grid = Grid::new(["", "", ""]);
    for verdict in &summary.verdicts {
        let finding = match verdict.finding {
            Finding::Supported => "supported",
            Finding::NotSupported => "not supported",
            Finding::Undecided => "undecided",
        };
        let number = verdict.evidence.first().map_or_else(|| verdict.reading.clone(), evidence);
        grid.row([verdict.claim.to_string(), finding.to_owned(), number]);
    }
    let mut lines = Vec::new();
    grid.print(&mut lines, 3)?;
    // Without the empty heading.
    for line in String::from_utf8_lossy(&lines).lines().skip(1) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn evidence(evidence: &Evidence) -> String {
    let number = |value: Option<f64>| terminal::short(value);
    let interval = evidence.value.interval.map_or_else(String::new, |(low, high)| {
        format!(" [{}, {}]", number(Some(low)), number(Some(high)))
    });
    format!("{}{interval} {}", number(evidence.value.value), evidence.what)
}

/// A line for each kind of flag, the gravest first.
fn flags(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let findings = &summary.findings;
    let looked_at: usize = findings.checks.iter().map(|check| check.looked_at).sum();
    if findings.flags.is_empty() {
        return writeln!(out, "\nFlags: none in {looked_at} checks of inputs, models and attacks");
    }
    writeln!(out, "\nFlags: signs that numbers say less than they seem to; flags.csv has all")?;
    let mut kinds: Vec<(Severity, String)> = findings
        .checks
        .iter()
        .filter(|check| check.raised > 0)
        .filter_map(|check| {
            let raised = || findings.flags.iter().filter(|flag| flag.flag == check.flag);
            let worst = raised().min_by_key(|flag| flag.severity)?;
            let text = format!(
                "  {} {}: {} of {}, as {}: {}",
                worst.severity.name(),
                check.flag.name(),
                raised().count(),
                check.looked_at,
                worst.place(),
                worst.reading
            );
            Some((worst.severity, text))
        })
        .collect();
    kinds.sort_by_key(|(severity, _)| *severity);
    for (_, text) in kinds.iter().take(FLAGS) {
        writeln!(out, "{text}")?;
    }
    if kinds.len() > FLAGS {
        writeln!(out, "  … and {} more kinds", kinds.len() - FLAGS)?;
    }
    Ok(())
}

fn symbol(norm: &str) -> &str {
    match norm {
        "linf" => "ℓ∞",
        "l2" => "ℓ2",
        other => other,
    }
}

fn percent(rate: &Rate) -> String {
    rate.rate.map_or_else(|| "–".to_owned(), |rate| format!("{:.1}%", rate * 100.0))
}
