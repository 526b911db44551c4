//! An object store, by its URL. Objects are named as cells' files are in the folder, below
//! `URL/cells/`. An object is stored as a whole or not at all.

use crate::store::address::CELLS;
use crate::store::error::{self, StoreError};
use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    ClientConfigKey, Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt,
    RetryConfig,
};
use std::collections::BTreeSet;
use std::env;
use std::error::Error as _;
use std::iter;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use url::Url;

/// The environment's variable for [`PATIENCE`], in seconds.
const PATIENCE_VARIABLE: &str = "GAUNTLET_STORE_PATIENCE";
/// Seconds for which a request is retried, unless the environment says otherwise.
const PATIENCE: u64 = 180;
/// Time limit of a request, unless AWS_TIMEOUT says otherwise. Pixels may be hundreds of megabytes.
const TIMEOUT: &str = "10m";
/// Greatest number of retries of a listing. Listings soon give up, so that a wrong URL shows soon.
const HASTY_RETRIES: usize = 2;
/// Time limit of a listing, unless AWS_TIMEOUT says otherwise.
const HASTY_TIMEOUT: &str = "20s";
/// The forms of URLs, for messages.
const EXPECTED: &str = "`s3://bucket/path` is expected, or a folder's `file:///path`";

/// The objects below a URL.
#[derive(Debug)]
pub(super) struct Remote {
    url: String,
    store: Box<dyn ObjectStore>,
    /// The same object store for listings, which soon give up.
    hasty: Box<dyn ObjectStore>,
    cells: Path,
    runtime: Runtime,
}

impl Remote {
    /// Opens an object store, without a request to it.
    pub fn open(url: &str) -> Result<Self> {
        // The URL may hold a secret, so the message must not repeat it.
        ensure!(
            !url.contains('@'),
            "the URL has an `@` in it: {EXPECTED}, and the environment says who asks \
             (AWS_ACCESS_KEY_ID, …)"
        );
        let parsed = Url::parse(url).with_context(|| format!("`{url}` is no URL: {EXPECTED}"))?;
        let plain =
            parsed.port().is_none() && parsed.query().is_none() && parsed.fragment().is_none();
        ensure!(
            plain,
            "`{url}` has more than a bucket and a path: {EXPECTED}; AWS_ENDPOINT_URL names another \
             server than Amazon's"
        );
        let place =
            Path::from_url_path(parsed.path()).with_context(|| format!("`{url}`: {EXPECTED}"))?;
        let (store, hasty): (Box<dyn ObjectStore>, Box<dyn ObjectStore>) =
            match (parsed.scheme(), parsed.host_str()) {
                ("s3", Some(bucket)) => (s3(bucket, false)?, s3(bucket, true)?),
                ("file", None) => {
                    (Box::new(LocalFileSystem::new()), Box::new(LocalFileSystem::new()))
                }
                _ => bail!("`{url}`: {EXPECTED}"),
            };
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("a thread cannot be started")?;
        Ok(Self {
            url: parsed.as_str().trim_end_matches('/').to_owned(),
            store,
            hasty,
            cells: place.join(CELLS),
            runtime,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The path of a cell's file.
    fn path(&self, file: &str) -> Path {
        file.split('/').fold(self.cells.clone(), Path::join)
    }

    /// The URL of a cell's file, for messages.
    fn place(&self, file: &str) -> String {
        format!("{}/{CELLS}/{file}", self.url)
    }

    /// The names of all files of cells. Soon gives up when the object store does not answer.
    pub fn list(&self) -> error::Result<BTreeSet<String>> {
        let found: Vec<ObjectMeta> = self
            .runtime
            .block_on(self.hasty.list(Some(&self.cells)).try_collect())
            .map_err(|error| {
                StoreError::OutOfReach(format!(
                    "the object store {} cannot be listed: {}",
                    self.url,
                    explain(&error)
                ))
            })?;
        let name = |object: &ObjectMeta| {
            let parts: Vec<String> = object
                .location
                .prefix_match(&self.cells)?
                .map(|part| part.as_ref().to_owned())
                .collect();
            Some(parts.join("/"))
        };
        Ok(found.iter().filter_map(name).collect())
    }

    /// A file's bytes; none when it does not exist.
    pub fn get(&self, file: &str) -> error::Result<Option<Vec<u8>>> {
        let path = self.path(file);
        self.answer(file, async { Ok(self.store.get(&path).await?.bytes().await?.to_vec()) })
    }

    /// At most the first `count` bytes of a file, and its length; none when it does not exist.
    pub fn beginning(&self, file: &str, count: u64) -> error::Result<Option<(Vec<u8>, u64)>> {
        let path = self.path(file);
        let options =
            GetOptions { range: Some(GetRange::Bounded(0..count)), ..GetOptions::default() };
        self.answer(file, async {
            let found = self.store.get_opts(&path, options).await?;
            let length = found.meta.size;
            Ok((found.bytes().await?.to_vec(), length))
        })
    }

    /// Writes a file, or replaces it.
    pub fn put(&self, file: &str, bytes: Vec<u8>) -> error::Result<()> {
        let path = self.path(file);
        let put = self.runtime.block_on(self.store.put(&path, bytes.into()));
        put.map_err(|error| {
            StoreError::OutOfReach(format!("writing {}: {}", self.place(file), explain(&error)))
        })?;
        Ok(())
    }

    /// The answer to a question about a file; none when it does not exist.
    fn answer<T>(
        &self,
        file: &str,
        question: impl Future<Output = Result<T, Error>>,
    ) -> error::Result<Option<T>> {
        match self.runtime.block_on(question) {
            Ok(answer) => Ok(Some(answer)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(StoreError::OutOfReach(format!(
                "reading {}: {}",
                self.place(file),
                explain(&error)
            ))),
        }
    }
}

/// An S3 bucket. `hasty`: with the retries and the time limit of listings.
fn s3(bucket: &str, hasty: bool) -> Result<Box<dyn ObjectStore>> {
    // It fails where a provider is installed already, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let patience = match env::var(PATIENCE_VARIABLE) {
        Ok(text) => text.parse().with_context(|| {
            format!("{PATIENCE_VARIABLE}={text}: a number of seconds is expected")
        })?,
        Err(_) => PATIENCE,
    };
    let retry_timeout = Duration::from_secs(patience);
    // Requests other than listings are retried until the time is over, however often that is.
    let retry = RetryConfig {
        max_retries: if hasty { HASTY_RETRIES } else { usize::MAX },
        retry_timeout,
        ..RetryConfig::default()
    };
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
    if env::var_os("AWS_TIMEOUT").is_none() {
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        builder = builder.with_config(timeout, if hasty { HASTY_TIMEOUT } else { TIMEOUT });
    }
    let store = builder
        .build()
        .map_err(|error| anyhow!("the object store s3://{bucket} cannot be spoken to: {error}"))?;
    Ok(Box::new(store))
}

/// An error in words: what it means, then the error's own text.
fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    // The outer errors' texts include those of the inner ones, except for the innermost.
    let innermost =
        iter::successors(error.source(), |&error| error.source()).last().map(ToString::to_string);
    if let Some(innermost) = innermost.filter(|innermost| !text.contains(innermost)) {
        text = format!("{text}: {innermost}");
    }
    // Errors of listings have no kind of their own, so the text decides.
    let meanings = [
        (
            "169.254.169.254",
            "nobody is named who asks (set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY): ",
        ),
        ("NoSuchBucket", "there is no such bucket: "),
        ("403 Forbidden", "whoever asks may not (to list, read and write is needed): "),
        ("401 Unauthorized", "whoever asks is not known: "),
        ("builder error", "plain HTTP has to be allowed (AWS_ALLOW_HTTP=true): "),
        ("operation timed out", "nobody answers in time (AWS_TIMEOUT): "),
        ("redirect", "it is elsewhere (set AWS_REGION, or AWS_ENDPOINT_URL): "),
    ];
    let meaning =
        meanings.iter().find(|(sign, _)| text.contains(sign)).map_or("", |(_, meaning)| meaning);
    format!("{meaning}{}", text.split_whitespace().collect::<Vec<_>>().join(" "))
}
