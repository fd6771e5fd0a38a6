//! Where outgoing messages go, and what they are.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::transport::{Attempts, Delivery, TransportError};
use crate::domain::{Identity, RejectReason, Routing};
use crate::formats::Trace;
use crate::formats::enriched;
use crate::pipeline::routing_key::legal;

/// Where outgoing messages go. One owner, one batch in flight: confirms of a shared channel get swapped.
pub trait Publisher<D: Delivery>: Send {
    /// Publishes the batch in order and waits until the broker has answered for every message.
    /// The answers stand in the order of the batch.
    ///
    /// # Errors
    /// When the transport is lost or silent for too long: nothing is known of the whole batch then.
    fn publish(
        &mut self,
        batch: &[Outgoing<'_, D>],
    ) -> impl Future<Output = Result<Vec<PublishOutcome>, TransportError>> + Send;
}

/// The partitions of a work queue, each a queue that one consumer at a time reads.
pub trait Distributor<D: Delivery>: Send {
    /// Passes each delivery on, as it was received, to the partition of that number, and waits until
    /// the broker has answered for every one. The answers stand in the order of the batch.
    ///
    /// # Errors
    /// When the transport is lost or silent for too long: nothing is known of the whole batch then.
    fn pass_on(
        &mut self,
        batch: &[(&D, u16)],
    ) -> impl Future<Output = Result<Vec<PublishOutcome>, TransportError>> + Send;
}

/// One message on its way out.
pub enum Outgoing<'d, D> {
    /// An enriched or ended interaction.
    Enriched(&'d Published),
    /// The same interaction, for another output.
    Further {
        /// The message it is published beside.
        of: &'d Published,
        /// What goes to the other output.
        further: &'d AdditionalOutput,
    },
    /// A delivery that must wait: sent to the waiting queue of that delay as it was received.
    Waiting {
        /// What must wait, with its body and properties as received.
        delivery: &'d D,
        /// The interaction it waits for, where it is known, so that an adapter can wake it.
        awaited: Option<&'d WaitDependency>,
        /// How long: one of the delays of [`RetrySchedule`](crate::retry::RetrySchedule).
        delay: Duration,
        /// The attempts to be written into its headers, this wait included.
        attempts: Attempts,
    },
    /// A delivery that is set aside with its reason.
    DeadLetter {
        /// What is set aside, with its body and properties as received.
        delivery: &'d D,
        /// Why. Holds no values.
        reason: RejectReason,
        /// What exactly: names of members, no values ([`Detail`](crate::domain::Detail)).
        detail: &'d str,
        /// Where in the line: `decode`, `propagate`, `save`, `publish`.
        stage: &'static str,
        /// The attempts it had.
        attempts: Attempts,
    },
}

/// Which message waits, and for which interaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitDependency {
    /// The interaction of the message that waits.
    pub who: Identity<'static>,
    /// The interaction it waits for: its parent, or itself.
    pub on: Identity<'static>,
}

/// An encoded outbound message and its AMQP properties (docs/messages.md, *Outbound message*).
#[derive(Clone)]
pub struct Published {
    /// The outgoing `message_id`: derived, so that a repeat after a crash carries the same.
    pub message_id: String,
    /// The inbound event's id.
    pub correlation_id: String,
    /// Enriched or ended; gives `type` and the routing key's first words.
    pub kind: PublishedKind,
    /// The interaction's channel; gives the routing key's last word.
    pub channel: String,
    /// The first hex digits of the rules' hash, for `x-throughline-revision`.
    pub revision: String,
    /// The trace context that it carries.
    pub trace: Trace<'static>,
    /// Milliseconds since the Unix epoch at which it was enriched.
    pub timestamp_ms: i64,
    /// Milliseconds since the Unix epoch at which the inbound message was sent, as its sender says;
    /// none where it does not say, or not in RFC 3339. For the latency alone.
    pub sent_ms: Option<i64>,
    /// Whose message it is; what waits for this interaction can be tried again.
    pub identity: Identity<'static>,
    /// The JSON body, on one line.
    pub body: Vec<u8>,
    /// The same interaction for other outputs, in the order of the settings.
    pub further: Vec<AdditionalOutput>,
    /// Set while the status gate has a say that it has not said yet.
    pub gated: Option<Gated>,
}

/// An interaction in the shape that another output wants it (docs/messages.md, *Further outputs*).
/// What is not said here is as in the message that it is published beside.
#[derive(Clone)]
pub struct AdditionalOutput {
    /// Its own `message_id`, derived.
    pub message_id: String,
    /// The exchange it goes to.
    pub exchange: String,
    /// Its routing key.
    pub routing_key: String,
    /// What the body is.
    pub content_type: &'static str,
    /// Headers that belong to the body.
    pub headers: Vec<(&'static str, String)>,
    /// Whether it is a failure if no queue is bound for it.
    pub mandatory: bool,
    /// The body.
    pub body: Vec<u8>,
    /// Where in the body the status gate's answer is written; `None`: it has no place there.
    pub routing_at: Option<usize>,
}

/// What the status gate is to be asked for a message, and where its answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gated {
    /// The widget to ask about; `None`: the interaction names none, and the gate is not asked.
    pub widget: Option<String>,
    /// Where in the body the answer is written.
    pub routing_at: usize,
}

impl fmt::Debug for Published {
    /// Names the message and gives the body's length; never its content (K8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published")
            .field("message_id", &self.message_id)
            .field("kind", &self.kind)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Published {
    /// Writes the status gate's answer into the body, if it is still missing.
    pub fn route(&mut self, routing: &Routing) {
        if let Some(gated) = self.gated.take() {
            enriched::write_routing(&mut self.body, gated.routing_at, routing);
            for further in &mut self.further {
                if let Some(at) = further.routing_at.take() {
                    enriched::write_routing(&mut further.body, at, routing);
                }
            }
        }
    }

    /// The routing key: type, dot, channel, where each character of the channel outside
    /// `[A-Za-z0-9_-]` becomes `_`.
    pub fn routing_key(&self) -> String {
        let kind = self.kind.as_str();
        let mut key = String::with_capacity(kind.len() + 1 + self.channel.len());
        key.push_str(kind);
        key.push('.');
        key.extend(self.channel.chars().map(legal));
        key
    }
}

/// Which of the two messages we publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedKind {
    /// `interaction.enriched`: unroutable is a failure.
    Enriched,
    /// `interaction.ended`: unroutable is no failure.
    Ended,
}

impl PublishedKind {
    /// The message's `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            PublishedKind::Enriched => "interaction.enriched",
            PublishedKind::Ended => "interaction.ended",
        }
    }
}

/// The broker's answer for one published message, the better one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PublishOutcome {
    /// It took responsibility.
    Confirmed,
    /// Confirmed, but no queue is bound for it.
    Returned,
    /// It refused (`basic.nack`): a queue's bound, or an internal error.
    Refused,
}
