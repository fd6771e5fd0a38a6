//! A text that must not be read by accident.
//!
//! `Debug` and `Display` are masked; the one way to the text is [`Secret::expose`], so that a search
//! for that name finds every place that handles it in the clear. Comparing is left out on purpose.

use std::fmt;

/// The text that replaces a secret.
const MASK: &str = "***";

/// A secret setting: a URL with a password, or a key.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// The secret `text`.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text in the clear.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text as it may be shown: of a URL everything but the passwords, of anything else nothing
    /// but whether it is empty.
    ///
    /// A password may hold any character, `/`, `#` and `@` included when the operator forgot to encode
    /// them, so everything between the user's name and the *last* `@` is masked: rather too much
    /// than a piece of the password.
    pub fn masked(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        if let Some(path) = self.0.strip_prefix("sqlite:") {
            return format!("sqlite:{path}");
        }
        let Some((scheme, rest)) = self.0.split_once("://") else { return MASK.to_owned() };
        let rest = match rest.rsplit_once('@') {
            Some((user, host)) => match user.split_once(':') {
                Some((user, _)) => format!("{user}:{MASK}@{}", masked_query(host)),
                None => format!("{user}@{}", masked_query(host)),
            },
            None => masked_query(rest),
        };
        format!("{scheme}://{rest}")
    }
}

/// Parameters whose values may be shown: those that both servers' URLs are written with. PostgreSQL
/// takes `?password=…` as well, and a misspelled `password` still has a password as its value.
const SHOWN: [&str; 14] = [
    "application_name",
    "channel_max",
    "connection_timeout",
    "dbname",
    "frame_max",
    "heartbeat",
    "host",
    "hostaddr",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
];

/// Masks the values of all other parameters.
fn masked_query(rest: &str) -> String {
    let Some((path, query)) = rest.split_once('?') else { return rest.to_owned() };
    let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if SHOWN.contains(&name) => parameter.to_owned(),
        Some((name, _)) => format!("{name}={MASK}"),
        None => MASK.to_owned(),
    });
    format!("{path}?{}", parameters.collect::<Vec<_>>().join("&"))
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({MASK})")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}
