//! The transaction of a batch in PostgreSQL.
//!
//! Rows that exist are locked by the read, in the order of their keys. Rows that do not exist
//! cannot be locked: of two workers that create the same row, the second waits in its insert for
//! the first to commit, inserts one row fewer than it meant to, and so learns of the conflict. It
//! cannot wait in a ring either: inserts, too, go in the order of keys, and come after all locks.

use std::sync::Arc;
use std::time::Duration;

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
        let write = sqlx::query_with(sql, columns(rows, &self.keys)?);
        let done = within(self.timeout, write.execute(&mut *self.transaction)).await?;
        if done.rows_affected() == rows.len() as u64 { Ok(()) } else { Err(StoreError::Conflict) }
    }
}

/// What a row takes as parameters at most, mostly, besides its history and its live data.
const ROW_BYTES: usize = 400;

/// The rows of a batch turned on their side, as parameters: one array a column.
fn columns<'c>(rows: &[&'c RowChange<'c>], keys: &LiveKeys) -> Result<PgArguments, StoreError> {
    let record = column(rows, |row| row.record.to_json());
    let live = keys.seal(rows.iter().map(|row| (row.identity, row.live)))?;
    let texts = record.iter().map(String::len).chain(live.iter().flatten().map(Vec::len));
    let texts: usize = texts.sum();
    let mut arguments = PgArguments::default();
    // All at once, or it is moved while it grows.
    arguments.reserve(12, texts + ROW_BYTES * rows.len());
    let bound = [
        arguments.add(column(rows, |row| row.identity.tenant.as_ref())),
        arguments.add(column(rows, |row| row.identity.id.as_ref())),
        arguments.add(column(rows, |row| row.state.code())),
        arguments.add(column(rows, |row| row.channel)),
        arguments.add(column(rows, |row| row.queue)),
        arguments.add(column(rows, |row| row.facts)),
        arguments.add(record),
        arguments.add(live),
        arguments.add(column(rows, |row| row.events)),
        arguments.add(column(rows, |row| row.created_ms)),
        arguments.add(column(rows, |row| row.updated_ms)),
        arguments.add(column(rows, |row| row.ended_ms)),
    ];
    let bound: Result<(), _> = bound.into_iter().collect();
    bound.map_err(sqlx::Error::Encode)?;
    Ok(arguments)
}

fn column<'c, T>(rows: &[&'c RowChange<'c>], of: impl Fn(&'c RowChange<'c>) -> T) -> Vec<T> {
    rows.iter().map(|row| of(row)).collect()
}
