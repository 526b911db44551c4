//! The store: a folder of cells, with or without an object store behind it.

use crate::store::address::{Address, CELLS, CellKind};
use crate::store::backing::{behind, unwritable};
use crate::store::error::Result;
use crate::store::files::{prepare, read_file, write_atomically};
use crate::store::format::{Lookup, Packet, Stored, decode, encode};
use crate::store::pixels::{Adversarials, MAX_HEADER, beginning, check_size, pack, unpack};
use crate::store::remote::Remote;
use crate::store::row::Row;
use anyhow::{Context, anyhow};
use gauntlet_core::guard;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A folder of cells, with or without an object store behind it.
#[derive(Clone, Debug)]
pub struct Store {
    out: PathBuf,
    folder: PathBuf,
    remote: Option<Arc<Remote>>,
    /// The files in the object store, if they were listed: see [`Store::now`]. Without a list the
    /// object store is asked for each file.
    listed: Option<Arc<BTreeSet<String>>>,
}

impl Store {
    /// Opens the results folder `out`. Makes it if need be, and removes temporary files that dead
    /// processes left.
    ///
    /// # Errors
    /// When the folder cannot be written to, or its object store's URL is wrong.
    pub fn open(out: &Path) -> anyhow::Result<Self> {
        let remote = behind(out)?.map(|url| Remote::open(&url)).transpose()?.map(Arc::new);
        let store = Self { out: out.to_owned(), folder: out.join(CELLS), remote, listed: None };
        store.prepare().with_context(|| unwritable(out))?;
        Ok(store)
    }

    /// This store with a list of the object store's present files: files that come later are not
    /// seen. A look for many missing cells then asks the object store once, not once per cell.
    ///
    /// # Errors
    /// [`OutOfReach`](crate::store::StoreError::OutOfReach) when the object store cannot be reached.
    pub(crate) fn now(&self) -> Result<Self> {
        let listed = self.remote.as_ref().map(|remote| remote.list().map(Arc::new)).transpose()?;
        Ok(Self { listed, ..self.clone() })
    }

    /// Removes temporary files whose processes have died.
    pub(crate) fn tidy(&self) {
        // Files that stay are removed when the folder is next opened.
        let _ = self.prepare();
    }

    fn prepare(&self) -> io::Result<()> {
        CellKind::ALL.iter().try_for_each(|kind| prepare(&self.folder.join(kind.name())))?;
        prepare(&self.out) // tables are written there
    }

    /// The results folder, which has the cells in `cells/`.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// Those of `cells` that neither the folder nor the object store has. Cells that are there are
    /// not verified.
    ///
    /// # Errors
    /// [`OutOfReach`](crate::store::StoreError::OutOfReach) when the object store cannot be reached.
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

    /// Copies a file from the object store without verifying it. Returns false when the object
    /// store does not have the file.
    fn fetch(&self, file: &str) -> Result<bool> {
        let Some(bytes) = self.remote(file).map_or(Ok(None), |remote| remote.get(file))? else {
            return Ok(false);
        };
        write_atomically(&self.folder.join(file), &bytes)?;
        Ok(true)
    }

    /// Whether the object store [lacked](Store::now) a cell of the folder. It lacks cells that were
    /// stored while it was out of reach, or before it was attached.
    pub(crate) fn to_share(&self, address: &Address) -> bool {
        self.remote.is_some()
            && self.listed.as_ref().is_some_and(|listed| !listed.contains(&address.file()))
    }

    /// Puts a cell of the folder into the object store. Its pixels are put only if the object store
    /// [lacked](Store::now) them.
    ///
    /// # Errors
    /// When a file of the cell cannot be read, or the object store cannot be reached.
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
    /// [`OutOfReach`](crate::store::StoreError::OutOfReach) when the object store cannot be reached;
    /// otherwise when its copy of the cell cannot be written to the folder. A missing or damaged
    /// cell is no error.
    pub fn read<R: Row>(&self, address: &Address) -> Result<Lookup<R>> {
        let found = self.read_here(address);
        if !matches!(found, Lookup::Whole(_)) && self.fetch(&address.file())? {
            return Ok(self.read_here(address));
        }
        Ok(found)
    }

    /// Looks for a cell in the folder and verifies it.
    fn read_here<R: Row>(&self, address: &Address) -> Lookup<R> {
        let bytes = match read_file(&self.folder.join(address.file())) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Lookup::Missing,
            Err(e) => return Lookup::Damaged(format!("cannot be read: {e}")),
        };
        // Readers of Parquet may panic on a damaged file.
        match guard::catch("the reader", || decode(bytes.into(), address)) {
            Ok(stored) => Lookup::Whole(stored),
            Err(error) => Lookup::Damaged(format!("{error:#}")),
        }
    }

    /// Reads a cell that must be there.
    ///
    /// # Errors
    /// When the cell is missing or damaged, or the object store cannot be reached, see
    /// [`OutOfReach`](crate::store::StoreError::OutOfReach).
    pub(crate) fn load<R: Row>(&self, address: &Address) -> Result<Stored<R>> {
        match self.read(address)? {
            Lookup::Whole(stored) => Ok(stored),
            Lookup::Missing => {
                Err(anyhow!("{} cell {} has gone", address.kind, address.key).into())
            }
            Lookup::Damaged(reason) => {
                Err(anyhow!("{} cell {} is damaged: {reason}", address.kind, address.key).into())
            }
        }
    }

    /// Writes a cell, to the folder and to the object store.
    ///
    /// # Errors
    /// When the cell cannot be written to either.
    pub fn write<R: Row>(&self, address: &Address, stored: &Stored<R>) -> Result<()> {
        self.keep(Packet(vec![(address.file(), encode(address, stored)?)]), true)
    }

    /// Writes a cell's pixels to the folder and to the object store. Returns their hash for
    /// [`Stored::pixels`].
    ///
    /// # Errors
    /// When the pixels cannot be written to either.
    pub fn write_pixels(&self, address: &Address, pixels: &Adversarials) -> Result<String> {
        let (hash, bytes) = pack(pixels)?;
        self.keep(Packet(vec![(address.pixel_file(&hash), bytes)]), true)?;
        Ok(hash)
    }

    /// Writes a cell to the folder and then, if it is to be `shared`, to the object store.
    ///
    /// # Errors
    /// When the cell cannot be written to either.
    pub(crate) fn keep(&self, packet: Packet, shared: bool) -> Result<()> {
        for (file, bytes) in &packet.0 {
            write_atomically(&self.folder.join(file), bytes)?;
        }
        let remote = self.remote.as_ref().filter(|_| shared);
        remote.map_or(Ok(()), |remote| {
            packet.0.into_iter().try_for_each(|(file, bytes)| remote.put(&file, bytes))
        })
    }

    /// Number of threads that should write cells in a run with this many workers. A disk is quick
    /// enough for one thread; an object store takes as long as a request.
    pub(crate) fn writers(&self, workers: usize) -> usize {
        if self.remote.is_some() { workers } else { 1 }
    }

    /// Checks that a cell has a file of pixels of the right size for `count` images.
    /// [`Store::read_pixels`] alone verifies the content.
    ///
    /// # Errors
    /// When the file is missing or of another size, or the object store cannot be reached.
    pub fn check_pixels(&self, address: &Address, hash: &str, count: usize) -> Result<()> {
        let file = address.pixel_file(hash);
        let place = || self.pixel_place(&file);
        let path = self.folder.join(&file);
        let right = |(start, length): (Vec<u8>, u64)| check_size(&start, length, count);
        let here = || -> Result<()> {
            Ok(beginning(&path).map_err(Into::into).and_then(right).with_context(place)?)
        };
        if path.exists() {
            return here().or_else(|error| if self.fetch(&file)? { here() } else { Err(error) });
        }
        let there = self
            .remote(&file)
            .map_or(Ok(None), |remote| remote.beginning(&file, 8 + MAX_HEADER))?;
        there.map_or_else(here, |there| Ok(right(there).with_context(place)?))
    }

    /// Verifies a cell's pixels if they are in the folder. Pixels that are only in the object store
    /// are [checked](Store::check_pixels) for their size, and verified when they are read.
    ///
    /// # Errors
    /// When the pixels are missing or damaged, or the object store cannot be reached.
    pub(crate) fn verify_pixels(&self, address: &Address, hash: &str) -> Result<()> {
        let file = address.pixel_file(hash);
        if self.remote(&file).is_some() && !self.folder.join(&file).exists() {
            return Ok(());
        }
        self.pixel_bytes(&file, hash).map(|_| ())
    }

    /// Reads a cell's pixels, and verifies them.
    ///
    /// # Errors
    /// When the pixels are missing or damaged, or the object store cannot be reached.
    pub fn read_pixels(&self, address: &Address, hash: &str) -> Result<Adversarials> {
        let file = address.pixel_file(hash);
        let bytes = self.pixel_bytes(&file, hash)?;
        Ok(unpack(&bytes).with_context(|| self.pixel_place(&file))?)
    }

    /// A verified file of pixels.
    fn pixel_bytes(&self, file: &str, hash: &str) -> Result<Vec<u8>> {
        let read = || -> Result<Vec<u8>> {
            let bytes =
                read_file(&self.folder.join(file)).with_context(|| self.pixel_place(file))?;
            if blake3::hash(&bytes).to_string() == hash {
                Ok(bytes)
            } else {
                let place = self.pixel_place(file);
                Err(anyhow!("{place}: the content does not match the checksum").into())
            }
        };
        // A damaged file stays in the folder until its cell is computed again, which replaces it.
        read().or_else(|error| if self.fetch(file)? { read() } else { Err(error) })
    }

    /// A file of pixels, for messages.
    fn pixel_place(&self, file: &str) -> String {
        format!("pixels {}", self.folder.join(file).display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::CraftRow;
    use crate::store::rows::tests::craft_rows;
    use serde_json::json;
    use std::fs;
    use tch::{Kind, Tensor};

    fn example() -> (tempfile::TempDir, Store, Address, Stored<CraftRow>) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let address = Address::new(CellKind::Craft, &json!({"b": 1, "a": [0.1, "é\""]}));
        let stored =
            Stored { rows: craft_rows(), provenance: "{\"engine\":\"1\"}".into(), pixels: None };
        store.write(&address, &stored).unwrap();
        (folder, store, address, stored)
    }

    fn damage(found: &Lookup<CraftRow>) -> &str {
        match found {
            Lookup::Damaged(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_cell_comes_back_as_it_was() {
        let (_folder, store, address, stored) = example();
        assert!(matches!(store.read(&address).unwrap(), Lookup::Whole(found) if found == stored));
        assert!(matches!(
            store.read::<CraftRow>(&Address::new(CellKind::Craft, &json!(1))).unwrap(),
            Lookup::Missing
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
        let other = Address::new(CellKind::Craft, &json!("other"));
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
        // To open the pipe would wait for a writer.
        assert_eq!(damage(&store.read(&address).unwrap()), "cannot be read: not a file");
        store.write(&address, &stored).unwrap();
        assert!(matches!(store.read(&address).unwrap(), Lookup::Whole(found) if found == stored));
    }

    #[test]
    fn pixels_are_verified() {
        let (_folder, store, address, _) = example();
        let pixels = Tensor::arange(24, (Kind::Float, tch::Device::Cpu)).view([2, 3, 2, 2]) / 24.0;
        for rounded in [None, Some((&pixels * 255.0).floor() / 255.0)] {
            let given = Adversarials { float: pixels.shallow_clone(), rounded };
            let hash = store.write_pixels(&address, &given).unwrap();
            let found = store.read_pixels(&address, &hash).unwrap();
            assert_eq!((found.float, found.rounded), (given.float, given.rounded));
            store.check_pixels(&address, &hash, 2).unwrap();
            assert!(store.check_pixels(&address, &hash, 3).is_err());
        }
        let given = Adversarials { float: pixels, rounded: None };
        let hash = store.write_pixels(&address, &given).unwrap();
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
