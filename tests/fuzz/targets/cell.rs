//! Files of cells. The first byte chooses the kind.
#![no_main]

use gauntlet_runner::store::rows::{
    CleanRow, ControlRow, CraftRow, MeasureRow, ScoreRow, TransferRow,
};
use gauntlet_runner::store::{Address, CellKind, Lookup, Row, Store};
use std::cell::LazyCell;
use std::fs;

struct Place {
    folder: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Self {
        // In memory where that is possible, since nothing has to stay.
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .expect("there is room");
        Self { store: Store::open(folder.path()).expect("there is room"), folder }
    }

    fn read<R: Row>(&self, kind: CellKind, bytes: &[u8]) {
        let address = Address { kind, key: "cell".to_owned(), spec: "{}".to_owned() };
        let path = self.folder.path().join("cells").join(kind.name()).join("cell.parquet");
        fs::write(path, bytes).expect("there is room");
        if let Ok(Lookup::Whole(stored)) = self.store.read::<R>(&address)
            && let Some(hash) = stored.pixels
        {
            let _ = (
                self.store.check_pixels(&address, &hash, stored.rows.len()),
                self.store.read_pixels(&address, &hash),
            );
        }
    }
}

thread_local! {
    static PLACE: LazyCell<Place> = LazyCell::new(Place::new);
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    PLACE.with(|place| match kind {
        b'c' => place.read::<CleanRow>(CellKind::Clean, bytes),
        b'o' => place.read::<ControlRow>(CellKind::Control, bytes),
        b'm' => place.read::<MeasureRow>(CellKind::Measure, bytes),
        b's' => place.read::<ScoreRow>(CellKind::Score, bytes),
        b't' => place.read::<TransferRow>(CellKind::Transfer, bytes),
        _ => place.read::<CraftRow>(CellKind::Craft, bytes),
    });
});
