//! The trace of one message: which span sent it, which ids our own spans have, and what is told of it.
//!
//! It begins when the message is decoded, since a CloudEvent may name its sender's span, and since what is
//! published carries our own. Deliberately absent: making spans of it (`batch_trace.rs`).

use super::ports::{Arrival, Delivery, Published, Trace};
use super::spans::{Tracer, random};
use super::trace_context::{Hex, SAMPLED, SpanContext, SpanId};
use super::worker::{Plan, Planned};
use crate::formats::{Decoded, Refusal};

/// The traces of a batch, by place; none without a tracer.
#[derive(Default)]
pub(super) struct Traces(Vec<Option<MessageTrace>>);

impl Traces {
    /// Gives each message the trace context that what is published of it carries: what it came with, or
    /// with a tracer that of our own span.
    pub(super) fn begin<D: Delivery>(
        tracer: Option<&Tracer>,
        batch: &[D],
        decoded: &mut [Result<Decoded<'_>, Refusal>],
    ) -> Traces {
        let mut traces = Vec::new();
        for (delivery, decoded) in batch.iter().zip(decoded) {
            // The transport's header is nearer than the event's own attribute.
            let mut received = delivery.arrival().trace.clone();
            if let (None, Ok(decoded)) = (&received.parent, &mut *decoded) {
                received = std::mem::take(&mut decoded.trace);
            }
            let trace = tracer.map(|tracer| tracer.begin(&received));
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

    /// Plans with the traces of their messages.
    pub(super) fn with(mut self, plans: Vec<(usize, Plan)>) -> Vec<Planned> {
        let with_trace = |(place, plan)| {
            let trace = self.0.get_mut(place).and_then(Option::take);
            Planned { place, plan, trace }
        };
        plans.into_iter().map(with_trace).collect()
    }

    /// The ids for a line of the log about a message.
    pub(super) fn logged<D: Delivery>(&self, place: usize, delivery: &D) -> LoggedIds {
        LoggedIds::of(self.0.get(place).and_then(Option::as_ref), delivery.arrival())
    }
}

/// A delivery with its trace, where there is a tracer.
pub(super) struct Traced<D> {
    pub(super) delivery: D,
    pub(super) trace: Option<MessageTrace>,
}

/// The trace of one message.
#[derive(Clone, Debug)]
pub struct MessageTrace {
    /// The sender's span.
    pub(super) sender: Option<SpanContext>,
    /// Ours.
    pub(super) process: SpanContext,
    /// Of what is published.
    pub(super) send: SpanId,
    /// When the message was taken, in nanoseconds since the Unix epoch.
    pub(super) taken_ns: u64,
    /// `tracestate`, as it came.
    pub(super) state: Option<String>,
    /// The message's id, if it is recorded.
    pub(super) message_id: Option<String>,
    /// What is published of it, if it is recorded.
    pub(super) sent: Option<Sent>,
}

/// What is told of what is published.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) message_id: String,
    pub(super) routing_key: String,
    pub(super) body_bytes: usize,
    pub(super) interaction: String,
}

impl MessageTrace {
    /// The context that is published. A trace with a sender that is not recorded is passed on as it
    /// came: nobody is to look for a span that was never kept.
    pub(super) fn outgoing(&self, received: Trace) -> Trace {
        if self.sender.is_some() && !self.process.is_sampled() {
            return received;
        }
        let send = SpanContext { span_id: self.send, ..self.process };
        Trace { parent: Some(send.to_string()), state: self.state.clone() }
    }

    /// Notes what is told of the message, and of what is published of it.
    pub(super) fn note(&mut self, arrival: &Arrival, published: Option<&Published>) {
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
pub(super) struct LoggedIds {
    /// Its sender's, or the one that begins here.
    pub(super) trace_id: Option<String>,
    /// Our span, where it is recorded.
    pub(super) span_id: Option<String>,
}

impl LoggedIds {
    /// The ids for a line about a message; without a tracer, of the trace that its sender named.
    pub(super) fn of(trace: Option<&MessageTrace>, arrival: &Arrival) -> LoggedIds {
        let senders = || arrival.trace.parent.as_deref().and_then(SpanContext::parse);
        let context = trace.map(|trace| trace.process).or_else(senders);
        let ours = trace.filter(|trace| trace.process.is_sampled());
        LoggedIds {
            trace_id: context.map(|context| Hex(&context.trace_id).to_string()),
            span_id: ours.map(|trace| Hex(&trace.process.span_id).to_string()),
        }
    }
}

impl Tracer {
    /// Begins the trace of a message that came with this context.
    pub(super) fn begin(&self, received: &Trace) -> MessageTrace {
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
        let state = sender.and_then(|_| received.state.clone());
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
    pub(super) fn taken<D: Delivery>(
        &self,
        trace: Option<MessageTrace>,
        delivery: &D,
        taken_ns: u64,
    ) -> MessageTrace {
        let trace = trace.unwrap_or_else(|| self.begin(&delivery.arrival().trace));
        MessageTrace { taken_ns, ..trace }
    }

    /// Whether a trace that begins here is recorded.
    fn samples(&self, trace_id: &[u8; 16]) -> bool {
        let last = trace_id.last_chunk().map_or(0, |last| u64::from_be_bytes(*last));
        last % 1000 < u64::from(self.sample_per_thousand)
    }
}
