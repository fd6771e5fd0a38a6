//! The traffic: the events of one conversation, and the expected outcome of each.
//!
//! A closed loop: the events of a stage are sent together, and the next stage only once all that must
//! come out of this one has come out. Within a stage nothing depends on the order in which the
//! workers handle it, so the end is the same however many they are.
//!
//! The traffic also has events that change nothing: repeats, undecodable messages, messages about
//! unknown interactions, and updates after the end.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::model::{Interaction, SOURCES};
use super::random::Random;

/// A conversation: the events of each stage, and the interactions at its end.
pub(super) struct Conversation {
    /// First stage first.
    pub(super) stages: Vec<Stage>,
    /// Its interactions, as history must have them in the end.
    pub(super) interactions: Vec<Interaction>,
}

/// Events that are published together, in this order; some repeat events of this or earlier stages.
pub(super) type Stage = Vec<Arc<Event>>;

/// One event, and its expected outcome.
pub(super) struct Event {
    /// Its id, and the inbound `message_id`. No other event has it.
    pub(super) id: String,
    pub(super) tenant: String,
    pub(super) interaction: String,
    pub(super) body: String,
    pub(super) expected_outcome: ExpectedOutcome,
}

/// The expected outcome of an event.
pub(super) enum ExpectedOutcome {
    /// Published as enriched. When it comes out for the first time it holds exactly this user data,
    /// unless others of its stage may have changed it.
    Enriched { user_data: Option<Value>, parent: &'static str },
    /// Published as ended.
    Ended { state: &'static str, extra_data: Value },
    /// Set aside for this reason.
    SetAside(&'static str),
    /// Acknowledged, and nothing else.
    Ignored,
}

/// Keys of updates: two that history lists, one that it does not, and one that may be copied.
const KEYS: [&str; 4] = ["plan", "tier", "note", "rule"];

/// The `n`-th conversation of a seed.
pub(super) fn conversation(seed: u64, n: u64) -> Conversation {
    let random = Random::from_parts(seed, "conversation", n);
    let tenant = format!("t{}", n % 3);
    ConversationBuilder {
        n,
        random,
        tenant,
        events: 0,
        parent: "none",
        sent: Vec::new(),
        stages: Vec::new(),
    }
    .write()
}

struct ConversationBuilder {
    n: u64,
    random: Random,
    tenant: String,
    /// How many events were made.
    events: usize,
    /// The published `parent` of the child: updates repeat the value of its creation (C7).
    parent: &'static str,
    /// All effective events so far: those that may be repeated.
    sent: Vec<Arc<Event>>,
    stages: Vec<Stage>,
}

impl ConversationBuilder {
    fn write(mut self) -> Conversation {
        let mut parent = Interaction::new(&self.tenant, &format!("w{}", self.n), "webengagement");
        let mut child = Interaction::new(&self.tenant, &format!("c{}", self.n), "chat");
        let has_parent = self.random.chance(85);
        let mut stage = Vec::new();
        if has_parent {
            for key in ["rule", "strategy", "secret"] {
                if self.random.chance(80) {
                    parent.receive("customer", key, &self.value());
                }
            }
            let (data, user_data) = (parent.user_data(), Some(parent.user_data()));
            let body = json!({ "channel": "webengagement", "userData": data });
            let expected_outcome = ExpectedOutcome::Enriched { user_data, parent: "none" };
            stage.push(self.event(
                "interaction.created",
                &parent.id,
                "customer",
                body,
                expected_outcome,
            ));
            child.copy_from(&parent);
        }
        stage.push(self.creation_of(&mut child, has_parent.then_some(&parent)));
        if self.random.chance(40) {
            // The child overtakes its parent.
            stage.reverse();
        }
        self.push(stage);
        for _ in 0..self.random.below(4) {
            self.updates(&mut child);
        }
        if self.random.chance(85) {
            self.end(&mut child);
        }
        if has_parent && self.random.chance(50) {
            self.end(&mut parent);
        }
        let interactions = if has_parent { vec![parent, child] } else { vec![child] };
        Conversation { stages: self.stages, interactions }
    }

    fn creation_of(&mut self, child: &mut Interaction, parent: Option<&Interaction>) -> Arc<Event> {
        let mut body = json!({ "channel": "chat", "userData": {}, "attached": [] });
        if let Some(parent) = parent {
            body["parentId"] = parent.id.as_str().into();
        }
        for key in KEYS {
            if self.random.chance(30) {
                let value = self.value();
                child.receive("customer", key, &value);
                body["userData"][key] = value.into();
            }
        }
        if self.random.chance(30) {
            let (key, value) = (*self.random.pick(&KEYS), self.value());
            child.receive("integration", key, &value);
            body["attached"] = json!([{ "source": "integration", "userData": { key: value } }]);
        }
        let (user_data, id) = (Some(child.user_data()), child.id.clone());
        self.parent = if parent.is_some() { "found" } else { "none" };
        let expected_outcome = ExpectedOutcome::Enriched { user_data, parent: self.parent };
        self.event("interaction.created", &id, "customer", body, expected_outcome)
    }

    /// One update, or several at once whose order does not matter: each key, or else each source, is
    /// only in one of them.
    fn updates(&mut self, child: &mut Interaction) {
        let mut changes = Vec::new();
        if self.random.chance(60) {
            changes.push((*self.random.pick(&SOURCES), *self.random.pick(&KEYS)));
        } else if self.random.chance(50) {
            let mut keys = KEYS;
            self.random.shuffle(&mut keys);
            changes.extend(keys[..3].iter().map(|key| (*self.random.pick(&SOURCES), *key)));
        } else {
            let (mut sources, key) = (SOURCES, *self.random.pick(&KEYS));
            self.random.shuffle(&mut sources);
            changes.extend(sources.map(|source| (source, key)));
        }
        let values: Vec<_> = changes.iter().map(|_| self.value()).collect();
        for ((source, key), value) in changes.iter().zip(&values) {
            child.receive(source, key, value);
        }
        let alone = (changes.len() == 1).then(|| child.user_data());
        let stage = changes.iter().zip(&values).map(|((source, key), value)| {
            let expected_outcome =
                ExpectedOutcome::Enriched { user_data: alone.clone(), parent: self.parent };
            let body = json!({ "userData": { *key: value } });
            self.event("interaction.updated", &child.id, source, body, expected_outcome)
        });
        let stage = stage.collect();
        self.push(stage);
    }

    /// An end, sometimes a second one, sometimes an update after it.
    fn end(&mut self, interaction: &mut Interaction) {
        for _ in 0..1 + usize::from(self.random.chance(25)) {
            let said = *self.random.pick(&["ended", "handled"]);
            interaction.end(said);
            let expected_outcome = ExpectedOutcome::Ended {
                state: interaction.state,
                extra_data: interaction.extra_data(),
            };
            let body = json!({ "state": said });
            let event = self.event(
                "interaction.ended",
                &interaction.id,
                "customer",
                body,
                expected_outcome,
            );
            self.push(vec![event]);
        }
        if self.random.chance(15) {
            let body = json!({ "userData": { "rule": self.value() } });
            let late = self.event(
                "interaction.updated",
                &interaction.id,
                "customer",
                body,
                ExpectedOutcome::Ignored,
            );
            self.push(vec![late]);
        }
    }

    /// Closes a stage, after adding events that change nothing.
    fn push(&mut self, mut stage: Stage) {
        self.sent.extend(stage.iter().cloned());
        if self.random.chance(15) {
            let repeated = self.random.pick(&self.sent).clone();
            stage.push(repeated);
        }
        if self.random.chance(6) {
            stage.push(self.undecodable());
        }
        if self.random.chance(3) {
            stage.push(self.for_unknown_interaction());
        }
        self.stages.push(stage);
    }

    /// A message that the worker cannot process.
    fn undecodable(&mut self) -> Arc<Event> {
        let id = format!("bad{}-{}", self.n, self.events);
        let interaction = |members: Value| {
            let mut interaction = json!({ "id": id, "tenant": self.tenant, "channel": "chat" });
            if let (Value::Object(to), Value::Object(more)) = (&mut interaction, members) {
                to.extend(more);
            }
            interaction
        };
        let (reason, body) = match self.random.below(6) {
            0 => ("not_json", format!("{{\"type\":\"interaction.created\",\"id\":\"{id}\"")),
            1 => ("not_an_interaction", {
                let interaction = interaction(json!({ "channel": null }));
                json!({ "type": "interaction.created", "interaction": interaction }).to_string()
            }),
            2 => ("not_an_interaction", {
                let interaction = interaction(json!({ "state": "gone" }));
                json!({ "type": "interaction.ended", "interaction": interaction }).to_string()
            }),
            3 => ("unsupported_type", {
                let interaction = interaction(json!({}));
                json!({ "type": "interaction.exploded", "interaction": interaction }).to_string()
            }),
            4 => ("user_data_not_a_map", {
                let interaction = interaction(json!({ "userData": 5 }));
                json!({ "type": "interaction.created", "interaction": interaction }).to_string()
            }),
            _ => ("too_large", {
                // One byte above the limit of K7, quotes and braces included.
                let interaction = interaction(json!({ "userData": { "k": "x".repeat(65_528) } }));
                json!({ "type": "interaction.created", "interaction": interaction }).to_string()
            }),
        };
        self.events += 1;
        let (tenant, interaction) = (self.tenant.clone(), id.clone());
        Arc::new(Event {
            id,
            tenant,
            interaction,
            body,
            expected_outcome: ExpectedOutcome::SetAside(reason),
        })
    }

    /// An update or an end of an unknown interaction.
    fn for_unknown_interaction(&mut self) -> Arc<Event> {
        let id = format!("unknown{}-{}", self.n, self.events);
        if self.random.chance(50) {
            let body = json!({ "userData": { "rule": "x" } });
            let expected_outcome = ExpectedOutcome::SetAside("interaction_unknown");
            return self.event("interaction.updated", &id, "agent", body, expected_outcome);
        }
        self.event(
            "interaction.ended",
            &id,
            "customer",
            json!({ "state": "ended" }),
            ExpectedOutcome::Ignored,
        )
    }

    fn event(
        &mut self,
        kind: &str,
        interaction: &str,
        source: &str,
        mut members: Value,
        expected_outcome: ExpectedOutcome,
    ) -> Arc<Event> {
        let id = format!("e{}-{}", self.n, self.events);
        self.events += 1;
        members["id"] = interaction.into();
        members["tenant"] = self.tenant.as_str().into();
        let mut body = Map::new();
        body.insert("type".into(), kind.into());
        if !self.random.chance(10) {
            // Otherwise its id is the message's.
            body.insert("id".into(), id.as_str().into());
        }
        body.insert("source".into(), source.into());
        body.insert("interaction".into(), members);
        let (tenant, interaction) = (self.tenant.clone(), interaction.to_owned());
        Arc::new(Event {
            id,
            tenant,
            interaction,
            body: Value::Object(body).to_string(),
            expected_outcome,
        })
    }

    /// A value that no other pair has, of some length.
    fn value(&mut self) -> String {
        let length = self.random.below(60);
        format!("{:016x}{}", self.random.next(), "~".repeat(length))
    }
}
