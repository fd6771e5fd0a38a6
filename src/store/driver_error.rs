//! How the driver's errors become the port's [`StoreError`].
//!
//! No text repeats what a database says: its messages and details quote the values of a row (K8).
//! Texts are made from error codes only.

use sqlx::postgres::PgDatabaseError;

use super::error::OpenError;
use super::{postgres, sqlite};
use crate::pipeline::ports::StoreError;

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
                StoreError::Unreadable(format!("the column {index} holds an unexpected value"))
            }
            sqlx::Error::Decode(_)
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::ColumnIndexOutOfBounds { .. }
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::RowNotFound => {
                StoreError::Unreadable("its answer is not the one expected".to_owned())
            }
            // The remaining errors are the driver's own about this connection: a new one may help.
            _ => StoreError::Unavailable("the driver has given up this connection".to_owned()),
        }
    }
}
