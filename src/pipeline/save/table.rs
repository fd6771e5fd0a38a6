//! The interactions that a batch touches, as they stand: rows when it begins, changes when it ends.
//!
//! Messages are taken through the rules one after the other against this table, so a child finds a
//! parent that came earlier in the same batch (C8), and an update the creation before it. What a
//! batch of many comes to is what its messages would come to one by one.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::domain::event_log::StoredLog;
use crate::domain::{
    Attempt, Digest, Event, EventLog, Facts, Identity, InteractionSnapshot, LiveData, Message,
    Record, Rules, SavedBefore, Sessions, SnapshotLiveData, State, Step, step,
};
use crate::pipeline::ports::Spilled;
use crate::pipeline::ports::{Plaintext, Row, RowChange, StoredLiveData};
use crate::pipeline::save::stored_facts::StoredFacts;

/// The interactions of a batch.
#[derive(Debug, Default)]
pub struct InteractionTable<'a> {
    /// Hashed with a seed of its own, since ids come from the internet.
    entries: HashMap<Identity<'a>, Entry<'a>, RandomState>,
}

#[derive(Debug)]
struct Entry<'a> {
    snapshot: InteractionSnapshot<'a>,
    /// Whether a message changed it.
    changed: bool,
    /// When it was first saved; `None` if no store has it yet.
    created_ms: Option<i64>,
    ended_ms: Option<i64>,
}

impl<'a> InteractionTable<'a> {
    /// An empty table with room for the interactions of so many messages, if they do not share any.
    pub fn for_messages(count: usize) -> InteractionTable<'a> {
        InteractionTable {
            entries: HashMap::with_capacity_and_hasher(count, RandomState::default()),
        }
    }

    /// Puts a row on the table. An active interaction without a message for `ttl_secs` has expired:
    /// its live data is not used any more, whether or not it has been erased yet.
    pub fn insert(&mut self, row: &'a Row, now_ms: i64, ttl_secs: u64) {
        let ttl_ms = i64::try_from(ttl_secs.saturating_mul(1000)).unwrap_or(i64::MAX);
        let expired = row.state == State::Active && now_ms.saturating_sub(row.updated_ms) > ttl_ms;
        let mut live = match &row.live {
            StoredLiveData::Open(plaintext) => match LiveData::decode(&plaintext.0) {
                Ok(live) => SnapshotLiveData::Known(live),
                Err(_) => SnapshotLiveData::Unreadable,
            },
            StoredLiveData::Locked(_) => SnapshotLiveData::Unreadable,
            StoredLiveData::Absent => SnapshotLiveData::Absent,
        };
        // Without its facts its widget is unknown, and with it which pairs its set lets pass.
        let (facts, saved_before, sessions) = match StoredFacts::of(row) {
            Ok(stored) => {
                if let SnapshotLiveData::Known(live) = &mut live {
                    stored.mark_set(&mut live.received);
                }
                stored.into_parts(row)
            }
            Err(_) => {
                live = SnapshotLiveData::Unreadable;
                (Facts::default(), SavedBefore::default(), Sessions::default())
            }
        };
        let snapshot = InteractionSnapshot {
            state: if expired { State::Expired } else { row.state },
            facts,
            record: row.record.clone(),
            saved_before,
            live: if expired { SnapshotLiveData::Absent } else { live },
            events: EventLog::from_stored(&row.events),
            sessions,
        };
        let (created_ms, ended_ms) = (Some(row.created_ms), row.ended_ms);
        let entry = Entry { snapshot, changed: false, created_ms, ended_ms };
        self.entries.insert(borrowed(&row.identity), entry);
    }

    /// Tells of an event that was spilled from its interaction's log, and came again.
    pub fn recall(&mut self, identity: &Identity<'a>, digest: Digest) {
        if let Some(entry) = self.entries.get_mut(identity) {
            entry.snapshot.events.recall(digest);
        }
    }

    /// Takes a message through the rules and keeps what it changes.
    pub fn take(&mut self, rules: &'a Rules, message: &Message<'a>, attempt: Attempt) -> Step<'a> {
        let snapshot = self.entries.get(&message.identity).map(|entry| &entry.snapshot);
        let parent = looks_for_parent(message)
            .and_then(|parent| self.entries.get(&parent))
            .map(|entry| &entry.snapshot);
        let mut step = step(rules, message, snapshot, parent, attempt);
        if let Some(next) = step.next.take() {
            match self.entries.get_mut(&message.identity) {
                Some(entry) => {
                    if next.state == State::Active {
                        // What has begun anew has not ended: its history stays, counted from its next end.
                        entry.ended_ms = None;
                    }
                    entry.snapshot = next;
                    entry.changed = true;
                }
                None => {
                    let entry =
                        Entry { snapshot: next, changed: true, created_ms: None, ended_ms: None };
                    self.entries.insert(message.identity.clone(), entry);
                }
            }
        }
        step
    }

    /// What has changed, sorted by identity, ready to be saved.
    pub fn changes(&self, now_ms: i64) -> Vec<RowUpdate<'_>> {
        let changed = self.entries.iter().filter(|(_, entry)| entry.changed);
        let mut changes: Vec<_> = changed
            .map(|(identity, entry)| {
                let snapshot = &entry.snapshot;
                let over = snapshot.state != State::Active;
                RowUpdate {
                    identity,
                    is_new: entry.created_ms.is_none(),
                    snapshot,
                    log: snapshot.events.to_stored(),
                    facts: StoredFacts::write(snapshot),
                    live: match &snapshot.live {
                        SnapshotLiveData::Known(live) => Some(Plaintext(live.encode())),
                        SnapshotLiveData::Absent | SnapshotLiveData::Unreadable => None,
                    },
                    created_ms: entry.created_ms.unwrap_or(now_ms),
                    updated_ms: now_ms,
                    ended_ms: if over { entry.ended_ms.or(Some(now_ms)) } else { entry.ended_ms },
                }
            })
            .collect();
        changes.sort_by(|a, b| a.identity.cmp(b.identity));
        changes
    }
}

/// The parent that a message asks for; only a creation asks.
pub fn looks_for_parent<'a>(message: &Message<'a>) -> Option<Identity<'a>> {
    match message.event {
        Event::Created | Event::Opened => message.parent(),
        Event::Updated | Event::Ended(_) => None,
    }
}

/// The id of the parent of a stored interaction, if it has one and its facts can be read.
pub(crate) fn parent_id(row: &Row) -> Option<String> {
    StoredFacts::of(row).ok()?.into_parts(row).0.parent_id.map(Cow::into_owned)
}

/// One changed interaction, in the form that stores keep.
#[derive(Debug)]
pub struct RowUpdate<'t> {
    identity: &'t Identity<'t>,
    is_new: bool,
    snapshot: &'t InteractionSnapshot<'t>,
    log: StoredLog,
    facts: String,
    live: Option<Plaintext>,
    created_ms: i64,
    updated_ms: i64,
    ended_ms: Option<i64>,
}

impl RowUpdate<'_> {
    /// The row to be written.
    pub fn row(&self) -> RowChange<'_> {
        let record: &Record = &self.snapshot.record;
        RowChange {
            identity: self.identity,
            is_new: self.is_new,
            state: self.snapshot.state,
            channel: &self.snapshot.facts.channel,
            queue: self.snapshot.facts.queue.as_deref(),
            facts: &self.facts,
            record,
            live: self.live.as_ref(),
            events: &self.log.bytes,
            spilled: Spilled { digests: &self.log.spilled, before: self.log.spilled_before },
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            ended_ms: self.ended_ms,
        }
    }
}

fn borrowed<'a>(identity: &'a Identity<'static>) -> Identity<'a> {
    Identity { tenant: Cow::Borrowed(&identity.tenant), id: Cow::Borrowed(&identity.id) }
}
