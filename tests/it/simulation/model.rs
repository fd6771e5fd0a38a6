//! The oracle: computes the expected results, by rules as simple as the traffic needs.
//!
//! It shares no code with the worker. It knows the copy filter (C1, C6), the priority of sources
//! (P1), the history list (H1) and the life of an interaction, for values that are strings; all else
//! has tests of its own.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The rules that the workers are given, in the program's own words.
pub(super) const RULES: &str = r#"
[copy_user_data]
value = "rule;strategy"
[history]
chat = "rule, plan, tier"
webengagement = "rule"
"#;

/// The copy filter.
const COPIED: [&str; 2] = ["rule", "strategy"];

/// The history list of a channel.
fn listed(channel: &str) -> &'static [&'static str] {
    match channel {
        "chat" => &["rule", "plan", "tier"],
        _ => &["rule"],
    }
}

/// Who attaches pairs; the first is the strongest.
pub(super) const SOURCES: [&str; 3] = ["customer", "agent", "integration"];

/// An interaction as it must stand.
#[derive(Clone)]
pub(super) struct Interaction {
    pub(super) tenant: String,
    pub(super) id: String,
    pub(super) channel: &'static str,
    pub(super) state: &'static str,
    copied: BTreeMap<String, String>,
    /// With the rank of the source that gave it: 0 is the strongest.
    received: BTreeMap<String, (usize, String)>,
}

impl Interaction {
    pub(super) fn new(tenant: &str, id: &str, channel: &'static str) -> Interaction {
        Interaction {
            tenant: tenant.to_owned(),
            id: id.to_owned(),
            channel,
            state: "active",
            copied: BTreeMap::new(),
            received: BTreeMap::new(),
        }
    }

    /// A source gives a value: it counts unless a stronger one gave one before.
    pub(super) fn receive(&mut self, source: &str, key: &str, value: &str) {
        let rank = SOURCES.iter().position(|known| *known == source).expect("one of the three");
        let known = self.received.get(key).map_or(rank, |(rank, _)| *rank);
        if rank <= known {
            self.received.insert(key.to_owned(), (rank, value.to_owned()));
        }
    }

    /// Copies the keys that the filter selects of a parent's finished data.
    pub(super) fn copy_from(&mut self, parent: &Interaction) {
        let data = parent.finished().into_iter();
        self.copied = data.filter(|(key, _)| COPIED.contains(&&**key)).collect();
    }

    /// An end; `handled` stays.
    pub(super) fn end(&mut self, state: &'static str) {
        if self.state != "handled" {
            self.state = state;
        }
    }

    /// The finished data: what was received is stronger than what was copied.
    fn finished(&self) -> BTreeMap<String, String> {
        let mut data = self.copied.clone();
        data.extend(self.received.iter().map(|(key, (_, value))| (key.clone(), value.clone())));
        data
    }

    /// The finished data, as it is published.
    pub(super) fn user_data(&self) -> Value {
        json!(self.finished())
    }

    /// The extra data that history keeps.
    pub(super) fn extra_data(&self) -> Value {
        let mut data = self.finished();
        data.retain(|key, _| listed(self.channel).contains(&&**key));
        json!(data)
    }

    /// The row that `throughline history` must show, but for its times.
    pub(super) fn row(&self) -> Value {
        json!({
            "tenant": self.tenant, "id": self.id, "channel": self.channel, "state": self.state,
            "extraData": self.extra_data(),
        })
    }
}
