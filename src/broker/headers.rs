//! AMQP headers and properties: what they say on arrival, and what a message takes along when it
//! waits or is set aside.
//!
//! | header | on | holds |
//! |---|---|---|
//! | `x-throughline-format`, `-widget` | inbound | a format's name, a widget's id |
//! | `cloudEvents:…`, `cloudEvents_…` | inbound | an attribute of a CloudEvent in binary mode |
//! | `traceparent`, `tracestate` | inbound, outbound | W3C trace context |
//! | `x-throughline-revision` | outbound | the rules' revision |
//! | `x-throughline-attempts`, `-reason`, `-first-seen` | waiting, dead | how often, for what or why, since when (ms) |
//! | `x-throughline-routing-key` | waiting, dead, replayed | the routing key as received |
//! | `x-throughline-detail`, `-stage`, `-queue` | dead | what exactly, where in the line, from which work queue |
//! | `x-throughline-left-out` | outbound, XML | how many pairs XML cannot name |
//! | `x-throughline-number-left-out` | outbound, SAP | which telephone numbers nobody elsewhere can call |
//! | `x-sinch-webhook-signature`, `-nonce`, `-timestamp` | inbound | what proves where it is from: [`claim`] |
//! | `x-throughline-replayed` | dead, replayed | how often replayed |
//! | `x-throughline-expiration`, `-user-id`, `-reply-to`, `-cc`, `-bcc` | waiting, dead, replayed | what [`as_received`] must take out of its place |
//! | `x-throughline-priority` | waiting, dead | the same; a replay has it in its place again |
//!
//! Deliberately absent: reading a body.

mod copy;

pub(super) use copy::{as_received, first_priority};

use std::borrow::Cow;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, ShortString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::formats::signature::Claim;
use crate::pipeline::ports::{Arrival, Attempts, Trace};

pub(super) const FORMAT: &str = "x-throughline-format";
pub(super) const WIDGET: &str = "x-throughline-widget";
pub(super) const REVISION: &str = "x-throughline-revision";
pub(super) const ATTEMPTS: &str = "x-throughline-attempts";
pub(super) const REASON: &str = "x-throughline-reason";
/// What exactly is wrong with a dead letter.
pub(super) const DETAIL: &str = "x-throughline-detail";
pub(super) const FIRST_SEEN: &str = "x-throughline-first-seen";
pub(super) const ROUTING_KEY: &str = "x-throughline-routing-key";
/// The work queue that a dead letter came from.
pub(super) const QUEUE: &str = "x-throughline-queue";
pub(super) const STAGE: &str = "x-throughline-stage";
pub(super) const REPLAYED: &str = "x-throughline-replayed";
/// What the broker writes when it sets a message aside itself.
pub(super) const DEATH: &str = "x-death";
pub(super) const TRACE_PARENT: &str = "traceparent";
pub(super) const TRACE_STATE: &str = "tracestate";

/// Where a received `expiration` is kept.
pub(super) const EXPIRATION: &str = "x-throughline-expiration";
/// Where a received `user_id` is kept.
pub(super) const USER_ID: &str = "x-throughline-user-id";
/// Where a received `CC` header is kept.
pub(super) const CC: &str = "x-throughline-cc";
/// Where a received `BCC` header is kept.
pub(super) const BCC: &str = "x-throughline-bcc";
/// Where a received `reply_to` is kept that the broker would read.
pub(super) const REPLY_TO: &str = "x-throughline-reply-to";
/// Where a received `priority` is kept.
pub(super) const PRIORITY: &str = "x-throughline-priority";

pub(super) const SIGNATURE: &str = "x-sinch-webhook-signature";
pub(super) const SIGNATURE_NONCE: [&str; 2] =
    ["x-sinch-webhook-signature-nonce", "x-sinch-webhook-nonce"];
pub(super) const SIGNATURE_TIMESTAMP: [&str; 2] =
    ["x-sinch-webhook-signature-timestamp", "x-sinch-webhook-timestamp"];

/// Both prefixes of the CloudEvents AMQP binding; `_` is for clients that cannot write a colon.
const CLOUD_EVENT: [&str; 2] = ["cloudEvents:", "cloudEvents_"];

/// What is published must outlive a restart of the broker (`delivery_mode` 2), whatever kind of
/// queue a policy made of ours.
pub(super) const PERSISTENT: u8 = 2;

/// What properties and headers say of a delivery. `format` is the queue's, where no header names one.
pub(super) fn arrival(
    properties: &BasicProperties,
    redelivered: bool,
    format: Option<&str>,
) -> Arrival {
    let header = |name| header(properties, name);
    let named = |name| header(name).and_then(text).filter(|text| !text.is_empty());
    Arrival {
        message_id: properties
            .message_id()
            .as_ref()
            .map(ToString::to_string)
            .filter(|id| !id.is_empty()),
        format: named(FORMAT).or_else(|| format.map(String::from)),
        cloud_event: cloud_event(properties),
        widget: named(WIDGET),
        redelivered,
        attempts: Attempts {
            count: header(ATTEMPTS).map_or(0, count),
            cause: named(REASON),
            first_seen_ms: header(FIRST_SEEN).and_then(integer),
        },
        replayed: header(REPLAYED).map_or(0, count),
        trace: Trace {
            parent: named(TRACE_PARENT).map(Cow::Owned),
            state: named(TRACE_STATE).map(Cow::Owned),
        },
        // What the source says, or says where to look for.
        tenant: None,
        is_forged: false,
        conversation: None,
    }
}

/// What a webhook's HTTP headers say of its signature. Whoever carried them to AMQP may have kept the
/// case of their names, or not. The vendor's own names of the last two go before the short ones.
pub(super) fn claim(properties: &BasicProperties) -> Claim {
    let named = |name: &str| {
        let headers = properties.headers().as_ref()?.inner().iter();
        let mut same = headers.filter(|(given, _)| given.as_str().eq_ignore_ascii_case(name));
        let (_, value) = same.next()?;
        match value {
            // A number that a client took for a time: its digits were signed.
            AMQPValue::Timestamp(secs) => Some(secs.to_string()),
            other => text(other),
        }
    };
    let either = |[vendors, short]: [&str; 2]| named(vendors).or_else(|| named(short));
    Claim {
        signature: named(SIGNATURE),
        nonce: either(SIGNATURE_NONCE),
        timestamp: either(SIGNATURE_TIMESTAMP),
    }
}

/// The header of that name.
pub(super) fn header<'p>(properties: &'p BasicProperties, name: &str) -> Option<&'p AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

/// The routing key that a message was first received with, where its header says so. A key that came
/// in a header came in a short string once; one that does not fit was made up by somebody else.
pub(super) fn first_routing_key(properties: &BasicProperties) -> Option<ShortString> {
    ShortString::try_new(header(properties, ROUTING_KEY).and_then(text)?).ok()
}

fn cloud_event(properties: &BasicProperties) -> Vec<(String, String)> {
    let headers = properties.headers().iter().flatten();
    headers
        .filter_map(|(name, value)| {
            let name = CLOUD_EVENT.iter().find_map(|prefix| name.as_str().strip_prefix(prefix))?;
            Some((name.to_owned(), text(value)?))
        })
        .collect()
}

/// A value as text: text as it is, numbers, truth values and times in CloudEvents' canonical form.
/// `None` for what has none: tables, arrays, bytes that are not UTF-8.
pub(super) fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok(),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        AMQPValue::Boolean(value) => Some(value.to_string()),
        AMQPValue::Timestamp(secs) => {
            let time = OffsetDateTime::from_unix_timestamp(i64::try_from(*secs).ok()?).ok()?;
            time.format(&Rfc3339).ok()
        }
        other => integer(other).map(|number| number.to_string()),
    }
}

/// Any of AMQP's integers: clients differ in which one they write.
pub(super) fn integer(value: &AMQPValue) -> Option<i64> {
    match *value {
        AMQPValue::ShortShortInt(number) => Some(number.into()),
        AMQPValue::ShortShortUInt(number) => Some(number.into()),
        AMQPValue::ShortInt(number) => Some(number.into()),
        AMQPValue::ShortUInt(number) => Some(number.into()),
        AMQPValue::LongInt(number) => Some(number.into()),
        AMQPValue::LongUInt(number) => Some(number.into()),
        AMQPValue::LongLongInt(number) => Some(number),
        _ => None,
    }
}

/// A count: below zero is zero, and what is no integer is none.
fn count(value: &AMQPValue) -> u32 {
    integer(value).map_or(0, |number| u32::try_from(number.max(0)).unwrap_or(u32::MAX))
}

#[cfg(test)]
pub(super) mod tests {
    use lapin::types::FieldTable;

    use super::*;

    pub(super) fn with(headers: impl IntoIterator<Item = (&'static str, AMQPValue)>) -> BasicProperties {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert(name.into(), value);
        }
        BasicProperties::default().with_headers(table)
    }

    pub(super) fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    #[test]
    fn attempts_are_read_from_any_integer() {
        for (value, expected) in [
            (AMQPValue::ShortShortInt(3), 3),
            (AMQPValue::ShortShortUInt(3), 3),
            (AMQPValue::ShortInt(3), 3),
            (AMQPValue::ShortUInt(3), 3),
            (AMQPValue::LongInt(3), 3),
            (AMQPValue::LongUInt(3), 3),
            (AMQPValue::LongLongInt(3), 3),
            (AMQPValue::LongLongInt(-1), 0),
            (AMQPValue::LongLongInt(i64::MAX), u32::MAX),
            (long("3"), 0),
        ] {
            let arrival = arrival(&with([(ATTEMPTS, value.clone())]), false, None);
            assert_eq!(arrival.attempts.count, expected, "{value:?}");
        }
    }

    #[test]
    fn cloud_event_attributes_become_text() {
        let properties = with([
            ("cloudEvents:id", long("e-1")),
            ("cloudEvents_time", AMQPValue::Timestamp(1_700_000_000)),
            ("cloudEvents:sequence", AMQPValue::LongInt(7)),
            ("cloudEvents:sampled", AMQPValue::Boolean(true)),
            ("cloudEvents:odd", AMQPValue::FieldArray(Default::default())),
            ("other", long("x")),
        ]);
        let pairs = arrival(&properties, false, None).cloud_event;
        let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        assert_eq!(
            pairs,
            [
                pair("id", "e-1"),
                pair("sampled", "true"),
                pair("sequence", "7"),
                pair("time", "2023-11-14T22:13:20Z"),
            ]
        );
    }

    #[test]
    fn the_header_names_the_format_before_the_queue_does() {
        let named = with([(FORMAT, long("canonical"))]);
        assert_eq!(arrival(&named, false, Some("genesys")).format.as_deref(), Some("canonical"));
        let unnamed = with([(FORMAT, long(""))]);
        assert_eq!(arrival(&unnamed, false, Some("genesys")).format.as_deref(), Some("genesys"));
    }
}
