//! AMQP headers and properties: what they say on arrival, and what a message takes along when it
//! waits or is set aside.
//!
//! | header | on | holds |
//! |---|---|---|
//! | `x-throughline-format`, `-widget` | inbound | a format's name, a widget's id |
//! | `cloudEvents:…`, `cloudEvents_…`, `ce-…` | inbound | an attribute of a CloudEvent in binary mode: `cloud_event.rs` |
//! | `x-message-id` | inbound | an id that `message_id` cannot hold |
//! | `compression` | inbound | kombu's: what the body is compressed with |
//! | `traceparent`, `tracestate` | inbound, outbound | W3C trace context |
//! | `x-throughline-revision` | outbound | the rules' revision |
//! | `x-throughline-attempts`, `-reason`, `-first-seen` | waiting, dead | how often, for what or why, since when (ms) |
//! | `x-throughline-routing-key` | waiting, dead, replayed | the routing key as received |
//! | `x-throughline-detail`, `-stage`, `-queue` | dead | what exactly, where in the line, from which work queue |
//! | `x-throughline-undecodable` | passed on, dead | which properties were not UTF-8, and hold `?` for each such byte |
//! | `x-throughline-headers-left-out` | waiting, passed on, dead, replayed | headers of the sender that did not fit beside ours |
//! | `x-throughline-left-out` | outbound, XML | how many pairs XML cannot name |
//! | `x-throughline-number-left-out` | outbound, SAP | which telephone numbers cannot be dialled from other networks |
//! | `x-sinch-webhook-signature`, `-nonce`, `-timestamp` | inbound | what proves where it is from: [`claim`] |
//! | `x-throughline-replayed` | dead, replayed | how often replayed |
//! | `x-throughline-expiration`, `-user-id`, `-reply-to`, `-cc`, `-bcc` | waiting, dead, replayed | what [`as_received`] must take out of its place |
//! | `x-throughline-priority` | waiting, dead | the same; a replay has it in its place again |
//!
//! Deliberately absent: reading a body.

mod cloud_event;
mod copy;
mod fit;
mod text;

pub(super) use copy::{as_received, first_priority};
pub(super) use text::{integer, text};

use std::borrow::Cow;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, ShortString};

use super::repair::RepairedFields;
use crate::formats::body_encoding::{BodyEncoding, EncodingHeaders};
use crate::formats::signature::SignatureClaim;
use crate::pipeline::ports::{Arrival, Attempts, Trace};
use text::{is_absent, is_unreadable, long_id};

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
/// Names the properties in which bytes were replaced (`repair.rs`).
pub(super) const UNDECODABLE: &str = "x-throughline-undecodable";
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
/// Names the headers that a copy has no room for (`fit.rs`).
pub(super) const HEADERS_LEFT_OUT: &str = "x-throughline-headers-left-out";
/// Where a received `priority` is kept.
pub(super) const PRIORITY: &str = "x-throughline-priority";

pub(super) const SIGNATURE: &str = "x-sinch-webhook-signature";
pub(super) const SIGNATURE_NONCE: [&str; 2] =
    ["x-sinch-webhook-signature-nonce", "x-sinch-webhook-nonce"];
pub(super) const SIGNATURE_TIMESTAMP: [&str; 2] =
    ["x-sinch-webhook-signature-timestamp", "x-sinch-webhook-timestamp"];

/// A `message_id` that AMQP 0-9-1 has no room for: RabbitMQ's name for one of AMQP 1.0 that is binary,
/// or longer than 255 bytes.
const LONG_ID: &str = "x-message-id";
/// What kombu has compressed a body with.
const COMPRESSION: &str = "compression";

/// Headers that decide how a body is read, or what is looked up for it: what is published without them
/// would be published by other rules.
const DECIDING: [&str; 2] = [FORMAT, WIDGET];
/// Headers that are passed over where they hold no text, and a CloudEvent's attributes.
const PASSED_OVER: [&str; 4] = [TRACE_PARENT, TRACE_STATE, REASON, ROUTING_KEY];

/// A published message must outlive a restart of the broker (`delivery_mode` 2), whatever kind of
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
    let id = properties.message_id().as_ref().map(ToString::to_string);
    let (cloud_event, unreadable) = match cloud_event::attributes(properties) {
        Ok(attributes) => (attributes, unreadable(properties, &DECIDING)),
        Err(what) => (Vec::new(), Some(what)),
    };
    Arrival {
        message_id: id.filter(|id| !id.is_empty()).or_else(|| header(LONG_ID).and_then(long_id)),
        format: named(FORMAT).or_else(|| format.map(String::from)),
        cloud_event,
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
        unreadable,
        encoding: body_encoding(properties),
        // What the source says, or says where to look for.
        undecodable: None,
        tenant: None,
        is_forged: false,
        conversation: None,
    }
}

/// What a webhook's HTTP headers say of its signature. The bridge to AMQP may or may not have kept
/// the case of their names. The vendor's own names of the last two go before the short ones.
pub(super) fn claim(properties: &BasicProperties) -> SignatureClaim {
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
    SignatureClaim {
        signature: named(SIGNATURE),
        nonce: either(SIGNATURE_NONCE),
        timestamp: either(SIGNATURE_TIMESTAMP),
    }
}

/// Which header of a signature holds no text.
pub(super) fn unreadable_claim(properties: &BasicProperties) -> Option<String> {
    let either = [SIGNATURE_NONCE, SIGNATURE_TIMESTAMP].concat();
    unreadable(properties, &[&[SIGNATURE][..], &either].concat())
}

/// The first header of these names that holds no text, as a fragment about the message. The bridge to
/// AMQP may or may not have kept the case of their names.
fn unreadable(properties: &BasicProperties, names: &[&str]) -> Option<String> {
    let mut headers = properties.headers().iter().flatten();
    headers.find_map(|(given, value)| {
        let name = names.iter().find(|name| given.as_str().eq_ignore_ascii_case(name))?;
        is_unreadable(value).then(|| format!("the header `{name}` holds no text"))
    })
}

/// The headers that are passed over because they hold no text: `conversation` is the one that names the
/// conversation.
pub(super) fn passed_over<'p>(
    properties: &'p BasicProperties,
    conversation: Option<&str>,
) -> impl Iterator<Item = &'p str> {
    let is_read = move |name: &str| {
        PASSED_OVER.contains(&name)
            || conversation == Some(name)
            || cloud_event::is_passed_over(name)
    };
    let headers = properties.headers().iter().flatten();
    let unread =
        headers.filter(move |(name, value)| is_read(name.as_str()) && is_unreadable(value));
    unread.map(|(name, _)| name.as_str())
}

/// How the properties say that the body is encoded.
pub(super) fn body_encoding(properties: &BasicProperties) -> BodyEncoding {
    let compression = header(properties, COMPRESSION).and_then(text);
    BodyEncoding::from_headers(EncodingHeaders {
        kind: properties.kind().as_ref().map(ShortString::as_str),
        content_type: properties.content_type().as_ref().map(ShortString::as_str),
        content_encoding: properties.content_encoding().as_ref().map(ShortString::as_str),
        compression: compression.as_deref(),
    })
}

/// The header of that name.
pub(super) fn header<'p>(properties: &'p BasicProperties, name: &str) -> Option<&'p AMQPValue> {
    properties.headers().as_ref()?.inner().get(name)
}

/// The routing key that a message was first received with, where its header says so. A key that came
/// in a header came in a short string once; one that does not fit was not written by this program.
pub(super) fn first_routing_key(properties: &BasicProperties) -> Option<ShortString> {
    ShortString::try_new(header(properties, ROUTING_KEY).and_then(text)?).ok()
}

/// What its header says was replaced in a copy of ours.
pub(super) fn undecodable(properties: &BasicProperties) -> RepairedFields {
    let words = header(properties, UNDECODABLE).and_then(text);
    words.map_or_else(RepairedFields::default, |words| RepairedFields::from_words(&words))
}

/// A count: below zero is zero, and a value that is no integer is none.
fn count(value: &AMQPValue) -> u32 {
    integer(value).map_or(0, |number| u32::try_from(number.max(0)).unwrap_or(u32::MAX))
}

#[cfg(test)]
pub(super) mod tests {
    use lapin::types::FieldTable;

    use super::*;

    pub(super) fn with(
        headers: impl IntoIterator<Item = (&'static str, AMQPValue)>,
    ) -> BasicProperties {
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
    fn attempts_are_read_from_every_integer_type() {
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
    fn unreadable_deciding_header_is_reported() {
        let bytes = || AMQPValue::ByteArray(vec![0xff].into());
        for name in [FORMAT, WIDGET] {
            let unreadable = arrival(&with([(name, bytes())]), false, None).unreadable;
            assert_eq!(unreadable, Some(format!("the header `{name}` holds no text")));
            let text = AMQPValue::ByteArray(b"canonical".to_vec().into());
            let arrival = arrival(&with([(name, text)]), false, None);
            assert_eq!(arrival.unreadable, None);
            assert!(arrival.format.or(arrival.widget).as_deref() == Some("canonical"));
        }
        assert_eq!(arrival(&with([("mine", bytes())]), false, None).unreadable, None);
        let signed = with([("X-Sinch-Webhook-Signature-Nonce", bytes())]);
        let expected = "the header `x-sinch-webhook-signature-nonce` holds no text";
        assert_eq!(unreadable_claim(&signed).as_deref(), Some(expected));

        let headers = with([
            (TRACE_PARENT, bytes()),
            ("ce-time", bytes()),
            ("ce-mine", bytes()),
            ("k", bytes()),
            ("mine", bytes()),
            (ROUTING_KEY, long("fine")),
        ]);
        let passed_over: Vec<_> = passed_over(&headers, Some("k")).collect();
        assert_eq!(passed_over, ["ce-time", "k", TRACE_PARENT]);
    }

    #[test]
    fn message_id_falls_back_to_long_id_header() {
        let id = |properties: &BasicProperties| arrival(properties, false, None).message_id;
        let binary = || with([(LONG_ID, AMQPValue::ByteArray(vec![1, 0xff].into()))]);
        assert_eq!(id(&binary()).as_deref(), Some("01ff"));
        assert_eq!(id(&binary().with_message_id("m".into())).as_deref(), Some("m"));
        assert_eq!(id(&binary().with_message_id("".into())).as_deref(), Some("01ff"));
    }

    #[test]
    fn format_header_takes_precedence_over_queue_format() {
        let named = with([(FORMAT, long("canonical"))]);
        assert_eq!(arrival(&named, false, Some("genesys")).format.as_deref(), Some("canonical"));
        let unnamed = with([(FORMAT, long(""))]);
        assert_eq!(arrival(&unnamed, false, Some("genesys")).format.as_deref(), Some("genesys"));
    }
}
