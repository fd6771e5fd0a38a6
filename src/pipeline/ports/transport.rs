//! Where deliveries come from, and how they are settled.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

pub use crate::formats::Trace;
use crate::formats::body_encoding::BodyEncoding;

/// Where deliveries come from.
pub trait Source: Send {
    /// What this source delivers.
    type Delivery: Delivery;

    /// Waits until something has been delivered, then takes what is there, `max` at most, in the
    /// order of arrival. It never waits for a batch to fill up. An empty batch is the end of input.
    ///
    /// Cancel-safe: a dropped future has taken nothing.
    ///
    /// # Errors
    /// When the source is lost (connection, channel, consumer). It cannot be used again; what it
    /// had delivered and was not settled will be delivered anew.
    fn next_batch(
        &mut self,
        max: usize,
    ) -> impl Future<Output = Result<Vec<Self::Delivery>, TransportError>> + Send;

    /// The queue that all of it comes from, where there is one.
    fn queue(&self) -> Option<&str> {
        None
    }
}

/// One delivered message, not yet settled. Deliberately not `Clone`: it is settled once.
pub trait Delivery: Send + Sync + 'static {
    /// The body, as it came.
    fn body(&self) -> &[u8];
    /// What the transport says about it.
    fn arrival(&self) -> &Arrival;

    /// How logs name it: by its message id, or as the source numbers its deliveries. No value.
    fn name(&self) -> String {
        match &self.arrival().message_id {
            Some(id) => format!("message {id}"),
            None => "a message without an id".to_owned(),
        }
    }
}

/// What the transport says about a delivery, apart from its body.
#[derive(Clone, Default)]
pub struct Arrival {
    /// The AMQP `message_id`, or what stands for it: the event's id where the body has none.
    pub message_id: Option<String>,
    /// The format that a queue's setting or the header `x-throughline-format` names.
    pub format: Option<String>,
    /// The attributes of a CloudEvent in binary mode, without their `cloudEvents:` prefix.
    pub cloud_event: Vec<(String, String)>,
    /// The widget that the header `x-throughline-widget` names.
    pub widget: Option<String>,
    /// The broker says that it delivered this message before.
    pub redelivered: bool,
    /// What our own headers say: how often it has waited, and what for.
    pub attempts: Attempts,
    /// How often it was replayed from the dead letters.
    pub replayed: u32,
    /// The W3C trace context to be carried on: `traceparent`, `tracestate`.
    pub trace: Trace<'static>,
    /// The tenant of interactions whose message names none.
    pub tenant: Option<Arc<str>>,
    /// What of its properties and headers could not be read as it was sent; no value.
    pub undecodable: Option<String>,
    /// Its source asks for a signature, and it has not the right one.
    pub is_forged: bool,
    /// Which header that must be read holds no text; names it, without its value.
    pub unreadable: Option<String>,
    /// How its body is encoded.
    pub encoding: BodyEncoding,
    /// What the header says that names its conversation, where the settings name such a header.
    pub conversation: Option<String>,
}

impl Arrival {
    /// Whether an event that was saved already is *finished*, and no repeat (docs/rules.md).
    pub fn may_be_unfinished(&self) -> bool {
        self.redelivered || self.attempts.count > 0 || self.replayed > 0
    }
}

/// How often a message has waited for the same thing, and since when we know it.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Attempts {
    /// Waits so far for [`Attempts::cause`].
    pub count: u32,
    /// The code of what it waited for last; a new cause starts its own count.
    pub cause: Option<String>,
    /// When this worker first saw the message, in milliseconds since the Unix epoch.
    pub first_seen_ms: Option<i64>,
}

/// Settles deliveries: the only way to be rid of one.
pub trait Settler<D: Delivery>: Send {
    /// Settles a batch, in the order of delivery, each delivery as said.
    ///
    /// # Errors
    /// When the transport is lost; what was not settled will be delivered anew.
    fn settle(
        &mut self,
        batch: Vec<(D, Settlement)>,
    ) -> impl Future<Output = Result<(), TransportError>> + Send;
}

/// What becomes of a delivery at its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Done, or safely elsewhere (waiting or dead-letter queue): acknowledge.
    Acknowledge,
    /// Failed here; counts as a failed delivery and comes again (`basic.reject`, requeue).
    Requeue,
    /// Not tried; comes again, to another worker (`basic.nack`, requeue). For shutdown.
    GiveBack,
}

/// The other end is lost: connection, channel, consumer, or an answer that did not come in time.
/// The text never holds a value of user data.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct TransportError {
    /// A lowercase fragment that says what was lost.
    pub what: String,
}

impl TransportError {
    /// An error that says `what` was lost.
    pub fn new(what: impl fmt::Display) -> TransportError {
        TransportError { what: what.to_string() }
    }
}
