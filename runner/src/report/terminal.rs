//! Tables on the terminal: aligned, at most 100 columns wide for a dozen models.

use crate::analysis::flags::{Findings, Flag};
use crate::analysis::{Denominator, Match, MeanMedian, Pixels, Tables, Transfer, rate};
use crate::report::grid::{Grid, Shape};
use crate::study::{GoalKind, Policy, Study};
use std::io::{self, Write};

/// Greatest number of models for which a transfer matrix shows counts beside percentages.
const COUNTED_MODELS: usize = 6;
/// Least number of classes for which the first five say something about a targeted attack.
pub(super) const MANY_CLASSES: i64 = 100;
/// Greatest number of flags of a kind that are shown.
const SHOWN: usize = 2;

/// Prints the tables of a study: accuracy, success, scores, transfer, flags.
pub fn print(study: &Study, tables: &Tables, out: &mut dyn Write) -> io::Result<()> {
    let all: Vec<usize> = (0..study.attacks.len()).collect();
    print_tables(study, tables, &all, Shape::Aligned, out)?;
    flags(&tables.findings, out)
}

/// Prints tables in a shape: accuracy and scores, and success and transfer of these attacks.
pub fn print_tables(
    study: &Study,
    tables: &Tables,
    attacks: &[usize],
    shape: Shape,
    out: &mut dyn Write,
) -> io::Result<()> {
    accuracy(study, tables, shape, out)?;
    for &attack in attacks {
        for &goal in &study.attacks[attack].goals {
            success(study, tables, attack, goal, shape, out)?;
        }
    }
    scores(study, tables, shape, out)?;
    if study.transfer.is_some() && study.models.len() > 1 {
        for &attack in attacks {
            for &goal in &study.attacks[attack].goals {
                matrix(study, tables, (attack, goal, Match::Top1), shape, out)?;
                if goal != GoalKind::Untargeted && study.classes >= MANY_CLASSES {
                    matrix(study, tables, (attack, goal, Match::Top5), shape, out)?;
                }
            }
        }
    }
    Ok(())
}

/// Prints for each kind of flag how often it was raised, the first places, and what to do.
pub(super) fn flags(findings: &Findings, out: &mut dyn Write) -> io::Result<()> {
    let looked_at: usize = findings.checks.iter().map(|check| check.looked_at).sum();
    if findings.flags.is_empty() {
        return writeln!(out, "\nFlags: none in {looked_at} checks of inputs, models and attacks");
    }
    writeln!(out, "\nFlags: signs that numbers say less than they seem to; flags.csv has all")?;
    for check in findings.checks.iter().filter(|check| check.raised > 0) {
        let raised: Vec<&Flag> =
            findings.flags.iter().filter(|flag| flag.flag == check.flag).collect();
        let Some(worst) = raised.iter().min_by_key(|flag| flag.severity) else { continue };
        writeln!(
            out,
            "  {} {}: {} of {}",
            worst.severity.name(),
            check.flag.name(),
            raised.len(),
            check.looked_at
        )?;
        for flag in raised.iter().take(SHOWN) {
            writeln!(out, "    {}: {}", flag.place(), flag.reading)?;
        }
        if raised.len() > SHOWN {
            writeln!(out, "    and {} more", raised.len() - SHOWN)?;
        }
        writeln!(out, "    {}", worst.remedy)?;
    }
    Ok(())
}

fn percent(part: usize, whole: usize) -> String {
    rate(part, whole).map_or_else(|| "–".into(), |rate| format!("{:.1}%", rate * 100.0))
}

/// A number with three significant digits.
pub(super) fn short(value: Option<f64>) -> String {
    match value {
        None => "–".into(),
        Some(value) if value == 0.0 || !value.is_finite() => value.to_string(),
        Some(value) => {
            let digits = (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize;
            format!("{value:.digits$}")
        }
    }
}

fn accuracy(study: &Study, tables: &Tables, shape: Shape, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "\nAccuracy without an attack, {} images", study.data.pictures.len())?;
    let mut grid = Grid::new(["model", "top-1", "", "top-5", "", "published top-1", "missing"]);
    for row in &tables.accuracy {
        let model = &study.models[row.model];
        grid.row([
            model.part.label.clone(),
            percent(row.correct, row.images),
            format!("{}/{}", row.correct, row.images),
            percent(row.top5, row.images),
            format!("{}/{}", row.top5, row.images),
            model.card.top1.map_or_else(String::new, |top1| format!("{top1:.1}%")),
            some(row.missing),
        ]);
    }
    grid.write(out, shape)
}

/// A count; nothing for 0, so that a column without counts is left out.
fn some(count: usize) -> String {
    if count == 0 { String::new() } else { count.to_string() }
}

fn success(
    study: &Study,
    tables: &Tables,
    attack: usize,
    goal: GoalKind,
    shape: Shape,
    out: &mut dyn Write,
) -> io::Result<()> {
    let label = &study.attacks[attack].part.label;
    let outcome: Vec<&str> = tables.success.first().map_or(Vec::new(), |row| {
        row.distortions.iter().map(|d| study.metrics[d.metric].part.label.as_str()).collect()
    });
    writeln!(
        out,
        "\n{label}, {}: success of n attacked images{}",
        goal.name(),
        if outcome.is_empty() { "" } else { "; mean distortion of the successes" }
    )?;
    let mut head = vec!["model", "n", "success", "8-bit"];
    head.extend(outcome);
    head.extend(["forward", "backward", "invalid", "missing"]);
    let mut grid = Grid::new(head);
    for row in tables.success.iter().filter(|row| (row.attack, row.goal) == (attack, goal)) {
        let mut cells = vec![
            study.models[row.model].part.label.clone(),
            row.source_correct.to_string(),
            percent(row.success, row.source_correct),
            percent(row.success_8bit, row.source_correct),
        ];
        cells.extend(row.distortions.iter().map(|distortion| short(distortion.float.mean)));
        cells.extend([
            short_count(row.passes.forward.median),
            short_count(row.passes.backward.median),
            some(row.invalid),
            some(row.missing),
        ]);
        grid.row(cells);
    }
    grid.write(out, shape)
}

fn short_count(value: Option<f64>) -> String {
    value.map_or_else(|| "–".into(), |value| value.to_string())
}

fn scores(study: &Study, tables: &Tables, shape: Shape, out: &mut dyn Write) -> io::Result<()> {
    for (index, metric) in study.metrics.iter().enumerate() {
        for goal in &metric.goals {
            let what = format!("{}, {} ({})", metric.part.label, goal.name(), metric.unit);
            writeln!(out, "\n{what}: over n scored images")?;
            let mut grid = Grid::new(["model", "n", "mean", "median", "invalid", "missing"]);
            for row in tables.scores.iter().filter(|row| (row.metric, row.goal) == (index, *goal)) {
                let MeanMedian { mean, median, .. } = row.summary;
                let label = study.models[row.model].part.label.clone();
                grid.row([
                    label,
                    row.scored.to_string(),
                    short(mean),
                    short(median),
                    some(row.invalid),
                    some(row.missing),
                ]);
            }
            grid.write(out, shape)?;
        }
    }
    Ok(())
}

/// Prints a transfer matrix: sources down, targets across, and on the diagonal the success against
/// the source itself.
fn matrix(
    study: &Study,
    tables: &Tables,
    (attack, goal, matching): (usize, GoalKind, Match),
    shape: Shape,
    out: &mut dyn Write,
) -> io::Result<()> {
    let models = study.models.len();
    let counts: Vec<&Transfer> = tables
        .transfer
        .iter()
        .filter(|row| {
            (row.attack, row.goal, row.matching, row.pixels)
                == (attack, goal, matching, Pixels::Float)
        })
        .collect();
    let what = match (goal, matching) {
        (GoalKind::Untargeted, _) => "the target errs",
        (_, Match::Top1) => "the target gives the class aimed at",
        (_, Match::Top5) => "the target has the class aimed at among its first five",
    };
    let label = &study.attacks[attack].part.label;
    writeln!(
        out,
        "\nTransfer of {label}, {}: how often {what}, of n images that source and target know",
        goal.name()
    )?;
    writeln!(out, "(sources down, targets across, [success against the source itself])")?;
    let images = |model: usize| study.models[model].card.shape();
    let across = |source: usize, target: usize| {
        study.transfer != Some(Policy::Native) && images(source) != images(target)
    };
    if counts.iter().any(|row| across(row.source, row.target)) {
        writeln!(out, "(after |, where shapes differ: the same without the attack)")?;
    }
    let head = std::iter::once("source".to_owned()).chain((1..=models).map(|n| n.to_string()));
    let mut grid = Grid::new(head);
    for source in 0..models {
        let mut cells = vec![format!("{:>2} {}", source + 1, study.models[source].part.label)];
        for target in 0..models {
            let count = counts.iter().find(|row| (row.source, row.target) == (source, target));
            let (part, whole) = if source == target {
                let own = tables
                    .success
                    .iter()
                    .find(|row| (row.model, row.attack, row.goal) == (source, attack, goal));
                own.map_or((0, 0), |row| (row.success, row.source_correct))
            } else {
                count.map_or((0, 0), |row| {
                    let published = Denominator::PUBLISHED;
                    (row.transferred[published], row.images[published])
                })
            };
            let percent = |rate: Option<f64>| {
                rate.map_or_else(|| "–".into(), |rate| format!("{:.0}%", rate * 100.0))
            };
            let mut rate = percent(rate(part, whole));
            if let Some(row) = count.filter(|_| across(source, target)) {
                rate = format!("{rate}|{}", percent(row.control.control().rate));
            }
            let count = if models <= COUNTED_MODELS { format!("/{whole}") } else { String::new() };
            cells.push(if source == target {
                format!("[{rate}]{count}")
            } else {
                format!("{rate}{count}")
            });
        }
        grid.row(cells);
    }
    grid.write(out, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut grid = Grid::new(["model", "n"]);
        grid.row(["é", "10"]);
        let mut text = Vec::new();
        grid.print(&mut text, 1).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), "  model   n\n  é      10\n");
    }

    #[test]
    fn three_digits_are_enough() {
        let cases = [
            (None, "–"),
            (Some(0.0), "0"),
            (Some(1234.6), "1235"),
            (Some(12.345), "12.3"),
            (Some(0.012_345), "0.0123"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected);
        }
    }
}
