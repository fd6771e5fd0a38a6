//! The events that were sent and their results: each is published, dead-lettered or ignored, once.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;
use uuid::{Uuid, uuid};

use super::conversation::{Event, ExpectedOutcome};

/// The namespace of outgoing ids, as docs/messages.md has it.
const NAMESPACE: Uuid = uuid!("6f0c2f0e-8f1b-5e1c-9d53-6a1d6b1a7c11");

/// A message that came out of the worker.
pub(super) struct Output {
    pub(super) from: OutputQueue,
    pub(super) message_id: String,
    /// Only on published messages.
    pub(super) correlation_id: Option<String>,
    /// Only on dead letters.
    pub(super) reason: Option<String>,
    pub(super) body: Vec<u8>,
    /// The broker delivered it before, and lost the acknowledgement: no repeat by the worker.
    pub(super) redelivered: bool,
}

/// Where it came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutputQueue {
    Downstream,
    DeadLetters,
}

/// The account of a run.
#[derive(Default)]
pub(super) struct Ledger {
    entries: HashMap<String, LedgerEntry>,
    /// Events that must come out and have not yet.
    pub(super) outstanding: usize,
    /// The bodies of what could not be decoded and was set aside for it.
    pub(super) undecodable: BTreeSet<Vec<u8>>,
    /// Messages that came out again.
    pub(super) repeats: usize,
}

struct LedgerEntry {
    event: Arc<Event>,
    conversation: u64,
    received: bool,
}

impl Ledger {
    /// Writes down an event before it is sent; a repeat is known already.
    pub(super) fn record_sent(&mut self, conversation: u64, event: &Arc<Event>) {
        if self.entries.contains_key(&event.id) {
            return;
        }
        self.outstanding +=
            usize::from(!matches!(event.expected_outcome, ExpectedOutcome::Ignored));
        let entry = LedgerEntry { event: Arc::clone(event), conversation, received: false };
        self.entries.insert(event.id.clone(), entry);
    }

    /// Checks a message against its event's expected outcome. Returns the conversation that may have waited for it,
    /// when it is published for the first time.
    pub(super) fn record_output(&mut self, output: &Output) -> Option<u64> {
        if output.reason.as_deref() == Some("undecodable") {
            let is_first = self.undecodable.insert(output.body.clone());
            self.repeats += usize::from(!is_first && !output.redelivered);
            return None;
        }
        // A dead letter keeps its own message id; a published message names its cause.
        let id = output.correlation_id.as_ref().unwrap_or(&output.message_id);
        let from = output.from;
        let entry = self.entries.get_mut(id);
        let entry = entry.unwrap_or_else(|| panic!("{from:?}: no vendor has sent {id}"));
        match (&entry.event.expected_outcome, from) {
            (
                ExpectedOutcome::Enriched { .. } | ExpectedOutcome::Ended { .. },
                OutputQueue::Downstream,
            ) => {
                check_published(&entry.event, output, !entry.received);
            }
            (ExpectedOutcome::SetAside(reason), OutputQueue::DeadLetters) => {
                assert_eq!(output.reason.as_deref(), Some(*reason), "why {id} is set aside");
                assert!(output.body == entry.event.body.as_bytes(), "{id} is as it was received");
            }
            (
                ExpectedOutcome::Enriched { .. } | ExpectedOutcome::Ended { .. },
                OutputQueue::DeadLetters,
            ) => {
                panic!("{id} is set aside ({:?}), and should be published", output.reason);
            }
            (ExpectedOutcome::SetAside(_) | ExpectedOutcome::Ignored, _) => {
                panic!("{id} came out of {from:?}")
            }
        }
        if entry.received {
            self.repeats += usize::from(!output.redelivered);
            return None;
        }
        entry.received = true;
        self.outstanding -= 1;
        (from == OutputQueue::Downstream).then_some(entry.conversation)
    }

    /// Whether a stage waits for the event.
    pub(super) fn is_awaited(&self, event: &Event) -> bool {
        let published = matches!(
            event.expected_outcome,
            ExpectedOutcome::Enriched { .. } | ExpectedOutcome::Ended { .. }
        );
        published && self.entries.get(&event.id).is_some_and(|entry| !entry.received)
    }

    /// How many events were sent, and how many of each fate.
    pub(super) fn summary(&self) -> String {
        let count = |is: fn(&ExpectedOutcome) -> bool| {
            self.entries.values().filter(|entry| is(&entry.event.expected_outcome)).count()
        };
        format!(
            "{} events: {} published, {} set aside, {} ignored; {} undecodable; {} came out again",
            self.entries.len(),
            count(|expected_outcome| matches!(
                expected_outcome,
                ExpectedOutcome::Enriched { .. } | ExpectedOutcome::Ended { .. }
            )),
            count(|expected_outcome| matches!(expected_outcome, ExpectedOutcome::SetAside(_))),
            count(|expected_outcome| matches!(expected_outcome, ExpectedOutcome::Ignored)),
            self.undecodable.len(),
            self.repeats,
        )
    }

    /// The first events that must come out and have not, for a failed run's message.
    pub(super) fn missing(&self) -> Vec<&str> {
        let is_missing = |entry: &&LedgerEntry| {
            !entry.received && !matches!(entry.event.expected_outcome, ExpectedOutcome::Ignored)
        };
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
    match &event.expected_outcome {
        ExpectedOutcome::Enriched { user_data, parent } => {
            assert_eq!(body["type"], "interaction.enriched", "{id}");
            assert_eq!(body["parent"], **parent, "the parent of {id}");
            if let Some(user_data) = user_data {
                assert_eq!(body["interaction"]["userData"], *user_data, "the user data of {id}");
            }
        }
        ExpectedOutcome::Ended { state, extra_data } => {
            assert_eq!(body["type"], "interaction.ended", "{id}");
            assert_eq!(body["interaction"]["state"], **state, "the state of {id}");
            assert_eq!(body["interaction"]["extraData"], *extra_data, "the extra data of {id}");
            assert_eq!(body["interaction"]["userData"], Value::Null, "{id} has no user data");
        }
        ExpectedOutcome::SetAside(_) | ExpectedOutcome::Ignored => {}
    }
}
