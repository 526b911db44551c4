//! From a name in a label file to the file that it means.

use crate::data::walk;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;

/// Endings of image files, those that cannot be read included: a name may leave them out.
const ENDINGS: [&str; 22] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "dib", "tif", "tiff", "gif", "heic",
    "heif", "avif", "jp2", "j2k", "jxl", "npy", "ppm", "pgm", "ico", "svg",
];

/// Whether a name ends as those of image files do.
pub(super) fn is_image_name(name: &str) -> bool {
    stem(name).is_some()
}

/// A name of an image file without its ending; none where it has no such ending.
fn stem(name: &str) -> Option<&str> {
    let (stem, ending) = name.rsplit_once('.')?;
    let known = ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending));
    (known && !stem.is_empty() && !stem.ends_with('/')).then_some(stem)
}

/// The files of a folder, to be found by the names that label files give them.
pub(super) struct Lookup<'a> {
    folder: &'a Path,
    index: OnceCell<Index>,
}

/// Paths below the folder, by lower-case keys.
#[derive(Default)]
struct Index {
    path: HashMap<String, Vec<String>>,
    /// The path without its ending.
    path_stem: HashMap<String, Vec<String>>,
    /// The name without its folders.
    name: HashMap<String, Vec<String>>,
    name_stem: HashMap<String, Vec<String>>,
}

impl<'a> Lookup<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self { folder, index: OnceCell::new() }
    }

    /// The path below the folder of the file that is meant; none where there is no such file.
    /// A name may leave out its ending and its folders, have `\` for `/`, and differ in case.
    ///
    /// # Errors
    /// When several files can be meant.
    pub(super) fn find(&self, name: &str) -> Result<Option<String>, String> {
        let as_written = tidy(name, &['/']);
        let plain = tidy(name, &['/', '\\']);
        for exact in [as_written, plain.clone()] {
            if self.folder.join(&exact).is_file() {
                return Ok(Some(exact));
            }
        }
        let (index, key) = (self.index(), plain.to_lowercase());
        let mut looked = vec![index.path.get(&key), index.path_stem.get(&key)];
        if !plain.contains('/') {
            looked.extend([index.name.get(&key), index.name_stem.get(&key)]);
        }
        let Some(files) = looked.into_iter().flatten().next() else { return Ok(None) };
        let same_case: Vec<&String> = files
            .iter()
            .filter(|file| {
                let file = file.as_str();
                let last = file.rsplit('/').next().unwrap_or(file);
                [Some(file), stem(file), Some(last), stem(last)].contains(&Some(&plain))
            })
            .collect();
        match (files.as_slice(), same_case.as_slice()) {
            ([file], _) => Ok(Some(file.clone())),
            (_, [file]) => Ok(Some((*file).clone())),
            _ => Err(format!(
                "`{name}` can be {}: write the name in full",
                files.iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(" or ")
            )),
        }
    }

    /// A file of the same name with another ending.
    pub(super) fn similar(&self, name: &str) -> Option<&str> {
        let plain = tidy(name, &['/', '\\']).to_lowercase();
        let key = stem(&plain).unwrap_or(&plain);
        let index = self.index();
        let name = key.rsplit('/').next().unwrap_or(key);
        let files = index.path_stem.get(key).or_else(|| index.name_stem.get(name))?;
        files.first().map(String::as_str)
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| {
            let mut index = Index::default();
            // What cannot be listed is not found, which is an error of its own.
            let listing = walk::list(self.folder, "").unwrap_or_default();
            let starts: Vec<String> = listing.folders.into_iter().chain(listing.links).collect();
            let below = walk::files_below(self.folder, &starts).unwrap_or_default();
            let deep = below.files.into_iter().map(|(_, file)| file);
            for file in listing.files.into_iter().chain(deep) {
                let key = file.to_lowercase();
                let mut put = |map: fn(&mut Index) -> &mut HashMap<String, Vec<String>>,
                               key: &str| {
                    map(&mut index).entry(key.to_owned()).or_default().push(file.clone());
                };
                let name = key.rsplit('/').next().unwrap_or(&key);
                put(|index| &mut index.path, &key);
                put(|index| &mut index.name, name);
                if let Some(stem) = stem(&key) {
                    put(|index| &mut index.path_stem, stem);
                }
                if let Some(stem) = stem(name) {
                    put(|index| &mut index.name_stem, stem);
                }
            }
            index
        })
    }
}

/// A path with `/` between its parts, without `.` and empty parts.
fn tidy(name: &str, separators: &[char]) -> String {
    let absolute = name.starts_with('/');
    let parts: Vec<&str> =
        name.split(separators).filter(|part| !part.is_empty() && *part != ".").collect();
    format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::Lookup;
    use std::fs;

    #[test]
    fn a_name_finds_the_one_file_that_it_can_mean() {
        let place = tempfile::tempdir().unwrap();
        for name in ["a.png", "Deep/b.JPEG", "Deep/c.png", "c.jpg", "d.png", "d.txt", "D.png"] {
            let path = place.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let lookup = Lookup::new(place.path());
        for (name, expected) in [
            ("a.png", "a.png"),
            ("./a.png", "a.png"),
            ("A.PNG", "a.png"),
            ("a", "a.png"),
            ("b", "Deep/b.JPEG"),
            ("b.jpeg", "Deep/b.JPEG"),
            ("deep\\B", "Deep/b.JPEG"),
            (".\\Deep\\c.png", "Deep/c.png"),
            // The place that is named goes before all others.
            ("c", "c.jpg"),
            // A text is no image, and the case decides between two.
            ("d", "d.png"),
            ("D", "D.png"),
        ] {
            assert_eq!(lookup.find(name).unwrap().as_deref(), Some(expected), "{name}");
        }
        for name in ["e", "a.jpg", "Other/a", "Deep", ""] {
            assert_eq!(lookup.find(name), Ok(None), "{name}");
        }
        assert_eq!(lookup.similar("x/A.jpg"), Some("a.png"));
        fs::write(place.path().join("Deep/x.png"), "").unwrap();
        fs::write(place.path().join("Deep/x.bmp"), "").unwrap();
        assert_eq!(
            Lookup::new(place.path()).find("x").unwrap_err(),
            "`x` can be `Deep/x.bmp` or `Deep/x.png`: write the name in full"
        );
    }
}
