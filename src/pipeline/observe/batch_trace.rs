//! The trace of a batch: its times while it is worked on, and at its end the spans of it and of each of
//! its messages ([`crate::pipeline::observe::spans`] has the table).
//!
//! All spans are made at once, when it is known how each message was finished; until then there are a few
//! times and ids. A batch of which no message is recorded makes none.

use std::sync::Arc;

use crate::formats::trace_context::{SAMPLED, SpanContext};
use crate::pipeline::observe::labels::Outcome;
use crate::pipeline::observe::message_trace::MessageTrace;
use crate::pipeline::observe::spans::{Attribute, Span, SpanKind, Tracer, random};
use crate::pipeline::observe::tally::FinalOutcome;
use crate::pipeline::plan::Plan;
use crate::pipeline::ports::Delivery;

/// The trace of a batch: of what leaves together. What stepped aside in between leaves with others than
/// it came with.
#[derive(Default)]
pub(crate) struct BatchTrace {
    /// The queue it was taken from.
    queue: Option<Arc<str>>,
    /// When the first of it was taken, in nanoseconds since the Unix epoch.
    taken_ns: u64,
    /// Its messages, in the order in which they are published.
    pub(crate) messages: Vec<MessageTrace>,
    /// From its first publication to its last confirm.
    published_ns: Option<(u64, u64)>,
    /// When its settlement began.
    pub(crate) settle_ns: Option<u64>,
}

impl BatchTrace {
    /// Of a batch from this queue, which has no messages yet.
    pub(crate) fn new(queue: Option<Arc<str>>) -> BatchTrace {
        BatchTrace { queue, ..BatchTrace::default() }
    }

    /// Adds the next message in the order of publication.
    pub(crate) fn add<D: Delivery>(&mut self, mut trace: MessageTrace, delivery: &D, plan: &Plan) {
        let arrival = delivery.arrival();
        if self.messages.is_empty() || trace.taken_ns < self.taken_ns {
            self.taken_ns = trace.taken_ns;
        }
        let published = match plan {
            Plan::Publish(message) => Some(&**message),
            Plan::Done(_) | Plan::Failed { .. } => None,
        };
        trace.note(arrival, published);
        self.messages.push(trace);
    }

    /// Something of it is published now; the first time counts.
    pub(crate) fn publishes(&mut self, now_ns: u64) {
        self.published_ns.get_or_insert((now_ns, now_ns));
    }

    /// The broker has answered for it now; the last time counts.
    pub(crate) fn published(&mut self, now_ns: u64) {
        if let Some((_, answered_ns)) = &mut self.published_ns {
            *answered_ns = now_ns;
        }
    }

    /// The spans of the batch, which ends now: of each message with how it was finished. Without
    /// `finished` the broker was lost, and all of it comes again.
    pub(crate) fn end(self, tracer: &Tracer, finished: Option<&[FinalOutcome]>) {
        let recorded = |message: &&MessageTrace| message.process.is_sampled();
        if self.messages.iter().find(recorded).is_none() {
            return;
        }
        let now_ns = tracer.now_ns();
        let receive = self.receive(now_ns);
        let mut spans = Vec::with_capacity(2 + 2 * self.messages.len());
        for (place, message) in self.messages.iter().enumerate() {
            if message.process.is_sampled() {
                let finish = finished.and_then(|finished| finished.get(place));
                spans.push(self.process(message, finish, receive.context, now_ns));
                spans.extend(self.send(message, finish, tracer));
            }
        }
        spans.extend(self.settle(finished, &receive, now_ns));
        spans.push(receive);
        tracer.sink.take(spans);
    }

    /// The message of a batch of one.
    fn only(&self) -> Option<&MessageTrace> {
        match &self.messages[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Taking what was there: a moment, since waiting for a delivery is no work.
    fn receive(&self, now_ns: u64) -> Span {
        let (context, parent, state) = match self.only() {
            Some(only) => {
                let parent = only.sender.map(|sender| sender.span_id);
                (SpanContext { span_id: random(), ..only.process }, parent, only.state.clone())
            }
            None => {
                let (trace_id, span_id) = (random(), random());
                (SpanContext { trace_id, span_id, flags: SAMPLED }, None, None)
            }
        };
        let senders = self.messages.iter().filter_map(|message| message.sender);
        Span {
            context,
            parent,
            state,
            end_ns: self.taken_ns.min(now_ns),
            ..self.span("receive", SpanKind::Client, now_ns)
        }
        .counting(self.messages.len())
        .linked(senders)
    }

    fn process(
        &self,
        message: &MessageTrace,
        finish: Option<&FinalOutcome>,
        receive: SpanContext,
        now_ns: u64,
    ) -> Span {
        let mut span = Span {
            context: message.process,
            parent: message.sender.map(|sender| sender.span_id),
            state: message.state.clone(),
            start_ns: message.taken_ns,
            error: error(finish),
            ..self.span("process", SpanKind::Consumer, now_ns)
        };
        let told = &mut span.attributes;
        if let Some(id) = &message.message_id {
            told.push(("messaging.message.id", Attribute::Text(id.clone())));
        }
        if let Some(sent) = &message.sent {
            told.push(("throughline.interaction.id", Attribute::Text(sent.interaction.clone())));
        }
        let outcome = finish.map_or("given_back", |finish| finish.outcome().as_str());
        told.push(("throughline.outcome", Attribute::Word(outcome)));
        if let Some(FinalOutcome::Waiting(cause)) = finish {
            told.push(("throughline.cause", Attribute::Word(cause.as_str())));
        }
        span.linked([receive])
    }

    /// What was published of the message, if it was.
    fn send(
        &self,
        message: &MessageTrace,
        finish: Option<&FinalOutcome>,
        tracer: &Tracer,
    ) -> Option<Span> {
        let (Some(sent), Some((start_ns, end_ns))) = (&message.sent, self.published_ns) else {
            return None;
        };
        let exchange = &tracer.outbound_exchange;
        let size = i64::try_from(sent.body_bytes).unwrap_or(i64::MAX);
        let attributes = vec![
            ("messaging.system", Attribute::Word("rabbitmq")),
            ("messaging.operation.name", Attribute::Word("send")),
            ("messaging.operation.type", Attribute::Word("send")),
            ("messaging.destination.name", Attribute::Text(exchange.clone())),
            (
                "messaging.rabbitmq.destination.routing_key",
                Attribute::Text(sent.routing_key.clone()),
            ),
            ("messaging.message.id", Attribute::Text(sent.message_id.clone())),
            ("messaging.message.body.size", Attribute::Number(size)),
        ];
        Some(Span {
            name: format!("send {exchange}"),
            kind: SpanKind::Producer,
            context: SpanContext { span_id: message.send, ..message.process },
            parent: Some(message.process.span_id),
            state: message.state.clone(),
            start_ns,
            end_ns: end_ns.max(start_ns),
            attributes,
            links: Vec::new(),
            links_dropped: 0,
            // It ends well if the message does; else it came back, or its fate is not known.
            error: match finish {
                Some(FinalOutcome::As(_)) => error(finish),
                Some(FinalOutcome::Waiting(cause)) => Some(cause.as_str()),
                Some(FinalOutcome::DeadLettered(reason)) => Some(reason.as_str()),
                None => error(None),
            },
        })
    }

    fn settle(
        &self,
        finished: Option<&[FinalOutcome]>,
        receive: &Span,
        now_ns: u64,
    ) -> Option<Span> {
        let start_ns = self.settle_ns?;
        let (within, state) = match self.only() {
            Some(only) => (only.process, only.state.clone()),
            None => (receive.context, None),
        };
        let settled = Span {
            context: SpanContext { span_id: random(), ..within },
            parent: Some(within.span_id),
            state,
            start_ns,
            end_ns: now_ns.max(start_ns),
            error: finished.is_none().then_some(LOST),
            ..self.span("settle", SpanKind::Client, now_ns)
        };
        let sampled = self.messages.iter().filter(|message| message.process.is_sampled());
        let settled = settled.counting(self.messages.len());
        Some(match self.only() {
            Some(_) => settled,
            None => settled.linked(sampled.map(|message| message.process)),
        })
    }

    /// A span over the queue, from when the batch was taken until now.
    fn span(&self, name: &'static str, kind: SpanKind, now_ns: u64) -> Span {
        let mut attributes = vec![
            ("messaging.system", Attribute::Word("rabbitmq")),
            ("messaging.operation.name", Attribute::Word(name)),
            ("messaging.operation.type", Attribute::Word(name)),
        ];
        let mut full_name = name.to_owned();
        if let Some(queue) = &self.queue {
            full_name = format!("{name} {queue}");
            let queue = Attribute::Text(queue.to_string());
            attributes.push(("messaging.destination.name", queue));
        }
        Span {
            name: full_name,
            kind,
            context: SpanContext { trace_id: [0; 16], span_id: [0; 8], flags: SAMPLED },
            parent: None,
            state: None,
            start_ns: self.taken_ns,
            // A wall clock may be put back.
            end_ns: now_ns.max(self.taken_ns),
            attributes,
            links: Vec::new(),
            links_dropped: 0,
            error: None,
        }
    }
}

/// The broker was lost, or did not answer in time.
const LOST: &str = "lost";

/// What counts as a message's own error: it was set aside, went back, or its fate is not known.
fn error(finish: Option<&FinalOutcome>) -> Option<&'static str> {
    match finish {
        None => Some(LOST),
        Some(FinalOutcome::DeadLettered(reason)) => Some(reason.as_str()),
        Some(FinalOutcome::As(outcome)) if *outcome == Outcome::Requeued => Some(outcome.as_str()),
        Some(FinalOutcome::As(_) | FinalOutcome::Waiting(_)) => None,
    }
}
