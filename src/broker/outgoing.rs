//! What goes out, as AMQP has it: exchange, routing key, properties and body of one message.
//!
//! | what | exchange | routing key | body and properties |
//! |---|---|---|---|
//! | enriched, ended | outbound | [`Published::routing_key`] | ours (docs/messages.md) |
//! | the same for another output | that output's | that output's | ours, in that output's shape |
//! | waiting | the default one | the name of its source's waiting queue | as received |
//! | dead letter | dead letters | as received | as received |
//! | passed on | the default one | the name of its partition's queue | as received |
//! | replayed | the default one | the name of the work queue it came from | as received |
//!
//! Pure. Deliberately absent: sending it (`publisher.rs`).

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};

use super::consumer::Received;
use super::dead_letter::DeadLetter;
use super::repair::RepairedField;
use super::{Error, Settings, declare, headers};
use crate::pipeline::ports::{AdditionalOutput, Attempts, Delivery, Outgoing, Published, Trace};

/// The longest short string of AMQP 0-9-1, in bytes.
const SHORT_STRING_MAX_BYTES: usize = 255;

/// Where messages go, checked once.
#[derive(Clone, Debug)]
pub(super) struct Addresses {
    outbound: ShortString,
    dead_letters: ShortString,
}

/// One message for `basic.publish`.
pub(super) struct Message<'o> {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: &'o [u8],
}

/// All that decides whether a queue is bound for a message, and its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) message_id: Option<ShortString>,
}

impl Addresses {
    pub(super) fn from_settings(settings: &Settings) -> Result<Addresses, Error> {
        Ok(Addresses {
            outbound: declare::short(&settings.outbound_exchange)?,
            dead_letters: declare::short(&settings.dead_letters)?,
        })
    }

    /// The message for one thing that goes out.
    pub(super) fn message<'o>(&self, outgoing: &'o Outgoing<'_, Received>) -> Message<'o> {
        match outgoing {
            Outgoing::Enriched(published) => self.enriched(published),
            Outgoing::Further { of, further } => self::further(of, further),
            Outgoing::Waiting { delivery, awaited: _, delay, attempts } => {
                let (properties, mut headers) = headers::as_received(&delivery.envelope.properties);
                insert_attempts(&mut headers, attempts, delivery);
                if let Some(cause) = &attempts.cause {
                    headers.insert(headers::REASON.into(), text(cause));
                }
                let queue = cut(delivery.envelope.source.waiting_queue(*delay));
                Message::new(ShortString::default(), queue, properties, headers, delivery.body())
            }
            Outgoing::DeadLetter { delivery, reason, detail, stage, attempts } => {
                let (properties, mut headers) = headers::as_received(&delivery.envelope.properties);
                insert_attempts(&mut headers, attempts, delivery);
                headers.insert(headers::REASON.into(), text(reason.as_str()));
                headers.insert(headers::DETAIL.into(), text(detail));
                headers.insert(headers::STAGE.into(), text(stage));
                headers.insert(headers::REPLAYED.into(), number(delivery.arrival().replayed));
                headers.insert(headers::QUEUE.into(), text(&delivery.envelope.source.queue));
                mark_undecodable(&mut headers, delivery);
                let key = delivery.envelope.routing_key.clone();
                Message::new(self.dead_letters.clone(), key, properties, headers, delivery.body())
            }
        }
    }

    fn enriched<'o>(&self, published: &'o Published) -> Message<'o> {
        let properties = own_properties(published)
            .with_content_type("application/json".into())
            .with_message_id(cut(published.message_id.clone()));
        let (key, headers) = (cut(published.routing_key()), our_headers(published));
        Message::new(self.outbound.clone(), key, properties, headers, &published.body)
    }
}

fn further<'o>(of: &Published, further: &'o AdditionalOutput) -> Message<'o> {
    let properties = own_properties(of)
        .with_content_type(further.content_type.into())
        .with_message_id(cut(further.message_id.clone()));
    let mut headers = our_headers(of);
    for (name, value) in &further.headers {
        headers.insert((*name).into(), text(value));
    }
    let exchange = cut(further.exchange.clone());
    let key = cut(further.routing_key.clone());
    Message::new(exchange, key, properties, headers, &further.body)
}

/// The properties of everything that is published of an interaction.
fn own_properties(published: &Published) -> BasicProperties {
    BasicProperties::default()
        .with_delivery_mode(headers::PERSISTENT)
        .with_correlation_id(cut(published.correlation_id.clone()))
        .with_type(published.kind.as_str().into())
        .with_app_id("throughline".into())
        .with_timestamp(u64::try_from(published.timestamp_ms / 1000).unwrap_or(0))
}

/// The headers of everything that is published of an interaction.
fn our_headers(published: &Published) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert(headers::REVISION.into(), text(&published.revision));
    let Trace { parent, state } = &published.trace;
    for (name, value) in [(headers::TRACE_PARENT, parent), (headers::TRACE_STATE, state)] {
        if let Some(value) = value {
            headers.insert(name.into(), text(value));
        }
    }
    headers
}

impl<'o> Message<'o> {
    fn new(
        exchange: ShortString,
        routing_key: ShortString,
        properties: BasicProperties,
        headers: FieldTable,
        body: &'o [u8],
    ) -> Message<'o> {
        Message { exchange, routing_key, properties: properties.with_headers(headers), body }
    }

    /// The property by which a returned message is identified.
    pub(super) fn into_address(self) -> Address {
        let Message { exchange, routing_key, properties, body: _ } = self;
        Address { exchange, routing_key, message_id: properties.message_id().clone() }
    }
}

/// The message that brings a delivery to its partition: as received, whatever its headers say.
pub(super) fn passed_on<'o>(delivery: &'o Received, queue: String) -> Message<'o> {
    let (properties, mut headers) = headers::as_received(&delivery.envelope.properties);
    headers.insert(headers::ROUTING_KEY.into(), text(delivery.envelope.routing_key.as_str()));
    mark_undecodable(&mut headers, delivery);
    Message::new(ShortString::default(), cut(queue), properties, headers, &delivery.body)
}

/// The message that brings a dead letter back to work: as received, with none of the marks that its
/// failure left, so that it has its full patience again. Repaired fields stay repaired, but for
/// a message id: two that differ in the replaced bytes would pass for the same event.
pub(super) fn replayed<'o>(work_queue: &ShortString, letter: &'o DeadLetter) -> Message<'o> {
    /// A header of a failure.
    const MARKS: [&str; 7] = [
        headers::ATTEMPTS,
        headers::REASON,
        headers::DETAIL,
        headers::STAGE,
        headers::FIRST_SEEN,
        headers::QUEUE,
        headers::UNDECODABLE,
    ];
    let (received, routing_key, body) = (letter.properties(), letter.key(), letter.body());
    let priority = headers::first_priority(received);
    let is_kept = |name: &str| !MARKS.contains(&name) && name != headers::PRIORITY;
    let replayed = headers::arrival(received, false, None).replayed.saturating_add(1);
    let (mut properties, headers) = headers::as_received(received);
    if letter.undecodable().contains(RepairedField::MessageId) {
        // An empty one is none.
        properties = properties.with_message_id(ShortString::default());
    }
    let kept = headers.into_iter().filter(|(name, _)| is_kept(name.as_str()));
    let kept: BTreeMap<_, _> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    let mut headers = FieldTable::from(kept);
    headers.insert(headers::REPLAYED.into(), number(replayed));
    headers.insert(headers::ROUTING_KEY.into(), text(routing_key.as_str()));
    let properties = match priority {
        Some(priority) => properties.with_priority(priority),
        None => properties,
    };
    Message::new(ShortString::default(), work_queue.clone(), properties, headers, body)
}

/// What both kinds of copies say of their history.
fn insert_attempts(headers: &mut FieldTable, attempts: &Attempts, delivery: &Received) {
    headers.insert(headers::ATTEMPTS.into(), number(attempts.count));
    if let Some(first_seen_ms) = attempts.first_seen_ms {
        headers.insert(headers::FIRST_SEEN.into(), AMQPValue::LongLongInt(first_seen_ms));
    }
    headers.insert(headers::ROUTING_KEY.into(), text(delivery.envelope.routing_key.as_str()));
}

/// Names the repaired fields in a header of the copy, since its reader cannot detect them.
fn mark_undecodable(headers: &mut FieldTable, delivery: &Received) {
    let undecodable = delivery.envelope.undecodable;
    if !undecodable.is_empty() {
        headers.insert(headers::UNDECODABLE.into(), text(&undecodable.words()));
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// A short string of at most 255 bytes, cut at a character. Only a channel's name of more than 230
/// bytes, behind `interaction.enriched.`, can come to that: a shortened routing key is still
/// routed, and a refused one would come back for ever.
fn cut(mut text: String) -> ShortString {
    text.truncate(text.floor_char_boundary(SHORT_STRING_MAX_BYTES));
    ShortString::from(text)
}

/// A count as every client can read it: AMQP's signed 64-bit integer.
fn number(count: u32) -> AMQPValue {
    AMQPValue::LongLongInt(count.into())
}
