//! What is known of an interaction and has no column of its own, as a row keeps it: readable JSON,
//! since nothing in it is user data.
//!
//! A release reads what any other wrote: what it does not know it passes over, and what is missing is none.
//! So workers of two releases work side by side on the same rows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::digest::{Hex, sha256};
use crate::domain::{
    Facts, InteractionSnapshot, Key, Received, SavedBefore, Sessions, SnapshotLiveData,
};
use crate::pipeline::ports::Row;

/// The facts of a row.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredFacts<'a> {
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    widget: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    call_target: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    parent_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    direction: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    created_at: Option<Cow<'a, str>>,
    /// Keys of the history that are from before the interaction began anew; names, no values.
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    saved_before: Vec<Cow<'a, str>>,
    /// Sessions that have started and not ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    open_sessions: Vec<String>,
    /// Sessions that have ended and not started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ended_sessions: Vec<String>,
    /// When received pairs were set, where that was said: milliseconds since the Unix epoch, by digests
    /// of their keys, which may be anything.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    set_ms: BTreeMap<String, i64>,
}

impl StoredFacts<'_> {
    /// Reads those of a row.
    ///
    /// # Errors
    /// When they are not what any release writes.
    pub(crate) fn of(row: &Row) -> Result<StoredFacts<'_>, serde_json::Error> {
        serde_json::from_str(&row.facts)
    }

    /// Says of received pairs when they were set.
    pub(crate) fn mark_set(&self, received: &mut Received<'_>) {
        if !self.set_ms.is_empty() {
            received.mark_set(|key| self.set_ms.get(&digest(key)).copied());
        }
    }

    /// Writes those of an interaction.
    pub(crate) fn write(snapshot: &InteractionSnapshot<'_>) -> String {
        let facts = &snapshot.facts;
        let set_ms = match &snapshot.live {
            SnapshotLiveData::Known(live) => {
                live.received.set_ms().map(|(key, ms)| (digest(key), ms)).collect()
            }
            SnapshotLiveData::Absent | SnapshotLiveData::Unreadable => BTreeMap::new(),
        };
        let stored = StoredFacts {
            widget: facts.widget.as_deref().map(Cow::Borrowed),
            call_target: facts.call_target.as_deref().map(Cow::Borrowed),
            parent_id: facts.parent_id.as_deref().map(Cow::Borrowed),
            direction: facts.direction.as_deref().map(Cow::Borrowed),
            created_at: facts.created_at.as_deref().map(Cow::Borrowed),
            saved_before: snapshot.saved_before.keys().map(Cow::Borrowed).collect(),
            open_sessions: snapshot.sessions.open().to_vec(),
            ended_sessions: snapshot.sessions.ended_before_start().to_vec(),
            set_ms,
        };
        // A struct of strings and numbers always serialises.
        serde_json::to_string(&stored).unwrap_or_else(|_| "{}".to_owned())
    }
}

impl<'a> StoredFacts<'a> {
    /// With what has a column of its own, what is known of the interaction.
    pub(crate) fn into_parts(self, row: &'a Row) -> (Facts<'a>, SavedBefore, Sessions) {
        let facts = Facts {
            channel: Cow::Borrowed(&row.channel),
            queue: row.queue.as_deref().map(Cow::Borrowed),
            widget: self.widget,
            call_target: self.call_target,
            parent_id: self.parent_id,
            direction: self.direction,
            created_at: self.created_at,
        };
        let saved_before = SavedBefore::from_keys(self.saved_before);
        (facts, saved_before, Sessions::restored(self.open_sessions, self.ended_sessions))
    }
}

/// Eight bytes of SHA-256: two keys of one interaction do not meet by chance.
fn digest(key: &Key<'_>) -> String {
    Hex(&sha256::<8>(&[key.as_bytes()])).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_release_wrote_is_read() {
        for (json, open) in [
            ("{}", 0),
            (r#"{"widget":"w","direction":"in"}"#, 0),
            (r#"{"widget":"w","openSessions":["s"],"aFieldOfTomorrow":{"x":[1]}}"#, 1),
        ] {
            let stored: StoredFacts<'_> = serde_json::from_str(json).expect("it is read");
            assert_eq!(stored.open_sessions.len(), open, "{json}");
        }
    }
}
