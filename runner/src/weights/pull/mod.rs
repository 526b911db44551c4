//! Weights from an archive of frozen graphs.
//!
//! The archive is one compressed stream: even a single member takes the whole download. The archive
//! is fetched into the folder of weights and verified. It stays there until all its members are
//! taken.

use crate::store::Pending;
use crate::weights::archive::{Archive, Member};
use crate::weights::download::{Wanted, fetch, part};
use crate::weights::folder::{WeightsFolder, check_space};
use crate::weights::hash::{each_chunk, hexadecimal};
use crate::weights::locate::find;
use crate::weights::progress::DownloadProgress;
use crate::weights::settings::DownloadSettings;
use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// Greatest size of a member in bytes: the limit of protobuf, the format of frozen graphs.
const MAX_MEMBER: u64 = 2 << 30;

/// The result of a pull.
#[derive(Debug)]
pub struct Pulled {
    /// The models whose weights were fetched, with their files.
    pub taken: Vec<(&'static str, PathBuf)>,
    /// The models whose weights were there already, with their files.
    pub there: Vec<(&'static str, PathBuf)>,
    /// The archive, if it was kept because members are left in it.
    pub kept: Option<PathBuf>,
}

/// Fetches the weights of `models`, or of all when there are none, from the archive into `folder`.
/// Weights that are there already stay as they are.
///
/// # Errors
/// When the archive has no such model, cannot be fetched, has another hash than expected, or lacks
/// a member. Only the download may be left incomplete; the next try continues it.
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
    let weights_folder = WeightsFolder::open(folder)?;
    let path = folder.join(archive.file);
    let begun = [part(&path), path.clone()]
        .iter()
        .find_map(|path| path.metadata().ok())
        .map_or(0, |about| about.len());
    // Floats hardly compress, so a member's size in the archive is about its size on disk.
    let unpacked = archive.size / archive.members.len() as u64 * missing.len() as u64;
    check_space(folder, archive.size.saturating_sub(begun) + unpacked)?;
    if path.exists() {
        // A file brought here by hand or kept by an earlier pull is verified like any other.
        std::fs::rename(&path, part(&path))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    let url = settings.address(archive.base, archive.file)?;
    fetch(
        &Wanted { url, size: archive.size, sha256: archive.sha256, path: path.clone() },
        settings,
        progress,
    )?;
    unpack(&path, &missing, &weights_folder, progress)?;
    pulled.taken = missing.iter().filter_map(|member| there(member)).collect();
    if archive.members.iter().all(|member| there(member).is_some()) {
        std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    } else {
        pulled.kept = Some(path);
    }
    Ok(pulled)
}

/// Takes the wanted members out of a verified archive. The members' own paths decide nothing: no
/// path or link of the archive is followed.
fn unpack(
    path: &Path,
    wanted: &[&Member],
    weights_folder: &WeightsFolder,
    progress: &dyn DownloadProgress,
) -> Result<()> {
    let place = || format!("archive {}", path.display());
    let file = File::open(path).with_context(place)?;
    progress.begin("unpacking", file.metadata().with_context(place)?.len(), 0);
    let unpacked =
        unpack_from(Counted { file: BufReader::new(file), progress }, wanted, weights_folder);
    progress.end();
    unpacked.with_context(place)
}

fn unpack_from(
    source: impl Read,
    wanted: &[&Member],
    weights_folder: &WeightsFolder,
) -> Result<()> {
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
        let mut pending = Pending::new(&weights_folder.folder.join(&own))?;
        let mut hash = Sha256::new();
        each_chunk(&mut entry, |chunk| {
            hash.update(chunk);
            pending.file().write_all(chunk)
        })
        .with_context(|| format!("`{}` in it", member.file))?;
        pending.commit()?;
        weights_folder.record(&own, &hexadecimal(&hash.finalize()))?;
        if left.is_empty() {
            return Ok(());
        }
    }
    let lacking: Vec<&str> = left.iter().map(|member| member.file).collect();
    bail!("it lacks {}", lacking.join(", "))
}

/// A file that tells a progress how much of it has been read.
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
