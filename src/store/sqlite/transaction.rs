//! The transaction of a batch in SQLite.
//!
//! Statements take many rows at once, in [`runs`] of a few lengths, so that they are prepared once and
//! not for each batch. The write lock is taken before the first read, so nothing can come between
//! reading and writing, and no row needs a lock of its own.

use std::sync::{Arc, LazyLock};

use futures_util::future::join;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, Sqlite, Transaction};

use crate::domain::Identity;
use crate::pipeline::ports::Doubtful;
use crate::pipeline::ports::{Row, RowChange, StoreError};
use crate::store::live_data::LiveKeys;
use crate::store::spilled::{OLDER_GENERATIONS, new_events, newest_generation};
use crate::store::stored::StoredRow;

/// Rows of one statement at most. While SQLite works at one, the next is prepared: shorter ones leave less
/// to wait for, and each costs a message to its thread and back.
const RUN_ROWS: usize = 64;

static READ: LazyLock<Statement> = LazyLock::new(|| {
    Statement::over(
        "WITH wanted (tenant, id) AS (",
        2,
        ") SELECT i.tenant, i.id, i.state, i.channel, i.queue, i.facts, i.record, i.live, \
         i.events, i.created_ms, i.updated_ms, i.ended_ms \
         FROM wanted CROSS JOIN throughline_interaction AS i \
         ON i.tenant = wanted.tenant AND i.id = wanted.id",
    )
});

static INSERT: LazyLock<Statement> = LazyLock::new(|| {
    Statement::over(
        "INSERT INTO throughline_interaction (tenant, id, state, channel, queue, \
         facts, record, live, events, created_ms, updated_ms, ended_ms) ",
        12,
        "",
    )
});

static UPDATE: LazyLock<Statement> = LazyLock::new(|| {
    Statement::over(
        "WITH change (tenant, id, state, channel, queue, facts, record, live, \
         events, created_ms, updated_ms, ended_ms) AS (",
        12,
        ") UPDATE throughline_interaction AS i SET state = change.state, \
         channel = change.channel, queue = change.queue, facts = change.facts, \
         record = change.record, live = change.live, events = change.events, \
         created_ms = change.created_ms, updated_ms = change.updated_ms, \
         ended_ms = change.ended_ms \
         FROM change WHERE i.tenant = change.tenant AND i.id = change.id",
    )
});

static RECALL: LazyLock<Statement> = LazyLock::new(|| {
    let begin = format!(
        "WITH RECURSIVE older (generations) AS (SELECT 0 UNION ALL SELECT generations + 1 FROM older \
         WHERE generations < {OLDER_GENERATIONS}), wanted (place, tenant, id, newest, digest) AS ("
    );
    Statement::over(
        &begin,
        5,
        ") SELECT wanted.place FROM wanted CROSS JOIN older CROSS JOIN throughline_spilled_event AS e \
         ON e.tenant = wanted.tenant AND e.id = wanted.id \
         AND e.generation = wanted.newest - older.generations AND e.digest = wanted.digest",
    )
});

static SPILL: LazyLock<Statement> = LazyLock::new(|| {
    Statement::over(
        "INSERT OR IGNORE INTO throughline_spilled_event (tenant, id, generation, digest, seen_ms) ",
        5,
        "",
    )
});

/// A statement over the rows of a run: its text for each length that runs have.
struct Statement {
    /// By the logarithm of the length.
    texts: Vec<String>,
}

impl Statement {
    /// Between `begin` and `end` stand the rows, of so many columns each.
    fn over(begin: &str, columns: usize, end: &str) -> Statement {
        let row = format!("({})", vec!["?"; columns].join(", "));
        let text = |log: u32| {
            let rows = vec![row.as_str(); 1 << log].join(", ");
            format!("{begin}VALUES {rows}{end}")
        };
        Statement { texts: (0..=RUN_ROWS.ilog2()).map(text).collect() }
    }

    fn text(&'static self, run: usize) -> &'static str {
        &self.texts[run.ilog2() as usize]
    }
}

/// A statement that is ready to be sent.
type Prepared = (&'static str, SqliteArguments);

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
            let mut arguments = SqliteArguments::default();
            for identity in wanted {
                bind(&mut arguments, identity.tenant.as_ref())?;
                bind(&mut arguments, identity.id.as_ref())?;
            }
            let read = sqlx::query_as_with::<_, StoredRow, _>(READ.text(wanted.len()), arguments);
            for stored in read.fetch_all(&mut *transaction).await? {
                rows.push(stored.open(&keys)?);
            }
        }
        Ok((rows, SqliteTransaction { transaction, keys }))
    }

    /// Which of these events were spilled.
    pub(in crate::store) async fn recall(
        &mut self,
        events: &[Doubtful<'_>],
    ) -> Result<Vec<usize>, StoreError> {
        let mut places = Vec::new();
        let mut begin = 0;
        for run in runs(events) {
            let mut arguments = SqliteArguments::default();
            for (place, event) in (0_i64..).zip(run) {
                bind(&mut arguments, place)?;
                bind(&mut arguments, event.identity.tenant.as_ref())?;
                bind(&mut arguments, event.identity.id.as_ref())?;
                bind(&mut arguments, newest_generation(event))?;
                bind(&mut arguments, event.digest.as_slice())?;
            }
            let recall = sqlx::query_scalar_with::<_, i64, _>(RECALL.text(run.len()), arguments);
            let found = recall.fetch_all(&mut *self.transaction).await?;
            places
                .extend(found.into_iter().filter_map(|at| Some(begin + usize::try_from(at).ok()?)));
            begin += run.len();
        }
        Ok(places)
    }

    async fn spill(&mut self, rows: &[RowChange<'_>]) -> Result<(), StoreError> {
        let events: Vec<_> = new_events(rows).collect();
        for run in runs(&events) {
            let mut arguments = SqliteArguments::default();
            for event in run {
                bind(&mut arguments, event.identity.tenant.as_ref())?;
                bind(&mut arguments, event.identity.id.as_ref())?;
                bind(&mut arguments, event.generation)?;
                bind(&mut arguments, event.digest.as_slice())?;
                bind(&mut arguments, event.seen_ms)?;
            }
            let spill = sqlx::query_with(SPILL.text(run.len()), arguments);
            spill.execute(&mut *self.transaction).await?;
        }
        Ok(())
    }

    pub(in crate::store) async fn save(mut self, rows: &[RowChange<'_>]) -> Result<(), StoreError> {
        let (new, known): (Vec<_>, Vec<_>) = rows.iter().partition(|change| change.is_new);
        let inserts = runs(&new).map(|run| (&*INSERT, run));
        let updates = runs(&known).map(|run| (&*UPDATE, run));
        let keys = &self.keys;
        let mut prepared = inserts.chain(updates).map(|(write, run)| prepare(write, run, keys));
        let mut next = prepared.next().transpose()?;
        let mut written = 0;
        while let Some((text, arguments)) = next {
            let write = sqlx::query_with(text, arguments).execute(&mut *self.transaction);
            // SQLite has a thread of its own, which gets the call at the first poll.
            let (done, following) = join(write, async { prepared.next().transpose() }).await;
            written += done?.rows_affected();
            next = following?;
        }
        drop(prepared);
        // The lock is older than the read, so a row that was read is there; a caller who says that
        // it read one and did not must not think it saved.
        if written != rows.len() as u64 {
            return Err(StoreError::Conflict);
        }
        self.spill(rows).await?;
        Ok(self.transaction.commit().await?)
    }
}

/// Cuts rows into runs whose lengths are powers of two, the longest first. However many rows batches
/// have, there are few texts of each statement then, and the connection keeps all of them prepared.
fn runs<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let longest = 1 << rows.len().checked_ilog2()?;
        let (run, rest) = rows.split_at(RUN_ROWS.min(longest));
        rows = rest;
        Some(run)
    })
}

/// Seals the live data of a run and binds the columns of its rows, in the order of every statement here.
fn prepare(
    statement: &'static Statement,
    run: &[&RowChange<'_>],
    keys: &LiveKeys,
) -> Result<Prepared, StoreError> {
    let sealed = keys.seal(run.iter().map(|change| (change.identity, change.live)))?;
    let mut arguments = SqliteArguments::default();
    arguments.reserve(12 * run.len(), 0);
    let (mut tenants, mut channels, mut queues) = <(Shared, Shared, Shared)>::default();
    for (change, live) in run.iter().zip(sealed) {
        let arguments = &mut arguments;
        bind(arguments, tenants.text(&change.identity.tenant))?;
        bind(arguments, Arc::<str>::from(change.identity.id.as_ref()))?;
        bind(arguments, change.state.code())?;
        bind(arguments, channels.text(change.channel))?;
        bind(arguments, change.queue.map(|queue| queues.text(queue)))?;
        bind(arguments, Arc::<str>::from(change.facts))?;
        bind(arguments, change.record.to_json())?;
        bind(arguments, live)?;
        bind(arguments, change.events)?;
        bind(arguments, change.created_ms)?;
        bind(arguments, change.updated_ms)?;
        bind(arguments, change.ended_ms)?;
    }
    Ok((statement.text(run.len()), arguments))
}

/// Binds the next parameter.
fn bind<'v>(
    arguments: &mut SqliteArguments,
    value: impl sqlx::Encode<'v, Sqlite> + sqlx::Type<Sqlite> + 'v,
) -> Result<(), StoreError> {
    Ok(sqlx::Arguments::add(arguments, value).map_err(sqlx::Error::Encode)?)
}

/// A text that many rows have in common: a bound value goes to another thread, and is freed there.
#[derive(Default)]
struct Shared(Option<Arc<str>>);

impl Shared {
    fn text(&mut self, text: &str) -> Arc<str> {
        match &self.0 {
            Some(last) if last.as_ref() == text => Arc::clone(last),
            _ => Arc::clone(self.0.insert(Arc::from(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_powers_of_two_and_cover_all_rows() {
        for count in 0..1_100 {
            let rows: Vec<usize> = (0..count).collect();
            let runs: Vec<_> = runs(&rows).collect();
            assert!(runs.iter().all(|run| run.len().is_power_of_two() && run.len() <= RUN_ROWS));
            assert_eq!(runs.concat(), rows);
        }
    }
}
