//! Measuring what it takes to store a cell, in the system's temporary folder.

use crate::engine::plan::SLICE;
use crate::estimate::pace::Batch;
use crate::estimate::timing::{images, timed};
use crate::store::rows::{Status, TransferRow};
use crate::store::{Address, Adversarials, CellKind, Lookup, Store, Stored};
use anyhow::{Context, Result, bail};
use gauntlet_core::device::Device;
use gauntlet_core::model::ImageShape;

/// What it takes to store a cell.
pub(super) struct Disk {
    /// Seconds to write a cell's rows.
    pub write: f64,
    /// Seconds to read them back.
    pub read: f64,
    /// Bytes of a cell's file: a fixed part, and a part for each row.
    pub size: Batch,
    /// Seconds to write or to read one byte of pixels.
    pub per_pixel_byte: f64,
}

impl Disk {
    /// Stores cells in a temporary folder and reads them back.
    ///
    /// # Errors
    /// When nothing can be stored there.
    pub fn measure() -> Result<Self> {
        let folder = tempfile::tempdir().context("the system's temporary folder")?;
        let store = Store::open(folder.path())?;
        let cell = |rows: usize| {
            let stored = Stored {
                rows: (0..rows).map(row).collect(),
                provenance: " ".repeat(2000),
                pixels: None,
            };
            (Address::new(CellKind::Transfer, &serde_json::json!({ "rows": rows })), stored)
        };
        let [(one, one_row), (full, all_rows)] = [1, SLICE].map(cell);
        store.write(&one, &one_row)?;
        let write = timed(|| Ok(store.write(&full, &all_rows)?))?;
        let read = timed(|| match store.read::<TransferRow>(&full)? {
            Lookup::Whole(_) => Ok(()),
            Lookup::Missing | Lookup::Damaged(_) => bail!("what was written cannot be read back"),
        })?;
        let bytes = |at: &Address| -> Result<f64> {
            let path = folder.path().join(format!("cells/transfer/{}.parquet", at.key));
            Ok(std::fs::metadata(path)?.len() as f64)
        };
        let size = Batch::fit(bytes(&one)?, bytes(&full)?, SLICE);
        let pixels = images(SLICE, ImageShape::rgb(64), Device::Cpu);
        let address = Address::new(CellKind::Craft, &serde_json::json!({}));
        let both_ways = timed(|| {
            let given = Adversarials { float: pixels.shallow_clone(), rounded: None };
            let hash = store.write_pixels(&address, &given)?;
            Ok(store.read_pixels(&address, &hash).map(drop)?)
        })?;
        let per_pixel_byte = (both_ways - write).max(0.0) / 2.0 / (pixels.numel() * 4) as f64;
        Ok(Self { write, read, size, per_pixel_byte })
    }
}

/// A row whose values differ from those of other rows, as they do in a study.
fn row(n: usize) -> TransferRow {
    TransferRow {
        image: blake3::hash(&n.to_le_bytes()).to_string(),
        label: n as i64,
        target_class: Some(n as i64 * 7),
        status: Status::Adversarial,
        source_success: true,
        source_success_8bit: n.is_multiple_of(2),
        target_correct: !n.is_multiple_of(3),
        control_prediction: Some(n as i64),
        control_prediction_8bit: Some(n as i64),
        control_success: n.is_multiple_of(7),
        control_success_8bit: n.is_multiple_of(7),
        control_top5: n.is_multiple_of(6),
        control_top5_8bit: n.is_multiple_of(6),
        prediction: Some(n as i64 * 3),
        prediction_8bit: Some(n as i64 * 3),
        success: n.is_multiple_of(5),
        success_rate: None,
        success_rate_8bit: None,
        success_8bit: n.is_multiple_of(5),
        top5: n.is_multiple_of(4),
        top5_8bit: n.is_multiple_of(4),
        milliseconds: n as f64 / 7.0,
    }
}
