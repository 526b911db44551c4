//! Weights from an archive of frozen graphs.
//!
//! The archive is one compressed stream: even a single member takes the whole download. It is
//! fetched into the folder of weights, verified, and stays there until nothing is left to take from
//! it.

use super::download::{
    DownloadProgress, DownloadSettings, Wanted, check_space, each_chunk, fetch, hexadecimal, part,
};
use super::folder::WeightsFolder;
use super::{Archive, Member, find};
use crate::store::Pending;
use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// No member is longer: it is the limit of the format that frozen graphs are in.
const MAX_MEMBER: u64 = 2 << 30;

/// What a pull has done.
#[derive(Debug)]
pub struct Pulled {
    /// The models whose weights have come, with their files.
    pub taken: Vec<(&'static str, PathBuf)>,
    /// The models whose weights were there already, with their files.
    pub there: Vec<(&'static str, PathBuf)>,
    /// The archive, if it was kept because there is more in it.
    pub kept: Option<PathBuf>,
}

/// Fetches the weights of `models`, or of all, from the archive into `folder`. What is there
/// already is left alone.
///
/// # Errors
/// When the archive has no such model, cannot be fetched, is another than expected, or lacks a
/// member; nothing half-written is left but the download, which the next try goes on with.
pub fn pull(
    archive: &Archive,
    models: &[&str],
    folder: &Path,
    settings: &DownloadSettings,
    progress: &dyn DownloadProgress,
) -> Result<Pulled> {
    let members: Vec<&Member> = match models {
        [] => archive.members.iter().collect(),
        models => models
            .iter()
            .map(|model| {
                archive.member(model).with_context(|| {
                    format!("the archive `{}` has no weights of `{model}`", archive.name)
                })
            })
            .collect::<Result<_>>()?,
    };
    let there = |member: &Member| Some((member.model, find(member.model, folder)?));
    let mut pulled = Pulled {
        taken: Vec::new(),
        there: members.iter().filter_map(|member| there(member)).collect(),
        kept: None,
    };
    let missing: Vec<&Member> =
        members.into_iter().filter(|member| there(member).is_none()).collect();
    if missing.is_empty() {
        return Ok(pulled);
    }
    let shelf = WeightsFolder::open(folder)?;
    let path = folder.join(archive.file);
    let begun = [part(&path), path.clone()]
        .iter()
        .find_map(|path| path.metadata().ok())
        .map_or(0, |about| about.len());
    // A graph of floats hardly shrinks in an archive.
    let unpacked = archive.size / archive.members.len() as u64 * missing.len() as u64;
    check_space(folder, archive.size.saturating_sub(begun) + unpacked)?;
    if path.exists() {
        // Brought here by hand, or kept; it is verified like any other.
        std::fs::rename(&path, part(&path))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    let url = settings.address(archive.base, archive.file)?;
    fetch(
        &Wanted { url, size: archive.size, sha256: archive.sha256, path: path.clone() },
        settings,
        progress,
    )?;
    unpack(&path, &missing, &shelf, progress)?;
    pulled.taken = missing.iter().filter_map(|member| there(member)).collect();
    if archive.members.iter().all(|member| there(member).is_some()) {
        std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    } else {
        pulled.kept = Some(path);
    }
    Ok(pulled)
}

/// Takes the wanted members out of a verified archive. Where they go is decided here: no path or
/// link of the archive is ever followed.
fn unpack(
    path: &Path,
    wanted: &[&Member],
    shelf: &WeightsFolder,
    progress: &dyn DownloadProgress,
) -> Result<()> {
    let place = || format!("archive {}", path.display());
    let file = File::open(path).with_context(place)?;
    progress.begin("unpacking", file.metadata().with_context(place)?.len(), 0);
    let unpacked = unpack_from(Counted { file: BufReader::new(file), progress }, wanted, shelf);
    progress.end();
    unpacked.with_context(place)
}

fn unpack_from(source: impl Read, wanted: &[&Member], shelf: &WeightsFolder) -> Result<()> {
    let mut left: Vec<&Member> = wanted.to_vec();
    let mut archive = tar::Archive::new(GzDecoder::new(source));
    for entry in archive.entries().context("not a tar archive")? {
        let mut entry = entry.context("damaged")?;
        let name = entry.path().ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let Some(at) = left.iter().position(|member| name.as_deref() == Some(member.file)) else {
            continue;
        };
        if !entry.header().entry_type().is_file() {
            bail!("`{}` in it is not a file", left[at].file);
        }
        let member = left.swap_remove(at);
        ensure!(
            entry.size() <= MAX_MEMBER,
            "`{}` in it would have {} bytes",
            member.file,
            entry.size()
        );
        let own = format!("{}.pb", member.model);
        let mut pending = Pending::new(&shelf.folder.join(&own))?;
        let mut hash = Sha256::new();
        each_chunk(&mut entry, |chunk| {
            hash.update(chunk);
            pending.file().write_all(chunk)
        })
        .with_context(|| format!("`{}` in it", member.file))?;
        pending.commit()?;
        shelf.record(&own, &hexadecimal(&hash.finalize()))?;
        if left.is_empty() {
            return Ok(());
        }
    }
    let lacking: Vec<&str> = left.iter().map(|member| member.file).collect();
    bail!("it lacks {}", lacking.join(", "))
}

/// Tells how much has been read.
struct Counted<'a> {
    file: BufReader<File>,
    progress: &'a dyn DownloadProgress,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}

#[cfg(test)]
mod tests;
