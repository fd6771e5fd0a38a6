//! What a message takes along when it waits, is set aside, is passed on or replayed.
//!
//! Properties and headers are kept as received, but for those that the broker itself reads when a message
//! is published. Read in RabbitMQ's sources (3.10.8 and 4.0.5; `rabbit_channel`, `rabbit_basic`,
//! `mc_amqpl`), all of them:
//!
//! | what | what the broker makes of it | what a copy has |
//! |---|---|---|
//! | header `CC`, `BCC` | further routing keys; of another type than an array: 406, and the channel is closed | moved |
//! | `reply_to` = `amq.rabbitmq.reply-to` | direct reply-to: without a consumer of replies on the channel 406 | moved |
//! | `expiration` | the wait ends before its delay, a dead letter vanishes; a value that is no number: 406 | moved |
//! | `user_id` | must be the user of the connection, else 406 | moved |
//! | `priority` | quorum queues of 4.0 on deliver priorities above 4 before others | moved |
//! | `delivery_mode` | other than 2: not kept over a restart; other than 1 and 2: 3.10 closes the channel | 2 |
//! | header `x-death`, `x-first-death-*`, `x-last-death-*` | 3.10 drops what seems to go round in circles | left out |
//! | header `x-delivery-count` | the broker writes it | left out |
//! | headers that together nearly fill a frame | with the worker's beside them, the connection is closed | the largest left out, and named |
//!
//! Such values come by AMQP 1.0, MQTT and STOMP, whose publishers are not checked as those of AMQP 0-9-1
//! are. `amq.rabbitmq.reply-to.` with something behind it is a queue as any other, and stays. So do
//! headers that only exchanges and queues read that are none of ours: `x-delay`, `x-match`,
//! `x-stream-filter-value`.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::fit::fit;
use super::{BCC, CC, DEATH, EXPIRATION, PERSISTENT, PRIORITY, REPLY_TO, USER_ID, header, integer};

/// The `reply_to` for which the broker looks for a consumer of replies on the publishing channel.
const DIRECT_REPLY_TO: &str = "amq.rabbitmq.reply-to";

/// The properties for a copy of a received message, with its headers to be added to.
pub(in crate::broker) fn as_received(received: &BasicProperties) -> (BasicProperties, FieldTable) {
    let mut headers = FieldTable::default();
    for (name, value) in received.headers().iter().flatten() {
        let name = match name.as_str() {
            "x-delivery-count" | DEATH => continue,
            broker if broker.starts_with("x-first-death-") => continue,
            broker if broker.starts_with("x-last-death-") => continue,
            "CC" => CC.into(),
            "BCC" => BCC.into(),
            _ => name.clone(),
        };
        headers.insert(name, value.clone());
    }
    let is_direct = |to: &&ShortString| to.as_str() == DIRECT_REPLY_TO;
    let direct = received.reply_to().as_ref().filter(is_direct);
    for (name, property) in [
        (EXPIRATION, received.expiration().as_ref()),
        (USER_ID, received.user_id().as_ref()),
        (REPLY_TO, direct),
    ] {
        if let Some(text) = property {
            headers.insert(name.into(), AMQPValue::LongString(text.as_str().into()));
        }
    }
    if let Some(priority) = received.priority() {
        headers.insert(PRIORITY.into(), AMQPValue::LongLongInt((*priority).into()));
    }

    let headers = fit(headers);

    /// Sets each property that was received.
    macro_rules! keep {
        ($($property:ident, $with:ident;)+) => {{
            let mut kept = BasicProperties::default().with_delivery_mode(PERSISTENT);
            $(if let Some(value) = received.$property().clone() {
                kept = kept.$with(value);
            })+
            kept
        }};
    }
    let kept = keep! {
        content_type, with_content_type;
        content_encoding, with_content_encoding;
        correlation_id, with_correlation_id;
        message_id, with_message_id;
        timestamp, with_timestamp;
        kind, with_type;
        app_id, with_app_id;
        cluster_id, with_cluster_id;
    };
    match received.reply_to() {
        Some(to) if direct.is_none() => (kept.with_reply_to(to.clone()), headers),
        _ => (kept, headers),
    }
}

/// The priority that a message was first received with, for a replay: it goes to where its sender's
/// message went.
pub(in crate::broker) fn first_priority(received: &BasicProperties) -> Option<u8> {
    let kept = header(received, PRIORITY).and_then(integer);
    received.priority().or_else(|| u8::try_from(kept?).ok())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{long, with};
    use super::*;

    fn names(headers: &FieldTable) -> Vec<&str> {
        headers.inner().keys().map(|name| name.as_str()).collect()
    }

    #[test]
    fn copy_keeps_inert_headers_and_moves_active_ones() {
        let received = with([
            ("mine", long("kept")),
            ("CC", AMQPValue::FieldArray(vec![long("elsewhere")].into())),
            ("x-death", AMQPValue::FieldArray(Default::default())),
            ("x-first-death-queue", long("q")),
            ("x-last-death-queue", AMQPValue::LongInt(2)),
            ("x-delivery-count", AMQPValue::LongInt(2)),
            ("x-delay", AMQPValue::LongInt(2)),
        ])
        .with_expiration("5".into())
        .with_user_id("vendor".into())
        .with_message_id("m-1".into())
        .with_reply_to("amq.rabbitmq.reply-to.g1h2".into())
        .with_delivery_mode(9);

        let (kept, headers) = as_received(&received);
        assert_eq!((kept.expiration(), kept.user_id()), (&None, &None));
        assert_eq!(*kept.message_id(), Some("m-1".into()));
        assert_eq!(*kept.reply_to(), Some("amq.rabbitmq.reply-to.g1h2".into()));
        assert_eq!((*kept.priority(), *kept.delivery_mode()), (None, Some(PERSISTENT)));
        assert_eq!(names(&headers), ["mine", "x-delay", CC, EXPIRATION, USER_ID]);
    }

    #[test]
    fn active_headers_are_moved_in_every_type() {
        let table = || {
            let mut table = FieldTable::default();
            table.insert("queue".into(), long("elsewhere"));
            table
        };
        for value in [
            long("elsewhere"),
            AMQPValue::ByteArray(b"elsewhere".to_vec().into()),
            AMQPValue::FieldTable(table()),
            AMQPValue::FieldArray(vec![AMQPValue::FieldTable(table())].into()),
            AMQPValue::LongInt(7),
            AMQPValue::Void,
        ] {
            for (name, moved) in [("CC", CC), ("BCC", BCC)] {
                let (_, headers) = as_received(&with([(name, value.clone())]));
                assert_eq!(names(&headers), [moved], "{value:?}");
                assert_eq!(headers.inner().get(moved), Some(&value));
            }
        }
        let direct = BasicProperties::default().with_reply_to(DIRECT_REPLY_TO.into());
        let (kept, headers) = as_received(&direct);
        assert_eq!(*kept.reply_to(), None);
        assert_eq!(headers.inner().get(REPLY_TO), Some(&long(DIRECT_REPLY_TO)));
    }

    #[test]
    fn priority_survives_repeated_copies() {
        let mut received = BasicProperties::default().with_priority(9);
        for _ in 0..3 {
            assert_eq!(first_priority(&received), Some(9));
            let (kept, headers) = as_received(&received);
            assert_eq!(*kept.priority(), None);
            received = kept.with_headers(headers);
        }
        let absurd = with([(PRIORITY, AMQPValue::LongLongInt(256))]);
        assert_eq!(first_priority(&absurd), None);
        assert_eq!(first_priority(&BasicProperties::default()), None);
    }
}
