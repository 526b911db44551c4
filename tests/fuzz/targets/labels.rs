//! Label files, class files, and names of class folders and images.
#![no_main]

use gauntlet_runner::data::fuzzing;
use std::cell::LazyCell;
use std::fs;

const FILES: [&str; 5] =
    ["a.png", "deep/b c.JPEG", "deep/a.bmp", "n01440764/1.png", "ILSVRC2012_val_00000001.JPEG"];

thread_local! {
    static FOLDER: LazyCell<tempfile::TempDir> = LazyCell::new(|| {
        let folder = tempfile::tempdir().expect("there is a place for temporary files");
        for name in FILES {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a file has a folder")).expect("it is empty");
            fs::write(path, "").expect("it is empty");
        }
        folder
    });
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    FOLDER.with(|folder| fuzzing::labels(folder.path(), bytes));
});
