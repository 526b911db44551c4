//! Entry points of the fuzz targets (`tests/fuzz`), in builds with `--cfg fuzzing` alone.

use crate::data::classes::Classes;
use crate::data::decode;
use crate::data::labels::label_in_name;
use crate::data::lookup::Lookup;
use crate::data::sheet::Sheet;
use crate::text;
use std::path::Path;

/// Reads a text as a label file of the images in `folder`, as a class file, and its lines as names
/// of class folders and of images.
pub fn labels(folder: &Path, bytes: &[u8]) {
    let Ok(text) = text::decode(bytes) else { return };
    let lookup = Lookup::new(folder);
    let classes = Classes::parse(&text);
    let imagenet = Classes::imagenet();
    let index = classes.as_ref().unwrap_or(&imagenet).index();
    let first = index.first_number();
    if let Ok(sheet) = Sheet::parse(&text, &lookup) {
        let lines = text.lines().count();
        for row in sheet.rows {
            assert!((1..=lines).contains(&row.line), "line {} of {lines}", row.line);
            let _ = (lookup.find(&row.file), lookup.similar(&row.file));
            let _ = (index.class(&row.label, 0), index.class(&row.target, 1));
        }
    }
    for line in text.lines() {
        for name in [line, line.trim()] {
            let _ = (index.class(name, first), label_in_name(name, &index, 1));
        }
    }
}

/// Reads an image file.
pub fn image(bytes: &[u8]) {
    let cmyk = decode::is_cmyk(bytes);
    if let (Ok(image), true) = (decode::decode(bytes), cmyk) {
        assert!(image.colour, "CMYK has colour");
    }
}
