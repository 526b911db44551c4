//! Settings of downloads: the mirror and the proxies.

use crate::home;
use crate::text;
use anyhow::{Context, Result};
use attohttpc::ProxySettings;
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;
use url::Url;

/// Where files are downloaded from, and through which proxies.
#[derive(Clone, Debug, Default)]
pub struct DownloadSettings {
    /// Address of a folder that replaces the publisher's.
    pub mirror: Option<String>,
    /// The proxies for http and for https addresses, in this order.
    pub proxies: [Option<Url>; 2],
    /// Hosts that are asked without a proxy, subdomains included; `*` is every host.
    pub no_proxy: Vec<String>,
    /// Pause after the first failed try; after the n-th it is n times as long.
    pub pause: Duration,
}

/// The file `config.toml` in Gauntlet's own folder.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    mirror: Option<String>,
    proxy: Option<String>,
}

impl DownloadSettings {
    /// Reads the environment and, for what it leaves open, `config.toml` in Gauntlet's own folder.
    /// The variables are `GAUNTLET_MIRROR`, and `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and
    /// `NO_PROXY` in capital or small letters. The keys of the file are `mirror` and `proxy`.
    ///
    /// # Errors
    /// When the file has other keys, or an address is not valid.
    pub fn read() -> Result<Self> {
        let config = home::home().map(|home| home.join("config.toml")).filter(|path| path.exists());
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

    /// The address of `file` at the mirror, or else under the publisher's `base`.
    ///
    /// # Errors
    /// When the mirror is no http or https address.
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

    /// The proxy for an address, if any, and attohttpc's settings that lead there.
    pub(super) fn proxy(&self, url: &Url) -> (Option<&Url>, ProxySettings) {
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
    toml::from_str(&text::read(path).with_context(place)?).with_context(place)
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
