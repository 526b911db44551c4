//! Cells on disk: `OUT/cells/<kind>/<key>.parquet`, each complete or absent.
//!
//! A file is written under a name of its own, synced, and renamed; its checksum covers all of its
//! bytes, and is verified whenever it is read, before anything else. Two processes may
//! share a folder: at worst both compute a cell. Pixels go into a file that is named after its own
//! hash and stands before the Parquet file that points to it.
//!
//! A folder may have an object store behind it ([`attach`]), for machines that share no folder:
//! what is not in the folder is looked for there and copied, and what is computed goes to both.

mod pending;
#[cfg(feature = "object-store")]
mod remote;
#[cfg(not(feature = "object-store"))]
#[path = "store/no_remote.rs"]
mod remote;

use crate::rows::Row;
use crate::store::remote::Remote;
use anyhow::{Context, Result, bail, ensure};
use blake3::Hasher;
use bytes::Bytes;
use gauntlet_core::guard;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
pub(crate) use pending::prepare;
pub use pending::{Pending, write_atomically};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tch::{Kind, Tensor};

/// Ends the name of a cell's file.
const ROWS: &str = ".parquet";

/// The header of a file of pixels is far smaller.
const MAX_HEADER: u64 = 1 << 10;

const CELL: &str = "gauntlet.cell";
const PROVENANCE: &str = "gauntlet.provenance";
const PIXELS: &str = "gauntlet.pixels";
const CHECKSUM: &str = "gauntlet.checksum";
/// Stands for a checksum while it is computed.
const UNSEALED: &str = "0000000000000000000000000000000000000000000000000000000000000000";

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

impl Address {
    /// Kind and key, by which lists of cells name it: `craft/2f0a…`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.kind, self.key)
    }

    /// Its file, in the folder of the cells.
    pub(super) fn file(&self) -> String {
        format!("{}{ROWS}", self.name())
    }

    /// The file of its pixels, in the folder of the cells.
    pub(super) fn pixel_file(&self, hash: &str) -> String {
        format!("{}-{}.safetensors", self.name(), hash.get(..16).unwrap_or(hash))
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
            let members: Vec<String> = keys
                .into_iter()
                .map(|key| format!("{}:{}", quoted(key), canonical(&map[key])))
                .collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
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

/// A cell, ready to be written: its files and their bytes, in this order.
pub(crate) struct Packet(pub(super) Vec<(String, Vec<u8>)>);

impl Packet {
    /// `pixels` are N×3×S×S float32.
    pub fn new<R: Row>(
        address: &Address,
        rows: Vec<R>,
        provenance: String,
        pixels: Option<&Tensor>,
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

/// A file of pixels, and its hash.
fn pack(pixels: &Tensor) -> Result<(String, Vec<u8>)> {
    let bytes = safetensors(&[("pixels".to_owned(), pixels.shallow_clone())])?;
    Ok((blake3::hash(&bytes).to_string(), bytes))
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

/// A folder of cells, with or without an object store behind it.
#[derive(Clone, Debug)]
pub struct Store {
    out: PathBuf,
    folder: PathBuf,
    remote: Option<Arc<Remote>>,
    /// The only objects that there are; those that are asked for, unless set.
    listed: Option<Arc<BTreeSet<String>>>,
}

/// The folder of the cells, in the results' folder.
const CELLS: &str = "cells";
/// A folder for each kind of cell.
const KINDS: [&str; 6] = ["clean", "craft", "measure", "probe", "score", "transfer"];

/// The file in the results' folder that names the object store behind it.
const BEHIND: &str = "store.toml";

/// What it holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Behind {
    pub(super) url: String,
}

/// Puts an object store behind the results' folder `out`, which is made if need be:
/// `s3://bucket/path`, or a folder's `file:///path`. Whoever opens the folder from now on uses it.
/// For `s3`, the environment says who asks and whom: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
/// `AWS_REGION`, `AWS_ENDPOINT_URL`, ….
///
/// # Errors
/// When the URL is not such a one or nobody answers there, the folder has another object store, or
/// it cannot be written to.
pub fn attach(out: &Path, url: &str) -> Result<()> {
    let remote = Remote::open(url)?;
    remote.list()?;
    if let Some(other) = behind(out)? {
        ensure!(
            Remote::open(&other)?.url() == remote.url(),
            "the cells of {} are in {other}, not in {url}: choose another folder with `--out DIR`, \
             or remove {} to start anew with {url}",
            out.display(),
            out.join(BEHIND).display()
        );
        return Ok(());
    }
    let text = toml::to_string(&Behind { url: remote.url().to_owned() })?;
    let written = prepare(out)
        .map_err(Into::into)
        .and_then(|()| write_atomically(&out.join(BEHIND), text.as_bytes()));
    written.with_context(|| unwritable(out))
}

/// The URL of the object store behind a results' folder, if it has one.
fn behind(out: &Path) -> Result<Option<String>> {
    let path = out.join(BEHIND);
    let place = || format!("{}, which names the object store of the cells", path.display());
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error).with_context(place),
    };
    Ok(Some(toml::from_str::<Behind>(&text).with_context(place)?.url))
}

/// Whether there may be cells of a results' folder, here or in the object store behind it.
pub(crate) fn begun(out: &Path) -> bool {
    out.join(CELLS).is_dir() || out.join(BEHIND).exists()
}

fn unwritable(out: &Path) -> String {
    format!(
        "the results' folder {} cannot be written to; choose another with `--out DIR`",
        out.display()
    )
}

/// The [names](Address::name) of all cells that stand in the object store behind a results' folder,
/// if it has one.
///
/// # Errors
/// When it cannot be asked.
pub fn names_behind(out: &Path) -> Result<BTreeSet<String>> {
    let listed =
        behind(out)?.map_or_else(|| Ok(BTreeSet::new()), |url| Remote::open(&url)?.list())?;
    Ok(listed.iter().filter_map(|file| file.strip_suffix(ROWS)).map(str::to_owned).collect())
}

/// The [names](Address::name) of all cells that stand in a results' folder. That they are whole is
/// not verified: a cell's file is complete or absent, but for damage that came later.
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
        let remote = behind(out)?.map(|url| Remote::open(&url)).transpose()?.map(Arc::new);
        let store = Self { out: out.to_owned(), folder: out.join(CELLS), remote, listed: None };
        store.prepare().with_context(|| unwritable(out))?;
        Ok(store)
    }

    /// As it is now: what comes to the object store from here on is not there. To look for many
    /// cells that are not, it is asked once.
    ///
    /// # Errors
    /// When the object store cannot be reached.
    pub(crate) fn now(&self) -> Result<Self> {
        let listed = self.remote.as_ref().map(|remote| remote.list().map(Arc::new)).transpose()?;
        Ok(Self { listed, ..self.clone() })
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

    /// Of some cells, those that stand neither in the folder nor in the object store, verified or
    /// not.
    pub(crate) fn absent<'a, T: Copy>(
        &self,
        cells: &[T],
        address: impl Fn(T) -> &'a Address,
    ) -> Result<Vec<T>> {
        let here = |&cell: &T| self.folder.join(address(cell).file()).exists();
        let mut absent: Vec<T> = cells.iter().copied().filter(|cell| !here(cell)).collect();
        if let Some(remote) = self.remote.as_ref().filter(|_| !absent.is_empty()) {
            let there = remote.list()?;
            absent.retain(|&cell| !there.contains(&address(cell).file()));
        }
        Ok(absent)
    }

    /// The object store, if it may have this file.
    fn remote(&self, file: &str) -> Option<&Remote> {
        self.remote
            .as_deref()
            .filter(|_| self.listed.as_ref().is_none_or(|listed| listed.contains(file)))
    }

    /// Copies a file from the object store, if it has it, whatever it holds. Answers whether it
    /// does.
    fn fetch(&self, file: &str) -> Result<bool> {
        let Some(bytes) = self.remote(file).map_or(Ok(None), |remote| remote.get(file))? else {
            return Ok(false);
        };
        write_atomically(&self.folder.join(file), &bytes)?;
        Ok(true)
    }

    /// Whether the object store [lacked](Store::now) a cell of the folder: it may have been out of
    /// reach when the cell was stored, or have come later.
    pub(crate) fn to_share(&self, address: &Address) -> bool {
        self.remote.is_some()
            && self.listed.as_ref().is_some_and(|listed| !listed.contains(&address.file()))
    }

    /// Puts a cell of the folder into the object store, as far as that [lacked](Store::now) it.
    pub(crate) fn share(&self, address: &Address, pixels: Option<&str>) -> Result<()> {
        let (Some(remote), Some(listed)) = (&self.remote, &self.listed) else { return Ok(()) };
        if let Some((hash, file)) = pixels
            .map(|hash| (hash, address.pixel_file(hash)))
            .filter(|(_, file)| !listed.contains(file))
        {
            remote.put(&file, self.pixel_bytes(&file, hash)?)?;
        }
        let path = self.folder.join(address.file());
        remote.put(&address.file(), read_file(&path).with_context(|| path.display().to_string())?)
    }

    /// Looks for a cell and verifies it.
    ///
    /// # Errors
    /// When the object store cannot be asked, see [`OutOfReach`], or what it has not be copied.
    pub fn read<R: Row>(&self, address: &Address) -> Result<Found<R>> {
        let found = self.read_here(address);
        if !matches!(found, Found::Whole(_)) && self.fetch(&address.file())? {
            return Ok(self.read_here(address));
        }
        Ok(found)
    }

    fn read_here<R: Row>(&self, address: &Address) -> Found<R> {
        let bytes = match read_file(&self.folder.join(address.file())) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Found::Missing,
            Err(e) => return Found::Damaged(format!("cannot be read: {e}")),
        };
        // Readers of Parquet are not above panicking on a damaged file.
        match guard::catch("the reader", || decode(bytes.into(), address)) {
            Ok(stored) => Found::Whole(stored),
            Err(error) => Found::Damaged(format!("{error:#}")),
        }
    }

    /// Reads a cell that must be there.
    ///
    /// # Errors
    /// When it is not, or is damaged, or the object store cannot be asked.
    pub(crate) fn load<R: Row>(&self, address: &Address) -> Result<Stored<R>> {
        match self.read(address)? {
            Found::Whole(stored) => Ok(stored),
            Found::Missing => bail!("{} cell {} has gone", address.kind, address.key),
            Found::Damaged(reason) => {
                bail!("{} cell {} is damaged: {reason}", address.kind, address.key)
            }
        }
    }

    /// Writes a cell.
    pub fn write<R: Row>(&self, address: &Address, stored: &Stored<R>) -> Result<()> {
        self.keep(Packet(vec![(address.file(), encode(address, stored)?)]), true)
    }

    /// Writes a cell's pixels, N×3×S×S float32, and returns their hash for [`Stored::pixels`].
    pub fn write_pixels(&self, address: &Address, pixels: &Tensor) -> Result<String> {
        let (hash, bytes) = pack(pixels)?;
        self.keep(Packet(vec![(address.pixel_file(&hash), bytes)]), true)?;
        Ok(hash)
    }

    /// Writes a cell: into the folder, and then, if it is to be `shared`, into the object store.
    pub(crate) fn keep(&self, packet: Packet, shared: bool) -> Result<()> {
        for (file, bytes) in &packet.0 {
            write_atomically(&self.folder.join(file), bytes)?;
        }
        let remote = self.remote.as_ref().filter(|_| shared);
        remote.map_or(Ok(()), |remote| {
            packet.0.into_iter().try_for_each(|(file, bytes)| remote.put(&file, bytes))
        })
    }

    /// How many files had better be written at a time by a run with so many workers: writing to a
    /// disk is quick.
    pub(crate) fn writers(&self, workers: usize) -> usize {
        if self.remote.is_some() { workers } else { 1 }
    }

    /// Checks that a cell's pixels are there, `count` of them, in a file of the right size. The
    /// content is verified by [`Store::read_pixels`] alone.
    pub fn check_pixels(&self, address: &Address, hash: &str, count: usize) -> Result<()> {
        let file = address.pixel_file(hash);
        let place = || self.pixel_place(&file);
        let path = self.folder.join(&file);
        let here = || {
            beginning(&path)
                .map_err(Into::into)
                .and_then(|(start, length)| check_size(&start, length, count))
                .with_context(place)
        };
        if path.exists() {
            return here().or_else(|error| if self.fetch(&file)? { here() } else { Err(error) });
        }
        let there = self
            .remote(&file)
            .map_or(Ok(None), |remote| remote.beginning(&file, 8 + MAX_HEADER))?;
        there.map_or_else(here, |(start, length)| {
            check_size(&start, length, count).with_context(place)
        })
    }

    /// Verifies a cell's pixels as far as they are in the folder: those that are not have been
    /// [checked](Store::check_pixels), and are verified when they are read.
    pub(crate) fn verify_pixels(&self, address: &Address, hash: &str) -> Result<()> {
        let file = address.pixel_file(hash);
        if self.remote(&file).is_some() && !self.folder.join(&file).exists() {
            return Ok(());
        }
        self.pixel_bytes(&file, hash).map(|_| ())
    }

    /// Reads a cell's pixels, N×3×S×S float32, and verifies them.
    pub fn read_pixels(&self, address: &Address, hash: &str) -> Result<Tensor> {
        let file = address.pixel_file(hash);
        let mut tensors = gauntlet_core::weights::read_safetensors(self.pixel_bytes(&file, hash)?)?;
        tensors
            .remove("pixels")
            .with_context(|| format!("{}: no tensor `pixels`", self.pixel_place(&file)))
    }

    fn pixel_bytes(&self, file: &str, hash: &str) -> Result<Vec<u8>> {
        let read = || {
            let bytes = read_file(&self.folder.join(file)).with_context(|| self.pixel_place(file))?;
            ensure!(
                blake3::hash(&bytes).to_string() == hash,
                "{}: the content does not match the checksum",
                self.pixel_place(file)
            );
            Ok(bytes)
        };
        // A copy that is damaged stays: when it is found again, it is made anew.
        read().or_else(|error| if self.fetch(file)? { read() } else { Err(error) })
    }

    fn pixel_place(&self, file: &str) -> String {
        format!("pixels {}", self.folder.join(file).display())
    }
}

/// The first bytes of a file of pixels, with the header among them, and its length.
fn beginning(path: &Path) -> io::Result<(Vec<u8>, u64)> {
    let file = open_file(path)?;
    let length = file.metadata()?.len();
    let mut start = Vec::new();
    file.take(8 + MAX_HEADER).read_to_end(&mut start)?;
    Ok((start, length))
}

/// Checks that a file of that length, which begins so, has `count` images.
fn check_size(start: &[u8], length: u64, count: usize) -> Result<()> {
    let header = start
        .first_chunk()
        .map(|bytes| u64::from_le_bytes(*bytes))
        .filter(|&header| header <= MAX_HEADER);
    let text = header
        .and_then(|header| start.get(8..8 + header as usize))
        .context("not a whole safetensors file")?;
    let parsed: serde_json::Value = serde_json::from_slice(text)?;
    let shape: Option<Vec<u64>> = parsed["pixels"]["shape"]
        .as_array()
        .map(|shape| shape.iter().filter_map(serde_json::Value::as_u64).collect());
    let expected = match shape.as_deref() {
        Some(&[n, 3, height, width]) if n == count as u64 => 3u64
            .checked_mul(n)
            .and_then(|n| n.checked_mul(height)?.checked_mul(width)?.checked_mul(4)),
        _ => bail!("{count} images of 3 channels are expected"),
    };
    ensure!(
        expected.and_then(|bytes| bytes.checked_add(8 + text.len() as u64)) == Some(length),
        "{length} bytes are fewer or more than its header says"
    );
    Ok(())
}

/// The bytes of a file.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Opens a file, if it is one: to open a pipe would take for ever.
fn open_file(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("not a file"))
    }
}

/// The bytes of a safetensors file with these tensors, as float32.
pub(crate) fn safetensors(tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let bytes = |tensor: &Tensor| -> Result<Vec<u8>> {
        let values = Vec::<f32>::try_from(
            tensor.to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]),
        )?;
        Ok(values.iter().flat_map(|v| v.to_le_bytes()).collect())
    };
    let all: Vec<Vec<u8>> =
        tensors.iter().map(|(_, tensor)| bytes(tensor)).collect::<Result<_>>()?;
    let mut views = Vec::new();
    for ((name, tensor), bytes) in tensors.iter().zip(&all) {
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        views.push((
            name.as_str(),
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes)?,
        ));
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
        KeyValue::new(CHECKSUM.into(), UNSEALED.to_owned()),
    ];
    if let Some(hash) = &stored.pixels {
        metadata.push(KeyValue::new(PIXELS.into(), hash.clone()));
    }
    let batch = R::batch(&stored.rows)?;
    let mut bytes = Vec::new();
    // For so few rows, to set up compression takes longer than all else.
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

/// Where a file's checksum stands, and what it should be: BLAKE3, in hexadecimal, of the kind of
/// its cell and of all its bytes with zeros for itself. It is found and verified before anything of
/// the file is parsed: a reader of Parquet may take for ever on a damaged one.
fn checksum(address: &Address, bytes: &[u8]) -> Option<(Range<usize>, String)> {
    let name = CHECKSUM.as_bytes();
    let start = bytes.windows(name.len()).rposition(|window| window == name)? + name.len() + 2; // the next field's type and length
    let place = start..start + UNSEALED.len();
    let (before, after) = (bytes.get(..place.start)?, bytes.get(place.end..)?);
    let mut hasher = Hasher::new();
    hasher.update(address.kind.as_bytes()).update(before).update(UNSEALED.as_bytes()).update(after);
    Some((place, hasher.finalize().to_string()))
}

fn decode<R: Row>(bytes: Bytes, address: &Address) -> Result<Stored<R>> {
    // The fuzzer knows no hashes.
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
    // The fuzzer's files are of cells that it does not know.
    ensure!(cfg!(fuzzing) || spec == address.spec, "the file belongs to another cell");
    let mut rows = Vec::new();
    for batch in reader.build()? {
        rows.extend(R::read(&batch?)?);
    }
    let stored = Stored { rows, provenance, pixels: find(PIXELS) };
    let is_hash = |text: &String| text.len() == 64 && text.bytes().all(|c| c.is_ascii_hexdigit());
    ensure!(stored.pixels.as_ref().is_none_or(is_hash), "the hash of its pixels is none"); // it becomes part of a path
    Ok(stored)
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
        let stored =
            Stored { rows: craft_rows(), provenance: "{\"engine\":\"1\"}".into(), pixels: None };
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
        assert_ne!(
            Address::new("craft", &json!({"a": 1})).key,
            Address::new("craft", &json!({"a": 2})).key
        );
    }

    #[test]
    fn a_cell_comes_back_as_it_was() {
        let (_folder, store, address, stored) = example();
        assert!(matches!(store.read(&address).unwrap(), Found::Whole(found) if found == stored));
        assert!(matches!(
            store.read::<CraftRow>(&Address::new("craft", &json!(1))).unwrap(),
            Found::Missing
        ));
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let (_folder, store, address, _) = example();
        let path = store.folder.join(address.file());
        let whole = fs::read(&path).unwrap();
        for n in (0..whole.len()).step_by(7) {
            let mut bytes = whole.clone();
            bytes[n] ^= 0x5a;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(
                damage(&store.read(&address).unwrap()),
                "the content does not match the checksum",
                "byte {n}"
            );
        }
    }

    #[test]
    fn truncated_and_foreign_files_are_damaged() {
        let (_folder, store, address, stored) = example();
        let path = store.folder.join(address.file());
        let whole = fs::read(&path).unwrap();
        for length in [0, 1, 4, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(
                damage(&store.read(&address).unwrap()),
                "the content does not match the checksum",
                "{length}"
            );
        }
        let other = Address::new("craft", &json!("other"));
        store.write(&other, &stored).unwrap();
        fs::copy(store.folder.join(other.file()), &path).unwrap();
        assert_eq!(damage(&store.read(&address).unwrap()), "the file belongs to another cell");
    }

    #[test]
    fn what_is_no_file_is_damaged_and_replaced() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let (_folder, store, address, stored) = example();
        let path = store.folder.join(address.file());
        fs::remove_file(&path).unwrap();
        mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        assert_eq!(damage(&store.read(&address).unwrap()), "cannot be read: not a file"); // to open it would wait for a writer
        store.write(&address, &stored).unwrap();
        assert!(matches!(store.read(&address).unwrap(), Found::Whole(found) if found == stored));
    }

    #[test]
    fn pixels_are_verified() {
        let (_folder, store, address, _) = example();
        let pixels = Tensor::arange(24, (Kind::Float, tch::Device::Cpu)).view([2, 3, 2, 2]) / 24.0;
        let hash = store.write_pixels(&address, &pixels).unwrap();
        assert_eq!(store.read_pixels(&address, &hash).unwrap(), pixels);
        let path = store.folder.join(address.pixel_file(&hash));
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(
            store
                .read_pixels(&address, &hash)
                .unwrap_err()
                .to_string()
                .ends_with("does not match the checksum")
        );
        assert!(
            store
                .read_pixels(&address, &"0".repeat(64))
                .unwrap_err()
                .to_string()
                .starts_with("pixels ")
        );
    }
}
