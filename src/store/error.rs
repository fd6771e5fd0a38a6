//! What can go wrong with a store: when it is opened ([`OpenError`]), and how the driver's errors
//! become the port's [`StoreError`].
//!
//! No text repeats what a database says: its messages and details quote the values of a row (K8).
//! Texts are made from error codes only.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use sqlx::postgres::PgDatabaseError;

use super::key_file::KeyError;
use super::{postgres, sqlite};
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
        /// What the system said.
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
    /// The store cannot be reached, or does not do what is asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    /// Whether trying again later may help, with nothing changed on this side.
    pub fn is_transient(&self) -> bool {
        matches!(self, OpenError::Store(StoreError::Unavailable(_)))
    }
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> OpenError {
        OpenError::Store(error.into())
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        match error {
            sqlx::Error::Database(error) => match error.try_downcast_ref::<PgDatabaseError>() {
                Some(error) => postgres::classify(error.code()),
                None => sqlite::classify(error.code().as_deref().unwrap_or_default()),
            },
            // The driver hands on as an error of the connection what TLS has found.
            sqlx::Error::Io(error) => StoreError::Unavailable(match error.get_ref() {
                Some(inner) if inner.is::<rustls::Error>() => postgres::tls_trouble(inner),
                _ => format!("the connection: {error}"),
            }),
            sqlx::Error::Tls(error) => StoreError::Unavailable(postgres::tls_trouble(&*error)),
            sqlx::Error::PoolTimedOut => {
                StoreError::Unavailable("no connection could be had in time".to_owned())
            }
            // Its text may quote the URL, and with it the password.
            sqlx::Error::Configuration(_) => {
                StoreError::Unavailable("the url's parameters cannot be used".to_owned())
            }
            // The driver cannot say a value in the database's tongue, such as one above 2 GiB.
            sqlx::Error::Encode(_) => StoreError::Refused("a value cannot be encoded".to_owned()),
            sqlx::Error::ColumnDecode { index, .. } => {
                StoreError::Unreadable(format!("the column {index} holds what nobody expects"))
            }
            sqlx::Error::Decode(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::RowNotFound => {
                StoreError::Unreadable("its answer is not the one expected".to_owned())
            }
            // What is left is the driver's own trouble with this connection: a new one may help.
            _ => StoreError::Unavailable("the driver has given up this connection".to_owned()),
        }
    }
}
