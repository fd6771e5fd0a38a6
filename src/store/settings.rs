//! The settings of the store: where it is, under which key live data is sealed, how long it may
//! take to answer.
//!
//! Plain data, filled by the settings reader. `Debug` shows neither password nor key.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where the store is, and how it is used.
#[derive(Clone)]
pub struct Settings {
    /// `sqlite:PATH`, or `postgres://…` with the parameters of libpq that concern TLS (`sslmode`,
    /// `sslrootcert`, `sslcert`, `sslkey`). May hold a password.
    pub url: String,
    /// The file with the live keys: 32 bytes in base64 a line, the current key first, below it old
    /// ones that still open what they sealed.
    pub live_key_file: Option<PathBuf>,
    /// The same lines, given directly. Not together with [`Settings::live_key_file`].
    pub live_key: Option<String>,
    /// Whether [`super::connect`] brings the schema up to date, or insists that it is.
    pub migrate: bool,
    /// SQLite: whether a file that is not there is an error, instead of being made together with its key
    /// file: for commands that only look.
    pub must_exist: bool,
    /// SQLite: whether the file is only for the run of this process. Then nothing of it need survive a
    /// crash, and no commit waits for the disk.
    pub temporary: bool,
    /// PostgreSQL: how many connections this worker may hold. One a lane is in use at a time.
    pub connections: u32,
    /// The longest wait for one answer of the store, in milliseconds: for a connection, for a lock
    /// that another worker holds, for a statement.
    pub timeout_ms: u64,
}

impl Settings {
    /// Settings for the store at `url`, all else as the defaults have it.
    pub fn new(url: impl Into<String>) -> Settings {
        Settings {
            url: url.into(),
            live_key_file: None,
            live_key: None,
            migrate: true,
            must_exist: false,
            temporary: false,
            // Two lanes, the command line's questions, and one to spare.
            connections: 4,
            // Longer than a failover's hiccup of a lock or a checkpoint, and far below the broker's
            // patience with an unacknowledged delivery (30 minutes).
            timeout_ms: 10_000,
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Which store the URL names.
    ///
    /// # Errors
    /// The fault of the URL, as a fragment.
    pub(super) fn target(&self) -> Result<Target, &'static str> {
        if self.url.starts_with("postgres://") || self.url.starts_with("postgresql://") {
            return Ok(Target::Postgres);
        }
        let Some(path) = self.url.strip_prefix("sqlite:") else {
            return Err("it begins with neither `sqlite:` nor `postgres://`");
        };
        // `sqlite://PATH` is what other programs write for the same thing.
        match path.strip_prefix("//").unwrap_or(path) {
            "" => Err("`sqlite:` needs the path of a file"),
            ":memory:" => Err("a store in memory would keep nothing; name a file"),
            path => Ok(Target::Sqlite(PathBuf::from(path))),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // All of a PostgreSQL URL is left out: a password may stand in two places of it.
        let url = match self.target() {
            Ok(Target::Sqlite(_)) => self.url.as_str(),
            Ok(Target::Postgres) => "postgres://***",
            Err(_) => "***",
        };
        f.debug_struct("Settings")
            .field("url", &url)
            .field("live_key_file", &self.live_key_file)
            .field("live_key", &self.live_key.as_ref().map(|_| "***"))
            .field("migrate", &self.migrate)
            .field("temporary", &self.temporary)
            .field("connections", &self.connections)
            .field("timeout_ms", &self.timeout_ms)
            .finish()
    }
}

/// The store that a URL names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    Sqlite(PathBuf),
    Postgres,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_without_store_is_rejected() {
        let sqlite = |path: &str| Some(Target::Sqlite(PathBuf::from(path)));
        for (url, expected) in [
            ("sqlite:a.db", sqlite("a.db")),
            ("sqlite:/var/lib/a b?.db", sqlite("/var/lib/a b?.db")),
            ("sqlite://a.db", sqlite("a.db")),
            ("sqlite:///a.db", sqlite("/a.db")),
            ("postgres://u@h/d", Some(Target::Postgres)),
            ("postgresql://u@h/d", Some(Target::Postgres)),
            ("sqlite:", None),
            ("sqlite::memory:", None),
            ("mysql://u@h/d", None),
            ("a.db", None),
            ("", None),
        ] {
            assert_eq!(Settings::new(url).target().ok(), expected, "{url}");
        }
    }

    #[test]
    fn debug_masks_password_and_key() {
        let mut settings = Settings::new("postgres://worker:hunter2@db/calls?password=hunter2");
        settings.live_key = Some("hunter2".to_owned());
        assert!(!format!("{settings:?}").contains("hunter2"));
        assert!(!format!("{:?}", Settings::new("postgre://u:hunter2@db")).contains("hunter2"));
    }
}
