//! Spans: what a batch and each of its messages tell a tracing system, in the words of OpenTelemetry's
//! conventions for messaging. There are none unless a worker has a [`Tracer`].
//!
//! | span | kind | of | parent | links |
//! |---|---|---|---|---|
//! | `receive QUEUE` | client | a batch | of one message: its sender's span; of several: none | each message's sender |
//! | `process QUEUE` | consumer | a message, until it is settled | its sender's span | the batch's `receive` |
//! | `send EXCHANGE` | producer | what is published of it | its `process` | |
//! | `settle QUEUE` | client | a batch | of one message: its `process`; of several: the `receive` | each message's `process` |
//!
//! So the trace of a message leads from its sender's span over `process` and `send` to the spans of the consumer that takes
//! what is published, since that carries the context of `send`. A batch of several has a trace of its
//! own. What waits or is set aside keeps the context it came with: each try is one more `process`.
//!
//! Whether a trace is recorded is decided once: by its sender, else at random. One that is not recorded
//! is passed on all the same. No attribute holds a value of user data (K8): ids, names at the broker,
//! fixed words and counts.
//!
//! Deliberately absent: how spans leave the process (`telemetry/traces.rs`).

use std::sync::Arc;

use crate::clock::Clock;
use crate::formats::trace_context::{SpanContext, SpanId};

/// Makes spans.
#[derive(Clone)]
pub struct Tracer {
    /// Of a thousand messages whose sender has not decided, how many are recorded.
    pub sample_per_thousand: u16,
    /// The exchange that enriched messages go to.
    pub outbound_exchange: String,
    /// What time it is.
    pub clock: Clock,
    /// Where finished spans go.
    pub sink: Arc<dyn SpanSink>,
}

/// Takes finished spans. It never waits: it keeps them, or drops and counts them.
pub trait SpanSink: Send + Sync {
    /// Takes the spans of a batch.
    fn take(&self, spans: Vec<Span>);
}

/// A finished span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The operation and what it is done to.
    pub name: String,
    /// What it is to the broker.
    pub kind: SpanKind,
    /// Itself.
    pub context: SpanContext,
    /// The span that it is part of.
    pub parent: Option<SpanId>,
    /// `tracestate`, as it came.
    pub state: Option<String>,
    /// When it began, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// When it ended, in nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// What it is about.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// Other spans that it has to do with, [`LINKS_MAX`] at most.
    pub links: Vec<SpanContext>,
    /// How many more there were.
    pub links_dropped: usize,
    /// What failed, in one word.
    pub error: Option<&'static str>,
}

/// OpenTelemetry's kinds of spans, those that occur here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// It asks the broker for something.
    Client,
    /// It makes a message.
    Producer,
    /// It works on a message.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// A fixed word.
    Word(&'static str),
    /// An id, or a name at the broker.
    Text(String),
    /// A count.
    Number(i64),
}

/// Links of a span: the default bound of OpenTelemetry's SDKs. A batch may have thousands of messages.
pub const LINKS_MAX: usize = 128;

impl Tracer {
    /// The time, in nanoseconds since the Unix epoch.
    pub(crate) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }
}

impl Span {
    /// Says how many messages it is about, unless it is one.
    pub(crate) fn counting(mut self, messages: usize) -> Span {
        if messages > 1 {
            let count = i64::try_from(messages).unwrap_or(i64::MAX);
            self.attributes.push(("messaging.batch.message_count", Attribute::Number(count)));
        }
        self
    }

    /// Links it with other spans.
    pub(crate) fn linked(mut self, to: impl IntoIterator<Item = SpanContext>) -> Span {
        let mut to = to.into_iter();
        self.links = to.by_ref().take(LINKS_MAX).collect();
        self.links_dropped = to.count();
        self
    }
}

/// Random bytes, never all zero: that would stand for no id.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness nothing else here would run either (TLS, nonces); an id that is taken twice
    // only blurs a picture.
    if getrandom::fill(&mut bytes).is_err() || bytes == [0; N] {
        bytes[N - 1] = 1;
    }
    bytes
}
