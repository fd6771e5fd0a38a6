//! The gate's settings: where the endpoint is, and how long it may take.
//!
//! Plain data, filled in by `app`. It names the file of the token and never holds
//! the token itself.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

/// Where the endpoint is, and how long it may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where `/api/widget/{id}` is added.
    pub base_url: BaseUrl,
    /// How long a whole exchange may take, from looking up the host to the last byte.
    pub timeout: Duration,
    /// How long an answer is used again.
    pub cache: Duration,
    /// The file with the bearer token; none: nothing is sent.
    pub token_file: Option<PathBuf>,
    /// PEM file with the authorities to trust instead of the operating system's.
    pub ca_file: Option<PathBuf>,
}

impl Settings {
    /// Settings for an endpoint, all else as the defaults have it.
    pub fn new(base_url: BaseUrl) -> Settings {
        Settings {
            base_url,
            timeout: Duration::from_millis(1500),
            cache: Duration::from_secs(5),
            token_file: None,
            ca_file: None,
        }
    }
}

/// An address that widgets' ids can be added to: HTTPS, or HTTP on the same machine; without login,
/// query and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(pub(super) Url);

/// Why a text is no [`BaseUrl`]: what follows on "gate.base_url". It does not quote the text, which
/// may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BaseUrlError(&'static str);

impl BaseUrl {
    /// Reads an address.
    ///
    /// # Errors
    /// [`BaseUrlError`] when the text is no URL, or requests to it are not permitted.
    pub fn parse(text: &str) -> Result<BaseUrl, BaseUrlError> {
        let url = Url::parse(text).map_err(|_| BaseUrlError("is not a URL"))?;
        let host = url.host_str().ok_or(BaseUrlError("names no host"))?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(host) => {}
            "http" => return Err(BaseUrlError("must be https:// for any machine but this one")),
            _ => return Err(BaseUrlError("must begin with https://")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BaseUrlError("holds a login; use gate.token_file"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BaseUrlError(
                "has a query or a fragment; widgets' ids are added to its path",
            ));
        }
        Ok(BaseUrl(url))
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_https_or_loopback_http() {
        for base in [
            "https://callbacks.acme.test",
            "https://callbacks.acme.test:8443/eu/",
            "http://localhost:8080",
            "http://127.0.0.1:8080/",
            "http://[::1]:8080",
        ] {
            assert!(BaseUrl::parse(base).is_ok(), "{base}");
        }
        for base in [
            "",
            "callbacks.acme.test",
            "http://callbacks.acme.test",
            "http://127.0.0.1.acme.test",
            "ftp://callbacks.acme.test",
            "https://user:hunter2@callbacks.acme.test",
            "https://callbacks.acme.test?a=b",
            "https://callbacks.acme.test#a",
            "data:text/plain,x",
        ] {
            let error = BaseUrl::parse(base).expect_err(base);
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
