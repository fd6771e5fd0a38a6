//! One dead letter: what its headers say of it, and whether it is among those that are meant.
//!
//! | what | where it stands | for one that the broker set aside itself |
//! |---|---|---|
//! | reason | `x-throughline-reason` | the reason in the newest entry of `x-death` |
//! | detail | `x-throughline-detail` | none |
//! | stage, replayed | their headers | their headers, if any |
//! | work queue | `x-throughline-queue` | the queue in that entry |
//! | first seen | `x-throughline-first-seen` | the same, else the time in that entry |
//!
//! `x-death` goes first, because it is never on a dead letter of our own (`headers.rs`), while a
//! message that the broker sets aside may still carry the cause of an earlier wait as its reason.
//!
//! Its age is the time since a worker first saw it, or since the broker set it aside; without
//! either it has none, and is neither younger nor older than anything. The sender's own timestamp
//! does not count: it is the sender's word about something else.
//!
//! Invariant: the body is returned only by the accessor named for it, and no `Debug` shows it (K8).

use std::borrow::Cow;
use std::fmt;

use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Acker, BasicProperties};
use serde_json::{Map, Value, json};

use super::headers;
use super::repair::RepairedFields;
use crate::domain::RejectReason;
use crate::domain::digest::sha256;
use crate::formats::Refusal;
use crate::pipeline::ports::Arrival;

/// Tells a dead letter from others.
pub(super) type Digest = [u8; 16];

/// A message of the dead-letter queue.
pub struct DeadLetter {
    /// Its AMQP `message_id`.
    pub id: Option<String>,
    /// Why it was set aside: a word, no value. It comes from a header, so any publisher with access
    /// to the exchange can have written it.
    pub reason: Option<String>,
    /// What exactly is wrong with it: names of members, no value. What a header says, as the reason.
    pub detail: Option<String>,
    /// Where in the line: `decode`, `propagate`, `save`, `publish`; none if the broker did it.
    pub stage: Option<String>,
    /// How often it had waited.
    pub attempts: u32,
    /// When a worker first saw it, or else when the broker set it aside, in milliseconds since the
    /// Unix epoch.
    pub first_seen_ms: Option<i64>,
    /// How often it was replayed.
    pub replayed: u32,
    properties: BasicProperties,
    /// The work queue it came from.
    queue: Option<String>,
    /// The routing key it was first received with.
    key: ShortString,
    body: Vec<u8>,
    /// What of it could not be read as it was sent.
    undecodable: RepairedFields,
    acker: Acker,
}

/// Which dead letters are meant: those that all parts agree on. An empty part agrees on all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those with one of these message ids.
    pub ids: Vec<String>,
    /// Those with one of these reasons.
    pub reasons: Vec<String>,
    /// Those first seen before this time, in milliseconds since the Unix epoch.
    pub seen_before_ms: Option<i64>,
    /// Those first seen at this time or after it, in milliseconds since the Unix epoch.
    pub seen_from_ms: Option<i64>,
}

impl Selection {
    /// Whether one is meant of which nothing is known but that it cannot be handed over.
    pub fn matches_undeliverable(&self) -> bool {
        let reason = RejectReason::Undeliverable.as_str();
        let of_reason = || self.reasons.iter().any(|named| named == reason);
        self.ids.is_empty()
            && (self.reasons.is_empty() || of_reason())
            && self.seen_before_ms.is_none()
            && self.seen_from_ms.is_none()
    }

    /// Whether this one is meant.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let among = |words: &[String], word: &Option<String>| {
            words.is_empty() || word.as_ref().is_some_and(|word| words.contains(word))
        };
        let seen = |holds: &dyn Fn(i64) -> bool| letter.first_seen_ms.is_some_and(holds);
        among(&self.ids, &letter.id)
            && among(&self.reasons, &letter.reason)
            && self.seen_before_ms.is_none_or(|limit| seen(&|ms| ms < limit))
            && self.seen_from_ms.is_none_or(|limit| seen(&|ms| ms >= limit))
    }
}

impl DeadLetter {
    /// The routing key it was first received with.
    pub fn routing_key(&self) -> &str {
        self.key.as_str()
    }

    /// The body, as it was received. User data.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body, unpacked, of `max_bytes` at most; `None` where it is not packed. User data.
    pub fn unpacked(&self, max_bytes: usize) -> Option<Result<Cow<'_, [u8]>, Refusal>> {
        let encoding = headers::body_encoding(&self.properties);
        (!encoding.is_plain()).then(|| encoding.decode(&self.body, max_bytes))
    }

    /// Its AMQP properties but for the headers, by their names in the protocol.
    pub fn properties_json(&self) -> Map<String, Value> {
        let p = &self.properties;
        let text = |text: &Option<ShortString>| text.as_ref().map(|text| json!(text.as_str()));
        let timestamp = p.timestamp().map(|secs| header_json(&AMQPValue::Timestamp(secs)));
        [
            ("content_type", text(p.content_type())),
            ("content_encoding", text(p.content_encoding())),
            ("delivery_mode", p.delivery_mode().map(Value::from)),
            ("priority", p.priority().map(Value::from)),
            ("correlation_id", text(p.correlation_id())),
            ("reply_to", text(p.reply_to())),
            ("expiration", text(p.expiration())),
            ("message_id", text(p.message_id())),
            ("timestamp", timestamp),
            ("type", text(p.kind())),
            ("user_id", text(p.user_id())),
            ("app_id", text(p.app_id())),
            ("cluster_id", text(p.cluster_id())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }

    /// Its headers, the sender's and ours.
    pub fn headers_json(&self) -> Map<String, Value> {
        self.properties.headers().as_ref().map(table_json).unwrap_or_default()
    }

    pub(super) fn properties(&self) -> &BasicProperties {
        &self.properties
    }

    /// The work queue it came from, by the broker's word, else by our own.
    pub(super) fn queue(&self) -> Option<&str> {
        self.queue.as_deref()
    }

    pub(super) fn key(&self) -> &ShortString {
        &self.key
    }

    /// What of it could not be read as it was sent, and holds `?` for each such byte; words, no values.
    pub fn replaced(&self) -> Option<String> {
        (!self.undecodable.is_empty()).then(|| self.undecodable.words())
    }

    /// What tells it from others, across connections.
    pub(super) fn digest(&self) -> Digest {
        let id = self.id.as_deref().unwrap_or_default().as_bytes();
        let seen = self.first_seen_ms.unwrap_or_default().to_be_bytes();
        sha256(&[id, b"\0", self.key.as_str().as_bytes(), b"\0", &seen, &self.body])
    }

    pub(super) fn undecodable(&self) -> RepairedFields {
        self.undecodable
    }

    pub(super) fn acker(&self) -> &Acker {
        &self.acker
    }
}

impl DeadLetter {
    /// What a delivery says of itself; `replaced`: where it could not be read as it was sent.
    pub(super) fn read(delivery: Delivery, replaced: RepairedFields) -> DeadLetter {
        let Delivery { routing_key, properties, data, acker, .. } = delivery;
        let Arrival { message_id, attempts, replayed, .. } =
            headers::arrival(&properties, false, None);
        let header = |name| headers::header(&properties, name);
        let death = DeathRecord::newest(&properties);
        let by_broker = death.as_ref().and_then(|death| death.reason.clone());
        let set_aside_ms = death.as_ref().and_then(|death| death.time_ms);
        DeadLetter {
            id: message_id,
            detail: match by_broker {
                Some(_) => None,
                None => header(headers::DETAIL).and_then(headers::text),
            },
            reason: by_broker.or(attempts.cause),
            stage: header(headers::STAGE).and_then(headers::text),
            attempts: attempts.count,
            first_seen_ms: attempts.first_seen_ms.or(set_aside_ms),
            replayed,
            queue: death
                .and_then(|death| death.queue)
                .or_else(|| header(headers::QUEUE).and_then(headers::text)),
            key: headers::first_routing_key(&properties).unwrap_or(routing_key),
            undecodable: replaced.or(headers::undecodable(&properties)),
            properties,
            body: data,
            acker,
        }
    }
}

impl fmt::Debug for DeadLetter {
    /// Names the dead letter and gives the body's length; never its content (K8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("id", &self.id)
            .field("reason", &self.reason)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What the broker wrote about setting a message aside.
struct DeathRecord {
    reason: Option<String>,
    time_ms: Option<i64>,
    queue: Option<String>,
}

impl DeathRecord {
    /// The newest one, which stands first.
    fn newest(properties: &BasicProperties) -> Option<DeathRecord> {
        let AMQPValue::FieldArray(deaths) = headers::header(properties, headers::DEATH)? else {
            return None;
        };
        let AMQPValue::FieldTable(newest) = deaths.as_slice().first()? else { return None };
        let time_ms = match newest.inner().get("time") {
            Some(AMQPValue::Timestamp(secs)) => {
                i64::try_from(*secs).ok().and_then(|secs| secs.checked_mul(1000))
            }
            _ => None,
        };
        let text_of = |name: &str| newest.inner().get(name).and_then(headers::text);
        Some(DeathRecord { reason: text_of("reason"), time_ms, queue: text_of("queue") })
    }
}

fn table_json(table: &FieldTable) -> Map<String, Value> {
    table.into_iter().map(|(name, value)| (name.to_string(), header_json(value))).collect()
}

/// A header's value as JSON has it. Bytes that are no text have no form there: their number is given.
fn header_json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::Float(number) => f64::from(*number).into(),
        AMQPValue::Double(number) => (*number).into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(header_json).collect(),
        AMQPValue::FieldTable(table) => table_json(table).into(),
        AMQPValue::LongString(bytes) => match headers::text(value) {
            Some(text) => text.into(),
            None => json!({ "bytes": bytes.as_bytes().len() }),
        },
        AMQPValue::ByteArray(bytes) => match headers::text(value) {
            Some(text) => text.into(),
            None => json!({ "bytes": bytes.len() }),
        },
        AMQPValue::DecimalValue(decimal) => {
            json!({ "scale": decimal.scale, "value": decimal.value })
        }
        AMQPValue::Void => Value::Null,
        other => match headers::integer(other) {
            Some(number) => number.into(),
            // The remaining types are short strings and times.
            None => headers::text(other).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(id: &str, reason: Option<&str>, first_seen_ms: Option<i64>) -> DeadLetter {
        let mut table = FieldTable::default();
        if let Some(reason) = reason {
            table.insert(headers::REASON.into(), AMQPValue::LongString(reason.into()));
        }
        if let Some(ms) = first_seen_ms {
            table.insert(headers::FIRST_SEEN.into(), AMQPValue::LongLongInt(ms));
        }
        set_aside(BasicProperties::default().with_message_id(id.into()).with_headers(table))
    }

    fn set_aside(properties: BasicProperties) -> DeadLetter {
        let mut delivery = Delivery::mock(1, "dead".into(), "key".into(), false, b"secret".into());
        delivery.properties = properties;
        DeadLetter::read(delivery, RepairedFields::default())
    }

    #[test]
    fn selection_matches_only_if_all_criteria_match() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let of = |ids: &[&str], reasons: &[&str], seen_before_ms, seen_from_ms| Selection {
            ids: words(ids),
            reasons: words(reasons),
            seen_before_ms,
            seen_from_ms,
        };
        let seen = letter("m-1", Some("not_json"), Some(100));
        let unseen = letter("m-2", None, None);
        for (name, selection, matches) in [
            ("all", of(&[], &[], None, None), [true, true]),
            ("an id", of(&["m-2"], &[], None, None), [false, true]),
            ("one of two ids", of(&["m-1", "m-9"], &[], None, None), [true, false]),
            ("a reason", of(&[], &["not_json"], None, None), [true, false]),
            ("an id and another's reason", of(&["m-2"], &["not_json"], None, None), [false, false]),
            ("before", of(&[], &[], Some(101), None), [true, false]),
            ("not before", of(&[], &[], Some(100), None), [false, false]),
            ("from", of(&[], &[], None, Some(100)), [true, false]),
            ("not from", of(&[], &[], None, Some(101)), [false, false]),
        ] {
            let found = [&seen, &unseen].map(|letter| selection.matches(letter));
            assert_eq!(found, matches, "{name}");
        }
    }

    #[test]
    fn death_reason_takes_precedence_over_earlier_wait_cause() {
        let death = |reason: &str, secs| {
            let mut table = FieldTable::default();
            table.insert("reason".into(), AMQPValue::LongString(reason.into()));
            table.insert("time".into(), AMQPValue::Timestamp(secs));
            table.insert("queue".into(), AMQPValue::LongString(format!("q-{secs}").into()));
            AMQPValue::FieldTable(table)
        };
        let deaths = vec![death("delivery_limit", 1_700_000_000), death("expired", 1_600_000_000)];
        let mut table = FieldTable::default();
        table.insert(headers::DEATH.into(), AMQPValue::FieldArray(deaths.into()));
        let at_once = set_aside(BasicProperties::default().with_headers(table.clone()));
        assert_eq!(at_once.reason.as_deref(), Some("delivery_limit"));
        assert_eq!(at_once.first_seen_ms, Some(1_700_000_000_000));
        assert_eq!(at_once.queue(), Some("q-1700000000"), "the work queue, not the waiting one");

        table.insert(headers::REASON.into(), AMQPValue::LongString("parent_unknown".into()));
        table.insert(headers::FIRST_SEEN.into(), AMQPValue::LongLongInt(5));
        let after_a_wait = set_aside(BasicProperties::default().with_headers(table));
        assert_eq!(after_a_wait.reason.as_deref(), Some("delivery_limit"));
        assert_eq!(after_a_wait.first_seen_ms, Some(5));

        let mut ours = FieldTable::default();
        ours.insert(headers::QUEUE.into(), AMQPValue::LongString("work".into()));
        let by_us = set_aside(BasicProperties::default().with_headers(ours));
        assert_eq!(by_us.queue(), Some("work"));
    }

    #[test]
    fn every_header_type_converts_to_json() {
        let mut inner = FieldTable::default();
        inner.insert("n".into(), AMQPValue::LongUInt(7));
        for (value, expected) in [
            (AMQPValue::Boolean(true), json!(true)),
            (AMQPValue::ShortShortInt(-3), json!(-3)),
            (AMQPValue::LongLongInt(1 << 40), json!(1_u64 << 40)),
            (AMQPValue::Double(0.5), json!(0.5)),
            (AMQPValue::LongString("text".into()), json!("text")),
            (AMQPValue::LongString(vec![0xff_u8, 0].into()), json!({ "bytes": 2 })),
            (AMQPValue::ShortString("short".into()), json!("short")),
            (AMQPValue::ByteArray(vec![0xff, 2, 3].into()), json!({ "bytes": 3 })),
            (AMQPValue::ByteArray(b"text".to_vec().into()), json!("text")),
            (AMQPValue::Timestamp(1_700_000_000), json!("2023-11-14T22:13:20Z")),
            (AMQPValue::FieldArray(vec![AMQPValue::Void].into()), json!([null])),
            (AMQPValue::FieldTable(inner), json!({ "n": 7 })),
        ] {
            assert_eq!(header_json(&value), expected, "{value:?}");
        }
    }

    #[test]
    fn debug_omits_body() {
        let shown = format!("{:?}", letter("m-1", None, None));
        assert!(shown.contains("m-1") && !shown.contains("secret"), "{shown}");
        assert!(!shown.contains("115"), "not as bytes either: {shown}");
    }
}
