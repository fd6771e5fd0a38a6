//! Erasing: a person's saved values are anonymised, at the request of a data protection officer.
//!
//! Each saved value becomes [`ANONYMISED`], live data goes, the record itself stays. An active
//! interaction counts as ended from then on: what its messages bring is not looked at any more, so
//! nothing comes back. Rows go the same way as a batch's, in bounded steps; running it
//! again, after a crash too, does the rest.
//!
//! Deliberately absent: looking into live data. It is sealed, short-lived, and not indexed; an
//! operator who knows the interaction erases it by its id. Messages that are set aside or wait at the
//! broker are out of the store's reach: they are discarded there.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::{Backend, HistoryFilter, Store};
use crate::domain::history::ANONYMISED;
use crate::domain::{Identity, Record, State};
use crate::pipeline::ports::Spilled;
use crate::pipeline::ports::{
    Row, RowChange, Store as _, StoreError, StoredLiveData, Transaction as _,
};

/// The interactions whose saved values are to be erased. Deliberately not `Debug`: it holds a value (K8).
#[derive(Clone, Copy)]
pub enum EraseTarget<'a> {
    /// The interactions of these ids.
    Ids(&'a [String]),
    /// The interactions that have saved exactly this text under this key.
    Saved {
        /// The key.
        key: &'a str,
        /// The text.
        value: &'a str,
    },
}

/// The result of an erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EraseResult {
    /// Interactions that were meant.
    pub found: u64,
    /// Interactions of these in which something was left to be erased.
    pub erased: u64,
    /// Saved values that were replaced.
    pub values: u64,
    /// Interactions that were active, and count as ended now.
    pub ended: u64,
    /// Ids that no interaction has.
    pub missing: Vec<String>,
    /// Where older versions of the rows may still be found for a while, if anywhere.
    pub remains: Option<&'static str>,
}

/// Rows that are written at once: few enough that no batch waits long for them.
const STEP_ROWS: usize = 200;

/// Rows of the contact log that are looked through at once.
const PAGE_ROWS: u32 = 1_000;

/// Every tenant, each found by one look into the primary key, however many rows it has.
const TENANTS: &str = "WITH RECURSIVE known (tenant) AS ( \
                       SELECT min(tenant) FROM throughline_interaction \
                       UNION ALL \
                       SELECT (SELECT min(i.tenant) FROM throughline_interaction AS i \
                       WHERE i.tenant > known.tenant) FROM known WHERE known.tenant IS NOT NULL) \
                       SELECT tenant FROM known WHERE tenant IS NOT NULL";

impl Store {
    /// Erases the saved values of the interactions that `target` names, of one tenant (`""` is the one
    /// without a name) or of all. With `dry_run` it only counts. `now_ms` is the end of those that
    /// were active.
    ///
    /// Interactions that are created meanwhile may be missed; running it again finds them.
    ///
    /// # Errors
    /// When the store cannot be reached, or a row cannot be read. Rows erased by then stay erased.
    pub async fn erase(
        &self,
        target: EraseTarget<'_>,
        tenant: Option<&str>,
        now_ms: i64,
        dry_run: bool,
    ) -> Result<EraseResult, StoreError> {
        let mut erased = EraseResult::default();
        match target {
            EraseTarget::Ids(ids) => {
                let wanted = self.with_ids(ids, tenant).await?;
                let mut missing: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
                for step in wanted.chunks(STEP_ROWS) {
                    for found in self.erase_step(step, now_ms, dry_run, &mut erased).await? {
                        missing.remove(found.id.as_ref());
                    }
                }
                erased.missing = missing.into_iter().map(str::to_owned).collect();
            }
            EraseTarget::Saved { key, value } => {
                let mut after = None;
                loop {
                    let limit = PAGE_ROWS;
                    let filter = HistoryFilter {
                        tenant,
                        after: after.as_ref(),
                        limit,
                        ..Default::default()
                    };
                    let page = self.history(&filter).await?;
                    let holds = |record: &Record| record.pairs().any(|pair| pair == (key, value));
                    let matching = page.iter().filter(|row| holds(&row.record));
                    let wanted: Vec<_> = matching.map(|row| row.identity.clone()).collect();
                    for step in wanted.chunks(STEP_ROWS) {
                        self.erase_step(step, now_ms, dry_run, &mut erased).await?;
                    }
                    match page.into_iter().last() {
                        Some(last) => after = Some(last.identity),
                        None => break,
                    }
                }
            }
        }
        if !dry_run {
            erased.remains = self.remains(erased.erased).await?;
        }
        Ok(erased)
    }

    /// The identities that these ids may have, sorted.
    async fn with_ids(
        &self,
        ids: &[String],
        tenant: Option<&str>,
    ) -> Result<Vec<Identity<'static>>, StoreError> {
        let tenants = match tenant {
            Some(tenant) => vec![tenant.to_owned()],
            None => match &self.backend {
                Backend::Sqlite(sqlite) => sqlite.tenants(TENANTS).await?,
                Backend::Postgres(postgres) => postgres.tenants(TENANTS).await?,
            },
        };
        let identities = tenants.iter().flat_map(|tenant| {
            ids.iter().map(|id| Identity {
                tenant: Cow::Owned(tenant.clone()),
                id: Cow::Owned(id.clone()),
            })
        });
        Ok(identities.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Erases the rows of `wanted` that exist, all at once, and names them. A worker that changes one of
    /// them meanwhile is waited for the next time, so the second time is the last.
    async fn erase_step(
        &self,
        wanted: &[Identity<'static>],
        now_ms: i64,
        dry_run: bool,
        erased: &mut EraseResult,
    ) -> Result<Vec<Identity<'static>>, StoreError> {
        match self.try_step(wanted, now_ms, dry_run, erased).await {
            Err(StoreError::Conflict) => self.try_step(wanted, now_ms, dry_run, erased).await,
            done => done,
        }
    }

    async fn try_step(
        &self,
        wanted: &[Identity<'static>],
        now_ms: i64,
        dry_run: bool,
        erased: &mut EraseResult,
    ) -> Result<Vec<Identity<'static>>, StoreError> {
        let (mut rows, transaction) = self.begin(wanted, &[]).await?;
        rows.sort_by(|a, b| a.identity.cmp(&b.identity));
        let left: Vec<_> = rows.iter().filter(|row| !is_erased(row)).collect();
        let records: Vec<_> = left.iter().map(|row| row.record.anonymised()).collect();
        let changes =
            left.iter().zip(&records).map(|(row, record)| anonymised(row, record, now_ms));
        let changes: Vec<_> = changes.collect();
        if !dry_run {
            transaction.save(&changes).await?;
        }
        erased.found += rows.len() as u64;
        erased.erased += left.len() as u64;
        for row in left {
            erased.values +=
                row.record.pairs().filter(|(_, text)| *text != ANONYMISED).count() as u64;
            erased.ended += u64::from(row.state == State::Active);
        }
        Ok(rows.into_iter().map(|row| row.identity).collect())
    }

    /// What still holds older versions of rows. SQLite's file is overwritten with zeros as it goes. Its
    /// log is emptied though nothing was left to erase: an erasure before may have been kept from it.
    async fn remains(&self, erased: u64) -> Result<Option<&'static str>, StoreError> {
        match &self.backend {
            Backend::Sqlite(sqlite) if sqlite.truncate_log().await? => Ok(None),
            Backend::Sqlite(_) => {
                Ok(Some("the write-ahead log, until all who use the database have closed it"))
            }
            Backend::Postgres(_) if erased == 0 => Ok(None),
            Backend::Postgres(_) => Ok(Some(
                "PostgreSQL's table until it is vacuumed and the space is used again, its \
                 write-ahead log and its backups",
            )),
        }
    }
}

fn is_erased(row: &Row) -> bool {
    !matches!(row.state, State::Active | State::Expired)
        && matches!(row.live, StoredLiveData::Absent)
        && row.record.pairs().all(|(_, text)| text == ANONYMISED)
}

/// The row as it is to be written. Its times stay but for its end, and so does its event log: a repeat
/// is recognised as before.
fn anonymised<'r>(row: &'r Row, record: &'r Record, now_ms: i64) -> RowChange<'r> {
    let active = row.state == State::Active;
    let state = match row.state {
        // As if an end event had come: an interaction that merely expired may begin anew.
        State::Active | State::Expired => State::Ended,
        State::Ended | State::Handled => row.state,
    };
    RowChange {
        identity: &row.identity,
        is_new: false,
        state,
        channel: &row.channel,
        queue: row.queue.as_deref(),
        facts: &row.facts,
        record,
        live: None,
        events: &row.events,
        spilled: Spilled::default(),
        created_ms: row.created_ms,
        updated_ms: row.updated_ms,
        ended_ms: if active { row.ended_ms.or(Some(now_ms)) } else { row.ended_ms },
    }
}
