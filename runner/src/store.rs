//! Cells on disk: `OUT/cells/<kind>/<key>.parquet`, each complete or absent.
//!
//! A file is written under a name of its own, synced, and renamed; its checksum covers the rows,
//! the specification and the provenance, and is verified whenever it is read. Two processes may
//! share a folder: at worst both compute a cell. Pixels go into a file that is named after its own
//! hash and stands before the Parquet file that points to it.

mod pending;

use crate::rows::Row;
use anyhow::{Context, Result, bail, ensure};
use blake3::Hasher;
use gauntlet_core::guard;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
pub(crate) use pending::prepare;
pub use pending::{Pending, write_atomically};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// Ends the name of a cell's file.
const ROWS: &str = ".parquet";

/// The header of a file of pixels is far smaller.
const MAX_HEADER: u64 = 1 << 16;

const CELL: &str = "gauntlet.cell";
const PROVENANCE: &str = "gauntlet.provenance";
const PIXELS: &str = "gauntlet.pixels";
const CHECKSUM: &str = "gauntlet.checksum";

/// Where a cell stands: the kind is the folder, the key the hash of the specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `clean`, `craft`, …
    pub kind: &'static str,
    /// BLAKE3 of the specification, in hexadecimal.
    pub key: String,
    /// Everything that determines the cell, as canonical JSON.
    pub spec: String,
}

/// The name of a cell's file in the folder of its kind.
fn file_name(key: &str) -> String {
    format!("{key}{ROWS}")
}

impl Address {
    /// Kind and key, by which lists of cells name it: `craft/2f0a…`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.kind, self.key)
    }

    /// The address that a specification has.
    pub fn new(kind: &'static str, spec: &serde_json::Value) -> Self {
        let spec = canonical(spec);
        Self { kind, key: blake3::hash(spec.as_bytes()).to_string(), spec }
    }
}

/// JSON with sorted keys and no spaces.
pub fn canonical(value: &serde_json::Value) -> String {
    use serde_json::Value;
    let quoted = |text: &String| Value::String(text.clone()).to_string();
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let members: Vec<String> = keys.into_iter().map(|key| format!("{}:{}", quoted(key), canonical(&map[key]))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// What a cell's file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<R> {
    /// One row per image.
    pub rows: Vec<R>,
    /// What made it: versions, hashes, origins; as JSON.
    pub provenance: String,
    /// BLAKE3 of the pixel file, if the cell has one.
    pub pixels: Option<String>,
}

/// The answer to a look for a cell.
#[derive(Debug)]
pub enum Found<R> {
    /// It is there and whole.
    Whole(Stored<R>),
    /// Nothing stands there.
    Missing,
    /// Something stands there that is not the cell; says what is wrong.
    Damaged(String),
}

/// A folder of cells.
#[derive(Clone, Debug)]
pub struct Store {
    out: PathBuf,
    folder: PathBuf,
}

/// The folder of the cells, in the results' folder.
const CELLS: &str = "cells";
/// A folder for each kind of cell.
const KINDS: [&str; 6] = ["clean", "craft", "measure", "probe", "score", "transfer"];

/// The [names](Address::name) of all cells that stand in a results' folder. That they are whole is not
/// verified: a cell's file is complete or absent, but for damage that came later.
///
/// # Errors
/// When a folder is there and cannot be read.
pub fn names(out: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for kind in KINDS {
        let folder = out.join(CELLS).join(kind);
        let place = || format!("the cells in {}", folder.display());
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(place),
        };
        for entry in entries {
            let name = entry.with_context(place)?.file_name();
            if let Some(key) = name.to_str().and_then(|name| name.strip_suffix(ROWS)) {
                names.insert(format!("{kind}/{key}"));
            }
        }
    }
    Ok(names)
}

impl Store {
    /// Opens the folder `out`, makes it if need be, and clears away what dead processes left.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn open(out: &Path) -> Result<Self> {
        let store = Self { out: out.to_owned(), folder: out.join(CELLS) };
        store
            .prepare()
            .with_context(|| format!("the results' folder {} cannot be written to; choose another with `--out DIR`", out.display()))?;
        Ok(store)
    }

    /// Clears away what processes left in it that have died by now.
    pub(crate) fn tidy(&self) {
        // What stays is for the next one that opens the folder.
        let _ = self.prepare();
    }

    fn prepare(&self) -> io::Result<()> {
        KINDS.iter().try_for_each(|kind| prepare(&self.folder.join(kind)))?;
        prepare(&self.out) // tables are written there
    }

    /// The results' folder, in which the cells are.
    pub fn out(&self) -> &Path {
        &self.out
    }

    fn path(&self, address: &Address) -> PathBuf {
        self.folder.join(address.kind).join(file_name(&address.key))
    }

    fn pixel_path(&self, address: &Address, hash: &str) -> PathBuf {
        let hash = hash.get(..16).unwrap_or(hash);
        self.folder.join(address.kind).join(format!("{}-{hash}.safetensors", address.key))
    }

    /// Whether a cell stands there, verified or not.
    pub fn holds(&self, address: &Address) -> bool {
        self.path(address).exists()
    }

    /// Looks for a cell and verifies it.
    pub fn read<R: Row>(&self, address: &Address) -> Found<R> {
        let file = match open(&self.path(address)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Found::Missing,
            Err(e) => return Found::Damaged(format!("cannot be read: {e}")),
        };
        // Readers of Parquet are not above panicking on a damaged file.
        match guard::catch("the reader", || decode(file, address)) {
            Ok(stored) => Found::Whole(stored),
            Err(error) => Found::Damaged(format!("{error:#}")),
        }
    }

    /// Writes a cell.
    pub fn write<R: Row>(&self, address: &Address, stored: &Stored<R>) -> Result<()> {
        let bytes = encode(address, stored)?;
        write_atomically(&self.path(address), &bytes)
    }

    /// Writes a cell's pixels, N×3×S×S float32, and returns their hash for [`Stored::pixels`].
    pub fn write_pixels(&self, address: &Address, pixels: &Tensor) -> Result<String> {
        let bytes = safetensors(&[("pixels".to_owned(), pixels.shallow_clone())])?;
        let hash = blake3::hash(&bytes).to_string();
        write_atomically(&self.pixel_path(address, &hash), &bytes)?;
        Ok(hash)
    }

    /// Checks that a cell's pixels are there, `count` of them, in a file of the right size. The
    /// content is verified by [`Store::read_pixels`] alone.
    pub fn check_pixels(&self, address: &Address, hash: &str, count: usize) -> Result<()> {
        let path = self.pixel_path(address, hash);
        let place = || format!("pixels {}", path.display());
        let mut file = open(&path).with_context(place)?;
        let length = file.metadata().with_context(place)?.len();
        let mut start = [0; 8];
        file.read_exact(&mut start).with_context(place)?;
        let header = u64::from_le_bytes(start);
        ensure!(header <= length.saturating_sub(8).min(MAX_HEADER), "{}: not a whole safetensors file", place());
        let mut text = vec![0; header as usize];
        file.read_exact(&mut text).with_context(place)?;
        let text: serde_json::Value = serde_json::from_slice(&text).with_context(place)?;
        let shape: Option<Vec<u64>> =
            text["pixels"]["shape"].as_array().map(|shape| shape.iter().filter_map(serde_json::Value::as_u64).collect());
        let expected = match shape.as_deref() {
            Some(&[n, 3, height, width]) if n == count as u64 => {
                3u64.checked_mul(n).and_then(|n| n.checked_mul(height)?.checked_mul(width)?.checked_mul(4))
            }
            _ => bail!("{}: {count} images of 3 channels are expected", place()),
        };
        ensure!(
            expected.and_then(|bytes| bytes.checked_add(8 + header)) == Some(length),
            "{}: {length} bytes are fewer or more than its header says",
            place()
        );
        Ok(())
    }

    /// Reads a cell's pixels, N×3×S×S float32, and verifies them.
    pub fn read_pixels(&self, address: &Address, hash: &str) -> Result<Tensor> {
        let path = self.pixel_path(address, hash);
        let bytes = fs::read(&path).with_context(|| format!("pixels {}", path.display()))?;
        ensure!(blake3::hash(&bytes).to_string() == hash, "pixels {}: the content does not match the checksum", path.display());
        let mut tensors = gauntlet_core::weights::read_safetensors(bytes)?;
        tensors.remove("pixels").with_context(|| format!("pixels {}: no tensor `pixels`", path.display()))
    }
}

/// Opens a file, if it is one: to open a pipe would take for ever.
fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() { File::open(path) } else { Err(io::Error::other("not a file")) }
}

/// The bytes of a safetensors file with these tensors, as float32.
pub(crate) fn safetensors(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let bytes = |tensor: &Tensor| -> Result<Vec<u8>> {
        let values = Vec::<f32>::try_from(tensor.to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]))?;
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    let all: Vec<Vec<u8>> = tensors.iter().map(|(_, tensor)| bytes(tensor)).collect::<Result<_>>()?;
    let mut views = Vec::new();
    for ((name, tensor), bytes) in tensors.iter().zip(&all) {
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        views.push((name.as_str(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes)?));
    }
    Ok(safetensors::serialize(views, None)?)
}

/// How all Parquet files are written.
pub(crate) fn properties() -> parquet::file::properties::WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_created_by(format!("gauntlet {}", env!("CARGO_PKG_VERSION")))
}

fn encode<R: Row>(address: &Address, stored: &Stored<R>) -> Result<Vec<u8>> {
    let mut metadata = vec![
        KeyValue::new(CELL.into(), address.spec.clone()),
        KeyValue::new(PROVENANCE.into(), stored.provenance.clone()),
        KeyValue::new(CHECKSUM.into(), checksum(address, stored)),
    ];
    if let Some(hash) = &stored.pixels {
        metadata.push(KeyValue::new(PIXELS.into(), hash.clone()));
    }
    let batch = R::batch(&stored.rows)?;
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties().set_key_value_metadata(Some(metadata)).build()))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(bytes)
}

fn decode<R: Row>(file: File, address: &Address) -> Result<Stored<R>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).context("not a whole Parquet file")?;
    let metadata = reader.metadata().file_metadata().key_value_metadata().cloned().unwrap_or_default();
    let find = |key: &str| metadata.iter().find(|entry| entry.key == key).and_then(|entry| entry.value.clone());
    let (Some(spec), Some(provenance), Some(expected)) = (find(CELL), find(PROVENANCE), find(CHECKSUM)) else {
        bail!("not a cell of this program: its specification, provenance or checksum is missing");
    };
    // The fuzzer's files are of cells that it does not know.
    ensure!(cfg!(fuzzing) || spec == address.spec, "the file belongs to another cell");
    let mut rows = Vec::new();
    for batch in reader.build()? {
        rows.extend(R::read(&batch?)?);
    }
    let stored = Stored { rows, provenance, pixels: find(PIXELS) };
    ensure!(checksum(address, &stored) == expected, "the content does not match the checksum");
    Ok(stored)
}

fn checksum<R: Row>(address: &Address, stored: &Stored<R>) -> String {
    let mut hasher = Hasher::new();
    for text in [address.kind, &address.spec, &stored.provenance, stored.pixels.as_deref().unwrap_or_default()] {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    for row in &stored.rows {
        row.digest(&mut hasher);
    }
    hasher.finalize().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::CraftRow;
    use crate::rows::tests::craft_rows;
    use serde_json::json;

    fn example() -> (tempfile::TempDir, Store, Address, Stored<CraftRow>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let address = Address::new("craft", &json!({"b": 1, "a": [0.1, "é\""]}));
        let stored = Stored { rows: craft_rows(), provenance: "{\"engine\":\"1\"}".into(), pixels: None };
        store.write(&address, &stored).unwrap();
        (folder, store, address, stored)
    }

    fn damage(found: &Found<CraftRow>) -> &str {
        match found {
            Found::Damaged(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn canonical_json_sorts_keys() {
        assert_eq!(canonical(&json!({"b": 1, "a": [0.1, "é\""]})), r#"{"a":[0.1,"é\""],"b":1}"#);
        assert_ne!(Address::new("craft", &json!({"a": 1})).key, Address::new("craft", &json!({"a": 2})).key);
    }

    #[test]
    fn a_cell_comes_back_as_it_was() {
        let (_folder, store, address, stored) = example();
        assert!(matches!(store.read(&address), Found::Whole(found) if found == stored));
        assert!(matches!(store.read::<CraftRow>(&Address::new("craft", &json!(1))), Found::Missing));
    }

    #[test]
    fn no_single_damaged_byte_changes_a_row() {
        let (_folder, store, address, stored) = example();
        let path = store.path(&address);
        let whole = fs::read(&path).unwrap();
        let mut noticed = 0;
        for n in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[n] ^= 0x5a;
            fs::write(&path, &bytes).unwrap();
            match store.read(&address) {
                Found::Whole(found) => assert_eq!(found, stored, "byte {n}"),
                Found::Damaged(_) => noticed += 1,
                Found::Missing => panic!("byte {n}"),
            }
        }
        assert!(noticed * 21 > whole.len(), "{noticed} of {}", whole.len());
    }

    #[test]
    fn truncated_and_foreign_files_are_damaged() {
        let (_folder, store, address, stored) = example();
        let path = store.path(&address);
        let whole = fs::read(&path).unwrap();
        for length in [0, 1, 4, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(damage(&store.read(&address)).starts_with("not a whole Parquet file"), "{length}");
        }
        let other = Address::new("craft", &json!("other"));
        store.write(&other, &stored).unwrap();
        fs::copy(store.path(&other), &path).unwrap();
        assert_eq!(damage(&store.read(&address)), "the file belongs to another cell");
    }

    #[test]
    fn what_is_no_file_is_damaged_and_replaced() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let (_folder, store, address, stored) = example();
        let path = store.path(&address);
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        assert_eq!(damage(&store.read(&address)), "cannot be read: not a file"); // to open it would wait for a writer
        store.write(&address, &stored).unwrap();
        assert!(matches!(store.read(&address), Found::Whole(found) if found == stored));
    }

    #[test]
    fn pixels_are_verified() {
        let (_folder, store, address, _) = example();
        let pixels = Tensor::arange(24, (Kind::Float, tch::Device::Cpu)).view([2, 3, 2, 2]) / 24.0;
        let hash = store.write_pixels(&address, &pixels).unwrap();
        assert_eq!(store.read_pixels(&address, &hash).unwrap(), pixels);
        let path = store.pixel_path(&address, &hash);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(store.read_pixels(&address, &hash).unwrap_err().to_string().ends_with("does not match the checksum"));
        assert!(store.read_pixels(&address, &"0".repeat(64)).unwrap_err().to_string().starts_with("pixels "));
    }
}
