//! The CSV tables of the results folder. Only `timing.csv` holds times: the other tables are the
//! same byte for byte whenever the same study is run.

use crate::analysis::{self, Denominator, Tables, rate};
use crate::study::{GoalKind, Study};
use crate::summary::{Matrix, Summary};
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
        channels: i64,
        height: i64,
        width: i64,
        images: usize,
        missing: usize,
        invalid: usize,
        top1: usize,
        top5: usize,
        top1_rate: Number,
        top5_rate: Number,
        published_top1_percent: Number,
        published_top5_percent: Number,
    }
    table(tables.accuracy.iter().map(|row| {
        let model = &study.models[row.model];
        let shape = model.card.shape();
        Row {
            model: &model.part.label,
            family: &model.card.family,
            side: shape.side(),
            channels: shape.channels,
            height: shape.height,
            width: shape.width,
            images: row.images,
            missing: row.missing,
            invalid: row.invalid,
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
    #[derive(Default, Serialize)]
    struct Row<'a> {
        model: &'a str,
        attack: &'a str,
        goal: &'a str,
        images: usize,
        missing: usize,
        source_correct: usize,
        found: usize,
        invalid: usize,
        success: usize,
        success_8bit: usize,
        rate_of_source_correct: Number,
        rate_of_all: Number,
        rate_8bit_of_source_correct: Number,
        rate_8bit_of_all: Number,
        median_forward: Number,
        median_backward: Number,
    }
    let metrics = study.metrics.iter().filter(|metric| metric.scope == Scope::Outcome);
    let distortions = metrics.flat_map(|metric| {
        let label = &metric.part.label;
        ["count", "mean", "median"]
            .into_iter()
            .flat_map(move |what| [format!("{what}_{label}"), format!("{what}_{label}_8bit")])
    });
    let rows = tables.success.iter().map(|row| {
        let own = Row {
            model: &study.models[row.model].part.label,
            attack: &study.attacks[row.attack].part.label,
            goal: row.goal.name(),
            images: row.images,
            missing: row.missing,
            source_correct: row.source_correct,
            found: row.found,
            invalid: row.invalid,
            success: row.success,
            success_8bit: row.success_8bit,
            rate_of_source_correct: Number(rate(row.success, row.source_correct)),
            rate_of_all: Number(rate(row.success, row.images)),
            rate_8bit_of_source_correct: Number(rate(row.success_8bit, row.source_correct)),
            rate_8bit_of_all: Number(rate(row.success_8bit, row.images)),
            median_forward: Number(row.passes.forward.median),
            median_backward: Number(row.passes.backward.median),
        };
        let distortions = row.distortions.iter().flat_map(|distortion| {
            let (float, rounded) = (distortion.float, distortion.rounded);
            let counts = [float.count, rounded.count].map(Column::Count);
            let numbers = [float.mean, rounded.mean, float.median, rounded.median];
            counts.into_iter().chain(numbers.map(Column::number))
        });
        (own, distortions.collect())
    });
    wide_table(distortions, rows)
}

pub(super) fn transfer(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
    #[derive(Default, Serialize)]
    struct Row<'a> {
        source: &'a str,
        target: &'a str,
        attack: &'a str,
        goal: &'a str,
        pixels: &'a str,
        r#match: &'a str,
        missing: usize,
    }
    let denominators = ["images", "transferred", "rate"].into_iter().flat_map(|prefix| {
        Denominator::ALL.iter().map(move |of| format!("{prefix}_{}", of.name()))
    });
    let rest = [
        "unfooled",
        "different_mistake",
        "same_mistake",
        "control_k",
        "control_rate",
        "excess_over_control",
        "excess_low",
        "excess_high",
    ]
    .map(str::to_owned);
    let rows = tables.transfer.iter().map(|row| {
        let own = Row {
            source: &study.models[row.source].part.label,
            target: &study.models[row.target].part.label,
            attack: &study.attacks[row.attack].part.label,
            goal: row.goal.name(),
            pixels: row.pixels.name(),
            r#match: row.matching.name(),
            missing: row.missing,
        };
        let rates = row.transferred.iter().zip(row.images.iter());
        let split = [row.split.unfooled, row.split.different_mistake, row.split.same_mistake];
        let (control, excess) = (row.control.control(), row.control.excess());
        let ends = excess.interval.unzip();
        let rest = [control.rate, excess.value, ends.0, ends.1].map(Column::number);
        let columns = row.images.iter().map(Column::Count);
        let columns = columns.chain(row.transferred.iter().map(Column::Count));
        let columns = columns.chain(rates.map(|(part, whole)| Column::number(rate(part, whole))));
        let columns = columns.chain(split.map(Column::Count)).chain([Column::Count(control.k)]);
        (own, columns.chain(rest).collect())
    });
    wide_table(denominators.chain(rest), rows)
}

/// Transfer by the published denominator, its control, and the excess of the one over the other: a
/// line for each source, a column for each target.
pub(super) fn matrices(summary: &Summary) -> Result<Vec<u8>> {
    #[derive(Default, Serialize)]
    struct Row<'a> {
        attack: &'a str,
        goal: &'a str,
        pixels: &'a str,
        r#match: &'a str,
        value: &'a str,
        source: &'a str,
    }
    type Entry = fn(&Matrix, usize, usize) -> Option<f64>;
    let values: [(&str, Entry); 3] = [
        ("rate", |matrix, source, target| {
            matrix.denominators[&matrix.published].rate(source, target).rate
        }),
        ("control", |matrix, source, target| matrix.control.rate(source, target).rate),
        ("excess_over_control", |matrix, source, target| matrix.excess[source][target].value),
    ];
    let models = summary.models.len();
    let matrices = summary.transfer.iter();
    let parts = matrices.flat_map(|matrix| values.iter().map(move |value| (matrix, value)));
    let rows = parts.flat_map(|(matrix, &(value, of))| {
        summary.models.iter().enumerate().map(move |(source, model)| {
            let own = Row {
                value,
                attack: &matrix.attack,
                goal: matrix.goal.name(),
                pixels: matrix.pixels.name(),
                r#match: matrix.matching.name(),
                source: &model.label,
            };
            (own, (0..models).map(|target| Column::number(of(matrix, source, target))).collect())
        })
    });
    wide_table(summary.models.iter().map(|model| model.label.clone()), rows)
}

pub(super) fn scores(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
    #[derive(Default, Serialize)]
    struct Row<'a> {
        model: &'a str,
        metric: &'a str,
        goal: &'a str,
        unit: &'a str,
        source_correct: usize,
        scored: usize,
        invalid: usize,
        missing: usize,
        mean: Number,
        median: Number,
    }
    let mut extras: Vec<&str> = Vec::new();
    for extra in tables.scores.iter().flat_map(|row| &study.metrics[row.metric].extras) {
        if !extras.contains(&extra.as_str()) {
            extras.push(extra);
        }
    }
    let rows = tables.scores.iter().map(|row| {
        let metric = &study.metrics[row.metric];
        let own = Row {
            model: &study.models[row.model].part.label,
            metric: &metric.part.label,
            goal: row.goal.name(),
            unit: &metric.unit,
            source_correct: row.source_correct,
            scored: row.scored,
            invalid: row.invalid,
            missing: row.missing,
            mean: Number(row.summary.mean),
            median: Number(row.summary.median),
        };
        let extra = |name: &&str| {
            metric.extras.iter().position(|own| own == name).and_then(|n| row.extras[n])
        };
        (own, extras.iter().map(|name| Column::number(extra(name))).collect())
    });
    wide_table(extras.iter().map(|extra| format!("mean_{extra}")), rows)
}

pub(super) fn flags(tables: &Tables) -> Result<Vec<u8>> {
    #[derive(Default, Serialize)]
    struct Row<'a> {
        flag: &'a str,
        severity: &'a str,
        model: Option<&'a str>,
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
        model: flag.model.as_deref(),
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
    /// What [`Timing`](crate::summary::Timing) reads.
    #[derive(Default, Serialize)]
    struct Row<'a> {
        model: &'a str,
        attack: &'a str,
        goal: &'a str,
        source_correct: usize,
        attack_seconds: f64,
        seconds_per_image: Option<f64>,
        transfer_seconds: f64,
    }
    let six = |value: f64| analysis::number(value).unwrap_or_default();
    table(tables.success.iter().map(|row| Row {
        model: &study.models[row.model].part.label,
        attack: &study.attacks[row.attack].part.label,
        goal: row.goal.name(),
        source_correct: row.source_correct,
        attack_seconds: six(row.seconds),
        seconds_per_image:
            (row.source_correct > 0).then(|| six(row.seconds / row.source_correct as f64)),
        transfer_seconds: six(row.transfer_seconds),
    }))
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
pub(super) struct Number(pub Option<f64>);

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

/// What stands in a column that depends on the study.
#[derive(Serialize)]
#[serde(untagged)]
enum Column {
    Count(usize),
    Number(Number),
}

impl Column {
    fn number(value: Option<f64>) -> Self {
        Self::Number(Number(value))
    }
}

/// A table whose columns are the fields of a struct.
pub(super) fn table<R: Serialize + Default>(rows: impl IntoIterator<Item = R>) -> Result<Vec<u8>> {
    wide_table([], rows.into_iter().map(|row| (row, Vec::new())))
}

/// A table with the fields of a struct, followed by columns that depend on the study, which `more`
/// names.
fn wide_table<R: Serialize + Default>(
    more: impl IntoIterator<Item = String>,
    rows: impl IntoIterator<Item = (R, Vec<Column>)>,
) -> Result<Vec<u8>> {
    let mut fields = csv::Writer::from_writer(Vec::new());
    fields.serialize(R::default())?;
    let mut head = csv::Reader::from_reader(&*fields.into_inner()?).headers()?.clone();
    head.extend(more);
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(&head)?;
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(writer.into_inner()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Row;
    use crate::store::table_rows::{OutcomeRow, RobustnessRow};

    #[test]
    fn every_column_is_documented() {
        let docs = include_str!("../../../docs/results.md");
        for field in OutcomeRow::fields().iter().chain(&RobustnessRow::fields()) {
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
            assert_eq!(Number(value).to_string(), expected);
        }
    }
}
