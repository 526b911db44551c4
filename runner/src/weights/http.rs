//! One HTTP request for a file, or for the rest of it.

use crate::weights::settings::DownloadSettings;
use anyhow::anyhow;
use attohttpc::header::{CONTENT_LENGTH, CONTENT_RANGE, PROXY_AUTHORIZATION, RANGE};
use attohttpc::{ErrorKind, Response, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::io::ErrorKind as Io;
use std::time::Duration;
use url::Url;

/// A server that sends nothing for this long is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a request has no usable answer.
pub(super) enum Stop {
    /// Trying again does not help.
    ForGood(anyhow::Error),
    /// Trying again may help.
    ForNow(anyhow::Error),
}

/// Asks for a file of `size` bytes from byte `from` on. Returns the answer and the byte at which
/// its body begins: `from`, or 0 from a server that cannot begin in the middle of a file.
pub(super) fn request(
    url: &Url,
    size: u64,
    settings: &DownloadSettings,
    from: u64,
) -> Result<(Response, u64), Stop> {
    let (proxy, proxies) = settings.proxy(url);
    let mut request = attohttpc::get(url.as_str())
        .proxy_settings(proxies)
        .connect_timeout(PATIENCE)
        .read_timeout(PATIENCE);
    if from > 0 {
        request = request.header(RANGE, format!("bytes={from}-"));
    }
    if let Some(proxy) =
        proxy.filter(|proxy| url.scheme() == "http" && !proxy.username().is_empty())
    {
        let secret = BASE64_STANDARD.encode(format!(
            "{}:{}",
            proxy.username(),
            proxy.password().unwrap_or_default()
        ));
        request = request.header(PROXY_AUTHORIZATION, format!("Basic {secret}"));
    }
    let response = request.send().map_err(|error| match error.kind() {
        // A server that does not answer at all will not do so in a second.
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
    begins_at(&response, size, from).map(|from| (response, from))
}

/// The byte of the file at which the body of an answer begins.
fn begins_at(response: &Response, size: u64, asked: u64) -> Result<u64, Stop> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    let other_size = |found: u64| {
        Stop::ForGood(anyhow!("the server has another file there: of {found} bytes, not {size}"))
    };
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {
            // such as `bytes 100-199/200`
            let range = header(CONTENT_RANGE)
                .and_then(|range| range.strip_prefix("bytes ")?.split_once('/'));
            let start =
                range.and_then(|(span, _)| span.split_once('-')?.0.trim().parse::<u64>().ok());
            let total = range.and_then(|(_, total)| total.trim().parse::<u64>().ok());
            match (start, total) {
                (_, Some(total)) if total != size => Err(other_size(total)),
                (Some(start), _) if start == asked => Ok(asked),
                _ => Err(Stop::ForGood(anyhow!(
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
            Err(Stop::ForGood(anyhow!("the server has a shorter file there")))
        }
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(Stop::ForNow(anyhow!("the server says {status}")))
        }
        status => Err(Stop::ForGood(anyhow!("the server says {status}"))),
    }
}
