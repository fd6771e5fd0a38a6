//! Events that the logs of long conversations have no room for, in a table of their own.
//!
//! They stand in generations of [`GENERATION`] in the order in which they were spilled. An event is looked for
//! by its whole key in the newest few generations, so what a look costs does not depend on how many there
//! are; and events written together stand together, so the pages that change with a message stay few.
//!
//! A sweep removes events older than the time for which repeats are recognised, and younger ones beyond
//! the newest generations of their interaction.

use super::{Backend, Lifetimes, Store};
use crate::domain::{Digest, Identity};
use crate::pipeline::ports::Doubtful;
use crate::pipeline::ports::{RowChange, StoreError};

/// Events of one generation.
const GENERATION: u64 = 1_024;

/// How many generations before the newest are looked through: the 4,096 latest events are in them, wherever
/// in its generation the newest is.
pub(super) const OLDER_GENERATIONS: i64 = 4;

/// The most rows of one step.
const MAX_STEP_ROWS: u32 = 1_000;

/// The key of a spilled event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpilledKey {
    pub(super) identity: Identity<'static>,
    pub(super) generation: i64,
    pub(super) digest: Vec<u8>,
}

/// A spilled event as a sweep sees it.
pub(super) struct AgedEvent {
    pub(super) key: SpilledKey,
    pub(super) seen_ms: i64,
    /// The newest generation of its interaction.
    pub(super) newest: i64,
}

/// A row of that: tenant, id, generation, digest, when it was spilled, the newest generation.
pub(super) type AgedColumns = (String, String, i64, Vec<u8>, i64, i64);

impl From<AgedColumns> for AgedEvent {
    fn from((tenant, id, generation, digest, seen_ms, newest): AgedColumns) -> AgedEvent {
        let identity = Identity { tenant: tenant.into(), id: id.into() };
        AgedEvent { key: SpilledKey { identity, generation, digest }, seen_ms, newest }
    }
}

/// What one step of a sweep over spilled events came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweptEvents {
    /// Events that were looked at.
    pub events: u64,
    /// Events that were removed.
    pub removed: u64,
    /// Of these, events that were removed before their time: their interaction had too many.
    pub early: u64,
    /// Where the next step goes on; `None` at the end of the walk.
    pub next: Option<SpilledKey>,
}

/// The generation of the event that is spilled as the `place`th of its interaction, counted from 0.
fn generation(place: u64) -> i64 {
    i64::try_from(place / GENERATION).unwrap_or(i64::MAX)
}

/// The newest generation in which an event may be found.
pub(super) fn newest_generation(event: &Doubtful<'_>) -> i64 {
    generation(event.spilled.saturating_sub(1))
}

/// An event to be written.
pub(super) struct NewEvent<'a> {
    pub(super) identity: &'a Identity<'a>,
    pub(super) generation: i64,
    pub(super) digest: &'a Digest,
    pub(super) seen_ms: i64,
}

/// The events spilled with these rows.
pub(super) fn new_events<'a>(rows: &'a [RowChange<'a>]) -> impl Iterator<Item = NewEvent<'a>> {
    rows.iter().flat_map(|row| {
        let places = row.spilled.before..;
        row.spilled.digests.iter().zip(places).map(|(digest, place)| NewEvent {
            identity: row.identity,
            generation: generation(place),
            digest,
            // When it was seen at the latest, so it is never forgotten too early.
            seen_ms: row.updated_ms,
        })
    })
}

impl Store {
    /// Looks at the next `rows` spilled events (at most 1,000) beyond `after`, and removes those whose
    /// time is over at `now_ms`, or that are too many.
    ///
    /// # Errors
    /// When the store cannot be reached, or refuses. What earlier steps removed stays removed.
    pub async fn sweep_events(
        &self,
        after: Option<&SpilledKey>,
        now_ms: i64,
        lifetimes: &Lifetimes,
        rows: u32,
    ) -> Result<SweptEvents, StoreError> {
        let limit = rows.clamp(1, MAX_STEP_ROWS);
        let nothing = SpilledKey {
            identity: Identity { tenant: "".into(), id: "".into() },
            generation: -1,
            digest: Vec::new(),
        };
        let after = after.unwrap_or(&nothing);
        let page = match &self.backend {
            Backend::Sqlite(sqlite) => sqlite.aged_events(after, limit).await?,
            Backend::Postgres(postgres) => postgres.aged_events(after, limit).await?,
        };
        let is_over = |event: &AgedEvent| lifetimes.is_forgotten(event.seen_ms, now_ms);
        let is_due = |event: &&AgedEvent| is_over(event) || event.is_beyond();
        let due: Vec<_> = page.iter().filter(is_due).collect();
        let early = due.iter().filter(|event| !is_over(event)).count() as u64;
        let mut swept = SweptEvents { events: page.len() as u64, ..SweptEvents::default() };
        if !due.is_empty() {
            let keys: Vec<_> = due.iter().map(|event| &event.key).collect();
            swept.removed = match &self.backend {
                Backend::Sqlite(sqlite) => sqlite.remove_events(&keys).await?,
                Backend::Postgres(postgres) => postgres.remove_events(&keys).await?,
            };
            // Where another worker was faster, it has counted some of them.
            swept.early = early.min(swept.removed);
        }
        if page.len() as u64 == u64::from(limit) {
            swept.next = page.into_iter().last().map(|event| event.key);
        }
        Ok(swept)
    }
}

impl AgedEvent {
    /// Whether it is older than the generations that are searched.
    fn is_beyond(&self) -> bool {
        self.key.generation < self.newest - OLDER_GENERATIONS
    }
}
