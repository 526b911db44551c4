//! The object store behind a results folder.

use crate::store::address::{CELLS, CellKind, ROWS};
use crate::store::files::{prepare, write_atomically};
use crate::store::remote::Remote;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

/// The file in the results folder that names the object store behind it.
const BEHIND: &str = "store.toml";

/// The content of [`BEHIND`].
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Behind {
    url: String,
}

/// Puts an object store behind the results folder `out`, which is made if need be. The URL is
/// `s3://bucket/path`, or a folder's `file:///path`. Every later [`Store::open`] of the folder uses
/// the object store. For `s3`, the environment has the credentials and the server:
/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`, ….
///
/// # Errors
/// When the URL is of another form, the object store cannot be reached, the folder has another
/// object store, or the folder cannot be written to.
///
/// [`Store::open`]: crate::store::Store::open
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

/// The URL of the object store behind a results folder, if it has one.
pub(super) fn behind(out: &Path) -> Result<Option<String>> {
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

/// Whether a results folder may have cells, in itself or in an object store behind it.
pub(crate) fn begun(out: &Path) -> bool {
    out.join(CELLS).is_dir() || out.join(BEHIND).exists()
}

/// The message about a results folder that cannot be written to.
pub(super) fn unwritable(out: &Path) -> String {
    format!(
        "the results folder {} cannot be written to; choose another with `--out DIR`",
        out.display()
    )
}

/// The [names](crate::store::Address::name) of all cells in the object store behind a results'
/// folder; none when the folder has no object store.
///
/// # Errors
/// When the object store cannot be reached.
pub fn names_behind(out: &Path) -> Result<BTreeSet<String>> {
    let listed =
        behind(out)?.map_or_else(|| Ok(BTreeSet::new()), |url| Remote::open(&url)?.list())?;
    Ok(listed.iter().filter_map(|file| file.strip_suffix(ROWS)).map(str::to_owned).collect())
}

/// The [names](crate::store::Address::name) of all cells in a results folder. The cells are not
/// verified: a cell's file is complete or absent, unless it was damaged later.
///
/// # Errors
/// When a folder of cells exists and cannot be read.
pub fn names(out: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for kind in CellKind::ALL {
        let folder = out.join(CELLS).join(kind.name());
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
