//! Entry points of the fuzz targets (`tests/fuzz`), in builds with `--cfg fuzzing` alone.

use crate::data::classes::{Classes, Index};
use crate::data::decode;
use crate::data::labels::label_in_name;
use crate::data::lookup::Lookup;
use crate::data::sheet::{Sheet, SheetRow};
use crate::text;
use std::path::Path;
use std::sync::LazyLock;

/// Greatest number and length of names that are looked up: an error compares a name with all others.
const NAMES: usize = 2;
const LONGEST: usize = 48;

static CLASSES: LazyLock<Classes> = LazyLock::new(Classes::imagenet);
static IMAGENET: LazyLock<Index<'static>> = LazyLock::new(|| CLASSES.index());

/// Reads a text as a label file of the images in `folder`, as a class file, and its lines as names
/// of class folders and of images.
pub fn labels(folder: &Path, bytes: &[u8]) {
    let Ok(text) = text::decode(bytes) else { return };
    let lookup = Lookup::new(folder);
    let classes = Classes::parse(&text).ok();
    let own = classes.as_ref().map(Classes::index);
    let index = own.as_ref().unwrap_or(&IMAGENET);
    let first = index.first_number();
    if let Ok(sheet) = Sheet::parse(&text, &lookup) {
        let lines = text.lines().count();
        assert!(sheet.rows.iter().all(|row| (1..=lines).contains(&row.line)), "of {lines} lines");
        let short = |row: &SheetRow| row.label.len().max(row.target.len()) <= LONGEST;
        for row in sheet.rows.into_iter().filter(short).take(NAMES) {
            let _ = (lookup.find(&row.file), lookup.similar(&row.file));
            let _ = (index.class(&row.label, 0), index.class(&row.target, 1));
        }
    }
    for name in text.lines().filter(|name| name.len() <= LONGEST).take(NAMES) {
        let _ = (index.class(name, first), label_in_name(name, index, 1));
    }
}

/// Reads an image file.
pub fn image(bytes: &[u8]) {
    let cmyk = decode::is_cmyk(bytes);
    if let (Ok(image), true) = (decode::decode(bytes), cmyk) {
        assert!(image.colour, "CMYK has colour");
    }
}
