//! PostgreSQL, 15 or later: for several workers on several machines.
//!
//! Every statement takes a whole batch as arrays, so the number of round trips does not grow with
//! the batch. It is two, one to read and one to write, since a batch takes no locks: what another worker
//! has changed in between is found by the rows' versions, and then nothing is written (`save.sql`). After
//! such a conflict the next batches take locks, in four round trips or five, since where there is one
//! there are more.
//!
//! Each wait has an end: on the server for statements and locks, here for an answer that does not
//! come because the network has swallowed it. A connection that stays silent is thrown away.

mod connections;
mod errors;
mod options;
mod parameters;
mod sweep;
mod transaction;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnection, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection as _, raw_sql};

use self::connections::Connections;
pub(super) use self::errors::{classify, tls_trouble};
use self::options::Options;
use self::transaction::Locking;
pub(super) use self::transaction::PostgresTransaction;
use super::history::{self, HistoryFilter, HistoryRow};
use super::live_data::LiveKeys;
use super::migrations::{self, Migrations};
use super::stored::StoredHistory;
use super::{OpenError, Settings};
use crate::domain::Identity;
use crate::pipeline::ports::{Row, StoreError};

pub(super) const MIGRATIONS: &Migrations = &[include_str!("0001_interactions.sql")];

/// The advisory lock that workers take to migrate: "thruline" in ASCII, so that no other
/// program uses it by accident.
const MIGRATION_LOCK: i64 = 0x7468_7275_6c69_6e65;

/// How long a connection may have been idle and still be used without asking whether it is there:
/// in a busy worker no batch pays for the question, after a pause one round trip does.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// How much longer than the server's own timeout we wait for its answer, so that its error, which
/// says more, comes first.
const GRACE: Duration = Duration::from_secs(1);

/// Whether the URL can be of use, with the files that it names.
pub(super) fn check(url: &str) -> Result<(), OpenError> {
    options::from_url(url).map(drop)
}

pub(super) struct Postgres {
    connections: Connections,
    keys: Arc<LiveKeys>,
    timeout: Duration,
    /// What a login may take.
    login: Duration,
    locking: Locking,
}

impl Postgres {
    pub(super) async fn open(
        settings: &Settings,
        keys: Arc<LiveKeys>,
    ) -> Result<Postgres, OpenError> {
        let Options { driver, connect_timeout, must_write } = options::from_url(&settings.url)?;
        let timeout = settings.timeout();
        let login = connect_timeout.unwrap_or(timeout);
        // The first connection is made by hand: a pool would retry until its time is up, and then
        // no longer know why.
        let mut first = within(login, PgConnection::connect_with(&driver)).await?;
        if must_write && within(timeout, is_read_only(&mut first)).await? {
            return Err(OpenError::Store(StoreError::Unavailable(READ_ONLY.to_owned())));
        }
        first.close().await?;
        let pool = pool(settings, login, must_write).connect_lazy_with(driver);
        Ok(Postgres {
            connections: Connections::new(pool),
            keys,
            timeout,
            login,
            locking: Locking::default(),
        })
    }

    /// All that is pending runs in one transaction, behind a lock of its own.
    pub(super) async fn migrate(&self) -> Result<(), OpenError> {
        // Without a look first, a worker whose role may not create tables could not start.
        let found = self.schema_version().await?;
        if migrations::pending(MIGRATIONS, found)?.is_empty() && self.has_addition().await? {
            return Ok(());
        }
        let mut transaction = self.connections.pool.begin().await?;
        // Another worker's migration, and our own, may take longer than a statement should.
        raw_sql("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
            .execute(&mut *transaction)
            .await?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(MIGRATION_LOCK)
            .execute(&mut *transaction)
            .await?;
        // Asking again whether the table exists would be answered from what this session has
        // cached, as it was before the wait. `CREATE ... IF NOT EXISTS` sees the current state.
        raw_sql(
            "CREATE TABLE IF NOT EXISTS throughline_migration \
             (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
        )
        .execute(&mut *transaction)
        .await?;
        let found = newest(&mut transaction).await?;
        for (sql, version) in migrations::pending(MIGRATIONS, found)?.iter().zip(found + 1..) {
            raw_sql(*sql).execute(&mut *transaction).await?;
            sqlx::query("INSERT INTO throughline_migration (version) VALUES ($1)")
                .bind(version)
                .execute(&mut *transaction)
                .await?;
        }
        raw_sql(include_str!("addition.sql")).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Whether the table is there that is no version of its own.
    pub(super) async fn has_addition(&self) -> Result<bool, StoreError> {
        let mut connection = self.connections.pool.acquire().await?;
        let asked = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL");
        within(self.timeout, asked.bind(migrations::ADDITION).fetch_one(&mut *connection)).await
    }

    pub(super) async fn schema_version(&self) -> Result<i32, StoreError> {
        let mut connection = self.connections.pool.acquire().await?;
        within(self.timeout, version(&mut connection)).await
    }

    pub(super) async fn begin(
        self: &Arc<Self>,
        own: &[Identity<'_>],
        parents: &[Identity<'_>],
    ) -> Result<(Vec<Row>, PostgresTransaction), StoreError> {
        PostgresTransaction::begin(Arc::clone(self), own, parents).await
    }

    pub(super) async fn history(
        &self,
        filter: &HistoryFilter<'_>,
    ) -> Result<Vec<HistoryRow>, StoreError> {
        const SELECT: &str = "SELECT tenant, id, channel, queue, state, record::text, created_ms, \
                              updated_ms, ended_ms FROM throughline_interaction";
        let mut page = history::page(SELECT, filter);
        // Not kept: which conditions it has differs from question to question.
        let page = page.build_query_as().persistent(false).fetch_all(&self.connections.pool);
        let stored: Vec<StoredHistory> = within(self.timeout * 2, page).await?;
        stored.into_iter().map(StoredHistory::open).collect()
    }

    /// The tenants that have interactions.
    pub(super) async fn tenants(&self, sql: &'static str) -> Result<Vec<String>, StoreError> {
        within(self.timeout * 2, sqlx::query_scalar(sql).fetch_all(&self.connections.pool)).await
    }

    pub(super) async fn ping(&self) -> Result<(), StoreError> {
        let mut connection = self.connections.pool.acquire().await?;
        within(self.timeout, connection.ping()).await
    }

    /// The server's clock, in milliseconds since the Unix epoch.
    pub(super) async fn now_ms(&self) -> Result<i64, StoreError> {
        let mut connection = self.connections.pool.acquire().await?;
        let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";
        within(self.timeout, sqlx::query_scalar(sql).fetch_one(&mut *connection)).await
    }

    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
}

/// The error for a server that takes no writes, where `target_session_attrs` asks for one that does.
const READ_ONLY: &str =
    "the server is read-only, and target_session_attrs asks for one that is not";

/// Whether the session can read only.
async fn is_read_only(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let sql = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";
    sqlx::query_scalar(sql).persistent(false).fetch_one(connection).await
}

fn pool(settings: &Settings, login: Duration, must_write: bool) -> PgPoolOptions {
    let timeout = settings.timeout();
    let session = session(settings);
    PgPoolOptions::new()
        .max_connections(settings.connections)
        .acquire_timeout(login)
        .test_before_acquire(false)
        .before_acquire(move |connection, meta| {
            Box::pin(async move { Ok(meta.idle_for < TRUSTED_IDLE || answers(connection).await) })
        })
        .after_connect(move |connection, _| {
            let session = session.clone();
            Box::pin(async move {
                raw_sql(AssertSqlSafe(session)).execute(&mut *connection).await?;
                match must_write && is_read_only(connection).await? {
                    true => Err(sqlx::Error::Protocol(READ_ONLY.to_owned())),
                    false => Ok(()),
                }
            })
        })
        .after_release(move |connection, _| {
            Box::pin(async move {
                // This also carries the rollback of a dropped transaction to the server. Without
                // an end, a connection whose peer is gone would keep its place in the pool until
                // TCP gives up, a quarter of an hour later.
                match tokio::time::timeout(timeout, connection.ping()).await {
                    Ok(answer) => answer.map(|()| true),
                    Err(_) => Err(sqlx::Error::PoolTimedOut),
                }
            })
        })
}

/// Whether a connection is still there.
async fn answers(connection: &mut PgConnection) -> bool {
    matches!(tokio::time::timeout(GRACE, connection.ping()).await, Ok(Ok(())))
}

/// What every session is set to, whatever the server's defaults.
///
/// - Read committed: each statement sees what others have committed, also while it waited.
/// - Nothing waits for ever, and a worker that hangs between reading and writing does not keep its
///   rows from the others.
/// - Plans: every statement of ours goes by the primary key. Left to itself the planner, having
///   seen the table empty, reads all of it for each batch until statistics come in; and it would
///   plan small batches anew each time, which costs more than they do.
fn session(settings: &Settings) -> String {
    let timeout_ms = settings.timeout_ms;
    format!(
        "SET default_transaction_isolation = 'read committed'; \
         SET statement_timeout = {timeout_ms}; \
         SET lock_timeout = {timeout_ms}; \
         SET idle_in_transaction_session_timeout = {timeout_ms}; \
         SET client_min_messages = warning; \
         SET jit = off; \
         SET plan_cache_mode = force_generic_plan; \
         SET enable_seqscan = off; \
         SET enable_hashjoin = off; \
         SET enable_mergejoin = off"
    )
}

/// The identities as columns, one array each, as every statement takes them.
fn columns<'i>(
    identities: impl IntoIterator<Item = &'i Identity<'i>>,
) -> (Vec<&'i str>, Vec<&'i str>) {
    let identities = identities.into_iter();
    identities.map(|identity| (identity.tenant.as_ref(), identity.id.as_ref())).unzip()
}

/// Awaits an answer, but not for ever.
async fn within<T, E: Into<StoreError>>(
    timeout: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout + GRACE, answer).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(StoreError::Unavailable("it did not answer in time".to_owned())),
    }
}

/// The version of the schema; 0 where the table that says so does not exist.
async fn version(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    let exists: bool =
        sqlx::query_scalar("SELECT to_regclass('throughline_migration') IS NOT NULL")
            .fetch_one(&mut *connection)
            .await?;
    if exists { newest(connection).await } else { Ok(0) }
}

/// The newest version that was migrated to.
async fn newest(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM throughline_migration")
        .fetch_one(connection)
        .await
}
