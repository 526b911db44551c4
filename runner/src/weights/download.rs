//! Downloading a file over HTTP: a download goes on where it stopped, and counts only when its hash
//! is right.
//!
//! The bytes go to `FILE.part`. The next download continues that file. Once it is whole and
//! verified, it becomes `FILE`.

use crate::weights::hash::{CHUNK, each_chunk, hexadecimal};
use crate::weights::http::{Stop, request};
use crate::weights::progress::DownloadProgress;
use crate::weights::settings::DownloadSettings;
use anyhow::{Context, Result, anyhow, bail};
use attohttpc::Response;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use url::Url;

/// Number of tries in a row without any new bytes after which a download is given up.
const TRIES: u32 = 4;

/// A file to fetch.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub url: Url,
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: &'a str,
    /// Where the file goes.
    pub path: PathBuf,
}

/// Fetches a file, or what is missing of it, and verifies it.
///
/// # Errors
/// When the file cannot be fetched, or its hash is wrong. What has come so far is kept, unless the
/// hash is wrong.
pub(super) fn fetch(
    wanted: &Wanted,
    settings: &DownloadSettings,
    progress: &dyn DownloadProgress,
) -> Result<()> {
    let part = part(&wanted.path);
    let place = || format!("writing {}", part.display());
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).open(&part).with_context(place)?;
    let mut hash = Sha256::new();
    let mut done = file.metadata().with_context(place)?.len();
    if done > wanted.size {
        file.set_len(0).with_context(place)?;
        done = 0;
    }
    if done > 0 {
        progress.begin("reading what is there", done, 0);
        each_chunk(&mut file, |chunk| {
            hash.update(chunk);
            progress.advance(chunk.len() as u64);
            Ok(())
        })
        .with_context(|| format!("reading {}", part.display()))?;
        progress.end();
    }
    let mut tries = 0;
    while done < wanted.size {
        let before = done;
        let stopped = match request(&wanted.url, wanted.size, settings, done) {
            Err(Stop::ForGood(error)) => return Err(given_up(wanted, done, &error)),
            Err(Stop::ForNow(error)) => error,
            Ok((response, from)) => {
                if from < done {
                    progress
                        .warn("the server cannot go on in the middle of a file: it begins again");
                    file.set_len(0).with_context(place)?;
                    (hash, done) = (Sha256::new(), 0);
                }
                progress.begin(wanted.url.as_str(), wanted.size, done);
                let copied = copy(response, &mut file, &mut hash, wanted.size, &mut done, progress);
                progress.end();
                match copied {
                    Ok(()) if done == wanted.size => break,
                    Ok(()) => anyhow!("the connection ended early"),
                    Err(Broken::Disk(error)) => {
                        return Err(anyhow::Error::from(error).context(place()));
                    }
                    Err(Broken::Network(error)) => error.into(),
                }
            }
        };
        tries = if done > before { 1 } else { tries + 1 };
        if tries >= TRIES {
            return Err(given_up(wanted, done, &stopped));
        }
        progress.warn(&format!("{stopped:#}; trying again"));
        thread::sleep(settings.pause * tries);
    }
    file.sync_all().with_context(place)?;
    let found = hexadecimal(&hash.finalize());
    if found != wanted.sha256 {
        fs::remove_file(&part).with_context(place)?;
        bail!(
            "what came from {} is another file than expected: its sha256 is {found}, not {}. It is \
             removed; try again, or another \
             mirror (`--mirror URL`)",
            wanted.url,
            wanted.sha256
        );
    }
    fs::rename(&part, &wanted.path).with_context(place)
}

/// Why copying an answer to the disk broke off.
enum Broken {
    Disk(io::Error),
    Network(io::Error),
}

/// Copies the body of an answer to the end of `file`, at most up to `size` bytes in all.
fn copy(
    response: Response,
    file: &mut File,
    hash: &mut Sha256,
    size: u64,
    done: &mut u64,
    progress: &dyn DownloadProgress,
) -> Result<(), Broken> {
    let (_, _, body) = response.split();
    let mut body = body.take(size - *done);
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match body.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Broken::Network(error)),
        };
        file.write_all(&buffer[..count]).map_err(Broken::Disk)?;
        hash.update(&buffer[..count]);
        *done += count as u64;
        progress.advance(count as u64);
    }
}

/// The error of a download that is given up. Removes the file of one that has not begun.
fn given_up(wanted: &Wanted, done: u64, why: &anyhow::Error) -> anyhow::Error {
    if done == 0 {
        let _ = fs::remove_file(part(&wanted.path));
    }
    let Wanted { url, path, size, .. } = wanted;
    let kept = if done > 0 {
        format!("{done} of {size} bytes are there and kept: the same command goes on from there. ")
    } else {
        String::new()
    };
    anyhow!(
        "{url} could not be fetched: {why:#}. {kept}Behind a proxy, set HTTP_PROXY or HTTPS_PROXY; \
         name a mirror with `--mirror URL` or GAUNTLET_MIRROR; without a network, bring the file \
         here and put it at {}",
        path.display()
    )
}

/// The name of a file while it is fetched.
pub(super) fn part(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".part");
    name.into()
}
