//! Errors of opening a store.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use super::key_file::KeyError;
use crate::pipeline::ports::StoreError;

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no store.
    #[error("understand the store's url: {0}")]
    Url(Cow<'static, str>),
    /// What the URL says of TLS cannot be used.
    #[error("open the store: {0}")]
    Tls(String),
    /// There is no usable live key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The database file cannot be created or read.
    #[error("open the store's file {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is no database file, and none was to be made.
    #[error("open the store: there is no file {}", .0.display())]
    Absent(PathBuf),
    /// The schema was made by a newer version of this program.
    #[error("open the store: schema version {found} is newer than this binary knows ({known})")]
    Newer {
        /// The store's version.
        found: i32,
        /// The newest version that this binary can make.
        known: i32,
    },
    /// The schema is not up to date, and bringing it up to date was not asked for.
    #[error(
        "open the store: its schema version is {found}, this binary needs {known}; \
         run `throughline migrate`"
    )]
    Outdated {
        /// The store's version; 0 for an empty store.
        found: i32,
        /// The version that this binary needs.
        known: i32,
    },
    /// The schema lacks a table that was added without a version of its own, and making it was not asked
    /// for.
    #[error(
        "open the store: its schema lacks a table that this binary needs; run `throughline migrate`"
    )]
    Incomplete,
    /// The store cannot be reached, or refuses the request.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// Whether trying again later may help, with nothing changed on this side.
    pub fn is_transient(&self) -> bool {
        matches!(self, OpenError::Store(StoreError::Unavailable(_)))
    }
}
