//! Sweeping: one step of a walk over all rows, in which rows whose time is over are cleared.
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

use super::lifetimes::{DueAction, RowAge};
use super::{Backend, Lifetimes, Store};
use crate::domain::{Identity, State};
use crate::pipeline::ports::StoreError;

/// The result of one step of a sweep.
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
    /// clears the rows that are due at `now_ms`.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses. Rows cleared by earlier steps stay cleared.
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
        let is_due = |row: &&RowAge| lifetimes.due(row, now_ms).is_some();
        let due: Vec<_> = page.iter().filter(is_due).map(|row| row.identity.clone()).collect();
        let is_live = |row: &&RowAge| State::from_code(row.state) == Some(State::Active);
        let live = page.iter().filter(is_live).filter(|row| !is_due(row)).count();
        let mut swept = Swept { rows: page.len() as u64, live: live as u64, ..Swept::default() };
        if !due.is_empty() {
            let make_plan = |rows: &[RowAge]| SweepPlan::new(rows, lifetimes, now_ms);
            swept = match &self.backend {
                Backend::Sqlite(sqlite) => sqlite.clear(&due, make_plan).await?.count(swept),
                Backend::Postgres(postgres) => postgres.clear(&due, make_plan).await?.count(swept),
            };
        }
        if page.len() as u64 == u64::from(limit) {
            swept.next = page.into_iter().last().map(|row| row.identity);
        }
        Ok(swept)
    }
}

/// The actions for the rows of a step, once they are locked.
#[derive(Debug, Default)]
pub(super) struct SweepPlan {
    pub(super) expire: Vec<Identity<'static>>,
    /// Added to the time of the last message, the time at which a row expired, in milliseconds.
    pub(super) live_ttl_ms: i64,
    pub(super) forget: Vec<Identity<'static>>,
    pub(super) delete: Vec<Identity<'static>>,
}

impl SweepPlan {
    fn new(rows: &[RowAge], lifetimes: &Lifetimes, now_ms: i64) -> SweepPlan {
        let mut this = SweepPlan { live_ttl_ms: lifetimes.live_ttl_ms(), ..SweepPlan::default() };
        for row in rows {
            let list = match lifetimes.due(row, now_ms) {
                Some(DueAction::Expire) => &mut this.expire,
                Some(DueAction::Forget) => &mut this.forget,
                Some(DueAction::Delete) => &mut this.delete,
                None => continue,
            };
            list.push(row.identity.clone());
        }
        this
    }

    /// Adds the actions carried out to `swept`.
    fn count(&self, swept: Swept) -> Swept {
        Swept {
            expired: self.expire.len() as u64,
            forgotten: self.forget.len() as u64,
            deleted: self.delete.len() as u64,
            ..swept
        }
    }
}
