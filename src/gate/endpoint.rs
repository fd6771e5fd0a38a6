//! One exchange with Mindful's *Retrieve Widget Status*: `GET {base}/api/widget/{id}`, answered by
//! `{"data":[{"widget_state":…}]}`.
//!
//! | response | result |
//! |---|---|
//! | 200 with such a body | the state |
//! | any other status, redirects included | [`EndpointError::Status`] |
//! | a body that is too long, no JSON, or of another shape | [`EndpointError::Unreadable`] |
//! | no connection, no such host, an untrusted certificate, a connection cut off | [`EndpointError::Unreachable`] |
//!
//! Deliberately absent: following redirects (the token would go along), cookies, proxies from the
//! environment, trying again (the caller is waiting), and any limit of time, which the caller sets for
//! the exchange as a whole.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};
use serde::Deserialize;

use super::{Error, Settings};
use crate::domain::byte_order_mark::{bytes_without_mark, without_mark};

/// Bytes of a response body, at most; reading stops there. A real answer has some hundred bytes.
const BODY_MAX_BYTES: usize = 64 * 1024;

/// Bytes of a state, at most. States are short words; this one is published, so it is bounded.
const STATE_MAX_BYTES: usize = 255;

/// How long a connection is kept open for the next request. Servers and balancers close idle ones after a
/// minute or so; one that is closed just as it is used again would cost a caller the answer.
const IDLE: Duration = Duration::from_secs(20);

/// Why there is no state. No text holds a value of user data: these exchanges carry none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EndpointError {
    #[error("get an answer in {0} ms")]
    Timeout(u128),
    #[error("reach the endpoint: {0}")]
    Unreachable(String),
    #[error("get a status: the endpoint answered with the code {0}")]
    Status(u16),
    #[error("read the answer: {0}")]
    Unreadable(&'static str),
}

impl EndpointError {
    /// Whether it concerns this one widget only, and the endpoint itself works.
    pub(super) fn concerns_widget(&self) -> bool {
        let unknown = [StatusCode::NOT_FOUND, StatusCode::GONE].map(|code| code.as_u16());
        matches!(self, EndpointError::Status(code) if unknown.contains(code))
    }
}

/// The client of *Retrieve Widget Status*.
#[derive(Debug)]
pub(super) struct Endpoint {
    client: Client,
    base: Url,
}

impl Endpoint {
    /// Reads the files that the settings name; opens no connection yet.
    ///
    /// # Errors
    /// When a file cannot be read, or does not hold what it should.
    pub(super) fn open(settings: &Settings) -> Result<Endpoint, Error> {
        // reqwest uses the process's default provider. If one is installed already, it is ring too:
        // deny.toml permits no other.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut builder = Client::builder()
            .user_agent(concat!("throughline/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .pool_idle_timeout(IDLE)
            .default_headers(headers(settings)?);
        if let Some(path) = &settings.ca_file {
            let unreadable = |what: String| Error::CaFile { path: path.clone(), what };
            let pem = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
            let authorities = Certificate::from_pem_bundle(bytes_without_mark(&pem))
                .map_err(|_| unreadable("it is not PEM".to_owned()))?;
            if authorities.is_empty() {
                return Err(unreadable("it holds no certificate".to_owned()));
            }
            builder = builder.tls_certs_only(authorities);
        }
        let client = builder.build().map_err(|error| Error::Client(describe_causes(&error)))?;
        Ok(Endpoint { client, base: settings.base_url.0.clone() })
    }

    /// The URL of a widget's state; `None` for an id that cannot be a path segment.
    fn url_of(&self, widget: &str) -> Option<Url> {
        // Servers read these two as the folder and its parent, however they are escaped.
        if matches!(widget, "." | "..") {
            return None;
        }
        let mut url = self.base.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(["api", "widget", widget]);
        Some(url)
    }
}

impl super::StatusClient for Endpoint {
    async fn fetch_state(&self, widget: &str) -> Result<String, EndpointError> {
        let url = self.url_of(widget);
        let url =
            url.ok_or(EndpointError::Unreadable("no endpoint can have this id of a widget"))?;
        let unreachable =
            |error: reqwest::Error| EndpointError::Unreachable(describe_causes(&error));
        let mut response = self.client.get(url).send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(EndpointError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > BODY_MAX_BYTES {
                return Err(EndpointError::Unreadable("it is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        parse_state(&body)
    }
}

/// The bearer token, if there is one.
fn headers(settings: &Settings) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    if let Some(path) = &settings.token_file {
        let unreadable = |what: String| Error::TokenFile { path: path.clone(), what };
        let token = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let token = without_mark(&token).trim_end_matches(['\n', '\r']);
        if token.is_empty() {
            return Err(unreadable("it is empty".to_owned()));
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| unreadable("it holds what no header can".to_owned()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Parses the state out of a body, which must hold one widget: one was requested.
fn parse_state(body: &[u8]) -> Result<String, EndpointError> {
    #[derive(Deserialize)]
    struct Answer {
        data: [Widget; 1],
    }
    #[derive(Deserialize)]
    struct Widget {
        widget_state: String,
    }
    let answer: Answer = serde_json::from_slice(bytes_without_mark(body))
        .map_err(|_| EndpointError::Unreadable("it is not the state of one widget"))?;
    let [Widget { widget_state }] = answer.data;
    if widget_state.len() > STATE_MAX_BYTES {
        return Err(EndpointError::Unreadable("its state is too long"));
    }
    Ok(widget_state)
}

/// The causes of an error, without the URL, which the settings and the widget's id give.
fn describe_causes(error: &reqwest::Error) -> String {
    let mut texts = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(error.to_string());
        cause = error.source();
    }
    if texts.is_empty() { "the request failed".to_owned() } else { texts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::BaseUrl;

    #[test]
    fn parses_only_a_body_with_one_widgets_state() {
        let read = |body: &str| parse_state(body.as_bytes()).ok();
        let state = r#"{"data":[{"widget_id":7,"widget_state":"offer_callback"}],"meta":{}}"#;
        assert_eq!(read(state).as_deref(), Some("offer_callback"));
        assert_eq!(read(&format!("\u{feff}{state}")).as_deref(), Some("offer_callback"));
        let long = format!(r#"{{"data":[{{"widget_state":"{}"}}]}}"#, "x".repeat(256));
        for unreadable in [
            "",
            "null",
            "offer_callback",
            "{}",
            r#"{"data":[]}"#,
            r#"{"data":{}}"#,
            r#"{"data":[{}]}"#,
            r#"{"data":[{"widget_state":null}]}"#,
            r#"{"data":[{"widget_state":1}]}"#,
            r#"{"data":[{"widget_state":"offer_callback"},{"widget_state":"closed"}]}"#,
            r#"{"data":[{"widget_state":"offer_callback"}"#,
            r#"{"data":[{"widget_state":"offer_callback"}]} trailing"#,
            &long,
        ] {
            assert_eq!(read(unreadable), None, "{unreadable:?}");
        }
    }

    #[test]
    fn escapes_widget_id_into_one_path_segment() {
        for (base, widget, expected) in [
            ("https://m.test", "w-17", Some("https://m.test/api/widget/w-17")),
            ("https://m.test/eu/", "a/../b", Some("https://m.test/eu/api/widget/a%2F..%2Fb")),
            ("https://m.test/eu", "ü?x#y%", Some("https://m.test/eu/api/widget/%C3%BC%3Fx%23y%25")),
            ("https://m.test", "..", None),
            ("https://m.test", ".", None),
        ] {
            let settings = Settings::new(BaseUrl::parse(base).expect("a base"));
            let endpoint = Endpoint::open(&settings).expect("nothing has to be read");
            let address = endpoint.url_of(widget).map(String::from);
            assert_eq!(address.as_deref(), expected, "{widget}");
        }
    }
}
