//! The ports of the pipeline: what it needs of the world, in its own words.
//!
//! Adapters implement them: `broker` and `files` are [`Source`], [`Publisher`] and the settling of
//! deliveries; `store` is [`Store`]; `gate` is [`Gate`]. Nobody in `pipeline` can spell the name of a client library.
//!
//! The order of calls is the promise that nothing is lost (invariants 2 and 3 of
//! docs/architecture.md): [`Transaction::save`] commits, [`Publisher::publish`] returns once every
//! message is confirmed or refused, and only then are deliveries given to [`Settler::settle`].
//!
//! This file is long because it is one contract, with more words than code: whoever writes an adapter
//! reads it from top to bottom.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Identity, Record, RejectReason, Routing, State};
pub use crate::formats::Trace;
use crate::formats::body_encoding::BodyEncoding;
use crate::formats::enriched;
use crate::pipeline::plan::outputs::legal;
use crate::pipeline::save::spilled::{Recall, Spilled};

// ---------------------------------------------------------------------------------------- Source

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

// ------------------------------------------------------------------------------------- Publisher

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
        /// For whom, where it is known, for whoever can wake it.
        awaited: Option<&'d WaitDependency>,
        /// How long: one of the delays of [`crate::retry`]'s ladder.
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

/// Who waits for whom.
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
    /// The widget to ask about; `None`: the interaction names none, and nobody is asked.
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
    /// `interaction.ended`: nobody need listen.
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

// --------------------------------------------------------------------------------------- Settler

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

// ------------------------------------------------------------------------------------------ Gate

/// Says what a caller is to be offered, by the widget's state (G1, G2). A failure is an answer, too.
pub trait Gate: Send + Sync + 'static {
    /// Asks about a widget. Called within an asynchronous runtime; does not block.
    fn ask(&self, widget: &str) -> GateReply;

    /// Whether nobody is asked at the moment because the endpoint keeps failing; for metrics.
    fn is_skipping(&self) -> bool;
}

/// An answer, now or later.
pub enum GateReply {
    /// It is known, or nobody needs to be asked.
    Now(GateVerdict),
    /// Somebody is being asked; it comes within the gate's own limit of time, polled or not.
    Later(Pin<Box<dyn Future<Output = GateVerdict> + Send>>),
}

/// What was decided, and on what grounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateVerdict {
    /// What is published.
    pub routing: Routing,
    /// The grounds.
    pub why: GateReason,
}

impl GateVerdict {
    /// The verdict where there is no answer (G2).
    pub fn without_answer(why: GateReason) -> GateVerdict {
        GateVerdict { routing: Routing::without_answer(), why }
    }
}

/// The grounds of a verdict. All but the first two mean `agent_queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateReason {
    /// The endpoint answered with a state.
    Answered,
    /// It had answered a moment ago.
    Cached,
    /// The interaction names no widget.
    NoWidget,
    /// The answer did not come in time.
    Timeout,
    /// No connection, no such host, no trust in its certificate, or a connection that was cut off.
    Unreachable,
    /// The endpoint answered with another code than 200.
    Status,
    /// What it answered is not a widget's state.
    Unreadable,
    /// It has failed too often and is skipped for a while.
    Skipped,
    /// Too many wait for an answer already.
    Crowded,
}

impl GateReason {
    /// All of them.
    pub const ALL: [GateReason; 9] = [
        GateReason::Answered,
        GateReason::Cached,
        GateReason::NoWidget,
        GateReason::Timeout,
        GateReason::Unreachable,
        GateReason::Status,
        GateReason::Unreadable,
        GateReason::Skipped,
        GateReason::Crowded,
    ];

    /// The word for it in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            GateReason::Answered => "answered",
            GateReason::Cached => "cached",
            GateReason::NoWidget => "no_widget",
            GateReason::Timeout => "timeout",
            GateReason::Unreachable => "unreachable",
            GateReason::Status => "status",
            GateReason::Unreadable => "unreadable",
            GateReason::Skipped => "skipped",
            GateReason::Crowded => "crowded",
        }
    }
}

// ----------------------------------------------------------------------------------------- Store

/// Where interactions are kept: one row each, with state, history, sealed live data, and what is
/// needed to recognise a repeated event.
pub trait Store: Send + Sync + 'static {
    /// The transaction that [`Store::begin`] opens. Dropping it changes nothing.
    type Transaction: Transaction;

    /// Opens a transaction, and reads the rows of `own`, which may be written in it, and of `parents`.
    ///
    /// Both slices are sorted and free of repeats, and no identity stands in both. Nobody
    /// changes a row of `own` between this and [`Transaction::save`] unnoticed: either it is locked, or
    /// saving ends with [`StoreError::Conflict`]. Rows are returned in any order; an identity without a
    /// row has none.
    ///
    /// # Errors
    /// When the store cannot be reached ([`StoreError::Unavailable`]), or holds something that
    /// this version cannot read ([`StoreError::Unreadable`]).
    fn begin(
        &self,
        own: &[Identity<'_>],
        parents: &[Identity<'_>],
    ) -> impl Future<Output = Result<(Vec<Row>, Self::Transaction), StoreError>> + Send;
}

/// An open transaction over the rows of one batch.
pub trait Transaction: Recall + Send {
    /// Writes the rows, one set-wise statement whatever their number, and commits. Every identity
    /// is one of `begin`'s `own`, each at most once, sorted.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when another worker created or changed one of the rows meanwhile: nothing
    /// was written, begin again. [`StoreError::Refused`] when the database refuses the data of at
    /// least one row. [`StoreError::Unavailable`] when it is not known whether it was committed.
    fn save(self, rows: &[RowChange<'_>]) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A row as read.
#[derive(Debug)]
pub struct Row {
    /// Whose row.
    pub identity: Identity<'static>,
    /// State as stored; expiry is worked out by the reader.
    pub state: State,
    /// Its channel.
    pub channel: String,
    /// Its queue.
    pub queue: Option<String>,
    /// The other facts, a JSON object that `pipeline` writes and reads.
    pub facts: String,
    /// The history: extra data that was saved.
    pub record: Record,
    /// Live data, opened.
    pub live: StoredLiveData,
    /// The log of its events, as it was saved.
    pub events: Vec<u8>,
    /// When it was first saved, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When its last message was saved, in milliseconds since the Unix epoch.
    pub updated_ms: i64,
    /// When its first end was saved, in milliseconds since the Unix epoch.
    pub ended_ms: Option<i64>,
}

/// Live data as read from a row.
#[derive(Debug)]
pub enum StoredLiveData {
    /// There is none: the interaction has ended or expired, or was erased.
    Absent,
    /// Opened.
    Open(Plaintext),
    /// There is some, but no key at hand opens it. The key's id, in hex.
    Locked(String),
}

/// Live data in the clear, in memory only. `Debug` gives its length.
#[derive(Clone, PartialEq, Eq)]
pub struct Plaintext(pub Vec<u8>);

impl fmt::Debug for Plaintext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plaintext({} bytes)", self.0.len())
    }
}

/// A row as it is to be written: the whole row, replacing what was there.
#[derive(Debug)]
pub struct RowChange<'a> {
    /// Whose row.
    pub identity: &'a Identity<'a>,
    /// Whether `begin` found no row for it: then it is inserted and must not exist.
    pub is_new: bool,
    /// The new state.
    pub state: State,
    /// Its channel.
    pub channel: &'a str,
    /// Its queue.
    pub queue: Option<&'a str>,
    /// The other facts, a JSON object.
    pub facts: &'a str,
    /// The history.
    pub record: &'a Record,
    /// Live data to be sealed, bound to the identity; `None` erases it.
    pub live: Option<&'a Plaintext>,
    /// The log of its events.
    pub events: &'a [u8],
    /// Events that no longer stand in it, and are to be kept beside it.
    pub spilled: Spilled<'a>,
    /// When it was first saved, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When this message is saved, in milliseconds since the Unix epoch.
    pub updated_ms: i64,
    /// When its first end was saved, in milliseconds since the Unix epoch.
    pub ended_ms: Option<i64>,
}

/// Why the store did not do what was asked. No text holds a value of user data.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or did not answer in time; trying again later may help.
    #[error("reach the store: {0}")]
    Unavailable(String),
    /// Another worker was faster; begin again.
    #[error("save the batch: another worker created or changed an interaction of it meanwhile")]
    Conflict,
    /// The database refuses the data of a row; trying again will not help.
    #[error("save the batch: the store refuses its data: {0}")]
    Refused(String),
    /// A row cannot be read by this version, or the schema is not the one expected.
    #[error("read the store: {0}")]
    Unreadable(String),
}
