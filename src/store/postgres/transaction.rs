//! A batch in PostgreSQL, from reading its rows to writing them.
//!
//! Mostly it takes no locks and needs no transaction of its own: each row is read with its version (the
//! transaction that wrote it, `xmin`) and written only if it still has it, all rows in one statement or
//! none. So of two workers that change the same row the slower one learns of it
//! ([`StoreError::Conflict`]) and begins again; of two that create it, too.
//!
//! Where rows are fought over, that would be work for nothing, again and again. So after a conflict the
//! next batches of this worker lock what they read, in the order of the keys, and wait for each other.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments as _, FromRow, Row as _, raw_sql};

use super::connections::{Connections, Used};
use super::within;
use crate::domain::Identity;
use crate::pipeline::ports::{Row, RowChange, StoreError};
use crate::store::live_data::LiveKeys;
use crate::store::stored::StoredRow;

/// How many batches take locks after a conflict: for as long as it takes to work off what had gathered
/// in the queue, and with it messages of the same conversations side by side.
const LOCKING_BATCHES: u32 = 100;

/// What all batches of a worker share.
pub(super) struct Flow {
    pub(super) connections: Connections,
    keys: Arc<LiveKeys>,
    timeout: Duration,
    /// How many of the next batches are to take locks.
    locking: AtomicU32,
}

impl Flow {
    pub(super) fn new(connections: Connections, keys: Arc<LiveKeys>, timeout: Duration) -> Flow {
        Flow { connections, keys, timeout, locking: AtomicU32::new(0) }
    }

    /// Whether the next batch takes locks.
    fn locks(&self) -> bool {
        let fewer = |batches: u32| batches.checked_sub(1);
        self.locking.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }
}

/// The batch that [`super::Postgres::begin`] begins. Dropping it changes nothing.
pub(in crate::store) struct PostgresTransaction {
    flow: Arc<Flow>,
    /// None once it is given back.
    used: Option<Used>,
    /// Whether a transaction is open, and holds the locks.
    is_open: bool,
    /// Of the rows that were read.
    versions: HashMap<Identity<'static>, String>,
}

/// A row as stored, and its version.
struct Versioned(StoredRow, String);

impl<'r> FromRow<'r, PgRow> for Versioned {
    fn from_row(row: &'r PgRow) -> sqlx::Result<Versioned> {
        Ok(Versioned(StoredRow::from_row(row)?, row.try_get(12)?))
    }
}

impl PostgresTransaction {
    /// Reads the rows of `own` and of `parents`.
    pub(super) async fn begin(
        flow: Arc<Flow>,
        own: &[Identity<'_>],
        parents: &[Identity<'_>],
    ) -> Result<(Vec<Row>, PostgresTransaction), StoreError> {
        let locks = !own.is_empty() && flow.locks();
        let used = Some(flow.connections.take().await?);
        let mut this = PostgresTransaction { flow, used, is_open: locks, versions: HashMap::new() };
        let mut rows = Vec::new();
        if locks {
            this.say("BEGIN").await?;
            this.read(include_str!("lock.sql"), own.iter(), &mut rows).await?;
            this.read(include_str!("read.sql"), parents.iter(), &mut rows).await?;
        } else {
            let both = own.iter().chain(parents);
            this.read(include_str!("read.sql"), both, &mut rows).await?;
        }
        if own.is_empty()
            && let Some(used) = this.used.take()
        {
            // It was only to be read.
            this.flow.connections.put_back(used);
        }
        Ok((rows, this))
    }

    /// Reads the rows that are wanted, and notes their versions.
    async fn read<'i>(
        &mut self,
        sql: &'static str,
        wanted: impl Iterator<Item = &'i Identity<'i>>,
        rows: &mut Vec<Row>,
    ) -> Result<(), StoreError> {
        let (tenants, ids): (Vec<&str>, Vec<&str>) =
            wanted.map(|whose| (whose.tenant.as_ref(), whose.id.as_ref())).unzip();
        let Some(used) = self.used.as_mut().filter(|_| !ids.is_empty()) else { return Ok(()) };
        let read = sqlx::query_as::<_, Versioned>(sql).bind(tenants).bind(ids);
        let stored = within(self.flow.timeout, read.fetch_all(&mut *used.connection)).await?;
        for Versioned(row, version) in stored {
            let row = row.open(&self.flow.keys)?;
            self.versions.insert(row.identity.clone(), version);
            rows.push(row);
        }
        Ok(())
    }

    pub(in crate::store) async fn save(mut self, rows: &[RowChange<'_>]) -> Result<(), StoreError> {
        let saved = self.write(rows).await;
        if matches!(saved, Err(StoreError::Conflict)) {
            self.flow.locking.store(LOCKING_BATCHES, Ordering::Relaxed);
        }
        saved?;
        if self.is_open {
            self.say("COMMIT").await?;
            self.is_open = false;
        }
        if let Some(used) = self.used.take() {
            self.flow.connections.put_back(used);
        }
        Ok(())
    }

    /// Writes all rows, or none.
    async fn write(&mut self, rows: &[RowChange<'_>]) -> Result<(), StoreError> {
        let Some(used) = self.used.as_mut().filter(|_| !rows.is_empty()) else { return Ok(()) };
        let mut versions = Vec::with_capacity(rows.len());
        for row in rows {
            versions.push(match row.is_new {
                true => None,
                // What was not there when it was read cannot be updated.
                false => Some(self.versions.get(row.identity).ok_or(StoreError::Conflict)?),
            });
        }
        let mut arguments = columns(rows, &self.flow.keys)?;
        arguments.add(versions).map_err(sqlx::Error::Encode)?;
        let write = sqlx::query_with(include_str!("save.sql"), arguments);
        within(self.flow.timeout, write.execute(&mut *used.connection)).await?;
        Ok(())
    }

    async fn say(&mut self, sql: &'static str) -> Result<(), StoreError> {
        let Some(used) = self.used.as_mut() else { return Ok(()) };
        within(self.flow.timeout, raw_sql(sql).execute(&mut *used.connection)).await?;
        Ok(())
    }
}

impl Drop for PostgresTransaction {
    fn drop(&mut self) {
        // Nobody may use a connection with a transaction that is open; the server ends both.
        if let Some(used) = self.used.as_mut().filter(|_| self.is_open) {
            used.connection.close_on_drop();
        }
    }
}

/// What a row takes as parameters at most, mostly, besides its history and its live data.
const ROW_BYTES: usize = 400;

/// The rows of a batch turned on their side, as parameters: one array a column.
fn columns<'c>(rows: &'c [RowChange<'c>], keys: &LiveKeys) -> Result<PgArguments, StoreError> {
    let record = column(rows, |row| row.record.to_json());
    let live = keys.seal(rows.iter().map(|row| (row.identity, row.live)))?;
    let texts = record.iter().map(String::len).chain(live.iter().flatten().map(Vec::len));
    let texts: usize = texts.sum();
    let mut arguments = PgArguments::default();
    // All at once, or it is moved while it grows.
    arguments.reserve(13, texts + ROW_BYTES * rows.len());
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

fn column<'c, T>(rows: &'c [RowChange<'c>], of: impl Fn(&'c RowChange<'c>) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
