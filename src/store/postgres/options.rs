//! From the store's URL to the driver's options, TLS included.
//!
//! | `sslmode` | encrypted | the server's certificate |
//! |---|---|---|
//! | `disable`, `allow` | no | – |
//! | `prefer` (the default) | if the server can | not looked at |
//! | `require` | yes | not looked at; with `sslrootcert` as `verify-ca`, as libpq has it |
//! | `verify-ca` | yes | from an authority of `sslrootcert` or of the operating system |
//! | `verify-full` | yes | and for the host in the URL |
//!
//! Invariants: a file that is named is read, is what it should be, and has an effect. No error repeats a
//! part of the URL but the names of its parameters and files. Which parameters there are: `parameters.rs`.
//!
//! Deliberately absent: encrypted client keys: a worker runs without a user to enter the passphrase.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::OpenError;
use super::parameters::Parameters;
use crate::domain::byte_order_mark::without_mark;

/// What a private key begins with, after its kind.
const KEY: &str = "PRIVATE KEY-----";
const ENCRYPTED_KEY: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// How a URL says that the server is to be reached.
pub(super) struct Options {
    /// The driver's options.
    pub(super) driver: PgConnectOptions,
    /// How long a login may take, where the URL says it.
    pub(super) connect_timeout: Option<Duration>,
    /// A server that takes no writes is none to connect to.
    pub(super) must_write: bool,
}

/// The options for a URL.
pub(super) fn from_url(url: &str) -> Result<Options, OpenError> {
    let parameters = Parameters::from_url(url)?;
    // The driver's text may quote the URL, and with it a password.
    let options = PgConnectOptions::from_str(&parameters.url)
        .map_err(|_| {
            let what = "a part of it is not PostgreSQL's (a `?`, `/`, `#`, `@` or `:` of a password \
                        has to be written as %3F, %2F, %23, %40 or %3A)";
            OpenError::Url(what.into())
        })?
        // Statements are logged without values, but a log line for every statement has no use.
        .disable_statement_logging()
        // Nothing here is a floating-point number, and PgBouncer refuses a login that asks for it.
        .extra_float_digits(None);
    let options = match (parameters.system_authorities, options.get_ssl_mode()) {
        (false, _) => options,
        // As in libpq: the system's authorities certify every owner of a name, so the name is verified.
        (true, PgSslMode::VerifyFull | PgSslMode::Prefer) => {
            options.ssl_mode(PgSslMode::VerifyFull)
        }
        (true, _) => {
            let what = "its sslrootcert=system takes sslmode=verify-full and no less";
            return Err(OpenError::Url(what.into()));
        }
    };
    let options = with_tls_checked(options)?;
    let named = options.get_application_name().is_some();
    let fallback = parameters.fallback_application_name.as_deref().unwrap_or("throughline");
    Ok(Options {
        driver: if named { options } else { options.application_name(fallback) },
        connect_timeout: parameters.connect_timeout,
        must_write: parameters.must_write,
    })
}

/// Checks that the files are there and count, wherever they were named: in the URL, or in libpq's
/// variables, which the driver reads as well.
fn with_tls_checked(options: PgConnectOptions) -> Result<PgConnectOptions, OpenError> {
    let url = options.to_url_lossy();
    let file = |parameter: &'static str| {
        let found = url.query_pairs().find(|(name, _)| name == parameter);
        found.map(|(_, given)| Pem::new(parameter, &given))
    };
    let authorities = file("sslrootcert");
    let (certificate, key) = (file("sslcert"), file("sslkey"));
    let mode = options.get_ssl_mode();
    let encrypts = !matches!(mode, PgSslMode::Disable | PgSslMode::Allow | PgSslMode::Prefer);
    if !encrypts
        && let Some(named) = [&authorities, &certificate, &key].into_iter().flatten().next()
    {
        return Err(named.unusable("counts only where TLS must be: say sslmode=verify-full"));
    }
    let mut options = options;
    if let Some(authorities) = &authorities {
        let pem = authorities.checked("certificate in PEM", |pem| pem.contains(CERTIFICATE))?;
        options = options.ssl_root_cert_from_pem(pem.into_bytes());
    }
    match (&certificate, &key) {
        (Some(certificate), Some(key)) => {
            let is_certificate = |pem: &str| pem.contains(CERTIFICATE);
            let is_key = |pem: &str| pem.contains(KEY) && !pem.contains(ENCRYPTED_KEY);
            let certificate = certificate.checked("certificate in PEM", is_certificate)?;
            let key = key.checked("unencrypted private key in PEM", is_key)?;
            options = options.ssl_client_cert_from_pem(certificate).ssl_client_key_from_pem(key);
        }
        (None, None) => {}
        (Some(alone), None) => return Err(alone.unusable("needs sslkey beside it")),
        (None, Some(alone)) => return Err(alone.unusable("needs sslcert beside it")),
    }
    // The driver would trust any certificate here, although an authority was named.
    Ok(match (mode, authorities) {
        (PgSslMode::Require, Some(_)) => options.ssl_mode(PgSslMode::VerifyCa),
        _ => options,
    })
}

/// A PEM document that was named, or, by libpq's variables, given.
struct Pem {
    parameter: &'static str,
    given: Given,
}

enum Given {
    File(PathBuf),
    Text(String),
}

impl Pem {
    /// `given` as the driver writes it down.
    fn new(parameter: &'static str, given: &str) -> Pem {
        let given = match given.strip_prefix("file: ") {
            Some(path) => Given::File(PathBuf::from(path)),
            None => Given::Text(given.to_owned()),
        };
        Pem { parameter, given }
    }

    /// The document, without the byte order mark that it may begin with.
    fn checked(&self, what: &str, holds: impl Fn(&str) -> bool) -> Result<String, OpenError> {
        let pem = match &self.given {
            Given::File(path) => std::fs::read_to_string(path)
                .map_err(|error| self.unusable(format_args!("cannot be read: {error}")))?,
            Given::Text(pem) => pem.clone(),
        };
        let pem = without_mark(&pem);
        match holds(pem) {
            true => Ok(pem.to_owned()),
            false => Err(self.unusable(format_args!("holds no {what}"))),
        }
    }

    fn unusable(&self, why: impl std::fmt::Display) -> OpenError {
        OpenError::Tls(match &self.given {
            Given::File(path) => format!("{} ({}) {why}", self.parameter, path.display()),
            Given::Text(_) => format!("{} {why}", self.parameter),
        })
    }
}
