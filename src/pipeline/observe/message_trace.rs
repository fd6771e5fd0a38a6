//! The trace of one message: which span sent it, which ids our own spans have, and what is told of it.
//!
//! It begins when the message is decoded, since a CloudEvent may name its sender's span, and since what is
//! published carries our own. Deliberately absent: making spans of it (`batch_trace.rs`).

use std::borrow::Cow;

use tracing::field::{DisplayValue, display};

use crate::domain::digest::Hex;
use crate::formats::trace_context::{SAMPLED, SpanContext, SpanId, TraceId};
use crate::formats::{Decoded, Refusal};
use crate::pipeline::observe::spans::{Tracer, random};
use crate::pipeline::ports::{Arrival, Delivery, Published, Trace};

/// The traces of a batch, by place; empty without a tracer.
#[derive(Default)]
pub(crate) struct Traces(Vec<Option<Box<MessageTrace>>>);

impl Traces {
    /// Gives each message the trace context that what is published of it carries: what it came with, or
    /// with a tracer that of our own span.
    pub(crate) fn begin<'a, D: Delivery>(
        tracer: Option<&Tracer>,
        batch: &'a [D],
        decoded: &mut [Result<Decoded<'a>, Refusal>],
    ) -> Traces {
        let mut traces = Vec::new();
        for (delivery, decoded) in batch.iter().zip(decoded) {
            let mut received = delivery.arrival().trace.borrowed().valid();
            // The transport's header is nearer than the event's own attribute.
            if let (None, Ok(Decoded { trace, .. })) = (&received.parent, &*decoded)
                && trace.parent.is_some()
            {
                received = trace.clone();
            }
            let trace = tracer.map(|tracer| Box::new(tracer.begin(&received)));
            if let Ok(decoded) = decoded {
                decoded.trace = match &trace {
                    Some(trace) => trace.outgoing(received),
                    None => received,
                };
            }
            if trace.is_some() {
                traces.push(trace);
            }
        }
        Traces(traces)
    }

    /// Takes the trace of the message at this place out.
    pub(crate) fn take(&mut self, place: usize) -> Option<Box<MessageTrace>> {
        self.0.get_mut(place).and_then(Option::take)
    }

    /// The ids for a line of the log about a message.
    pub(crate) fn logged<D: Delivery>(&self, place: usize, delivery: &D) -> LoggedIds {
        LoggedIds::new(self.0.get(place).and_then(Option::as_deref), delivery.arrival())
    }
}

/// A delivery with its trace, where there is a tracer.
pub(crate) struct Traced<D> {
    pub(crate) delivery: D,
    pub(crate) trace: Option<Box<MessageTrace>>,
}

/// The trace of one message.
#[derive(Clone, Debug)]
pub struct MessageTrace {
    /// The sender's span.
    pub(crate) sender: Option<SpanContext>,
    /// Ours.
    pub(crate) process: SpanContext,
    /// Of what is published.
    pub(crate) send: SpanId,
    /// When the message was taken, in nanoseconds since the Unix epoch.
    pub(crate) taken_ns: u64,
    /// `tracestate`, as it came.
    pub(crate) state: Option<String>,
    /// The message's id, if it is recorded.
    pub(crate) message_id: Option<String>,
    /// What is published of it, if it is recorded.
    pub(crate) sent: Option<Sent>,
}

/// What is told of what is published.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) message_id: String,
    pub(crate) routing_key: String,
    pub(crate) body_bytes: usize,
    pub(crate) interaction: String,
}

impl MessageTrace {
    /// The context that is published. A trace with a sender that is not recorded is passed on as it
    /// came: a tracing system must not look for a span that was never kept.
    pub(crate) fn outgoing<'a>(&self, received: Trace<'a>) -> Trace<'a> {
        if self.sender.is_some() && !self.process.is_sampled() {
            return received;
        }
        let send = SpanContext { span_id: self.send, ..self.process };
        Trace { parent: Some(send.to_string().into()), state: self.state.clone().map(Cow::Owned) }
    }

    /// Notes what is told of the message, and of what is published of it.
    pub(crate) fn note(&mut self, arrival: &Arrival, published: Option<&Published>) {
        if !self.process.is_sampled() {
            return;
        }
        self.message_id.clone_from(&arrival.message_id);
        self.sent = published.map(|message| Sent {
            message_id: message.message_id.clone(),
            routing_key: message.routing_key(),
            body_bytes: message.body.len(),
            interaction: message.identity.id.to_string(),
        });
    }
}

/// The ids by which a line of the log leads to its message's trace.
#[derive(Debug)]
pub(crate) struct LoggedIds {
    /// Its sender's, or the one that begins here.
    trace_id: Option<TraceId>,
    /// Our span, where it is recorded.
    span_id: Option<SpanId>,
}

impl LoggedIds {
    /// The ids for a line about a message; without a tracer, of the trace that its sender named.
    pub(crate) fn new(trace: Option<&MessageTrace>, arrival: &Arrival) -> LoggedIds {
        let senders = || arrival.trace.parent.as_deref().and_then(SpanContext::parse);
        let context = trace.map(|trace| trace.process).or_else(senders);
        let ours = trace.filter(|trace| trace.process.is_sampled());
        LoggedIds {
            trace_id: context.map(|context| context.trace_id),
            span_id: ours.map(|trace| trace.process.span_id),
        }
    }

    /// The trace, as a field of the line.
    pub(crate) fn trace_id(&self) -> Option<DisplayValue<Hex<'_>>> {
        self.trace_id.as_ref().map(|id| display(Hex(id)))
    }

    /// The span, as a field of the line.
    pub(crate) fn span_id(&self) -> Option<DisplayValue<Hex<'_>>> {
        self.span_id.as_ref().map(|id| display(Hex(id)))
    }
}

impl Tracer {
    /// Begins the trace of a message that came with this context.
    pub(crate) fn begin(&self, received: &Trace<'_>) -> MessageTrace {
        let sender = received.parent.as_deref().and_then(SpanContext::parse);
        let process = match sender {
            Some(sender) => SpanContext { span_id: random(), ..sender },
            None => {
                let trace_id: [u8; 16] = random();
                let flags = if self.samples(&trace_id) { SAMPLED } else { 0 };
                SpanContext { trace_id, span_id: random(), flags }
            }
        };
        // A state says nothing without the parent it belongs to.
        let state = sender.and_then(|_| received.state.as_deref().map(str::to_owned));
        MessageTrace {
            sender,
            process,
            send: random(),
            taken_ns: 0,
            state,
            message_id: None,
            sent: None,
        }
    }

    /// The trace of a message that was taken at this time. Only where the store refused its data has
    /// none begun yet.
    pub(crate) fn taken<D: Delivery>(
        &self,
        trace: Option<Box<MessageTrace>>,
        delivery: &D,
        taken_ns: u64,
    ) -> Box<MessageTrace> {
        let begin = || Box::new(self.begin(&delivery.arrival().trace));
        let mut trace = trace.unwrap_or_else(begin);
        trace.taken_ns = taken_ns;
        trace
    }

    /// Whether a trace that begins here is recorded.
    fn samples(&self, trace_id: &[u8; 16]) -> bool {
        let last = trace_id.last_chunk().map_or(0, |last| u64::from_be_bytes(*last));
        last % 1000 < u64::from(self.sample_per_thousand)
    }
}
