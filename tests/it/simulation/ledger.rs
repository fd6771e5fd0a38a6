//! What was sent and what came of it: every event once in one of published, set aside, ignored.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;
use uuid::{Uuid, uuid};

use super::conversation::{Event, Fate};

/// The namespace of outgoing ids, as docs/messages.md has it.
const NAMESPACE: Uuid = uuid!("6f0c2f0e-8f1b-5e1c-9d53-6a1d6b1a7c11");

/// A message that came out of the worker.
pub(super) struct Output {
    pub(super) from: Outlet,
    pub(super) message_id: String,
    /// Only on what is published.
    pub(super) correlation_id: Option<String>,
    /// Only on what is set aside.
    pub(super) reason: Option<String>,
    pub(super) body: Vec<u8>,
    /// We had it before and the broker does not know that: no repeat of the worker's.
    pub(super) redelivered: bool,
}

/// Where it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlet {
    Downstream,
    DeadLetters,
}

/// The account of a run.
#[derive(Default)]
pub(super) struct Ledger {
    entries: HashMap<String, Entry>,
    /// Events that must come out and have not yet.
    pub(super) outstanding: usize,
    /// The bodies of what could not be decoded and was set aside for it.
    pub(super) undecodable: BTreeSet<Vec<u8>>,
    /// Messages that came out again.
    pub(super) repeats: usize,
}

struct Entry {
    event: Arc<Event>,
    conversation: u64,
    came_out: bool,
}

impl Ledger {
    /// Writes down an event before it is sent; a repeat is known already.
    pub(super) fn sent(&mut self, conversation: u64, event: &Arc<Event>) {
        if self.entries.contains_key(&event.id) {
            return;
        }
        self.outstanding += usize::from(!matches!(event.fate, Fate::Ignored));
        let entry = Entry { event: Arc::clone(event), conversation, came_out: false };
        self.entries.insert(event.id.clone(), entry);
    }

    /// Checks what came out against what must. Returns the conversation that may have waited for it,
    /// when it is published for the first time.
    pub(super) fn came_out(&mut self, output: &Output) -> Option<u64> {
        if output.reason.as_deref() == Some("undecodable") {
            let is_first = self.undecodable.insert(output.body.clone());
            self.repeats += usize::from(!is_first && !output.redelivered);
            return None;
        }
        // What is set aside keeps its own message id; what is published names its cause.
        let id = output.correlation_id.as_ref().unwrap_or(&output.message_id);
        let from = output.from;
        let entry = self.entries.get_mut(id);
        let entry = entry.unwrap_or_else(|| panic!("{from:?}: nobody has sent {id}"));
        match (&entry.event.fate, from) {
            (Fate::Enriched { .. } | Fate::Ended { .. }, Outlet::Downstream) => {
                check_published(&entry.event, output, !entry.came_out);
            }
            (Fate::SetAside(reason), Outlet::DeadLetters) => {
                assert_eq!(output.reason.as_deref(), Some(*reason), "why {id} is set aside");
                assert!(output.body == entry.event.body.as_bytes(), "{id} is as it was received");
            }
            (Fate::Enriched { .. } | Fate::Ended { .. }, Outlet::DeadLetters) => {
                panic!("{id} is set aside ({:?}), and should be published", output.reason);
            }
            (Fate::SetAside(_) | Fate::Ignored, _) => panic!("{id} came out of {from:?}"),
        }
        if entry.came_out {
            self.repeats += usize::from(!output.redelivered);
            return None;
        }
        entry.came_out = true;
        self.outstanding -= 1;
        (from == Outlet::Downstream).then_some(entry.conversation)
    }

    /// Whether a stage waits for the event.
    pub(super) fn is_awaited(&self, event: &Event) -> bool {
        let published = matches!(event.fate, Fate::Enriched { .. } | Fate::Ended { .. });
        published && self.entries.get(&event.id).is_some_and(|entry| !entry.came_out)
    }

    /// How many events were sent, and how many of each fate.
    pub(super) fn summary(&self) -> String {
        let count = |is: fn(&Fate) -> bool| {
            self.entries.values().filter(|entry| is(&entry.event.fate)).count()
        };
        format!(
            "{} events: {} published, {} set aside, {} ignored; {} undecodable; {} came out again",
            self.entries.len(),
            count(|fate| matches!(fate, Fate::Enriched { .. } | Fate::Ended { .. })),
            count(|fate| matches!(fate, Fate::SetAside(_))),
            count(|fate| matches!(fate, Fate::Ignored)),
            self.undecodable.len(),
            self.repeats,
        )
    }

    /// The first events that must come out and have not, for a failed run's message.
    pub(super) fn missing(&self) -> Vec<&str> {
        let is_missing =
            |entry: &&Entry| !entry.came_out && !matches!(entry.event.fate, Fate::Ignored);
        let missing = self.entries.values().filter(is_missing);
        let mut missing: Vec<_> = missing.map(|entry| entry.event.id.as_str()).collect();
        missing.sort_unstable();
        missing.truncate(20);
        missing
    }
}

/// What every published message must be, and what it holds when it comes out for the first time: a
/// repeat may show the interaction as it stands later.
fn check_published(event: &Event, output: &Output, is_first: bool) {
    let id = &event.id;
    let name = format!("{}\0{}\0{id}", event.tenant, event.interaction);
    let expected = Uuid::new_v5(&NAMESPACE, name.as_bytes()).to_string();
    assert_eq!(output.message_id, expected, "the outgoing id of {id}");
    let body: Value = serde_json::from_slice(&output.body).expect("what is published is JSON");
    assert_eq!(body["id"], *expected, "the id in the body of {id}");
    assert_eq!(body["cause"]["id"], **id, "what {id} was made of");
    assert_eq!(body["interaction"]["id"], *event.interaction, "the interaction of {id}");
    if !is_first {
        return;
    }
    match &event.fate {
        Fate::Enriched { user_data, parent } => {
            assert_eq!(body["type"], "interaction.enriched", "{id}");
            assert_eq!(body["parent"], **parent, "the parent of {id}");
            if let Some(user_data) = user_data {
                assert_eq!(body["interaction"]["userData"], *user_data, "the user data of {id}");
            }
        }
        Fate::Ended { state, extra_data } => {
            assert_eq!(body["type"], "interaction.ended", "{id}");
            assert_eq!(body["interaction"]["state"], **state, "the state of {id}");
            assert_eq!(body["interaction"]["extraData"], *extra_data, "the extra data of {id}");
            assert_eq!(body["interaction"]["userData"], Value::Null, "{id} has no user data");
        }
        Fate::SetAside(_) | Fate::Ignored => {}
    }
}
