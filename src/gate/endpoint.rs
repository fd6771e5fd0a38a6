//! One exchange with Mindful's *Retrieve Widget Status*: `GET {base}/api/widget/{id}`, answered by
//! `{"data":[{"widget_state":…}]}`.
//!
//! | what comes | is |
//! |---|---|
//! | 200 with such a body | the state |
//! | any other status, redirects included | [`Miss::Status`] |
//! | a body that is too long, no JSON, or of another shape | [`Miss::Unreadable`] |
//! | no connection, no such host, an untrusted certificate, a connection cut off | [`Miss::Unreachable`] |
//!
//! Deliberately absent: following redirects (the token would go along), cookies, proxies from the
//! environment, trying again (the caller is waiting), and any limit of time, which whoever asks sets
//! for the exchange as a whole.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};
use serde::Deserialize;

use super::{Error, Settings};
use crate::domain::byte_order_mark::{bytes_without_mark, without_mark};

/// Longer bodies are not read on, in bytes. A real answer is some hundred bytes long.
const BODY_MAX_BYTES: usize = 64 * 1024;

/// A longer state is none that anybody meant, in bytes. It is published, and so it is bounded.
const STATE_MAX_BYTES: usize = 255;

/// How long a connection is kept for the next question. Servers and balancers close idle ones after a
/// minute or so; one that is closed just as it is used again would cost a caller the answer.
const IDLE: Duration = Duration::from_secs(20);

/// Why there is no state. Texts name no value of user data; there is none in these exchanges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Miss {
    #[error("get an answer in {0} ms")]
    Late(u128),
    #[error("reach the endpoint: {0}")]
    Unreachable(String),
    #[error("get a status: the endpoint answered with the code {0}")]
    Status(u16),
    #[error("read the answer: {0}")]
    Unreadable(&'static str),
}

impl Miss {
    /// Whether it speaks of this one widget only: the endpoint itself is well.
    pub(super) fn concerns_widget(&self) -> bool {
        let unknown = [StatusCode::NOT_FOUND, StatusCode::GONE].map(|code| code.as_u16());
        matches!(self, Miss::Status(code) if unknown.contains(code))
    }
}

/// Where states are asked for.
#[derive(Debug)]
pub(super) struct Endpoint {
    client: Client,
    base: Url,
}

impl Endpoint {
    /// Reads the files that the settings name; connects to nobody yet.
    ///
    /// # Errors
    /// When a file cannot be read, or does not hold what it should.
    pub(super) fn open(settings: &Settings) -> Result<Endpoint, Error> {
        // reqwest takes the process's provider. Where somebody has set one already, it is ring too:
        // deny.toml knows no other.
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
        let client = builder.build().map_err(|error| Error::Client(explain(&error)))?;
        Ok(Endpoint { client, base: settings.base_url.0.clone() })
    }

    /// Where the state of a widget is; `None` for an id that cannot stand in a path.
    fn address(&self, widget: &str) -> Option<Url> {
        // These two would be taken for the folder and its parent, however they are escaped.
        if matches!(widget, "." | "..") {
            return None;
        }
        let mut url = self.base.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(["api", "widget", widget]);
        Some(url)
    }
}

impl super::Ask for Endpoint {
    async fn state(&self, widget: &str) -> Result<String, Miss> {
        let url = self.address(widget);
        let url = url.ok_or(Miss::Unreadable("no endpoint can have this id of a widget"))?;
        let unreachable = |error: reqwest::Error| Miss::Unreachable(explain(&error));
        let mut response = self.client.get(url).send().await.map_err(unreachable)?;
        if response.status() != StatusCode::OK {
            return Err(Miss::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > BODY_MAX_BYTES {
                return Err(Miss::Unreadable("it is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        state_in(&body)
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

/// The state in a body: of one widget, since one was asked about.
fn state_in(body: &[u8]) -> Result<String, Miss> {
    #[derive(Deserialize)]
    struct Answer {
        data: [Widget; 1],
    }
    #[derive(Deserialize)]
    struct Widget {
        widget_state: String,
    }
    let answer: Answer = serde_json::from_slice(bytes_without_mark(body))
        .map_err(|_| Miss::Unreadable("it is not the state of one widget"))?;
    let [Widget { widget_state }] = answer.data;
    if widget_state.len() > STATE_MAX_BYTES {
        return Err(Miss::Unreadable("its state is too long"));
    }
    Ok(widget_state)
}

/// An error with its causes, without the address, which the settings and the widget's id tell.
fn explain(error: &reqwest::Error) -> String {
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
    fn the_state_of_one_widget_is_read_and_nothing_else() {
        let read = |body: &str| state_in(body.as_bytes()).ok();
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
    fn a_widgets_id_stays_within_its_part_of_the_path() {
        for (base, widget, expected) in [
            ("https://m.test", "w-17", Some("https://m.test/api/widget/w-17")),
            ("https://m.test/eu/", "a/../b", Some("https://m.test/eu/api/widget/a%2F..%2Fb")),
            ("https://m.test/eu", "ü?x#y%", Some("https://m.test/eu/api/widget/%C3%BC%3Fx%23y%25")),
            ("https://m.test", "..", None),
            ("https://m.test", ".", None),
        ] {
            let settings = Settings::new(BaseUrl::parse(base).expect("a base"));
            let endpoint = Endpoint::open(&settings).expect("nothing has to be read");
            let address = endpoint.address(widget).map(String::from);
            assert_eq!(address.as_deref(), expected, "{widget}");
        }
    }
}
