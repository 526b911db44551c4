//! The files of the results' folder. No time stands in the tables, so they are the same byte for
//! byte whenever the same study is run; times go to `timing.csv` and `timing.parquet`.

use crate::analysis::{self, Denominator, Tables, rate};
use crate::study::Study;
use crate::summary::{Summary, Timing};
use anyhow::Result;
use gauntlet_core::metric::Scope;

/// Begins the columns of distortions in `outcomes.parquet`.
pub(crate) const DISTORTION: &str = "distortion_";

/// A number with six significant digits; nothing when there is none.
fn number(value: Option<f64>) -> String {
    value.and_then(analysis::number).map_or_else(String::new, |value| value.to_string())
}

fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> Result<Vec<u8>> {
    csv_bytes(&head.map(str::to_owned), rows)
}

fn csv_bytes<R: AsRef<[String]>>(
    head: &[String],
    rows: impl IntoIterator<Item = R>,
) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head)?;
    for row in rows {
        writer.write_record(row.as_ref())?;
    }
    Ok(writer.into_inner()?)
}

pub(super) fn accuracy(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
    let head = [
        "model",
        "family",
        "side",
        "images",
        "missing",
        "top1",
        "top5",
        "top1_rate",
        "top5_rate",
        "published_top1_percent",
        "published_top5_percent",
    ];
    let rows = tables.accuracy.iter().map(|row| {
        let model = &study.models[row.model];
        [
            model.part.label.clone(),
            model.card.family.clone(),
            model.card.side.to_string(),
            row.images.to_string(),
            row.missing.to_string(),
            row.correct.to_string(),
            row.top5.to_string(),
            number(rate(row.correct, row.images)),
            number(rate(row.top5, row.images)),
            number(model.card.top1),
            number(model.card.top5),
        ]
    });
    table(head, rows)
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
    csv_bytes(&head, rows)
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
    csv_bytes(&head, rows)
}

/// The matrices of the published denominator, one line per source, one column per target.
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
    csv_bytes(&head, rows)
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
    csv_bytes(&head, rows)
}

pub(super) fn flags(tables: &Tables) -> Result<Vec<u8>> {
    let head = [
        "flag",
        "severity",
        "model",
        "attack",
        "goal",
        "k",
        "n",
        "rate",
        "against",
        "k_against",
        "p",
        "reading",
        "meaning",
        "remedy",
    ];
    let rows = tables.findings.flags.iter().map(|flag| {
        [
            flag.flag.name().to_owned(),
            flag.severity.name().to_owned(),
            flag.model.clone(),
            flag.attack.clone().unwrap_or_default(),
            flag.goal.map_or_else(String::new, |goal| goal.name().to_owned()),
            flag.found.k.to_string(),
            flag.found.n.to_string(),
            number(flag.found.rate),
            flag.against.clone().unwrap_or_default(),
            flag.compared.map_or_else(String::new, |compared| compared.k.to_string()),
            number(flag.p),
            flag.reading.clone(),
            flag.meaning.clone(),
            flag.remedy.clone(),
        ]
    });
    table(head, rows)
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
    table(
        ["image", "reason"],
        study.data.skipped.iter().map(|skipped| [skipped.name.clone(), skipped.reason.clone()]),
    )
}

#[cfg(test)]
mod tests {
    use super::number;
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
