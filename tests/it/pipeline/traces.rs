//! Spans of batches: what belongs to a message, and what to all of them together.

use std::sync::{Arc, Mutex};

use throughline::clock::Clock;
use throughline::formats::trace_context::SpanContext;
use throughline::pipeline::observe::spans::{Attribute, LINKS_MAX, Span, SpanSink, Tracer};
use throughline::pipeline::ports::{Arrival, PublishOutcome, Trace};

use super::adapters::TestDelivery;
use super::{LaneBench, created, raw};

/// Keeps all spans.
#[derive(Default)]
struct SpanRecorder(Mutex<Vec<Span>>);

impl SpanSink for SpanRecorder {
    fn take(&self, spans: Vec<Span>) {
        self.0.lock().expect("no test panics here").extend(spans);
    }
}

impl SpanRecorder {
    /// The spans whose name begins so, in order.
    fn named(&self, name: &str) -> Vec<Span> {
        let mut spans = self.0.lock().expect("no test panics here").clone();
        spans.retain(|span| span.name.starts_with(name));
        spans
    }
}

/// A bench that records all whose sender has not decided.
fn traced_bench() -> (LaneBench, Arc<SpanRecorder>) {
    let recorder = Arc::<SpanRecorder>::default();
    let mut bench = LaneBench::new();
    bench.tracer = Some(Tracer {
        sample_per_thousand: 1000,
        outbound_exchange: "out".into(),
        clock: Clock::manual(1_000),
        sink: Arc::<SpanRecorder>::clone(&recorder),
    });
    (bench, recorder)
}

fn with_sender(mut delivery: TestDelivery, number: u8, flags: u8) -> TestDelivery {
    let context = SpanContext { trace_id: [number; 16], span_id: [number; 8], flags };
    let trace = Trace { parent: Some(context.to_string().into()), state: None };
    delivery.arrival = Arrival { trace, ..Arrival::default() };
    delivery
}

fn attribute(span: &Span, key: &str) -> Option<Attribute> {
    let found = span.attributes.iter().find(|(name, _)| *name == key);
    found.map(|(_, value)| value.clone())
}

#[tokio::test]
async fn batch_span_and_message_spans_are_linked() {
    let (mut bench, recorder) = traced_bench();
    let batch = vec![
        with_sender(created("a"), 1, 1),
        with_sender(raw("b", "no JSON"), 2, 1),
        // Its sender does not record it.
        with_sender(created("c"), 3, 0),
        created("d"),
    ];
    bench.run(vec![batch]).await.expect("the input ends");

    let [receive] = &recorder.named("receive work")[..] else { panic!("one for all of them") };
    assert_eq!(receive.parent, None);
    assert_eq!(attribute(receive, "messaging.batch.message_count"), Some(Attribute::Number(4)));
    let senders: Vec<_> = receive.links.iter().map(|link| link.trace_id).collect();
    assert_eq!(senders, [[1; 16], [2; 16], [3; 16]], "the last one has no sender");

    let process = recorder.named("process work");
    let traces: Vec<_> = process.iter().map(|span| span.context.trace_id).collect();
    assert_eq!(traces[..2], [[1; 16], [2; 16]]);
    assert_eq!(traces.len(), 3, "the third is not recorded");
    assert_eq!(process[0].parent, Some([1; 8]));
    assert_eq!(process[2].parent, None, "a trace that begins here");
    assert!(process.iter().all(|span| span.links == [receive.context]));
    let errors: Vec<_> = process.iter().map(|span| span.error).collect();
    assert_eq!(errors, [None, Some("not_json"), None]);

    let sent: Vec<_> = recorder.named("send out").iter().map(|span| span.parent).collect();
    assert_eq!(sent, [Some(process[0].context.span_id), Some(process[2].context.span_id)]);

    let [settle] = &recorder.named("settle work")[..] else { panic!("one for all of them") };
    assert_eq!(settle.parent, Some(receive.context.span_id));
    let settled: Vec<_> = process.iter().map(|span| span.context).collect();
    assert_eq!(settle.links, settled);
}

#[tokio::test]
async fn links_are_bounded() {
    let (mut bench, recorder) = traced_bench();
    let batch = (0..LINKS_MAX + 7).map(|_| with_sender(created("a"), 1, 1));
    bench.run(vec![batch.collect()]).await.expect("the input ends");
    let [receive] = &recorder.named("receive")[..] else { panic!("one for all of them") };
    assert_eq!((receive.links.len(), receive.links_dropped), (LINKS_MAX, 7));
}

#[tokio::test]
async fn returned_message_span_has_its_cause() {
    let (mut bench, recorder) = traced_bench();
    bench.answer("interaction.enriched a", &[PublishOutcome::Returned]);
    bench.run(vec![vec![with_sender(created("a"), 1, 1)]]).await.expect("the input ends");
    let [send] = &recorder.named("send")[..] else { panic!("it was sent once") };
    assert_eq!(send.error, Some("unroutable"));
    let [process] = &recorder.named("process")[..] else { panic!("one") };
    assert_eq!(attribute(process, "throughline.outcome"), Some(Attribute::Word("waiting")));
    assert_eq!(attribute(process, "throughline.cause"), Some(Attribute::Word("unroutable")));
    assert_eq!(process.error, None, "it is tried again");
}

#[tokio::test]
async fn unsampled_batch_has_no_spans() {
    let (mut bench, recorder) = traced_bench();
    bench.run(vec![vec![with_sender(created("a"), 1, 0)]]).await.expect("the input ends");
    assert_eq!(recorder.named(""), []);
}
