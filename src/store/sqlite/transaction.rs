//! The transaction of a batch in SQLite.
//!
//! Statements take many rows at once, in [`runs`] of a few lengths, so that they are prepared once and
//! not for each batch. The write lock is taken before the first read, so nothing can come between
//! reading and writing, and no row needs a lock of its own.

use std::sync::Arc;

use sqlx::query_builder::Separated;
use sqlx::{QueryBuilder, Sqlite, Transaction};

use crate::domain::Identity;
use crate::pipeline::ports::{Row, RowChange, StoreError};
use crate::store::live_data::LiveKeys;
use crate::store::stored::StoredRow;

/// Rows of one statement at most. Beyond some hundreds a longer statement gains nothing; SQLite's own
/// bound of 32,766 parameters is ten times as far.
const RUN_ROWS: usize = 256;

const READ: &str = "SELECT i.tenant, i.id, i.state, i.channel, i.queue, i.facts, i.record, i.live, \
                    i.events, i.created_ms, i.updated_ms, i.ended_ms \
                    FROM wanted CROSS JOIN throughline_interaction AS i \
                    ON i.tenant = wanted.tenant AND i.id = wanted.id";

const INSERT: &str = "INSERT INTO throughline_interaction (tenant, id, state, channel, queue, \
                      facts, record, live, events, created_ms, updated_ms, ended_ms) ";

const CHANGES: &str = "WITH change (tenant, id, state, channel, queue, facts, record, live, \
                       events, created_ms, updated_ms, ended_ms) AS (";

const UPDATE: &str = "UPDATE throughline_interaction AS i SET state = change.state, \
                      channel = change.channel, queue = change.queue, facts = change.facts, \
                      record = change.record, live = change.live, events = change.events, \
                      created_ms = change.created_ms, updated_ms = change.updated_ms, \
                      ended_ms = change.ended_ms \
                      FROM change WHERE i.tenant = change.tenant AND i.id = change.id";

/// An open transaction that holds the database's write lock. Dropping it rolls back.
pub(in crate::store) struct SqliteTransaction {
    transaction: Transaction<'static, Sqlite>,
    keys: Arc<LiveKeys>,
}

impl SqliteTransaction {
    /// Reads the rows of a batch; the write lock is held already.
    pub(super) async fn read(
        mut transaction: Transaction<'static, Sqlite>,
        own: &[Identity<'_>],
        parents: &[Identity<'_>],
        keys: Arc<LiveKeys>,
    ) -> Result<(Vec<Row>, SqliteTransaction), StoreError> {
        let mut rows = Vec::with_capacity(own.len() + parents.len());
        for wanted in [own, parents].into_iter().flat_map(runs) {
            let mut read = QueryBuilder::new("WITH wanted (tenant, id) AS (");
            read.push_values(wanted, |mut row, identity| {
                row.push_bind(identity.tenant.as_ref()).push_bind(identity.id.as_ref());
            });
            let read = read.push(") ").push(READ).build_query_as::<StoredRow>();
            for stored in read.fetch_all(&mut *transaction).await? {
                rows.push(stored.open(&keys)?);
            }
        }
        Ok((rows, SqliteTransaction { transaction, keys }))
    }

    pub(in crate::store) async fn save(mut self, rows: &[RowChange<'_>]) -> Result<(), StoreError> {
        let sealed = rows.iter().map(|change| Sealed::of(change, &self.keys));
        let sealed = sealed.collect::<Result<Vec<_>, _>>()?;
        let (new, known): (Vec<_>, Vec<_>) = sealed.iter().partition(|row| row.change.is_new);
        for rows in runs(&new) {
            let mut insert = QueryBuilder::new(INSERT);
            insert.push_values(rows, bind);
            insert.build().execute(&mut *self.transaction).await?;
        }
        let mut updated = 0;
        for rows in runs(&known) {
            let mut update = QueryBuilder::new(CHANGES);
            update.push_values(rows, bind).push(") ").push(UPDATE);
            updated += update.build().execute(&mut *self.transaction).await?.rows_affected();
        }
        // The lock is older than the read, so a row that was read is there; a caller who says that
        // it read one and did not must not think it saved.
        if updated != known.len() as u64 {
            return Err(StoreError::Conflict);
        }
        Ok(self.transaction.commit().await?)
    }
}

/// Cuts rows into runs whose lengths are powers of two, the longest first. However many rows batches
/// have, there are nine texts of each statement then, and the connection keeps all of them prepared.
fn runs<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let longest = 1 << rows.len().checked_ilog2()?;
        let (run, rest) = rows.split_at(RUN_ROWS.min(longest));
        rows = rest;
        Some(run)
    })
}

/// A change whose live data is sealed.
struct Sealed<'c> {
    change: &'c RowChange<'c>,
    record: String,
    live: Option<Vec<u8>>,
}

impl<'c> Sealed<'c> {
    fn of(change: &'c RowChange<'c>, keys: &LiveKeys) -> Result<Sealed<'c>, StoreError> {
        let live = change.live.map(|plain| keys.seal(change.identity, plain)).transpose()?;
        Ok(Sealed { change, record: change.record.to_json(), live })
    }
}

/// Binds a row's columns, in the order of every statement here.
fn bind(mut row: Separated<'_, Sqlite, &'static str>, sealed: &&Sealed<'_>) {
    let change = sealed.change;
    row.push_bind(change.identity.tenant.as_ref())
        .push_bind(change.identity.id.as_ref())
        .push_bind(change.state.code())
        .push_bind(change.channel)
        .push_bind(change.queue)
        .push_bind(change.facts)
        .push_bind(sealed.record.as_str())
        .push_bind(sealed.live.as_deref())
        .push_bind(change.events)
        .push_bind(change.created_ms)
        .push_bind(change.updated_ms)
        .push_bind(change.ended_ms);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_have_few_lengths_and_leave_nothing_out() {
        for count in 0..1_100 {
            let rows: Vec<usize> = (0..count).collect();
            let runs: Vec<_> = runs(&rows).collect();
            assert!(runs.iter().all(|run| run.len().is_power_of_two() && run.len() <= RUN_ROWS));
            assert_eq!(runs.concat(), rows);
        }
    }
}
