//! The store: one row for each interaction, in SQLite or PostgreSQL. The only module that names
//! sqlx.
//!
//! | file | what |
//! |---|---|
//! | `settings.rs` | the settings of the store |
//! | `error.rs` | why it cannot be opened; the driver's errors in the port's words |
//! | `key_file.rs` `live_data.rs` | the live keys; sealing live data |
//! | `stored.rs` | a row as the tables have it |
//! | `spilled.rs` | events that the logs of long conversations have no room for |
//! | `history.rs` | the contact log, page by page |
//! | `lifetimes.rs` `sweep.rs` | retention times of stored rows; clearing rows whose time is over |
//! | `erase.rs` | anonymising a person's saved values |
//! | `migrations.rs` | versions of the schema |
//! | `postgres/` `sqlite/` | the backends: connections, migrations, the transaction of a batch |
//!
//! Invariants: a row is written only if it is as it was read, and rows are locked in the order of their
//! identities, so two workers neither lose each other's update nor wait in a ring; live data is
//! sealed before it leaves this module; no error text holds a value (K8).
//!
//! Deliberately absent: retries. The pipeline decides which calls to retry.

mod driver_error;
mod erase;
mod error;
mod history;
mod key_file;
mod lifetimes;
pub mod live_data;
mod migrations;
mod postgres;
mod settings;
mod spilled;
mod sqlite;
mod stored;
mod sweep;

use std::sync::Arc;

pub use self::erase::{EraseResult, EraseTarget};
pub use self::error::OpenError;
pub use self::history::{HistoryFilter, HistoryRow};
pub use self::key_file::KeyError;
pub use self::lifetimes::{Lifetimes, Retention};
use self::postgres::{Postgres, PostgresTransaction};
pub use self::settings::Settings;
use self::settings::Target;
pub use self::spilled::{SpilledKey, SweptEvents};
use self::sqlite::{Sqlite, SqliteTransaction};
pub use self::sweep::Swept;
use crate::clock::Clock;
use crate::domain::Identity;
use crate::pipeline::ports::{self, Row, RowChange, StoreError};
use crate::pipeline::ports::{Doubtful, Recall};

/// Opens the store and brings its schema up to date, or checks that it is, as the settings say.
///
/// # Errors
/// As [`open`]; also when the schema is newer than this binary, or older and
/// [`Settings::migrate`] is off.
pub async fn connect(settings: &Settings) -> Result<Store, OpenError> {
    let store = open(settings).await?;
    if settings.migrate {
        store.migrate().await?;
    } else {
        store.check_schema().await?;
    }
    Ok(store)
}

/// Validates the settings: a URL that names a store, and live keys, from their file too. Neither
/// connects nor creates anything.
///
/// # Errors
/// What [`open`] would say of them.
pub fn check(settings: &Settings) -> Result<(), OpenError> {
    let settings = Settings { must_exist: true, ..settings.clone() };
    match settings.target().map_err(|what| OpenError::Url(what.into()))? {
        Target::Sqlite(path) => key_file::load(&settings, Some(&path))?,
        Target::Postgres => {
            postgres::check(&settings.url)?;
            key_file::load(&settings, None)?
        }
    };
    Ok(())
}

/// Opens the store whatever its schema; for looking at it, and for migrating it by hand.
///
/// # Errors
/// When the URL or the live key cannot be used, or the store cannot be reached.
pub async fn open(settings: &Settings) -> Result<Store, OpenError> {
    let (backend, warnings) = match settings.target().map_err(|what| OpenError::Url(what.into()))? {
        Target::Sqlite(path) => {
            if settings.must_exist && !path.exists() {
                return Err(OpenError::Absent(path));
            }
            let mut warnings: Vec<String> = sqlite::prepare_file(&path)?.into_iter().collect();
            let (keys, of_keys) = key_file::load(settings, Some(&path))?;
            warnings.extend(of_keys);
            (Backend::Sqlite(Sqlite::open(&path, settings, Arc::new(keys)).await?), warnings)
        }
        Target::Postgres => {
            let (keys, warnings) = key_file::load(settings, None)?;
            let postgres = Postgres::open(settings, Arc::new(keys)).await?;
            (Backend::Postgres(Arc::new(postgres)), warnings)
        }
    };
    Ok(Store { backend, warnings })
}

/// An open store. Shared by all lanes.
pub struct Store {
    backend: Backend,
    warnings: Vec<String>,
}

enum Backend {
    Sqlite(Sqlite),
    Postgres(Arc<Postgres>),
}

impl Store {
    /// What the operator should know of files that hold secrets and are open to others.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Brings the schema up to date. Running it again, or in several workers at once, does no more.
    ///
    /// # Errors
    /// When the schema is newer than this binary, or the store cannot be reached or changed.
    pub async fn migrate(&self) -> Result<(), OpenError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.migrate().await,
            Backend::Postgres(postgres) => postgres.migrate().await,
        }
    }

    /// The schema's version; 0 while there is none.
    ///
    /// # Errors
    /// When the store cannot be reached or read.
    pub async fn schema_version(&self) -> Result<i32, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.schema_version().await,
            Backend::Postgres(postgres) => postgres.schema_version().await,
        }
    }

    /// Checks that the schema is the one this binary needs.
    ///
    /// # Errors
    /// When it is newer or older, or cannot be read.
    pub async fn check_schema(&self) -> Result<(), OpenError> {
        let found = self.schema_version().await?;
        let known = match &self.backend {
            Backend::Sqlite(_) => sqlite::MIGRATIONS,
            Backend::Postgres(_) => postgres::MIGRATIONS,
        };
        migrations::check(known, found)?;
        let complete = match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.has_addition().await?,
            Backend::Postgres(postgres) => postgres.has_addition().await?,
        };
        if complete { Ok(()) } else { Err(OpenError::Incomplete) }
    }

    /// One page of the contact log, in the order of identities.
    ///
    /// # Errors
    /// When the store cannot be reached, or a row cannot be read.
    pub async fn history(&self, filter: &HistoryFilter<'_>) -> Result<Vec<HistoryRow>, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.history(filter).await,
            Backend::Postgres(postgres) => postgres.history(filter).await,
        }
    }

    /// Asks the store for a sign of life.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn ping(&self) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.ping().await,
            Backend::Postgres(postgres) => postgres.ping().await,
        }
    }

    /// How far the store's clock is ahead of `clock`, in milliseconds; `None` for SQLite, which runs on
    /// this machine. Right within the time that an answer takes.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn clock_skew_ms(&self, clock: &Clock) -> Result<Option<i64>, StoreError> {
        match &self.backend {
            Backend::Sqlite(_) => Ok(None),
            Backend::Postgres(postgres) => {
                // So that no login counts into the answer's time.
                postgres.ping().await?;
                let asked_ms = clock.now_ms();
                let store_ms = postgres.now_ms().await?;
                let answered_ms = clock.now_ms();
                // It was read somewhere in between.
                Ok(Some(store_ms - store_ms.clamp(asked_ms, answered_ms.max(asked_ms))))
            }
        }
    }

    /// Closes the connections, once open transactions have ended.
    pub async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.close().await,
            Backend::Postgres(postgres) => postgres.close().await,
        }
    }
}

impl ports::Store for Store {
    type Transaction = StoreTransaction;

    async fn begin(
        &self,
        own: &[Identity<'_>],
        parents: &[Identity<'_>],
    ) -> Result<(Vec<Row>, StoreTransaction), StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) => {
                let (rows, transaction) = sqlite.begin(own, parents).await?;
                Ok((rows, StoreTransaction(Open::Sqlite(transaction))))
            }
            Backend::Postgres(postgres) => {
                let (rows, transaction) = postgres.begin(own, parents).await?;
                Ok((rows, StoreTransaction(Open::Postgres(transaction))))
            }
        }
    }
}

/// The open transaction of a batch. Dropping it rolls back.
pub struct StoreTransaction(Open);

enum Open {
    Sqlite(SqliteTransaction),
    Postgres(PostgresTransaction),
}

impl Recall for StoreTransaction {
    async fn recall(&mut self, events: &[Doubtful<'_>]) -> Result<Vec<usize>, StoreError> {
        match &mut self.0 {
            Open::Sqlite(transaction) => transaction.recall(events).await,
            Open::Postgres(transaction) => transaction.recall(events).await,
        }
    }
}

impl ports::Transaction for StoreTransaction {
    async fn save(self, rows: &[RowChange<'_>]) -> Result<(), StoreError> {
        match self.0 {
            Open::Sqlite(transaction) => transaction.save(rows).await,
            Open::Postgres(transaction) => transaction.save(rows).await,
        }
    }
}
