//! Files fetched over HTTP: a download goes on where it stopped, and counts only when its hash is
//! right.
//!
//! Bytes go to `FILE.part`, which is there to be continued until it is whole and verified, and then
//! becomes `FILE`.

use anyhow::{Context, Result, anyhow, bail, ensure};
use attohttpc::header::{CONTENT_LENGTH, CONTENT_RANGE, PROXY_AUTHORIZATION, RANGE};
use attohttpc::{ErrorKind, ProxySettings, Response, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind as Io, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use url::Url;

/// How often a download is taken up again without having got any further.
const TRIES: u32 = 4;
/// A server that is silent for so long has gone.
const PATIENCE: Duration = Duration::from_secs(30);
const CHUNK: usize = 1 << 16;

/// Where files come from, and on which way.
#[derive(Clone, Debug, Default)]
pub struct DownloadSettings {
    /// An address that takes the place of the folder in which the publisher has a file.
    pub mirror: Option<String>,
    /// Who is asked to fetch http and https addresses.
    pub proxies: [Option<Url>; 2],
    /// Hosts that are asked directly, with all below them; `*` is every host.
    pub no_proxy: Vec<String>,
    /// Between two tries; grows with every try.
    pub pause: Duration,
}

/// `config.toml` in Gauntlet's own folder.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    mirror: Option<String>,
    proxy: Option<String>,
}

impl DownloadSettings {
    /// From the environment (`GAUNTLET_MIRROR`; `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY` as usual, in small letters too), and what it leaves open from `config.toml` in
    /// Gauntlet's own folder: `mirror = "…"`, `proxy = "…"`.
    ///
    /// # Errors
    /// When the file has something else in it, or an address is none.
    pub fn read() -> Result<Self> {
        let config =
            crate::home::home().map(|home| home.join("config.toml")).filter(|path| path.exists());
        let config = config.map_or_else(|| Ok(Config::default()), |path| read_config(&path))?;
        Self::from(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()), config)
    }

    fn from(variable: impl Fn(&str) -> Option<String>, config: Config) -> Result<Self> {
        let either = |name: &str| {
            [name.to_lowercase(), name.to_owned()]
                .into_iter()
                .find_map(|name| Some((variable(&name)?, name)))
        };
        let proxy = |name: &str| {
            let configured =
                || config.proxy.clone().map(|value| (value, "`proxy` in config.toml".to_owned()));
            let Some((value, place)) =
                either(name).or_else(|| either("ALL_PROXY")).or_else(configured)
            else {
                return Ok(None);
            };
            proxy_address(value.trim()).map(Some).with_context(|| place)
        };
        let no_proxy = either("NO_PROXY").map(|(hosts, _)| hosts).unwrap_or_default();
        Ok(Self {
            mirror: variable("GAUNTLET_MIRROR").or(config.mirror),
            proxies: [proxy("HTTP_PROXY")?, proxy("HTTPS_PROXY")?],
            no_proxy: no_proxy
                .split(',')
                .map(|host| host.trim().trim_start_matches('.').to_lowercase())
                .filter(|h| !h.is_empty())
                .collect(),
            pause: Duration::from_secs(1),
        })
    }

    /// The address of `file`, which its publisher has under `base`.
    pub(super) fn address(&self, base: &str, file: &str) -> Result<Url> {
        let base = self.mirror.as_deref().unwrap_or(base);
        let address = format!("{}/{file}", base.trim_end_matches('/'));
        let url = Url::parse(&address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.with_context(|| {
            format!(
                "the mirror `{base}` is no address: one that begins with \
                 http:// or https:// is expected"
            )
        })
    }

    /// The proxy for a host, and how proxies are used.
    fn proxy(&self, url: &Url) -> (Option<&Url>, ProxySettings) {
        let host = url.host_str().unwrap_or_default();
        let direct = |own: &String| {
            own == "*"
                || host
                    .strip_suffix(own.as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let [http, https] = &self.proxies;
        if self.no_proxy.iter().any(direct) {
            return (None, ProxySettings::builder().build());
        }
        let proxy = if url.scheme() == "http" { http } else { https };
        (
            proxy.as_ref(),
            ProxySettings::builder().http_proxy(http.clone()).https_proxy(https.clone()).build(),
        )
    }
}

fn read_config(path: &Path) -> Result<Config> {
    let place = || format!("settings {}", path.display());
    toml::from_str(&fs::read_to_string(path).with_context(place)?).with_context(place)
}

fn proxy_address(value: &str) -> Result<Url> {
    let address = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&address)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.with_context(|| {
        format!("`{value}` is no proxy: an address like http://proxy.example:3128 is expected")
    })
}

/// Learns how far a download, or something else with many bytes, is.
pub trait DownloadProgress {
    /// Something of so many bytes begins, of which some are done.
    fn begin(&self, _what: &str, _total: u64, _done: u64) {}
    /// So many bytes more are done.
    fn advance(&self, _bytes: u64) {}
    /// Something that a user should know now.
    fn warn(&self, _message: &str) {}
    /// It is over.
    fn end(&self) {}
}

/// Tells nobody.
pub struct SilentDownload;
impl DownloadProgress for SilentDownload {}

/// A file to fetch.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub url: Url,
    /// Bytes.
    pub size: u64,
    /// In hexadecimal.
    pub sha256: &'a str,
    /// Where it goes.
    pub path: PathBuf,
}

/// Fetches a file, or what is missing of it, and verifies it.
///
/// # Errors
/// When it cannot be fetched; what has come so far is kept, unless its hash is wrong.
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
        let stopped = match request(wanted, settings, done) {
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

/// Under which name a file is fetched.
pub(super) fn part(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".part");
    name.into()
}

/// SHA-256 of a file, in hexadecimal.
pub(super) fn sha256(path: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    each_chunk(&mut File::open(path)?, |chunk| {
        hash.update(chunk);
        Ok(())
    })?;
    Ok(hexadecimal(&hash.finalize()))
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).expect("four bits");
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Gives all that is left of a source to `each`.
pub(super) fn each_chunk(
    source: &mut dyn Read,
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => each(&buffer[..count])?,
            Err(error) if error.kind() == Io::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What has happened, and what can be done. Nothing is left of a download that has not begun.
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
         name a mirror with `--mirror URL` or \
         GAUNTLET_MIRROR; without a network, bring the file here and put it at {}",
        path.display()
    )
}

/// Why there is no answer to go on with.
enum Stop {
    /// Trying again does not help.
    ForGood(anyhow::Error),
    ForNow(anyhow::Error),
}

/// Asks for the file from byte `from` on. The answer begins there, or at the start.
fn request(
    wanted: &Wanted,
    settings: &DownloadSettings,
    from: u64,
) -> Result<(Response, u64), Stop> {
    let (proxy, proxies) = settings.proxy(&wanted.url);
    let mut request = attohttpc::get(wanted.url.as_str())
        .proxy_settings(proxies)
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE);
    if from > 0 {
        request = request.header(RANGE, format!("bytes={from}-"));
    }
    if let Some(proxy) =
        proxy.filter(|proxy| wanted.url.scheme() == "http" && !proxy.username().is_empty())
    {
        let secret = BASE64_STANDARD.encode(format!(
            "{}:{}",
            proxy.username(),
            proxy.password().unwrap_or_default()
        ));
        request = request.header(PROXY_AUTHORIZATION, format!("Basic {secret}"));
    }
    let response = request.send().map_err(|error| match error.kind() {
        // Whoever does not answer at all will not in a second.
        ErrorKind::Io(cause)
            if matches!(
                cause.kind(),
                Io::ConnectionReset | Io::ConnectionAborted | Io::UnexpectedEof
            ) =>
        {
            Stop::ForNow(error.into())
        }
        _ => {
            let by = proxy.map_or_else(String::new, |proxy| {
                format!(
                    " through the proxy {}:{}",
                    proxy.host_str().unwrap_or_default(),
                    proxy.port_or_known_default().unwrap_or_default()
                )
            });
            Stop::ForGood(anyhow::Error::from(error).context(format!("no answer{by}")))
        }
    })?;
    begins_at(&response, wanted.size, from).map(|from| (response, from))
}

/// Where in the file the body of an answer begins.
fn begins_at(response: &Response, size: u64, asked: u64) -> Result<u64, Stop> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let other_size = |found: u64| {
        Stop::ForGood(anyhow::anyhow!(
            "the server has another file there: of {found} bytes, not {size}"
        ))
    };
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            // `bytes 100-199/200`
            let range = header(CONTENT_RANGE)
                .and_then(|range| range.strip_prefix("bytes ")?.split_once('/'));
            let start =
                range.and_then(|(span, _)| span.split_once('-')?.0.trim().parse::<u64>().ok());
            let total = range.and_then(|(_, total)| total.trim().parse::<u64>().ok());
            match (start, total) {
                (_, Some(total)) if total != size => Err(other_size(total)),
                (Some(start), _) if start == asked => Ok(asked),
                _ => Err(Stop::ForGood(anyhow::anyhow!(
                    "the server sent another part of the file than was asked for"
                ))),
            }
        }
        status if status.is_success() => {
            match header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) {
                Some(length) if length != size => Err(other_size(length)),
                _ => Ok(0),
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            Err(Stop::ForGood(anyhow::anyhow!("the server has a shorter file there")))
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(Stop::ForNow(anyhow::anyhow!("the server says {status}")))
        }
        status => Err(Stop::ForGood(anyhow::anyhow!("the server says {status}"))),
    }
}

/// What a transfer failed at.
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
            Err(error) if error.kind() == Io::Interrupted => continue,
            Err(error) => return Err(Broken::Network(error)),
        };
        file.write_all(&buffer[..count]).map_err(Broken::Disk)?;
        hash.update(&buffer[..count]);
        *done += count as u64;
        progress.advance(count as u64);
    }
}

/// Refuses to begin what a disk has no room for.
pub(super) fn check_space(folder: &Path, bytes: u64) -> Result<()> {
    let about =
        rustix::fs::statvfs(folder).with_context(|| format!("folder {}", folder.display()))?;
    let free = about.f_bavail.saturating_mul(about.f_frsize);
    ensure!(
        free >= bytes,
        "about {} MB are needed in {}, and {} MB are free: make room, or set GAUNTLET_HOME to a \
         folder with room",
        bytes / 1_000_000,
        folder.display(),
        free / 1_000_000
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)], config: &str) -> Result<DownloadSettings> {
        let variable = |name: &str| {
            variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned())
        };
        DownloadSettings::from(variable, toml::from_str(config)?)
    }

    #[test]
    fn the_environment_comes_before_the_settings_file() {
        let config = "mirror = \"http://mine/a\"\nproxy = \"http://gate:3128\"";
        let read = settings(&[], config).unwrap();
        assert_eq!(read.address("http://theirs/", "f").unwrap().as_str(), "http://mine/a/f");
        assert_eq!(read.proxies.map(|proxy| proxy.unwrap().to_string()), ["http://gate:3128/"; 2]);
        let read = settings(
            &[
                ("GAUNTLET_MIRROR", "https://other/"),
                ("https_proxy", "gate2:80"),
                ("HTTP_PROXY", "http://g3:1"),
            ],
            config,
        )
        .unwrap();
        assert_eq!(read.address("http://theirs/", "f").unwrap().as_str(), "https://other/f");
        assert_eq!(
            read.proxies.map(|proxy| proxy.unwrap().to_string()),
            ["http://g3:1/", "http://gate2/"]
        );
        let read = settings(&[("ALL_PROXY", "http://all:1")], "").unwrap();
        assert_eq!(
            read.proxies.clone().map(|proxy| proxy.unwrap().to_string()),
            ["http://all:1/"; 2]
        );
        assert_eq!(read.address("http://theirs/", "f").unwrap().as_str(), "http://theirs/f");
    }

    #[test]
    fn addresses_that_are_none_are_told() {
        for (variables, config, expected) in [
            (
                &[("HTTP_PROXY", "socks5://gate:1080")][..],
                "",
                "HTTP_PROXY: `socks5://gate:1080` is no proxy",
            ),
            (&[], "proxy = \"http://\"", "`proxy` in config.toml: `http://` is no proxy"),
            (&[], "miror = \"x\"", "unknown field `miror`"),
        ] {
            let error = format!("{:#}", settings(variables, config).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
        let error = settings(&[("GAUNTLET_MIRROR", "/a/folder")], "")
            .unwrap()
            .address("http://theirs", "f")
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the mirror `/a/folder` is no address: one that begins with http:// or https:// is \
             expected"
        );
    }

    #[test]
    fn hosts_without_a_proxy_are_asked_directly() {
        let settings = settings(
            &[("http_proxy", "http://gate:1"), ("NO_PROXY", "localhost, .example.org")],
            "",
        )
        .unwrap();
        for (url, through) in [
            ("http://example.com/", true),
            ("http://badexample.org/", true),
            ("http://example.org/", false),
            ("http://a.example.org/", false),
            ("http://localhost:80/", false),
            ("https://example.com/", false), // no proxy is set for https
        ] {
            assert_eq!(settings.proxy(&Url::parse(url).unwrap()).0.is_some(), through, "{url}");
        }
    }
}
