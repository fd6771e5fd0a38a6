//! The transaction of a batch in PostgreSQL.
//!
//! Rows that exist are locked by the read, in the order of their keys. Rows that do not exist
//! cannot be locked: of two workers that create the same row, the second waits in its insert for
//! the first to commit, inserts one row fewer than it meant to, and so learns of the conflict. It
//! cannot wait in a ring either: inserts, too, go in the order of keys, and come after all locks.

use std::sync::Arc;
use std::time::Duration;

use sqlx::error::BoxDynError;
use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, Postgres, Transaction};

use super::within;
use crate::domain::Identity;
use crate::pipeline::ports::{Row, RowChange, StoreError};
use crate::store::live_data::LiveKeys;
use crate::store::stored::StoredRow;

/// The transaction that [`super::Postgres::begin`] opens. Dropping it rolls back: the driver sends
/// the rollback before the connection is used again.
pub(in crate::store) struct PostgresTransaction {
    transaction: Transaction<'static, Postgres>,
    keys: Arc<LiveKeys>,
    timeout: Duration,
}

impl PostgresTransaction {
    /// Locks and reads the rows of `own`, and reads those of `parents`.
    pub(super) async fn read(
        transaction: Transaction<'static, Postgres>,
        own: &[Identity<'_>],
        parents: &[Identity<'_>],
        keys: Arc<LiveKeys>,
        timeout: Duration,
    ) -> Result<(Vec<Row>, PostgresTransaction), StoreError> {
        let mut this = PostgresTransaction { transaction, keys, timeout };
        let mut rows = this.fetch(include_str!("lock_own.sql"), own).await?;
        rows.extend(this.fetch(include_str!("read_parents.sql"), parents).await?);
        Ok((rows, this))
    }

    async fn fetch(
        &mut self,
        sql: &'static str,
        wanted: &[Identity<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let tenants: Vec<&str> = wanted.iter().map(|identity| identity.tenant.as_ref()).collect();
        let ids: Vec<&str> = wanted.iter().map(|identity| identity.id.as_ref()).collect();
        let read = sqlx::query_as::<_, StoredRow>(sql).bind(tenants).bind(ids);
        let stored = within(self.timeout, read.fetch_all(&mut *self.transaction)).await?;
        stored.into_iter().map(|row| row.open(&self.keys)).collect()
    }

    pub(in crate::store) async fn save(mut self, rows: &[RowChange<'_>]) -> Result<(), StoreError> {
        let (new, known): (Vec<_>, Vec<_>) = rows.iter().partition(|change| change.is_new);
        self.write(include_str!("insert.sql"), &new).await?;
        self.write(include_str!("update.sql"), &known).await?;
        within(self.timeout, self.transaction.commit()).await
    }

    /// Runs a writing statement over the columns of `rows`, and insists that it wrote them all.
    async fn write(
        &mut self,
        sql: &'static str,
        rows: &[&RowChange<'_>],
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let arguments = Columns::of(rows, &self.keys)?.arguments();
        let write = sqlx::query_with(sql, arguments.map_err(sqlx::Error::Encode)?);
        let done = within(self.timeout, write.execute(&mut *self.transaction)).await?;
        if done.rows_affected() == rows.len() as u64 { Ok(()) } else { Err(StoreError::Conflict) }
    }
}

/// What a row takes as parameters at most, mostly, besides its history and its live data.
const ROW_BYTES: usize = 400;

/// The rows of a batch turned on their side: one array a column.
struct Columns<'c> {
    tenant: Vec<&'c str>,
    id: Vec<&'c str>,
    state: Vec<i16>,
    channel: Vec<&'c str>,
    queue: Vec<Option<&'c str>>,
    facts: Vec<&'c str>,
    record: Vec<String>,
    live: Vec<Option<Vec<u8>>>,
    events: Vec<&'c [u8]>,
    created_ms: Vec<i64>,
    updated_ms: Vec<i64>,
    ended_ms: Vec<Option<i64>>,
}

impl<'c> Columns<'c> {
    fn of(rows: &[&'c RowChange<'c>], keys: &LiveKeys) -> Result<Columns<'c>, StoreError> {
        Ok(Columns {
            tenant: rows.iter().map(|row| row.identity.tenant.as_ref()).collect(),
            id: rows.iter().map(|row| row.identity.id.as_ref()).collect(),
            state: rows.iter().map(|row| row.state.code()).collect(),
            channel: rows.iter().map(|row| row.channel).collect(),
            queue: rows.iter().map(|row| row.queue).collect(),
            facts: rows.iter().map(|row| row.facts).collect(),
            record: rows.iter().map(|row| row.record.to_json()).collect(),
            live: keys.seal(rows.iter().map(|row| (row.identity, row.live)))?,
            events: rows.iter().map(|row| row.events).collect(),
            created_ms: rows.iter().map(|row| row.created_ms).collect(),
            updated_ms: rows.iter().map(|row| row.updated_ms).collect(),
            ended_ms: rows.iter().map(|row| row.ended_ms).collect(),
        })
    }

    /// The parameters of a statement, one array a column.
    fn arguments(self) -> Result<PgArguments, BoxDynError> {
        let live = self.live.iter().flatten().map(Vec::len);
        let texts = self.record.iter().map(String::len).chain(live).sum::<usize>();
        let mut arguments = PgArguments::default();
        // All at once, or it is moved while it grows.
        arguments.reserve(12, texts + ROW_BYTES * self.id.len());
        arguments.add(self.tenant)?;
        arguments.add(self.id)?;
        arguments.add(self.state)?;
        arguments.add(self.channel)?;
        arguments.add(self.queue)?;
        arguments.add(self.facts)?;
        arguments.add(self.record)?;
        arguments.add(self.live)?;
        arguments.add(self.events)?;
        arguments.add(self.created_ms)?;
        arguments.add(self.updated_ms)?;
        arguments.add(self.ended_ms)?;
        Ok(arguments)
    }
}
