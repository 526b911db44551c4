//! The format of a cell's file: rows, provenance, checksum.

use crate::store::address::Address;
use crate::store::pixels::{Adversarials, pack};
use crate::store::row::Row;
use anyhow::{Context, Result, bail, ensure};
use blake3::Hasher;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use std::ops::Range;

const CELL: &str = "gauntlet.cell";
const PROVENANCE: &str = "gauntlet.provenance";
const PIXELS: &str = "gauntlet.pixels";
const CHECKSUM: &str = "gauntlet.checksum";
/// Stands in the file for the checksum while the checksum is computed.
const UNSEALED: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The content of a cell's file.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<R> {
    /// One row per image.
    pub rows: Vec<R>,
    /// What the cell was computed with: versions, hashes, origins; as JSON.
    pub provenance: String,
    /// BLAKE3 of the pixel file, in hexadecimal; none when the cell has no pixels.
    pub pixels: Option<String>,
}

/// A cell that is ready to be written: names and bytes of its files, in the order of writing.
pub(crate) struct Packet(pub(super) Vec<(String, Vec<u8>)>);

impl Packet {
    /// Packs a cell.
    ///
    /// # Errors
    /// When rows or pixels cannot be encoded.
    pub fn new<R: Row>(
        address: &Address,
        rows: Vec<R>,
        provenance: String,
        pixels: Option<&Adversarials>,
    ) -> Result<Self> {
        let pixels = pixels.map(pack).transpose()?;
        let stored =
            Stored { rows, provenance, pixels: pixels.as_ref().map(|(hash, _)| hash.clone()) };
        let mut files: Vec<(String, Vec<u8>)> =
            pixels.into_iter().map(|(hash, bytes)| (address.pixel_file(&hash), bytes)).collect();
        files.push((address.file(), encode(address, &stored)?));
        Ok(Self(files))
    }
}

/// The result of looking for a cell.
#[derive(Debug)]
pub enum Lookup<R> {
    /// The cell is there and whole.
    Whole(Stored<R>),
    /// There is no file.
    Missing,
    /// There is a file that is not this cell, or that cannot be read; says why.
    Damaged(String),
}

/// Settings of all Parquet files.
pub(crate) fn properties() -> parquet::file::properties::WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_created_by(format!("gauntlet {}", env!("CARGO_PKG_VERSION")))
}

/// A cell's file.
pub(super) fn encode<R: Row>(address: &Address, stored: &Stored<R>) -> Result<Vec<u8>> {
    let mut metadata = vec![
        KeyValue::new(CELL.into(), address.spec.clone()),
        KeyValue::new(PROVENANCE.into(), stored.provenance.clone()),
        KeyValue::new(CHECKSUM.into(), UNSEALED.to_owned()),
    ];
    if let Some(hash) = &stored.pixels {
        metadata.push(KeyValue::new(PIXELS.into(), hash.clone()));
    }
    let batch = R::batch(&stored.rows)?;
    let mut bytes = Vec::new();
    // For so few rows, setting up compression takes longer than everything else.
    let properties =
        properties().set_compression(Compression::UNCOMPRESSED).set_dictionary_enabled(false);
    let mut writer = ArrowWriter::try_new(
        &mut bytes,
        batch.schema(),
        Some(properties.set_key_value_metadata(Some(metadata)).build()),
    )?;
    writer.write(&batch)?;
    writer.close()?;
    let (place, checksum) =
        checksum(address, &bytes).context("the file has no place for its checksum")?;
    bytes[place].copy_from_slice(checksum.as_bytes());
    Ok(bytes)
}

/// The place of a file's checksum, and the value that it should have: BLAKE3, in hexadecimal, of
/// the kind of the cell and of all bytes of the file, with zeros in place of the checksum. None
/// when the file has no such place. The checksum is verified before the file is parsed, because a
/// reader of Parquet may run for ever on a damaged file.
fn checksum(address: &Address, bytes: &[u8]) -> Option<(Range<usize>, String)> {
    let name = CHECKSUM.as_bytes();
    let found = bytes.windows(name.len()).rposition(|window| window == name)?;
    // Two bytes follow the name: the type and the length of the value.
    let start = found + name.len() + 2;
    let place = start..start + UNSEALED.len();
    let (before, after) = (bytes.get(..place.start)?, bytes.get(place.end..)?);
    let mut hasher = Hasher::new();
    hasher
        .update(address.kind.name().as_bytes())
        .update(before)
        .update(UNSEALED.as_bytes())
        .update(after);
    Some((place, hasher.finalize().to_string()))
}

/// Verifies and reads a cell's file.
///
/// # Errors
/// When the file is damaged, or belongs to another cell.
pub(super) fn decode<R: Row>(bytes: Bytes, address: &Address) -> Result<Stored<R>> {
    // The fuzzer cannot make up checksums.
    let sealed = |(place, checksum): (Range<usize>, String)| bytes[place] == *checksum.as_bytes();
    ensure!(
        cfg!(fuzzing) || checksum(address, &bytes).is_some_and(sealed),
        "the content does not match the checksum"
    );
    let reader =
        ParquetRecordBatchReaderBuilder::try_new(bytes).context("not a whole Parquet file")?;
    let metadata =
        reader.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let find = |key: &str| {
        metadata.iter().find(|entry| entry.key == key).and_then(|entry| entry.value.clone())
    };
    let (Some(spec), Some(provenance)) = (find(CELL), find(PROVENANCE)) else {
        bail!("not a cell of this program: its specification or provenance is missing");
    };
    // The fuzzer cannot make up specifications either.
    let key = || blake3::hash(spec.as_bytes()).to_string();
    ensure!(cfg!(fuzzing) || key() == address.key, "the file belongs to another cell");
    let mut rows = Vec::new();
    for batch in reader.build()? {
        rows.extend(R::read(&batch?)?);
    }
    let stored = Stored { rows, provenance, pixels: find(PIXELS) };
    let is_hash = |text: &String| text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
    // The hash becomes part of a path.
    ensure!(stored.pixels.as_ref().is_none_or(is_hash), "the hash of its pixels is none");
    Ok(stored)
}
