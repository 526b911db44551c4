//! An object store, by its URL. An object is named as a cell's file is in the folder, below
//! `URL/cells/`, and is put whole or not at all.

use crate::errors::OutOfReach;
use crate::store::address::CELLS;
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

/// For so many seconds a request is tried again, unless the environment has another number.
const PATIENCE: (&str, u64) = ("GAUNTLET_STORE_PATIENCE", 180);
/// How long a request may take, unless AWS_TIMEOUT says so: pixels may be hundreds of megabytes.
const TIMEOUT: &str = "10m";
/// To list is tried so often, and may take so long unless AWS_TIMEOUT says otherwise: whether there
/// is such a store should be known soon.
const HASTE: (usize, &str) = (2, "20s");
const EXPECTED: &str = "`s3://bucket/path` is expected, or a folder's `file:///path`";

/// The objects below a URL.
#[derive(Debug)]
pub(super) struct Remote {
    url: String,
    store: Box<dyn ObjectStore>,
    /// As `store`, but soon gives up.
    hasty: Box<dyn ObjectStore>,
    cells: Path,
    runtime: Runtime,
}

impl Remote {
    /// Nothing is asked of it yet.
    pub fn open(url: &str) -> Result<Self> {
        // It may have a secret in it, which nobody should read in a message.
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

    fn path(&self, file: &str) -> Path {
        file.split('/').fold(self.cells.clone(), Path::join)
    }

    fn place(&self, file: &str) -> String {
        format!("{}/{CELLS}/{file}", self.url)
    }

    /// The names of all files of cells. Soon gives up where nobody answers.
    pub fn list(&self) -> Result<BTreeSet<String>> {
        let found: Vec<ObjectMeta> = self
            .runtime
            .block_on(self.hasty.list(Some(&self.cells)).try_collect())
            .map_err(|error| {
                OutOfReach(format!(
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

    /// A file, if it is there.
    pub fn get(&self, file: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(file);
        self.answer(file, async { Ok(self.store.get(&path).await?.bytes().await?.to_vec()) })
    }

    /// At most `count` bytes of a file's beginning, and its length.
    pub fn beginning(&self, file: &str, count: u64) -> Result<Option<(Vec<u8>, u64)>> {
        let path = self.path(file);
        let options =
            GetOptions { range: Some(GetRange::Bounded(0..count)), ..GetOptions::default() };
        self.answer(file, async {
            let found = self.store.get_opts(&path, options).await?;
            let length = found.meta.size;
            Ok((found.bytes().await?.to_vec(), length))
        })
    }

    /// Puts a file there, or replaces it.
    pub fn put(&self, file: &str, bytes: Vec<u8>) -> Result<()> {
        let path = self.path(file);
        let put = self.runtime.block_on(self.store.put(&path, bytes.into()));
        put.map_err(|error| {
            OutOfReach(format!("writing {}: {}", self.place(file), explain(&error)))
        })?;
        Ok(())
    }

    fn answer<T>(
        &self,
        file: &str,
        question: impl Future<Output = Result<T, Error>>,
    ) -> Result<Option<T>> {
        match self.runtime.block_on(question) {
            Ok(answer) => Ok(Some(answer)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => {
                Err(OutOfReach(format!("reading {}: {}", self.place(file), explain(&error))).into())
            }
        }
    }
}

fn s3(bucket: &str, hasty: bool) -> Result<Box<dyn ObjectStore>> {
    // Where it is set already, it is one that will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let patience = match env::var(PATIENCE.0) {
        Ok(text) => text
            .parse()
            .with_context(|| format!("{}={text}: a number of seconds is expected", PATIENCE.0))?,
        Err(_) => PATIENCE.1,
    };
    let retry_timeout = Duration::from_secs(patience);
    // Without haste it is the time that ends it, not the count.
    let retry = RetryConfig {
        max_retries: if hasty { HASTE.0 } else { usize::MAX },
        retry_timeout,
        ..RetryConfig::default()
    };
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket).with_retry(retry);
    if env::var_os("AWS_TIMEOUT").is_none() {
        let timeout = AmazonS3ConfigKey::Client(ClientConfigKey::Timeout);
        builder = builder.with_config(timeout, if hasty { HASTE.1 } else { TIMEOUT });
    }
    let store = builder
        .build()
        .map_err(|error| anyhow!("the object store s3://{bucket} cannot be spoken to: {error}"))?;
    Ok(Box::new(store))
}

/// What an error means, and what it is in the words of those who met it.
fn explain(error: &Error) -> String {
    let mut text = error.to_string();
    // The outer errors' texts have those of the inner ones in them, but for the innermost.
    let innermost =
        iter::successors(error.source(), |&error| error.source()).last().map(ToString::to_string);
    if let Some(innermost) = innermost.filter(|innermost| !text.contains(innermost)) {
        text = format!("{text}: {innermost}");
    }
    // What listing meets is of no kind of its own.
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
