//! The CSV tables of the results folder. Only `timing.csv` holds times: the other tables are the
//! same byte for byte whenever the same study is run.

use crate::analysis::{self, Denominator, Tables, rate};
use crate::study::{GoalKind, Study};
use crate::summary::{Summary, Timing};
use anyhow::Result;
use gauntlet_core::metric::Scope;
use serde::{Serialize, Serializer};
use std::fmt::{self, Display, Formatter};

pub(super) fn accuracy(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
    #[derive(Default, Serialize)]
    struct Row<'a> {
        model: &'a str,
        family: &'a str,
        side: i64,
        images: usize,
        missing: usize,
        top1: usize,
        top5: usize,
        top1_rate: Number,
        top5_rate: Number,
        published_top1_percent: Number,
        published_top5_percent: Number,
    }
    table(tables.accuracy.iter().map(|row| {
        let model = &study.models[row.model];
        Row {
            model: &model.part.label,
            family: &model.card.family,
            side: model.card.side,
            images: row.images,
            missing: row.missing,
            top1: row.correct,
            top5: row.top5,
            top1_rate: Number(rate(row.correct, row.images)),
            top5_rate: Number(rate(row.top5, row.images)),
            published_top1_percent: Number(model.card.top1),
            published_top5_percent: Number(model.card.top5),
        }
    }))
}

pub(super) fn success(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
    let fixed = [
        "model",
        "attack",
        "goal",
        "images",
        "missing",
        "source_correct",
        "found",
        "invalid",
        "success",
        "success_8bit",
        "rate_of_source_correct",
        "rate_of_all",
        "rate_8bit_of_source_correct",
        "rate_8bit_of_all",
        "median_forward",
        "median_backward",
    ];
    let mut head: Vec<String> = fixed.map(str::to_owned).to_vec();
    for metric in study.metrics.iter().filter(|metric| metric.scope == Scope::Outcome) {
        let label = &metric.part.label;
        head.extend(
            ["mean", "median"]
                .iter()
                .flat_map(|what| [format!("{what}_{label}"), format!("{what}_{label}_8bit")]),
        );
    }
    let rows = tables.success.iter().map(|row| {
        let mut cells = vec![
            study.models[row.model].part.label.clone(),
            study.attacks[row.attack].part.label.clone(),
            row.goal.name().to_owned(),
            row.images.to_string(),
            row.missing.to_string(),
            row.source_correct.to_string(),
            row.found.to_string(),
            row.invalid.to_string(),
            row.success.to_string(),
            row.success_8bit.to_string(),
            number(rate(row.success, row.source_correct)),
            number(rate(row.success, row.images)),
            number(rate(row.success_8bit, row.source_correct)),
            number(rate(row.success_8bit, row.images)),
            number(row.passes.forward.median),
            number(row.passes.backward.median),
        ];
        for distortion in &row.distortions {
            let (float, rounded) = (distortion.float, distortion.rounded);
            cells.extend([float.mean, rounded.mean, float.median, rounded.median].map(number));
        }
        cells
    });
    wide_table(head, rows)
}

pub(super) fn transfer(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
    let mut head: Vec<String> =
        ["source", "target", "attack", "goal", "pixels", "match", "missing"]
            .map(str::to_owned)
            .to_vec();
    for prefix in ["images", "transferred", "rate"] {
        head.extend(Denominator::ALL.iter().map(|of| format!("{prefix}_{}", of.name())));
    }
    head.extend(["unfooled", "different_mistake", "same_mistake"].map(str::to_owned));
    let rows = tables.transfer.iter().map(|row| {
        let mut cells = vec![
            study.models[row.source].part.label.clone(),
            study.models[row.target].part.label.clone(),
            study.attacks[row.attack].part.label.clone(),
            row.goal.name().to_owned(),
            row.pixels.name().to_owned(),
            row.matching.name().to_owned(),
            row.missing.to_string(),
        ];
        let rates = row.transferred.iter().zip(row.images.iter());
        let split = [row.split.unfooled, row.split.different_mistake, row.split.same_mistake];
        cells.extend(row.images.iter().map(|count| count.to_string()));
        cells.extend(row.transferred.iter().map(|count| count.to_string()));
        cells.extend(rates.map(|(part, whole)| number(rate(part, whole))));
        cells.extend(split.map(|count| count.to_string()));
        cells
    });
    wide_table(head, rows)
}

/// Transfer rates by the published denominator: a line for each source, a column for each target.
pub(super) fn matrices(summary: &Summary) -> Result<Vec<u8>> {
    let mut head = ["attack", "goal", "pixels", "match", "source"].map(str::to_owned).to_vec();
    head.extend(summary.models.iter().map(|model| model.label.clone()));
    let rows = summary.transfer.iter().flat_map(|matrix| {
        let counts = &matrix.denominators[&matrix.published];
        summary.models.iter().enumerate().map(move |(source, model)| {
            let mut row = vec![
                matrix.attack.clone(),
                matrix.goal.name().to_owned(),
                matrix.pixels.name().to_owned(),
                matrix.matching.name().to_owned(),
                model.label.clone(),
            ];
            row.extend(
                (0..summary.models.len()).map(|target| number(counts.rate(source, target).rate)),
            );
            row
        })
    });
    wide_table(head, rows)
}

pub(super) fn scores(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
    let mut extras: Vec<&str> = Vec::new();
    for extra in tables.scores.iter().flat_map(|row| &study.metrics[row.metric].extras) {
        if !extras.contains(&extra.as_str()) {
            extras.push(extra);
        }
    }
    let head = ["model", "metric", "goal", "unit", "source_correct", "missing", "mean", "median"]
        .map(str::to_owned);
    let head: Vec<String> =
        head.into_iter().chain(extras.iter().map(|extra| format!("mean_{extra}"))).collect();
    let rows = tables.scores.iter().map(|row| {
        let metric = &study.metrics[row.metric];
        let own = [
            study.models[row.model].part.label.clone(),
            metric.part.label.clone(),
            row.goal.name().to_owned(),
            metric.unit.clone(),
            row.scored.to_string(),
            row.missing.to_string(),
            number(row.summary.mean),
            number(row.summary.median),
        ];
        let extra = |name: &&str| {
            metric.extras.iter().position(|own| own == name).and_then(|n| row.extras[n])
        };
        own.into_iter().chain(extras.iter().map(|name| number(extra(name)))).collect::<Vec<_>>()
    });
    wide_table(head, rows)
}

pub(super) fn flags(tables: &Tables) -> Result<Vec<u8>> {
    #[derive(Default, Serialize)]
    struct Row<'a> {
        flag: &'a str,
        severity: &'a str,
        model: &'a str,
        attack: Option<&'a str>,
        goal: Option<&'a str>,
        k: usize,
        n: usize,
        rate: Number,
        against: Option<&'a str>,
        k_against: Option<usize>,
        p: Number,
        reading: &'a str,
        meaning: &'a str,
        remedy: &'a str,
    }
    table(tables.findings.flags.iter().map(|flag| Row {
        flag: flag.flag.name(),
        severity: flag.severity.name(),
        model: &flag.model,
        attack: flag.attack.as_deref(),
        goal: flag.goal.map(GoalKind::name),
        k: flag.found.k,
        n: flag.found.n,
        rate: Number(flag.found.rate),
        against: flag.against.as_deref(),
        k_against: flag.compared.map(|compared| compared.k),
        p: Number(flag.p),
        reading: &flag.reading,
        meaning: &flag.meaning,
        remedy: &flag.remedy,
    }))
}

pub(super) fn timing(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let six = |value: f64| analysis::number(value).unwrap_or_default();
    for row in &tables.success {
        writer.serialize(Timing {
            model: study.models[row.model].part.label.clone(),
            attack: study.attacks[row.attack].part.label.clone(),
            goal: row.goal,
            source_correct: row.source_correct,
            attack_seconds: six(row.seconds),
            seconds_per_image: (row.source_correct > 0)
                .then(|| six(row.seconds / row.source_correct as f64)),
            transfer_seconds: six(row.transfer_seconds),
        })?;
    }
    Ok(writer.into_inner()?)
}

pub(super) fn skipped(study: &Study) -> Result<Vec<u8>> {
    #[derive(Default, Serialize)]
    struct Row<'a> {
        image: &'a str,
        reason: &'a str,
    }
    let skipped = study.data.skipped.iter();
    table(skipped.map(|skipped| Row { image: &skipped.name, reason: &skipped.reason }))
}

/// A number as it stands in the tables: six significant digits without a power of ten; nothing when
/// there is none.
#[derive(Clone, Copy, Default)]
struct Number(Option<f64>);

impl Display for Number {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        self.0.and_then(analysis::number).map_or(Ok(()), |value| write!(f, "{value}"))
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn number(value: Option<f64>) -> String {
    Number(value).to_string()
}

/// A table whose columns are the fields of a struct.
fn table<R: Serialize + Default>(rows: impl IntoIterator<Item = R>) -> Result<Vec<u8>> {
    let mut rows = rows.into_iter().peekable();
    let empty = rows.peek().is_none();
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    // The head comes with the first row, so a table without rows needs one to have a head.
    if empty {
        writer.serialize(R::default())?;
    }
    let mut bytes = writer.into_inner()?;
    if empty {
        let head = bytes.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        bytes.truncate(head);
    }
    Ok(bytes)
}

/// A table whose columns depend on the study.
fn wide_table(head: Vec<String>, rows: impl IntoIterator<Item = Vec<String>>) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head)?;
    for row in rows {
        writer.write_record(row)?;
    }
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Row;
    use crate::store::rows::OutcomeRow;

    #[test]
    fn every_column_is_documented() {
        let docs = include_str!("../../../docs/results.md");
        for field in OutcomeRow::fields() {
            assert!(
                docs.contains(&format!("`{}`", field.name())),
                "docs/results.md does not say what `{}` is",
                field.name()
            );
        }
    }

    #[test]
    fn a_table_has_its_head_with_and_without_rows() {
        #[derive(Default, Serialize)]
        struct Row {
            model: &'static str,
            attack: Option<&'static str>,
            rate: Number,
        }
        let text = |rows: Vec<Row>| String::from_utf8(table(rows).unwrap()).unwrap();
        assert_eq!(text(Vec::new()), "model,attack,rate\n");
        let rows = vec![
            Row { model: "a", attack: None, rate: Number(Some(0.0)) },
            Row { model: "b, c", attack: Some("d"), rate: Number(None) },
        ];
        assert_eq!(text(rows), "model,attack,rate\na,,0\n\"b, c\",d,\n");
    }

    #[test]
    fn numbers_have_six_digits() {
        let cases = [
            (None, ""),
            (Some(0.0), "0"),
            (Some(2352.0), "2352"),
            (Some(1.0 / 3.0), "0.333333"),
            (Some(1.23456789e-7), "0.000000123457"),
        ];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }
}
