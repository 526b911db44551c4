//! `outcomes.parquet` and `timing.parquet`, which have a row for each outcome: written and read.

use crate::analysis::{OutcomeSink, Outcomes};
use crate::engine::plan::{ENGINE, Plan};
use crate::store::rows::{CraftRow, MeasureRow, TransferRow};
pub use crate::store::table_rows::OutcomeRow;
use crate::store::table_rows::TimeRow;
use crate::store::{Pending, Row, properties};
use crate::study::{Study, StudyMetric};
use anyhow::{Context, Result};
use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use gauntlet_core::guard;
use gauntlet_core::metric::Scope;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::KeyValue;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the names of columns of distortions begin in `outcomes.parquet`.
pub(crate) const DISTORTION: &str = "distortion_";

/// An outcome: what an image made for one model does to that model or to another.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The columns that every study has.
    pub row: OutcomeRow,
    /// Its distortions by column, such as `distortion_l2` and `distortion_l2_8bit`; those without a
    /// value are left out.
    pub distortions: BTreeMap<String, f64>,
}

/// Reads `outcomes.parquet` of a results folder, and hands each outcome to `take` with its number,
/// from 0.
///
/// # Errors
/// When the file is missing or damaged, or `take` fails.
pub fn read(folder: &Path, mut take: impl FnMut(usize, Outcome) -> Result<()>) -> Result<()> {
    let mut number = 0;
    for outcomes in Batches::open(folder)? {
        for outcome in outcomes? {
            take(number, outcome)?;
            number += 1;
        }
    }
    Ok(())
}

/// The outcomes of a results folder, about a thousand at a time.
pub(crate) struct Batches {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    /// Number of outcomes in the file.
    pub length: usize,
}

impl Batches {
    /// Opens `outcomes.parquet`.
    ///
    /// # Errors
    /// When the file is missing or damaged.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("outcomes.parquet");
        let open = || -> Result<(ParquetRecordBatchReader, usize)> {
            let file = File::open(&path)?;
            // A damaged file can make the Parquet reader panic.
            guard::catch("the reader", || {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
                let length = usize::try_from(builder.metadata().file_metadata().num_rows())?;
                Ok((builder.build()?, length))
            })
        };
        let (reader, length) = open().with_context(|| unreadable(&path))?;
        Ok(Self { path, reader, length })
    }
}

impl Iterator for Batches {
    type Item = Result<Vec<Outcome>>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = || self.reader.next().map(|batch| outcomes(&batch?)).transpose();
        guard::catch("the reader", next).with_context(|| unreadable(&self.path)).transpose()
    }
}

fn unreadable(path: &Path) -> String {
    format!(
        "{} cannot be read: a results folder is expected, as `runner run` leaves it",
        path.display()
    )
}

/// The columns of a metric of outcomes: of the value and then of each extra number, for float and
/// for rounded pixels.
pub(crate) fn columns(metric: &StudyMetric) -> impl Iterator<Item = [String; 2]> + '_ {
    let value = format!("{DISTORTION}{}", metric.part.label);
    let extras =
        metric.extras.iter().map(|extra| format!("{DISTORTION}{}_{extra}", metric.part.label));
    std::iter::once(value).chain(extras).map(|name| [name.clone(), format!("{name}_8bit")])
}

/// The numbers of a row in the order of [`columns`]; none where a number is not finite.
pub(crate) fn values(row: &MeasureRow) -> impl Iterator<Item = [Option<f64>; 2]> + '_ {
    let extra = |n: usize| [&row.extras, &row.extras_8bit].map(|extras| extras.get(n).copied());
    let extras = (0..row.extras.len().max(row.extras_8bit.len())).map(extra);
    std::iter::once([row.value, row.value_8bit])
        .chain(extras)
        .map(|pair| pair.map(|value| value.filter(|value| value.is_finite())))
}

fn outcomes(batch: &RecordBatch) -> Result<Vec<Outcome>> {
    let rows = OutcomeRow::read(batch)?;
    let mut columns: Vec<(&str, &Float64Array)> = Vec::new();
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if field.name().starts_with(DISTORTION) {
            let array = array
                .as_any()
                .downcast_ref()
                .with_context(|| format!("column `{}` holds no numbers", field.name()))?;
            columns.push((field.name(), array));
        }
    }
    let distortions = |n: usize| {
        let present = columns.iter().filter(|(_, array)| !array.is_null(n));
        present.map(|(name, array)| ((*name).to_owned(), array.value(n))).collect()
    };
    Ok(rows
        .into_iter()
        .enumerate()
        .map(|(n, row)| Outcome { row, distortions: distortions(n) })
        .collect())
}

/// Writes the two files. Times stand in a file of their own, so that the other is the same byte for
/// byte whenever the same study is run.
pub(super) struct Merged<'a> {
    study: &'a Study,
    plan: &'a Plan,
    outcomes: Sheet,
    times: Sheet,
}

/// A Parquet file that grows batch by batch.
pub(super) struct Sheet {
    pending: Pending,
    writer: ArrowWriter<File>,
    schema: Arc<Schema>,
}

impl Sheet {
    pub fn new(study: &Study, path: &Path, fields: Vec<Field>) -> Result<Self> {
        let mut pending = Pending::new(path)?;
        let schema = Arc::new(Schema::new(fields));
        let metadata = [
            ("gauntlet.study", study.to_toml()),
            ("gauntlet.program", env!("CARGO_PKG_VERSION")),
            ("gauntlet.engine", ENGINE),
            ("gauntlet.libtorch", gauntlet_core::LIBTORCH),
        ];
        let metadata =
            metadata.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned())).to_vec();
        let properties = properties().set_key_value_metadata(Some(metadata)).build();
        let writer =
            ArrowWriter::try_new(pending.file().try_clone()?, schema.clone(), Some(properties))?;
        Ok(Self { pending, writer, schema })
    }

    pub fn write(&mut self, columns: Vec<ArrayRef>) -> Result<()> {
        Ok(self.writer.write(&RecordBatch::try_new(self.schema.clone(), columns)?)?)
    }

    pub fn finish(self) -> Result<()> {
        self.writer.close()?;
        self.pending.commit()
    }
}

impl<'a> Merged<'a> {
    pub(super) fn new(study: &'a Study, plan: &'a Plan, out: &Path) -> Result<Self> {
        let mut fields = OutcomeRow::fields();
        for metric in study.metrics.iter().filter(|metric| metric.scope == Scope::Outcome) {
            let columns = columns(metric).flatten();
            fields.extend(columns.map(|name| Field::new(name, DataType::Float64, true)));
        }
        let sheet = |name: &str, fields| Sheet::new(study, &out.join(name), fields);
        Ok(Self {
            study,
            plan,
            outcomes: sheet("outcomes.parquet", fields)?,
            times: sheet("timing.parquet", TimeRow::fields())?,
        })
    }

    pub(super) fn finish(self) -> Result<()> {
        self.outcomes.finish()?;
        self.times.finish()
    }

    /// The rows of a target and its answers; without one, of the source itself.
    fn rows(
        &self,
        outcomes: &Outcomes,
        target: Option<&(usize, Vec<TransferRow>)>,
    ) -> Vec<(OutcomeRow, TimeRow)> {
        let campaign = &self.plan.campaigns[outcomes.campaign];
        let label = |model: usize| self.study.models[model].part.label.clone();
        let row = |(n, craft): (usize, &CraftRow)| {
            let picture = &self.study.data.pictures[self.plan.range(outcomes.slice)][n];
            let seen = target.map(|(_, rows)| &rows[n]);
            let names = [
                label(campaign.model),
                label(target.map_or(campaign.model, |(target, _)| *target)),
                self.study.attacks[campaign.attack].part.label.clone(),
                campaign.goal.name().into(),
                picture.name.clone(),
            ];
            let row = OutcomeRow::new(names.clone(), craft, seen, outcomes.everyone[n]);
            let [source, target, attack, goal, image] = names;
            let milliseconds = seen.map_or(craft.milliseconds, |seen| seen.milliseconds);
            (row, TimeRow { source, target, attack, goal, image, milliseconds })
        };
        outcomes.craft.iter().enumerate().map(row).collect()
    }
}

impl OutcomeSink for Merged<'_> {
    fn slice(&mut self, outcomes: &Outcomes) -> Result<()> {
        let metrics = self.plan.campaigns[outcomes.campaign].measures.iter();
        let distortions: Vec<ArrayRef> = metrics
            .zip(outcomes.measures)
            .flat_map(|((metric, _), measured)| {
                let width = 1 + self.study.metrics[*metric].extras.len();
                (0..2 * width).map(move |column| {
                    let value =
                        |n: usize| values(&measured.as_ref()?[n]).nth(column / 2)?[column % 2];
                    let values = (0..outcomes.craft.len()).map(value);
                    Arc::new(values.collect::<Float64Array>()) as ArrayRef
                })
            })
            .collect();
        for target in
            outcomes.own.then_some(None).into_iter().chain(outcomes.transfers.iter().map(Some))
        {
            let (rows, times): (Vec<OutcomeRow>, Vec<TimeRow>) =
                self.rows(outcomes, target).into_iter().unzip();
            self.outcomes.write([OutcomeRow::columns(&rows), distortions.clone()].concat())?;
            self.times.write(TimeRow::columns(&times))?;
        }
        Ok(())
    }
}
