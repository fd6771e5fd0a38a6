//! The contact log: saved values, read page by page for the command line and the HTTP interface.
//!
//! Live data is not read here, let alone shown. Pages follow the primary key, so that memory stays
//! bounded however long the log is, and a page costs the same wherever it starts.

use sqlx::{Database, Encode, QueryBuilder, Type};

use crate::domain::{Identity, Record, State};

/// Which part of the contact log is asked for. A `None` field does not restrict.
#[derive(Clone, Debug)]
pub struct HistoryFilter<'a> {
    /// One interaction's id. With a tenant it is found at once, without one the log is searched.
    pub id: Option<&'a str>,
    /// One tenant; `""` is the one without a name.
    pub tenant: Option<&'a str>,
    /// One channel.
    pub channel: Option<&'a str>,
    /// One queue.
    pub queue: Option<&'a str>,
    /// Only rows saved at or after this time, in milliseconds since the Unix epoch.
    pub since_ms: Option<i64>,
    /// The last identity of the page before.
    pub after: Option<&'a Identity<'a>>,
    /// How many rows a page has at most.
    pub limit: u32,
}

impl Default for HistoryFilter<'_> {
    fn default() -> Self {
        HistoryFilter {
            id: None,
            tenant: None,
            channel: None,
            queue: None,
            since_ms: None,
            after: None,
            // About a megabyte a page where history is kept short, as it should be.
            limit: 1_000,
        }
    }
}

/// One interaction of the contact log.
#[derive(Debug)]
pub struct HistoryRow {
    /// The interaction of the row.
    pub identity: Identity<'static>,
    /// Its channel.
    pub channel: String,
    /// Its queue.
    pub queue: Option<String>,
    /// State as stored; expiry is worked out by the reader.
    pub state: State,
    /// What history kept.
    pub record: Record,
    /// When it was first saved, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When its last message was saved, in milliseconds since the Unix epoch.
    pub updated_ms: i64,
    /// When its first end was saved, in milliseconds since the Unix epoch.
    pub ended_ms: Option<i64>,
}

/// The statement for a page: `select` and a condition for each thing that is asked for, so that
/// the database plans for these alone.
pub(super) fn page<'a, DB: Database>(
    select: &'static str,
    filter: &HistoryFilter<'a>,
) -> QueryBuilder<DB>
where
    &'a str: Encode<'a, DB> + Type<DB>,
    i64: Encode<'a, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new(select);
    let mut glue = " WHERE ";
    let equal = [
        ("tenant", filter.tenant),
        ("id", filter.id),
        ("channel", filter.channel),
        ("queue", filter.queue),
    ];
    for (column, wanted) in equal {
        if let Some(wanted) = wanted {
            query.push(glue).push(column).push(" = ").push_bind(wanted);
            glue = " AND ";
        }
    }
    if let Some(since_ms) = filter.since_ms {
        query.push(glue).push("updated_ms >= ").push_bind(since_ms);
        glue = " AND ";
    }
    if let Some(after) = filter.after {
        query.push(glue).push("(tenant, id) > (").push_bind(after.tenant.as_ref());
        query.push(", ").push_bind(after.id.as_ref()).push(")");
    }
    query.push(" ORDER BY tenant, id LIMIT ").push_bind(i64::from(filter.limit));
    query
}
