//! What a store keeps of a conversation is all that its next message needs: one that is stored after every
//! message comes to what one comes to that never leaves memory.

use std::collections::HashMap;

use pretty_assertions::assert_eq;
use throughline::domain::{Attempt, Identity, Rules, Step};
use throughline::formats::enriched::{self, Stamp};
use throughline::formats::{self, Hints};
use throughline::pipeline::ports::Row;
use throughline::pipeline::save::table::InteractionTable;

use super::payloads::payloads;
use crate::fuzz::messages::row;

/// What each message comes to and what is published of it, in memory and stored between any two.
fn played(rules: &Rules, bodies: &[String]) -> [Vec<(String, String)>; 2] {
    let decoded: Vec<_> = bodies
        .iter()
        .map(|body| formats::decode(body, body.as_bytes(), Hints::default()).expect("a payload"))
        .collect();
    let stamp =
        Stamp { revision: rules.revision(), time: "1970-01-01T00:00:00.000Z", origins: true };
    let mut in_memory = InteractionTable::default();
    let mut rows: HashMap<Identity<'static>, Row> = HashMap::new();
    let (mut kept, mut stored) = (Vec::new(), Vec::new());
    for decoded in &decoded {
        let told = |step: &Step<'_>| {
            let line = enriched::encode(decoded, step, stamp).unwrap_or_default();
            (step.outcome.as_str().to_owned(), String::from_utf8(line).expect("JSON is UTF-8"))
        };
        kept.push(told(&in_memory.take(rules, &decoded.message, Attempt::default())));
        let changed: Vec<Row> = {
            let mut table = InteractionTable::default();
            for row in rows.values() {
                table.insert(row, row.updated_ms, 60);
            }
            stored.push(told(&table.take(rules, &decoded.message, Attempt::default())));
            table.changes(0).iter().map(|change| row(&change.row())).collect()
        };
        rows.extend(changed.into_iter().map(|row| (row.identity.clone(), row)));
    }
    [kept, stored]
}

#[test]
fn storing_between_messages_does_not_change_the_result() {
    let rules = Rules::empty();
    let bodies: Vec<_> = payloads().into_iter().map(|payload| payload.body).collect();
    let [kept, stored] = played(&rules, &bodies);
    assert_eq!(kept, stored);
}

#[test]
fn sessions_and_times_are_stored() {
    let event = |topic: &str, ms: u64, members: &str| {
        format!(
            r#"{{"topicName":"v2.detail.events.conversation.c.{topic}","eventBody":{{"conversationId":"c","participantId":"p","eventTime":{ms},{members}}}}}"#
        )
    };
    let bodies = [
        event("customer.start", 1, r#""sessionId":"a","mediaType":"VOICE""#),
        event("attributes", 9, r#""attributes":{"k":"late","":"x"}"#),
        event("customer.end", 8, r#""sessionId":"b""#),
        event("attributes", 5, r#""attributes":{"k":"early","":"y","l":"1"}"#),
        event("customer.start", 2, r#""sessionId":"b","mediaType":"CALLBACK""#),
        event("customer.end", 10, r#""sessionId":"a""#),
    ];
    let [kept, stored] = played(&Rules::empty(), &bodies);
    assert_eq!(kept, stored);
    let outcomes: Vec<_> = stored.iter().map(|(outcome, _)| outcome.as_str()).collect();
    assert_eq!(outcomes, ["enriched", "enriched", "ignored", "enriched", "enriched", "ended"]);
    let data = r#""userData":{"k":"late","l":"1"}"#;
    assert!(stored[4].1.contains(data), "{}", stored[4].1);
}
