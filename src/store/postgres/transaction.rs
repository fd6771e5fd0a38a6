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

use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Arguments as _, FromRow, Row as _, raw_sql};

use super::connections::BatchConnection;
use super::{Postgres, columns, within};
use crate::domain::Identity;
use crate::pipeline::ports::Doubtful;
use crate::pipeline::ports::{Row, RowChange, StoreError};
use crate::store::live_data::LiveKeys;
use crate::store::spilled::{OLDER_GENERATIONS, new_events, newest_generation};
use crate::store::stored::StoredRow;

/// How many batches take locks after a conflict: for as long as it takes to work off the backlog
/// of the queue, and with it messages of the same conversations side by side.
const LOCKING_BATCHES: u32 = 100;

/// How many of the next batches of a worker are to take locks.
#[derive(Default)]
pub(super) struct Locking(AtomicU32);

impl Locking {
    /// A batch came too late.
    fn begin(&self) {
        self.0.store(LOCKING_BATCHES, Ordering::Relaxed);
    }

    /// Whether the next batch takes locks.
    fn next(&self) -> bool {
        let fewer = |batches: u32| batches.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }
}

/// The batch that [`Postgres::begin`] begins. Dropping it changes nothing.
pub(in crate::store) struct PostgresTransaction {
    store: Arc<Postgres>,
    /// None where rows were only to be read.
    used: Option<BatchConnection>,
    versions: Versions,
}

/// Of the rows that were read.
type Versions = HashMap<Identity<'static>, String>;

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
        store: Arc<Postgres>,
        own: &[Identity<'_>],
        parents: &[Identity<'_>],
    ) -> Result<(Vec<Row>, PostgresTransaction), StoreError> {
        let mut used = store.connections.take(store.login, store.timeout).await?;
        let (mut rows, mut versions) = (Vec::new(), Versions::new());
        let lots = match !own.is_empty() && store.locking.next() {
            true => {
                // Set before BEGIN is sent: the transaction may be open although no answer arrives.
                used.is_open = true;
                store.execute(&mut used, "BEGIN").await?;
                vec![
                    (include_str!("lock.sql"), columns(own)),
                    (include_str!("read.sql"), columns(parents)),
                ]
            }
            false => vec![(include_str!("read.sql"), columns(own.iter().chain(parents)))],
        };
        for (sql, (tenants, ids)) in lots {
            if ids.is_empty() {
                continue;
            }
            let read = sqlx::query_as::<_, Versioned>(sql).bind(tenants).bind(ids);
            let stored = within(store.timeout, read.fetch_all(&mut *used.connection)).await?;
            for Versioned(row, version) in stored {
                let row = row.open(&store.keys)?;
                versions.insert(row.identity.clone(), version);
                rows.push(row);
            }
        }
        let used = match own.is_empty() {
            true => {
                store.connections.put_back(used);
                None
            }
            false => Some(used),
        };
        Ok((rows, PostgresTransaction { store, used, versions }))
    }

    /// Which of these events were spilled.
    pub(in crate::store) async fn recall(
        &mut self,
        events: &[Doubtful<'_>],
    ) -> Result<Vec<usize>, StoreError> {
        let (tenants, ids) = columns(events.iter().map(|event| &event.identity));
        let recall = sqlx::query_scalar::<_, i64>(include_str!("recall.sql"))
            .bind((0..).take(events.len()).collect::<Vec<i64>>())
            .bind(tenants)
            .bind(ids)
            .bind(events.iter().map(newest_generation).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.digest.as_slice()).collect::<Vec<_>>())
            .bind(OLDER_GENERATIONS);
        let timeout = self.store.timeout;
        let places = match &mut self.used {
            Some(used) => within(timeout, recall.fetch_all(&mut *used.connection)).await?,
            None => within(timeout * 2, recall.fetch_all(&self.store.connections.pool)).await?,
        };
        Ok(places.into_iter().filter_map(|place| usize::try_from(place).ok()).collect())
    }

    pub(in crate::store) async fn save(self, rows: &[RowChange<'_>]) -> Result<(), StoreError> {
        let PostgresTransaction { store, used, versions } = self;
        let Some(mut used) = used else {
            // Rows that were not to be written are not.
            return if rows.is_empty() { Ok(()) } else { Err(StoreError::Conflict) };
        };
        let saved = store.write(&mut used, rows, &versions).await;
        if matches!(saved, Err(StoreError::Conflict)) {
            store.locking.begin();
        }
        saved?;
        if used.is_open {
            store.execute(&mut used, "COMMIT").await?;
            used.is_open = false;
        }
        store.connections.put_back(used);
        Ok(())
    }
}

impl Postgres {
    /// Writes all rows, or none.
    async fn write(
        &self,
        used: &mut BatchConnection,
        rows: &[RowChange<'_>],
        versions: &Versions,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut read_in = Vec::with_capacity(rows.len());
        for row in rows {
            read_in.push(match row.is_new {
                true => None,
                // A row that was not there when it was read cannot be updated.
                false => Some(versions.get(row.identity).ok_or(StoreError::Conflict)?),
            });
        }
        let mut arguments = transpose_columns(rows, &self.keys)?;
        arguments.add(read_in).map_err(sqlx::Error::Encode)?;
        add_events(&mut arguments, rows)?;
        let write = sqlx::query_with(include_str!("save.sql"), arguments);
        within(self.timeout, write.execute(&mut *used.connection)).await?;
        Ok(())
    }

    async fn execute(
        &self,
        used: &mut BatchConnection,
        sql: &'static str,
    ) -> Result<(), StoreError> {
        within(self.timeout, raw_sql(sql).execute(&mut *used.connection)).await?;
        Ok(())
    }
}

/// The events spilled with these rows, one array a column.
fn add_events(arguments: &mut PgArguments, rows: &[RowChange<'_>]) -> Result<(), StoreError> {
    let events: Vec<_> = new_events(rows).collect();
    let (tenants, ids) = columns(events.iter().map(|event| event.identity));
    let generations: Vec<_> = events.iter().map(|event| event.generation).collect();
    let digests: Vec<_> = events.iter().map(|event| event.digest.as_slice()).collect();
    let seen_ms: Vec<_> = events.iter().map(|event| event.seen_ms).collect();
    let add = || {
        arguments.add(tenants)?;
        arguments.add(ids)?;
        arguments.add(generations)?;
        arguments.add(digests)?;
        arguments.add(seen_ms)
    };
    Ok(add().map_err(sqlx::Error::Encode)?)
}

/// What a row takes as parameters at most, mostly, besides its history and its live data.
const ROW_BYTES: usize = 400;

/// The rows of a batch as parameters: one array a column.
fn transpose_columns<'c>(
    rows: &'c [RowChange<'c>],
    keys: &LiveKeys,
) -> Result<PgArguments, StoreError> {
    let record = column(rows, |row| row.record.to_json());
    let live = keys.seal(rows.iter().map(|row| (row.identity, row.live)))?;
    let texts = record.iter().map(String::len).chain(live.iter().flatten().map(Vec::len));
    let texts: usize = texts.sum();
    let mut arguments = PgArguments::default();
    // All at once, or it is moved while it grows.
    arguments.reserve(18, texts + ROW_BYTES * rows.len());
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
