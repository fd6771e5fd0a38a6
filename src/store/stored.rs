//! A row as the tables have it, and the way from there to what the pipeline reads.
//!
//! Both backends keep the same columns; what differs is the SQL. A row that this version cannot
//! read is an error that names the interaction, never a guess.

use std::borrow::Cow;

use sqlx::FromRow;

use super::history::HistoryRow;
use super::lifetimes::RowAge;
use super::live_data::LiveKeys;
use crate::domain::{Identity, Record, State};
use crate::pipeline::ports::{Row, StoreError, StoredLiveData};

/// The columns of one row, in the order in which every statement names them.
type Columns = (
    String,
    String,
    i16,
    String,
    Option<String>,
    String,
    String,
    Option<Vec<u8>>,
    Vec<u8>,
    i64,
    i64,
    Option<i64>,
);

/// A row as stored, live data still sealed.
pub(super) struct StoredRow {
    tenant: String,
    id: String,
    state: i16,
    channel: String,
    queue: Option<String>,
    facts: String,
    record: String,
    live: Option<Vec<u8>>,
    events: Vec<u8>,
    created_ms: i64,
    updated_ms: i64,
    ended_ms: Option<i64>,
}

impl<'r, R: sqlx::Row> FromRow<'r, R> for StoredRow
where
    Columns: FromRow<'r, R>,
{
    fn from_row(row: &'r R) -> sqlx::Result<StoredRow> {
        let (
            tenant,
            id,
            state,
            channel,
            queue,
            facts,
            record,
            live,
            events,
            created_ms,
            updated_ms,
            ended_ms,
        ) = Columns::from_row(row)?;
        Ok(StoredRow {
            tenant,
            id,
            state,
            channel,
            queue,
            facts,
            record,
            live,
            events,
            created_ms,
            updated_ms,
            ended_ms,
        })
    }
}

impl StoredRow {
    /// The row for the pipeline, its live data opened.
    pub(super) fn open(self, keys: &LiveKeys) -> Result<Row, StoreError> {
        let identity = Identity { tenant: Cow::Owned(self.tenant), id: Cow::Owned(self.id) };
        Ok(Row {
            state: state(&identity, self.state)?,
            channel: self.channel,
            queue: self.queue,
            facts: self.facts,
            record: record(&identity, &self.record)?,
            live: match self.live {
                None => StoredLiveData::Absent,
                Some(sealed) => keys.open(&identity, &sealed),
            },
            events: self.events,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            ended_ms: self.ended_ms,
            identity,
        })
    }
}

/// The columns that the contact log shows: nothing that is sealed is even read.
type HistoryColumns = (String, String, String, Option<String>, i16, String, i64, i64, Option<i64>);

/// A row of the contact log as stored.
pub(super) struct StoredHistory(HistoryColumns);

impl<'r, R: sqlx::Row> FromRow<'r, R> for StoredHistory
where
    HistoryColumns: FromRow<'r, R>,
{
    fn from_row(row: &'r R) -> sqlx::Result<StoredHistory> {
        HistoryColumns::from_row(row).map(StoredHistory)
    }
}

impl StoredHistory {
    /// The row for the contact log.
    pub(super) fn open(self) -> Result<HistoryRow, StoreError> {
        let (tenant, id, channel, queue, state_code, pairs, created_ms, updated_ms, ended_ms) =
            self.0;
        let identity = Identity { tenant: Cow::Owned(tenant), id: Cow::Owned(id) };
        Ok(HistoryRow {
            state: state(&identity, state_code)?,
            record: record(&identity, &pairs)?,
            identity,
            channel,
            queue,
            created_ms,
            updated_ms,
            ended_ms,
        })
    }
}

/// The columns that say how old a row is, and whether it has history or an event log.
type AgedColumns = (String, String, i16, String, Option<String>, bool, bool, i64, Option<i64>);

/// A row as a sweep sees it.
pub(super) struct StoredAged(AgedColumns);

impl<'r, R: sqlx::Row> FromRow<'r, R> for StoredAged
where
    AgedColumns: FromRow<'r, R>,
{
    fn from_row(row: &'r R) -> sqlx::Result<StoredAged> {
        AgedColumns::from_row(row).map(StoredAged)
    }
}

impl StoredAged {
    /// The row for a sweep. The state is not looked into: a sweep leaves alone what it does not know.
    pub(super) fn open(self) -> RowAge {
        let (tenant, id, state, channel, queue, has_events, has_history, updated_ms, ended_ms) =
            self.0;
        let identity = Identity { tenant: Cow::Owned(tenant), id: Cow::Owned(id) };
        RowAge { identity, state, channel, queue, has_events, has_history, updated_ms, ended_ms }
    }
}

fn state(identity: &Identity<'_>, code: i16) -> Result<State, StoreError> {
    State::from_code(code)
        .ok_or_else(|| StoreError::Unreadable(format!("{identity} is in the unknown state {code}")))
}

fn record(identity: &Identity<'_>, json: &str) -> Result<Record, StoreError> {
    // The parser's text is left out: it may quote what it could not parse.
    Record::restored(json)
        .map_err(|_| StoreError::Unreadable(format!("the history of {identity} is not text pairs")))
}
