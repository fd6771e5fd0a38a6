//! The way in: deliveries of one work queue, in batches.
//!
//! Invariants: the broker never has more than `prefetch_messages` unacknowledged deliveries here,
//! which bounds lapin's own buffer (trap 8). A batch is never waited for: the deliveries that have
//! arrived are taken. A stream that ends unasked is an error, since a deleted queue and a consumer that
//! the broker has cancelled show in no other way (trap 10).
//!
//! Where a source asks for signatures, each is checked here, before the body is read; what happens to
//! a message without a valid one is decided by the pipeline.
//!
//! Where a queue has a single active consumer, another consumer takes over when this one is gone. Its
//! channel is closed then, at once, and not the consumer cancelled: RabbitMQ would hand the queue over
//! on the cancellation, while unsettled deliveries are still here. They would come again
//! behind the messages that they preceded.
//!
//! Deliberately absent: settling (`settler.rs`), and any look into the body.

use std::collections::BTreeSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Acker, BasicProperties, Channel};

use super::repair::{RepairedFields, Repairs};
use super::{Error, Inbound, declare, headers, with_timeout};
use crate::formats::signature::SigningSecret;
use crate::pipeline::ports::{self, Arrival, Source, TransportError};

/// Consumes one work queue over a channel of its own.
#[derive(Debug)]
pub struct Consumer {
    stream: lapin::Consumer,
    channel: Channel,
    source: Arc<Inbound>,
    queue: String,
    answer_timeout: Duration,
    /// Headers already logged for holding no text: a few fixed names, none chosen by a sender.
    logged_headers: BTreeSet<String>,
    /// The fields repaired in deliveries of this connection.
    repairs: Arc<Repairs>,
    /// Fields already logged as undecodable.
    logged_fields: RepairedFields,
    stopped: bool,
}

/// A delivery of a work queue, not yet settled, with everything needed to publish it again as
/// received.
pub struct Received {
    pub(super) body: Vec<u8>,
    /// Counts the deliveries of its channel, from 1, without a gap.
    pub(super) tag: u64,
    /// Apart, since deliveries change hands often, and this is most of what they are.
    pub(super) envelope: Box<Envelope>,
}

/// What came with a body.
pub(super) struct Envelope {
    arrival: Arrival,
    /// Where it came from, and is to come back to.
    pub(super) source: Arc<Inbound>,
    pub(super) properties: BasicProperties,
    /// The routing key it was first published with; one that comes back from waiting or from the dead
    /// letters says so in a header, as it comes under the work queue's name.
    pub(super) routing_key: ShortString,
    /// Where it could not be read as it was sent.
    pub(super) undecodable: RepairedFields,
    pub(super) acker: Acker,
}

impl Consumer {
    pub(super) async fn open(
        channel: Channel,
        repairs: Arc<Repairs>,
        source: Arc<Inbound>,
        queue: &str,
        prefetch_messages: u16,
        limit: Duration,
    ) -> Result<Consumer, Error> {
        let name = declare::short(queue)?;
        let arguments =
            if source.partitions.is_some() { random_priority() } else { FieldTable::default() };
        let consume = async {
            // Before consuming, or the broker sends the whole queue at once (trap 8).
            let qos = BasicQosOptions::default();
            with_timeout(limit, channel.basic_qos(prefetch_messages, qos)).await?;
            // The broker makes up the consumer tag; connections are what operators look for.
            let options = BasicConsumeOptions::default();
            with_timeout(limit, channel.basic_consume(name, "".into(), options, arguments)).await
        };
        let stream = consume
            .await
            .map_err(|error| Error::Unreachable(format!("consuming `{queue}`: {error}")))?;
        let queue = queue.to_owned();
        let (answer_timeout, stopped) = (limit, false);
        let (logged_headers, logged_fields) = (BTreeSet::new(), RepairedFields::default());
        Ok(Consumer {
            stream,
            channel,
            source,
            queue,
            answer_timeout,
            logged_headers,
            repairs,
            logged_fields,
            stopped,
        })
    }

    /// Tells the broker to deliver no more; the next batch is the empty one. A delivery that
    /// is in no batch yet goes back to the queue when the link is closed.
    ///
    /// # Errors
    /// When the channel is lost, or the broker does not answer in time.
    pub async fn stop(&mut self) -> Result<(), TransportError> {
        self.stopped = true;
        let cancel = self.channel.basic_cancel(self.stream.tag(), BasicCancelOptions::default());
        with_timeout(self.answer_timeout, cancel)
            .await
            .map_err(|error| error.at("cancel the consumer"))
    }

    fn received(&mut self, delivery: Delivery) -> Received {
        let Delivery { delivery_tag, routing_key, redelivered, properties, data, acker, .. } =
            delivery;
        let routing_key = headers::first_routing_key(&properties).unwrap_or(routing_key);
        self.log_passed_over(&properties);
        let undecodable = self
            .repairs
            .take(self.channel.id(), delivery_tag)
            .or(headers::undecodable(&properties));
        if !undecodable.is_empty() {
            self.log_undecodable(undecodable);
        }
        let source = &self.source;
        let of_signature =
            source.signing_secret.as_ref().and_then(|_| headers::unreadable_claim(&properties));
        let declared = headers::arrival(&properties, redelivered, source.format.as_deref());
        let is_signed = |secret: &SigningSecret| secret.signed(&data, &headers::claim(&properties));
        let arrival = Arrival {
            tenant: source.tenant.clone(),
            undecodable: (!undecodable.is_empty()).then(|| undecodable.describe()),
            is_forged: !source.signing_secret.as_ref().is_none_or(is_signed),
            conversation: conversation(source, &properties),
            unreadable: of_signature.or(declared.unreadable),
            ..declared
        };
        let source = Arc::clone(source);
        let envelope = Envelope { arrival, source, properties, routing_key, undecodable, acker };
        Received { body: data, tag: delivery_tag, envelope: Box::new(envelope) }
    }

    /// Logs each header that is passed over because it holds no text, once.
    fn log_passed_over(&mut self, properties: &BasicProperties) {
        let conversation = self.source.partitions.as_ref().and_then(|it| it.header.as_deref());
        for header in headers::passed_over(properties, conversation) {
            if !self.logged_headers.contains(header) {
                let queue = self.queue.as_str();
                tracing::warn!(queue, header, "a header holds no text and is passed over");
                self.logged_headers.insert(header.to_owned());
            }
        }
    }

    /// Logs each kind of undecodable field once, however many messages have it.
    fn log_undecodable(&mut self, undecodable: RepairedFields) {
        if self.logged_fields.or(undecodable) != self.logged_fields {
            self.logged_fields = self.logged_fields.or(undecodable);
            let (queue, detail) = (self.queue.as_str(), undecodable.describe());
            tracing::warn!(
                queue,
                detail,
                "a message cannot be read as it was sent; it is set aside"
            );
        }
    }
}

/// What the header that the source names says of the conversation.
fn conversation(source: &Inbound, properties: &BasicProperties) -> Option<String> {
    let name = source.partitions.as_ref()?.header.as_deref()?;
    headers::header(properties, name).and_then(headers::text).filter(|text| !text.is_empty())
}

/// A consumer's priority for a queue with a single active consumer. Drawn anew each time, so that the
/// partitions spread over the processes: from RabbitMQ 4.0 on the highest priority is active. Earlier
/// versions ignore the priority: there the first consumer is active.
fn random_priority() -> FieldTable {
    // AMQP knows no bounds for it; a thousand are enough for few to be the same.
    let drawn = i64::try_from(RandomState::new().hash_one(()) % 1000).unwrap_or_default();
    let mut arguments = FieldTable::default();
    arguments.insert("x-priority".into(), AMQPValue::LongLongInt(drawn));
    arguments
}

impl Drop for Consumer {
    fn drop(&mut self) {
        // The first poll hands the frame over, before dropping the stream would cancel the consumer;
        // the answer is not needed.
        let closed = self.channel.close(200, "OK".into()).now_or_never();
        if let Some(Err(error)) = closed {
            tracing::trace!(%error, "the consumer's channel was closed already");
        }
    }
}

impl Source for Consumer {
    type Delivery = Received;

    fn queue(&self) -> Option<&str> {
        Some(&self.queue)
    }

    async fn next_batch(&mut self, max: usize) -> Result<Vec<Received>, TransportError> {
        if self.stopped {
            return Ok(Vec::new());
        }
        let mut batch = Vec::new();
        // Cancel-safe: this is the only await, and the stream hands nothing over unless it is ready.
        let mut next = Some(self.stream.next().await);
        while let Some(delivered) = next {
            match delivered {
                Some(Ok(delivery)) => batch.push(self.received(delivery)),
                // Deliveries taken just before are void: their channel is gone, and the broker
                // has them in the queue again.
                Some(Err(error)) => {
                    return Err(TransportError::new(format_args!("consume: {error}")));
                }
                None => {
                    return Err(TransportError::new(
                        "consume: the broker has cancelled the consumer",
                    ));
                }
            }
            next = if batch.len() < max { self.stream.next().now_or_never() } else { None };
        }
        Ok(batch)
    }
}

impl ports::Delivery for Received {
    fn body(&self) -> &[u8] {
        &self.body
    }

    fn arrival(&self) -> &Arrival {
        &self.envelope.arrival
    }
}

impl fmt::Debug for Received {
    /// Names the delivery and gives the body's length; never its content (K8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("tag", &self.tag)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
