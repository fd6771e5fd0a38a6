//! Sweeping: one step of a walk over all rows, in which what has had its time is erased.
//!
//! The walk follows the primary key, so no index has to be kept for it: a message touches one index,
//! not two, and 100,000 rows are walked in about a second. Each step reads a page without locks;
//! where nothing is due, and that is most pages, it ends there. Else the rows that are due are locked,
//! read again, and judged again in a short transaction of their own, so a message that came between
//! is never undone. In PostgreSQL a row that a batch holds is left for the next round; in SQLite a
//! step waits for its turn as a batch does.
//!
//! Each step is complete in itself: a sweep that is killed has done less, not something else.
//! Workers that sweep at once do the same work twice, or skip each other's rows.

use super::lifetimes::{Aged, Due};
use super::{Backend, Lifetimes, Store};
use crate::domain::{Identity, State};
use crate::pipeline::ports::StoreError;

/// What one step of a sweep came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Rows that were looked at.
    pub rows: u64,
    /// Active interactions among them, but for those that were due.
    pub live: u64,
    /// Active interactions whose live data was erased, and which count as ended now.
    pub expired: u64,
    /// Interactions whose event log was dropped.
    pub forgotten: u64,
    /// Rows that were deleted.
    pub deleted: u64,
    /// Where the next step goes on; `None` at the end of the walk.
    pub next: Option<Identity<'static>>,
}

/// The most rows of one step. With more, the transaction that clears them would be felt by the
/// batches that wait for it: this many are some ten milliseconds.
const MAX_STEP_ROWS: u32 = 1_000;

impl Store {
    /// Looks at the next `rows` rows (at most 1,000) beyond `after` in the order of identities, and
    /// clears what is due at `now_ms`.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses. What earlier steps cleared stays cleared.
    pub async fn sweep(
        &self,
        after: Option<&Identity<'_>>,
        now_ms: i64,
        lifetimes: &Lifetimes,
        rows: u32,
    ) -> Result<Swept, StoreError> {
        let limit = rows.clamp(1, MAX_STEP_ROWS);
        let page = match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.aged(after, limit).await?,
            Backend::Postgres(postgres) => postgres.aged(after, limit).await?,
        };
        let is_due = |row: &&Aged| lifetimes.due(row, now_ms).is_some();
        let due: Vec<_> = page.iter().filter(is_due).map(|row| row.identity.clone()).collect();
        let is_live = |row: &&Aged| State::from_code(row.state) == Some(State::Active);
        let live = page.iter().filter(is_live).filter(|row| !is_due(row)).count();
        let mut swept = Swept { rows: page.len() as u64, live: live as u64, ..Swept::default() };
        if !due.is_empty() {
            let judge = |rows: &[Aged]| Sentence::of(rows, lifetimes, now_ms);
            swept = match &self.backend {
                Backend::Sqlite(sqlite) => sqlite.clear(&due, judge).await?.count(swept),
                Backend::Postgres(postgres) => postgres.clear(&due, judge).await?.count(swept),
            };
        }
        if page.len() as u64 == u64::from(limit) {
            swept.next = page.into_iter().last().map(|row| row.identity);
        }
        Ok(swept)
    }
}

/// What is to be done to the rows of a step, once they are locked.
#[derive(Debug, Default)]
pub(super) struct Sentence {
    pub(super) expire: Vec<Identity<'static>>,
    /// What is added to the time of the last message to tell when a row expired, in milliseconds.
    pub(super) live_ttl_ms: i64,
    pub(super) forget: Vec<Identity<'static>>,
    pub(super) delete: Vec<Identity<'static>>,
}

impl Sentence {
    fn of(rows: &[Aged], lifetimes: &Lifetimes, now_ms: i64) -> Sentence {
        let mut this = Sentence { live_ttl_ms: lifetimes.live_ttl_ms(), ..Sentence::default() };
        for row in rows {
            let list = match lifetimes.due(row, now_ms) {
                Some(Due::Expire) => &mut this.expire,
                Some(Due::Forget) => &mut this.forget,
                Some(Due::Delete) => &mut this.delete,
                None => continue,
            };
            list.push(row.identity.clone());
        }
        this
    }

    /// Adds up what was done, now that it is.
    fn count(&self, swept: Swept) -> Swept {
        Swept {
            expired: self.expire.len() as u64,
            forgotten: self.forget.len() as u64,
            deleted: self.delete.len() as u64,
            ..swept
        }
    }
}
