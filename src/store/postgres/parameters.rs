//! The parameters behind the `?` of PostgreSQL's URL: all that libpq takes, so that the connection string
//! which a managed PostgreSQL shows can be used as it stands.
//!
//! | what becomes of it | parameters |
//! |---|---|
//! | the driver's | `host`, `hostaddr`, `port`, `dbname`, `user`, `password`, `application_name`, `options`, `sslmode`, `sslrootcert`, `sslcert`, `sslkey` |
//! | kept here | `connect_timeout`, `fallback_application_name`, `target_session_attrs`, `sslrootcert=system` |
//! | without effect, whatever they say | those of TCP, for which there are time limits of our own, and those of GSSAPI, which is never used |
//! | taken where they say what happens anyway, else refused | `channel_binding`, `gssencmode`, `client_encoding`, and most others about TLS |
//! | refused | what would have to be kept and is not, such as `sslcrl`; several hosts |
//!
//! Invariants: a refusal names the parameter and what to do; the driver is given no parameter that it does
//! not know, since it would log the value. No error repeats a value. Not even an unknown name is repeated
//! where an `@` stands behind the `?`: a password that is not escaped may hold both, and what looks like a
//! name is a piece of it then.

use std::borrow::Cow;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use sqlx::postgres::PgSslMode;

use crate::store::OpenError;

/// Parameters handed on to the driver; behind the first twelve stand its own spellings of the same.
const DRIVERS: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "user",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "statement-cache-capacity",
];

/// Parameters without effect: our own time limits find a silent peer sooner than TCP's, and GSSAPI is never used.
const WITHOUT_EFFECT: [&str; 11] = [
    "gssdelegation",
    "gsslib",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "krbsrvname",
    "load_balance_hosts",
    "sslcompression",
    "sslsni",
    "tcp_user_timeout",
];

/// Parameters accepted with one of these words, which name the behaviour anyway: the name, the words, and
/// the remedy otherwise.
const TAKEN_IF: [(&str, &[&str], &str); 13] = [
    (
        "channel_binding",
        &["disable", "prefer"],
        "cannot be required: this program's login has none; leave it out, and say \
         sslmode=verify-full, which stops a man in the middle as well",
    ),
    ("client_encoding", &["utf8", "utf-8", "unicode", "auto"], "can only be UTF8; leave it out"),
    ("gssencmode", &["disable", "prefer"], "cannot be required; use TLS (sslmode)"),
    ("max_protocol_version", &["3.0", "latest"], "can only be 3.0; leave it out"),
    ("min_protocol_version", &["3.0"], "can only be 3.0; leave it out"),
    ("replication", &["false", "off", "no", "0"], "is not for this program; leave it out"),
    ("requiressl", &["0"], "is written sslmode=require"),
    ("ssl_max_protocol_version", &["tlsv1.3", ""], "can only be TLSv1.3; leave it out"),
    (
        "ssl_min_protocol_version",
        &["tlsv1", "tlsv1.1", "tlsv1.2", ""],
        "can only be TLSv1.2, which is the least that is spoken; have the server ask for more",
    ),
    (
        "sslcertmode",
        &["allow", "disable", ""],
        "cannot be required; name the certificate in sslcert and the key in sslkey",
    ),
    ("sslnegotiation", &["postgres"], "can only be postgres; leave it out"),
    (
        "target_session_attrs",
        &["any", "read-write", "primary"],
        "must be any, read-write or primary: this program writes",
    ),
    ("require_auth", &[""], "cannot be kept; have the server's pg_hba.conf ask for it"),
];

/// Parameters that are refused, and the remedy.
const REFUSED: [(&str, &str); 7] = [
    ("passfile", "is read from the variable PGPASSFILE alone; name the file there"),
    ("requirepeer", "cannot be kept; leave it out"),
    ("service", "cannot be used; write out what the service stands for"),
    ("servicefile", "cannot be used; write out what the service stands for"),
    ("sslcrl", "cannot be kept: no list of revoked certificates is read"),
    ("sslcrldir", "cannot be kept: no list of revoked certificates is read"),
    ("sslpassword", "cannot be used: the client's key must not be encrypted"),
];

/// A URL for the driver, and the parameters kept here.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// The URL with nothing in it that the driver does not know.
    pub(super) url: String,
    /// How long a login may take, where that is said.
    pub(super) connect_timeout: Option<Duration>,
    /// The name of the session where neither the URL nor a variable has one.
    pub(super) fallback_application_name: Option<String>,
    /// The server must take writes, and is asked.
    pub(super) must_write: bool,
    /// The operating system's authorities are meant, and the server must be the one in the URL.
    pub(super) system_authorities: bool,
}

impl Parameters {
    /// Takes a URL apart.
    pub(super) fn from_url(url: &str) -> Result<Parameters, OpenError> {
        let before_fragment = url.split('#').next().unwrap_or_default();
        let (base, query) = before_fragment.split_once('?').unwrap_or((before_fragment, ""));
        let mut parameters = Parameters { url: with_host(base)?, ..Parameters::default() };
        let nameable = !query.contains('@');
        let mut drivers = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let (known, value) = (decoded(name), decoded(value));
            if parameters.keep(&known, &value)? {
                drivers.push(parameter);
            } else if !is_known(&known) {
                let names_itself = nameable && parameter.contains('=') && is_a_name(&known);
                return Err(unknown(names_itself.then_some(&*known)));
            }
        }
        if !drivers.is_empty() {
            parameters.url = format!("{}?{}", parameters.url, drivers.join("&"));
        }
        Ok(parameters)
    }

    /// Keeps a parameter that is handled here; returns whether the parameter is the driver's.
    fn keep(&mut self, name: &str, value: &str) -> Result<bool, OpenError> {
        let refused = |what: &str| Err(refusal(name, what));
        if let Some((_, what)) = REFUSED.iter().find(|(known, _)| *known == name) {
            return refused(what);
        }
        if let Some((_, words, what)) = TAKEN_IF.iter().find(|(known, ..)| *known == name)
            && !words.contains(&value.to_ascii_lowercase().as_str())
        {
            return refused(what);
        }
        match name {
            "connect_timeout" => {
                let Ok(secs) = value.trim().parse::<i32>() else {
                    return refused("is no number of seconds");
                };
                // As libpq has it, zero and less are no limit; then `store.timeout_ms` is.
                let limit = u64::try_from(secs).ok().filter(|secs| *secs > 0);
                self.connect_timeout = limit.map(Duration::from_secs);
            }
            "fallback_application_name" => {
                self.fallback_application_name = Some(value.to_owned());
            }
            "target_session_attrs" => self.must_write = !value.eq_ignore_ascii_case("any"),
            "sslrootcert" if value == "system" => self.system_authorities = true,
            "sslmode" | "ssl-mode" if value.parse::<PgSslMode>().is_err() => {
                let modes = "is none of disable, allow, prefer, require, verify-ca, verify-full";
                return refused(modes);
            }
            "host" | "hostaddr" | "port" if value.contains(',') => {
                return refused("names several servers, and one can be used");
            }
            "port" if value.parse::<u16>().is_err() => return refused("is no port"),
            _ => return Ok(DRIVERS.contains(&name) || is_option(name)),
        }
        Ok(false)
    }
}

/// Whether a parameter means something here, whether or not the driver gets it.
fn is_known(name: &str) -> bool {
    let kept = ["connect_timeout", "fallback_application_name", "sslrootcert"];
    kept.contains(&name)
        || WITHOUT_EFFECT.contains(&name)
        || TAKEN_IF.iter().any(|(known, ..)| *known == name)
}

/// The driver's way to write one of a session's settings.
fn is_option(name: &str) -> bool {
    name.starts_with("options[") && name.ends_with(']')
}

/// Whether it looks like the name of a parameter, and not like a secret.
fn is_a_name(name: &str) -> bool {
    name.len() <= 40 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn refusal(name: &str, what: &str) -> OpenError {
    OpenError::Url(format!("its {name} {what}").into())
}

fn unknown(name: Option<&str>) -> OpenError {
    let named = name.map(|name| format!(", {name},")).unwrap_or_default();
    OpenError::Url(
        format!(
            "it has a parameter{named} that is none of libpq's (a `?`, `/`, `#` or `@` of a password \
             has to be written as %3F, %2F, %23 or %40)"
        )
        .into(),
    )
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

/// The URL with a host where it has none, as libpq lets it: `postgres://user@/db?host=/run/postgresql`.
/// The host of the parameter takes its place.
fn with_host(base: &str) -> Result<String, OpenError> {
    let Some((scheme, rest)) = base.split_once("://") else { return Ok(base.to_owned()) };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    if host.contains(',') {
        return Err(OpenError::Url("it names several servers, and one can be used".into()));
    }
    let has_host = !host.is_empty() && !host.starts_with(':');
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let host = if has_host { Cow::Borrowed(host) } else { format!("localhost{host}").into() };
    Ok(format!("{scheme}://{user}{host}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn managed_server_urls_are_accepted() {
        for (url, drivers) in [
            ("postgres://u:p@h/d", "postgres://u:p@h/d"),
            (
                "postgresql://u:p@h.test:5432/d?sslmode=require&channel_binding=prefer",
                "postgresql://u:p@h.test:5432/d?sslmode=require",
            ),
            (
                "postgres://h/d?connect_timeout=10&keepalives=1&keepalives_idle=30&\
                 target_session_attrs=read-write&gssencmode=prefer&application_name=a%20b",
                "postgres://h/d?application_name=a%20b",
            ),
            (
                "postgres://h/d?ssl_min_protocol_version=TLSv1.2&client_encoding=UTF8&options=-c%20x%3D1",
                "postgres://h/d?options=-c%20x%3D1",
            ),
            ("postgres://u@/d?host=/run/pg", "postgres://u@localhost/d?host=/run/pg"),
            ("postgresql:///d?host=%2Frun", "postgresql://localhost/d?host=%2Frun"),
            ("postgresql://:5433/d", "postgresql://localhost:5433/d"),
            ("postgresql://%2Frun%2Fpg/d", "postgresql://%2Frun%2Fpg/d"),
            (
                "postgres://h/d?sslrootcert=system&sslmode=verify-full#x",
                "postgres://h/d?sslmode=verify-full",
            ),
        ] {
            assert_eq!(Parameters::from_url(url).expect(url).url, drivers, "{url}");
        }
        let kept = "postgres://h/d?connect_timeout=7&target_session_attrs=primary&\
                    fallback_application_name=f&sslrootcert=system";
        let kept = Parameters::from_url(kept).expect("taken");
        assert_eq!(kept.connect_timeout, Some(Duration::from_secs(7)));
        assert!(kept.must_write && kept.system_authorities);
        assert_eq!(kept.fallback_application_name.as_deref(), Some("f"));
        for none in ["0", "-1"] {
            let url = format!("postgres://h/d?connect_timeout={none}&target_session_attrs=any");
            let kept = Parameters::from_url(&url).expect("taken");
            assert_eq!((kept.connect_timeout, kept.must_write), (None, false));
        }
    }

    #[test]
    fn unsupported_parameter_is_named_without_value() {
        for (url, named) in [
            ("postgres://h/d?channel_binding=require", "its channel_binding cannot be required"),
            ("postgres://h/d?gssencmode=require", "its gssencmode cannot be required"),
            ("postgres://h/d?target_session_attrs=standby", "its target_session_attrs must be any"),
            ("postgres://h/d?connect_timeout=planted", "its connect_timeout is no number"),
            ("postgres://h/d?sslcrl=planted", "its sslcrl cannot be kept"),
            ("postgres://h/d?sslpassword=planted", "its sslpassword cannot be used"),
            ("postgres://h/d?ssl_min_protocol_version=TLSv1.3", "its ssl_min_protocol_version"),
            ("postgres://h/d?sslmode=planted", "its sslmode is none of"),
            ("postgres://h/d?host=a,b", "its host names several servers"),
            ("postgres://h/d?port=planted", "its port is no port"),
            ("postgres://u:planted@a:1,b:2/d", "it names several servers"),
            ("postgres://h/d?pasword=planted", "a parameter, pasword, that is none of libpq's"),
            ("postgres://h/d?planted", "a parameter that is none of libpq's"),
            ("postgres://h/d?PLANTED=1", "a parameter that is none of libpq's"),
            // The password holds a `?`.
            ("postgres://u:p?planted=x@h/d", "a parameter that is none of libpq's"),
        ] {
            let error = Parameters::from_url(url).expect_err(url).to_string();
            assert!(error.contains(named), "{url}: {error}");
            assert!(!error.contains("planted") && !error.contains("PLANTED"), "{url}: {error}");
        }
    }
}
