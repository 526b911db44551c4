//! The files of the results' folder. No time stands in the tables, so they are the same byte for
//! byte whenever the same study is run; times go to `timing.csv` and into the Parquet files.

use crate::analysis::{self, DENOMINATORS, Depth, Rank, RowSink, Tables, rate};
use crate::plan::{Campaign, ENGINE, Plan};
use crate::rows::{CraftRow, MeasureRow, Row, TransferRow};
use crate::store::{Pending, Store, properties, write_atomically};
use crate::study::Study;
use anyhow::Result;
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use gauntlet_core::metric::Scope;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Analyses a study's cells and writes every file of the results' folder `out`: `accuracy.csv`,
/// `success.csv`, `transfer.csv`, `scores.csv`, `timing.csv`, `skipped.csv`, `rows.parquet`,
/// `transfer_rows.parquet` and the resolved `study.toml`. Each is replaced as a whole.
///
/// # Errors
/// When the folder cannot be written to.
pub fn write(study: &Study, plan: &Plan, store: &Store, out: &Path) -> Result<Tables> {
    let mut merged = Merged::new(study, plan, out)?;
    let tables = analysis::analyse(study, plan, store, &mut merged)?;
    merged.finish()?;
    let text = |name: &str, bytes: Vec<u8>| write_atomically(&out.join(name), &bytes);
    text("accuracy.csv", accuracy(study, &tables)?)?;
    text("success.csv", success(study, &tables)?)?;
    text("transfer.csv", transfer(study, &tables)?)?;
    text("scores.csv", scores(study, &tables)?)?;
    text("timing.csv", timing(study, &tables)?)?;
    text("skipped.csv", skipped(study)?)?;
    text("study.toml", study.to_toml().as_bytes().to_vec())?;
    Ok(tables)
}

/// A number with six significant digits; nothing when there is none.
fn number(value: Option<f64>) -> String {
    let rounded = |value: f64| format!("{value:.5e}").parse().unwrap_or(value);
    value.map_or_else(String::new, |value| rounded(value).to_string())
}

fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Result<Vec<u8>> {
    csv_bytes(&head.map(str::to_owned), rows)
}

fn csv_bytes<R: AsRef<[String]>>(head: &[String], rows: impl IntoIterator<Item = R>) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(head)?;
    for row in rows {
        writer.write_record(row.as_ref())?;
    }
    Ok(writer.into_inner()?)
}

fn accuracy(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
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

fn success(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
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
        head.extend(["mean", "median"].iter().flat_map(|what| [format!("{what}_{label}"), format!("{what}_{label}_8bit")]));
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
            number(row.forward),
            number(row.backward),
        ];
        for distortion in &row.distortions {
            let (float, rounded) = (distortion.float, distortion.rounded);
            cells.extend([float.mean, rounded.mean, float.median, rounded.median].map(number));
        }
        cells
    });
    csv_bytes(&head, rows)
}

fn transfer(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
    let mut head: Vec<String> = ["source", "target", "attack", "goal", "pixels", "match", "missing"].map(str::to_owned).to_vec();
    for prefix in ["images", "transferred", "rate"] {
        head.extend(DENOMINATORS.iter().map(|name| format!("{prefix}_{name}")));
    }
    let rows = tables.transfer.iter().map(|row| {
        let mut cells = vec![
            study.models[row.source].part.label.clone(),
            study.models[row.target].part.label.clone(),
            study.attacks[row.attack].part.label.clone(),
            row.goal.name().to_owned(),
            if row.depth == Depth::Float { "float" } else { "8bit" }.to_owned(),
            if row.rank == Rank::Top1 { "top1" } else { "top5" }.to_owned(),
            row.missing.to_string(),
        ];
        cells.extend(row.images.iter().map(ToString::to_string));
        cells.extend(row.transferred.iter().map(ToString::to_string));
        cells.extend(row.transferred.iter().zip(&row.images).map(|(&part, &whole)| number(rate(part, whole))));
        cells
    });
    csv_bytes(&head, rows)
}

fn scores(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
    let rows = tables.scores.iter().map(|row| {
        let metric = &study.metrics[row.metric];
        [
            study.models[row.model].part.label.clone(),
            metric.part.label.clone(),
            row.goal.name().to_owned(),
            metric.unit.clone(),
            row.scored.to_string(),
            row.missing.to_string(),
            number(row.summary.mean),
            number(row.summary.median),
        ]
    });
    table(["model", "metric", "goal", "unit", "source_correct", "missing", "mean", "median"], rows)
}

fn timing(study: &Study, tables: &Tables) -> Result<Vec<u8>> {
    let rows = tables.success.iter().map(|row| {
        let each = (row.source_correct > 0).then(|| row.seconds / row.source_correct as f64);
        [
            study.models[row.model].part.label.clone(),
            study.attacks[row.attack].part.label.clone(),
            row.goal.name().to_owned(),
            row.source_correct.to_string(),
            number(Some(row.seconds)),
            number(each),
            number(Some(row.transfer_seconds)),
        ]
    });
    table(["model", "attack", "goal", "source_correct", "attack_seconds", "seconds_per_image", "transfer_seconds"], rows)
}

fn skipped(study: &Study) -> Result<Vec<u8>> {
    table(["image", "reason"], study.data.skipped.iter().map(|skipped| [skipped.name.clone(), skipped.reason.clone()]))
}

/// The two files that hold all rows.
struct Merged<'a> {
    study: &'a Study,
    plan: &'a Plan,
    craft: Sheet,
    transfer: Sheet,
}

/// A Parquet file that grows batch by batch.
struct Sheet {
    pending: Pending,
    writer: ArrowWriter<File>,
    schema: Arc<Schema>,
}

impl Sheet {
    fn new(study: &Study, path: &Path, fields: Vec<Field>) -> Result<Self> {
        let mut pending = Pending::new(path)?;
        let schema = Arc::new(Schema::new(fields));
        let metadata = [
            ("gauntlet.study", study.to_toml()),
            ("gauntlet.program", env!("CARGO_PKG_VERSION")),
            ("gauntlet.engine", ENGINE),
            ("gauntlet.libtorch", gauntlet_core::LIBTORCH),
        ];
        let metadata = metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).to_vec();
        let properties = properties().set_key_value_metadata(Some(metadata)).build();
        let writer = ArrowWriter::try_new(pending.file().try_clone()?, schema.clone(), Some(properties))?;
        Ok(Self { pending, writer, schema })
    }

    fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        Ok(self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns)?)?)
    }

    fn finish(self) -> Result<()> {
        self.writer.close()?;
        self.pending.commit()
    }
}

impl<'a> Merged<'a> {
    fn new(study: &'a Study, plan: &'a Plan, out: &Path) -> Result<Self> {
        let text = |name: &str| Field::new(name, DataType::Utf8, false);
        let mut craft: Vec<Field> = ["model", "attack", "goal", "name"].map(text).to_vec();
        craft.extend(CraftRow::fields());
        for metric in study.metrics.iter().filter(|metric| metric.scope == Scope::Outcome) {
            let label = &metric.part.label;
            craft.extend([label.clone(), format!("{label}_8bit")].map(|name| Field::new(name, DataType::Float64, true)));
        }
        let mut transfer: Vec<Field> = ["source", "target", "attack", "goal", "name"].map(text).to_vec();
        transfer.extend(TransferRow::fields());
        Ok(Self {
            study,
            plan,
            craft: Sheet::new(study, &out.join("rows.parquet"), craft)?,
            transfer: Sheet::new(study, &out.join("transfer_rows.parquet"), transfer)?,
        })
    }

    fn finish(self) -> Result<()> {
        self.craft.finish()?;
        self.transfer.finish()
    }

    fn names(&self, slice: usize) -> ArrayRef {
        let pictures = &self.study.data.pictures[self.plan.range(slice)];
        Arc::new(StringArray::from_iter_values(pictures.iter().map(|picture| &picture.name)))
    }

    fn about(&self, campaign: &Campaign, rows: usize) -> [ArrayRef; 3] {
        let labels = [
            self.study.models[campaign.model].part.label.as_str(),
            self.study.attacks[campaign.attack].part.label.as_str(),
            campaign.goal.name(),
        ];
        labels.map(|label| constant(label, rows))
    }
}

fn constant(text: &str, rows: usize) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(std::iter::repeat_n(text, rows)))
}

impl RowSink for Merged<'_> {
    fn craft(&mut self, campaign: usize, slice: usize, rows: &[CraftRow], measures: &[Option<Vec<MeasureRow>>]) -> Result<()> {
        let mut columns = self.about(&self.plan.campaigns[campaign], rows.len()).to_vec();
        columns.push(self.names(slice));
        columns.extend(CraftRow::columns(rows));
        for measured in measures {
            let column = |of: fn(&MeasureRow) -> Option<f64>| -> ArrayRef {
                Arc::new((0..rows.len()).map(|n| measured.as_ref().and_then(|rows| of(&rows[n]))).collect::<Float64Array>())
            };
            columns.extend([column(|row| row.value), column(|row| row.value_8bit)]);
        }
        self.craft.write(columns)
    }

    fn transfer(&mut self, campaign: usize, target: usize, slice: usize, rows: &[TransferRow]) -> Result<()> {
        let [source, attack, goal] = self.about(&self.plan.campaigns[campaign], rows.len());
        let target = constant(&self.study.models[target].part.label, rows.len());
        let mut columns = vec![source, target, attack, goal, self.names(slice)];
        columns.extend(TransferRow::columns(rows));
        self.transfer.write(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_six_digits() {
        let cases =
            [(None, ""), (Some(0.0), "0"), (Some(2352.0), "2352"), (Some(1.0 / 3.0), "0.333333"), (Some(1.23456789e-7), "0.000000123457")];
        for (value, expected) in cases {
            assert_eq!(number(value), expected);
        }
    }
}
