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
//! Invariants: a file that is named is read, is what it should be, and has an effect; the driver is
//! never given a parameter that it does not know, since it would log its value, which may be a
//! password whose name is misspelt. No error repeats a part of the URL but the names of its files.
//!
//! Deliberately absent: encrypted client keys, for which there is nobody to ask.

use std::path::PathBuf;
use std::str::FromStr as _;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::OpenError;

/// What may stand behind the URL's `?`; below it stand the driver's other spellings of the same.
const PARAMETERS: &str = "application_name, dbname, host, hostaddr, options, password, port, \
                          sslcert, sslkey, sslmode, sslrootcert, statement-cache-capacity, user";

const SPELLINGS: [&str; 5] = ["ssl-mode", "ssl-root-cert", "ssl-ca", "ssl-cert", "ssl-key"];

/// What a private key begins with, after its kind.
const KEY: &str = "PRIVATE KEY-----";
const ENCRYPTED_KEY: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

/// The driver's options for a URL.
pub(super) fn of(url: &str) -> Result<PgConnectOptions, OpenError> {
    check_parameters(url)?;
    // The driver's text may quote the URL, and with it a password.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| OpenError::Url("a part or parameter of it is not PostgreSQL's".into()))?
        // Statements are logged without values, but a line a statement helps nobody.
        .disable_statement_logging();
    let options = with_tls_checked(options)?;
    Ok(match options.get_application_name() {
        Some(_) => options,
        None => options.application_name("throughline"),
    })
}

/// Refuses what the driver would log and ignore.
fn check_parameters(url: &str) -> Result<(), OpenError> {
    let before_fragment = url.split('#').next().unwrap_or_default();
    let Some((_, query)) = before_fragment.split_once('?') else { return Ok(()) };
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let known = PARAMETERS.split(", ").chain(SPELLINGS).any(|known| known == name)
            || (name.starts_with("options[") && name.ends_with(']'));
        if !known {
            // Not named: where a password holds a `?`, what looks like a name is a piece of it.
            let what = format!("it has a parameter that is none of {PARAMETERS}");
            return Err(OpenError::Url(what.into()));
        }
        if matches!(name, "sslmode" | "ssl-mode") && value.parse::<PgSslMode>().is_err() {
            let modes = "its sslmode is none of disable, prefer, require, verify-ca, verify-full";
            return Err(OpenError::Url(modes.into()));
        }
    }
    Ok(())
}

/// Checks that the files are there and count, wherever they were named: in the URL, or in libpq's
/// variables, which the driver reads as well.
fn with_tls_checked(options: PgConnectOptions) -> Result<PgConnectOptions, OpenError> {
    let url = options.to_url_lossy();
    let file = |parameter: &'static str| {
        let found = url.query_pairs().find(|(name, _)| name == parameter);
        found.map(|(_, given)| Pem::of(parameter, &given))
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
    if let Some(authorities) = &authorities {
        authorities.check("certificate in PEM", |pem| pem.contains(CERTIFICATE))?;
    }
    match (&certificate, &key) {
        (Some(certificate), Some(key)) => {
            certificate.check("certificate in PEM", |pem| pem.contains(CERTIFICATE))?;
            key.check("unencrypted private key in PEM", |pem| {
                pem.contains(KEY) && !pem.contains(ENCRYPTED_KEY)
            })?;
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
    fn of(parameter: &'static str, given: &str) -> Pem {
        let given = match given.strip_prefix("file: ") {
            Some(path) => Given::File(PathBuf::from(path)),
            None => Given::Text(given.to_owned()),
        };
        Pem { parameter, given }
    }

    fn check(&self, what: &str, holds: impl Fn(&str) -> bool) -> Result<(), OpenError> {
        let held = match &self.given {
            Given::File(path) => std::fs::read_to_string(path)
                .map(|pem| holds(&pem))
                .map_err(|error| self.unusable(format_args!("cannot be read: {error}")))?,
            Given::Text(pem) => holds(pem),
        };
        if held { Ok(()) } else { Err(self.unusable(format_args!("holds no {what}"))) }
    }

    fn unusable(&self, why: impl std::fmt::Display) -> OpenError {
        OpenError::Tls(match &self.given {
            Given::File(path) => format!("{} ({}) {why}", self.parameter, path.display()),
            Given::Text(_) => format!("{} {why}", self.parameter),
        })
    }
}
