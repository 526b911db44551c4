//! Reading `outcomes.parquet` again.

use crate::report::DISTORTION;
use crate::store::Row;
use crate::store::rows::OutcomeRow;
use anyhow::{Context, Result};
use arrow_array::{Array, Float64Array, RecordBatch};
use gauntlet_core::guard;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// A row, with its distortions by column (`distortion_l2`, `distortion_l2_8bit`).
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The row.
    pub row: OutcomeRow,
    /// The distortions that it has.
    pub distortions: BTreeMap<String, f64>,
}

/// Hands every row of a results' folder to `take`, with its number from 0.
///
/// # Errors
/// When the file is missing or damaged, and those of `take`.
pub fn read(folder: &Path, mut take: impl FnMut(usize, Outcome) -> Result<()>) -> Result<()> {
    let path = folder.join("outcomes.parquet");
    let place = || {
        format!(
            "{} cannot be read: a results' folder is expected, as `runner run` leaves it",
            path.display()
        )
    };
    let file = File::open(&path).with_context(place)?;
    // Readers of Parquet are not above panicking on a damaged file.
    let mut batches =
        guard::catch("the reader", || Ok(ParquetRecordBatchReaderBuilder::try_new(file)?.build()?))
            .with_context(place)?;
    let mut number = 0;
    while let Some(outcomes) =
        guard::catch("the reader", || batches.next().map(|batch| outcomes(&batch?)).transpose())
            .with_context(place)?
    {
        for outcome in outcomes {
            take(number, outcome)?;
            number += 1;
        }
    }
    Ok(())
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
