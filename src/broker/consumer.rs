//! The way in: deliveries of one work queue, in batches.
//!
//! Invariants: the broker never has more than `prefetch_messages` unacknowledged deliveries here,
//! which bounds lapin's own buffer (trap 8). A batch is never waited for: what has arrived is
//! taken. A stream that ends uninvited is an error, since that is all one sees of a deleted queue
//! or of a consumer that the broker has cancelled (trap 10).
//!
//! Where a source asks for signatures, each is checked here, before anybody looks into the body; what
//! becomes of a message without the right one is the pipeline's to say.
//!
//! Deliberately absent: settling (`settler.rs`), and any look into the body.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, BasicProperties, Channel};

use super::{Error, Inbound, declare, headers, within};
use crate::formats::signature::SigningSecret;
use crate::pipeline::ports::{self, Arrival, Source, TransportError};

/// Consumes one work queue over a channel of its own.
#[derive(Debug)]
pub struct Consumer {
    stream: lapin::Consumer,
    channel: Channel,
    source: Arc<Inbound>,
    /// The name of the queue, which each delivery takes along.
    queue: Arc<str>,
    answer_timeout: Duration,
    stopped: bool,
}

/// A delivery of a work queue, not yet settled, with what is needed to publish it again as it was
/// received.
pub struct Received {
    body: Vec<u8>,
    arrival: Arrival,
    /// Where it came from, and is to come back to.
    pub(super) source: Arc<Inbound>,
    pub(super) properties: BasicProperties,
    /// The routing key it was first published with; one that comes back from waiting or from the dead
    /// letters says so in a header, as it comes under the work queue's name.
    pub(super) routing_key: ShortString,
    /// Counts the deliveries of its channel, from 1, without a gap.
    pub(super) tag: u64,
    pub(super) acker: Acker,
}

impl Consumer {
    pub(super) async fn open(
        channel: Channel,
        source: Arc<Inbound>,
        limit: Duration,
    ) -> Result<Consumer, Error> {
        let queue = declare::short(&source.queue)?;
        let consume = async {
            // Before consuming, or the broker sends the whole queue at once (trap 8).
            let qos = BasicQosOptions::default();
            within(limit, channel.basic_qos(source.prefetch_messages, qos)).await?;
            // The broker makes up the consumer tag; connections are what operators look for.
            let options = BasicConsumeOptions::default();
            within(limit, channel.basic_consume(queue, "".into(), options, FieldTable::default()))
                .await
        };
        let stream = consume.await.map_err(|error| {
            Error::Unreachable(format!("consuming `{}`: {error}", source.queue))
        })?;
        let queue = Arc::from(source.queue.as_str());
        Ok(Consumer { stream, channel, source, queue, answer_timeout: limit, stopped: false })
    }

    /// Tells the broker to deliver no more; the next batch is the empty one. What was delivered
    /// and is in no batch yet goes back to the queue when the link is closed.
    ///
    /// # Errors
    /// When the channel is lost, or the broker does not answer in time.
    pub async fn stop(&mut self) -> Result<(), TransportError> {
        self.stopped = true;
        let cancel = self.channel.basic_cancel(self.stream.tag(), BasicCancelOptions::default());
        within(self.answer_timeout, cancel).await.map_err(|error| error.at("cancel the consumer"))
    }

    fn received(&self, delivery: Delivery) -> Received {
        let Delivery { delivery_tag, routing_key, redelivered, properties, data, acker, .. } =
            delivery;
        let routing_key = headers::first_routing_key(&properties).unwrap_or(routing_key);
        let source = &self.source;
        let is_signed = |secret: &SigningSecret| secret.signed(&data, &headers::claim(&properties));
        let arrival = Arrival {
            queue: Some(Arc::clone(&self.queue)),
            tenant: source.tenant.clone(),
            is_forged: !source.signing_secret.as_ref().is_none_or(is_signed),
            ..headers::arrival(&properties, redelivered, source.format.as_deref())
        };
        Received {
            body: data,
            arrival,
            source: Arc::clone(source),
            properties,
            routing_key,
            tag: delivery_tag,
            acker,
        }
    }
}

impl Source for Consumer {
    type Delivery = Received;

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
        &self.arrival
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
