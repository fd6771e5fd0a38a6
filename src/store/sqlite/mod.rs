//! SQLite: for one machine, and for `pipe` and `explain`. Nothing to install, nothing to look after.
//!
//! SQLite has one writer at a time, across all processes. So this process has one writing connection, for
//! which lanes queue without polling, and a transaction takes the write lock before it reads: what
//! it reads cannot change until it commits. Other processes are waited for (`busy_timeout`).
//! A commit is on disk when it returns (`synchronous = FULL`), as an acknowledged message demands; but
//! for a temporary store, which is not opened again.
//!
//! The version of the schema is SQLite's own `user_version`.

mod errors;
mod sweep;
mod transaction;

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, raw_sql};

pub(super) use self::errors::classify;
pub(super) use self::transaction::SqliteTransaction;
use super::history::{self, HistoryFilter, HistoryRow};
use super::key_file::readable_by_others;
use super::live_data::LiveKeys;
use super::migrations::{self, Migrations};
use super::stored::StoredHistory;
use super::{OpenError, Settings};
use crate::domain::Identity;
use crate::pipeline::ports::{Row, StoreError};
use crate::retry::ReconnectBackoff;

pub(super) const MIGRATIONS: &Migrations = &[include_str!("0001_interactions.sql")];

/// The contact log and readiness are asked one question at a time each.
const READERS: u32 = 2;

pub(super) struct Sqlite {
    writer: SqlitePool,
    readers: SqlitePool,
    keys: Arc<LiveKeys>,
}

/// Creates the database file where there is none, for its owner only. Its journal takes on the
/// same mode. Returns a warning where it is there and others may read it.
pub(super) fn prepare_file(path: &Path) -> Result<Option<String>, OpenError> {
    let failed = |source| OpenError::File { path: path.to_owned(), source };
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
            Ok(readable_by_others(path, mode))
        }
        Err(error) => Err(failed(error)),
    }
}

impl Sqlite {
    pub(super) async fn open(
        path: &Path,
        settings: &Settings,
        keys: Arc<LiveKeys>,
    ) -> Result<Sqlite, OpenError> {
        let (journal, synchronous) = match settings.temporary {
            false => (SqliteJournalMode::Wal, SqliteSynchronous::Full),
            // A rollback still needs a journal; memory is enough for it.
            true => (SqliteJournalMode::Memory, SqliteSynchronous::Off),
        };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(journal)
            .synchronous(synchronous)
            .busy_timeout(settings.timeout())
            // Statements are logged without values, but a log line for every statement has no use.
            .disable_statement_logging();
        let pool = |connections| {
            SqlitePoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(settings.timeout())
                // A file does not go away as a server does: connections are kept, not tested.
                .test_before_acquire(false)
                .idle_timeout(None::<Duration>)
                .max_lifetime(None::<Duration>)
                // A full disk, or one that fails, makes SQLite roll back by itself. The driver's own
                // rollback then fails, for there is nothing left to roll back, and it refuses every
                // later transaction on that connection. So that connection is not used again.
                .after_release(|connection, _| {
                    Box::pin(async move {
                        if connection.is_in_transaction() {
                            // The rollback of a dropped one stands in the queue before this.
                            connection.ping().await?;
                        }
                        Ok(!connection.is_in_transaction())
                    })
                })
        };
        // Erased bytes are overwritten with zeros: neither erased history nor an older version of it
        // may be found in the file's unused parts. A temporary file is removed as a whole.
        let secure = if settings.temporary { "OFF" } else { "ON" };
        let writing = options.clone().pragma("secure_delete", secure);
        // The writer connects now, so that a file that is no database is found out at once.
        let writer = connect(&writing, || pool(1), settings.timeout()).await?;
        let readers = pool(READERS).connect_lazy_with(options.pragma("query_only", "ON"));
        Ok(Sqlite { writer, readers, keys })
    }

    pub(super) async fn migrate(&self) -> Result<(), OpenError> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let found = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await?;
        for sql in migrations::pending(MIGRATIONS, found)? {
            raw_sql(*sql).execute(&mut *transaction).await?;
        }
        raw_sql(include_str!("addition.sql")).execute(&mut *transaction).await?;
        // A pragma takes no parameters; the inserted value is a number of ours.
        let version = format!("PRAGMA user_version = {}", migrations::known(MIGRATIONS));
        raw_sql(AssertSqlSafe(version)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Whether the table is there that is no version of its own.
    pub(super) async fn has_addition(&self) -> Result<bool, StoreError> {
        let asked = "SELECT count(*) > 0 FROM sqlite_master WHERE type = 'table' AND name = ?";
        let asked = sqlx::query_scalar(asked).bind(migrations::ADDITION);
        Ok(asked.fetch_one(&self.readers).await?)
    }

    pub(super) async fn schema_version(&self) -> Result<i32, StoreError> {
        Ok(sqlx::query_scalar("PRAGMA user_version").fetch_one(&self.readers).await?)
    }

    pub(super) async fn begin(
        &self,
        own: &[Identity<'_>],
        parents: &[Identity<'_>],
    ) -> Result<(Vec<Row>, SqliteTransaction), StoreError> {
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        SqliteTransaction::read(transaction, own, parents, Arc::clone(&self.keys)).await
    }

    pub(super) async fn history(
        &self,
        filter: &HistoryFilter<'_>,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        const SELECT: &str = "SELECT tenant, id, channel, queue, state, record, created_ms, \
                              updated_ms, ended_ms FROM throughline_interaction";
        let stored: Vec<StoredHistory> =
            history::page(SELECT, filter).build_query_as().fetch_all(&self.readers).await?;
        stored.into_iter().map(StoredHistory::open).collect()
    }

    /// The tenants that have interactions.
    pub(super) async fn tenants(&self, sql: &'static str) -> Result<Vec<String>, StoreError> {
        Ok(sqlx::query_scalar(sql).fetch_all(&self.readers).await?)
    }

    /// Empties the write-ahead log, which holds rows as they were before. Says whether it could be
    /// done: another process that uses the database keeps it.
    pub(super) async fn truncate_log(&self) -> Result<bool, StoreError> {
        let (busy, _, _): (i64, i64, i64) =
            sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&self.writer).await?;
        Ok(busy == 0)
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        // Reads the file's header, so that a file that has gone bad is noticed.
        self.schema_version().await?;
        Ok(())
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// Connects, waiting for one's turn: the first switch of a new file to write-ahead mode is refused
/// at once, busy timeout or not, while another connection makes it.
async fn connect(
    options: &SqliteConnectOptions,
    pool: impl Fn() -> SqlitePoolOptions,
    patience: Duration,
) -> Result<SqlitePool, OpenError> {
    let mut retry = ReconnectBackoff::new();
    let mut waited = Duration::ZERO;
    loop {
        let error = match pool().connect_with(options.clone()).await {
            Ok(writer) => return Ok(writer),
            Err(error) => error,
        };
        let delay = retry.next_delay();
        waited += delay;
        if !is_busy(&error) || waited > patience {
            return Err(error.into());
        }
        tokio::time::sleep(delay).await;
    }
}

/// Whether another connection has the file's lock.
fn is_busy(error: &sqlx::Error) -> bool {
    // SQLITE_BUSY, whatever its extension: the low byte is the primary code.
    let code = error.as_database_error().and_then(|error| error.code());
    code.and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| code & 0xff == 5)
}
