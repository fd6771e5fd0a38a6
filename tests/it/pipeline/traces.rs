//! Spans of batches: what belongs to a message, and what to all of them together.

use std::sync::{Arc, Mutex};

use throughline::clock::Clock;
use throughline::formats::trace_context::SpanContext;
use throughline::pipeline::observe::spans::{Attribute, LINKS_MAX, Span, SpanSink, Tracer};
use throughline::pipeline::ports::{Arrival, PublishOutcome, Trace};

use super::adapters::Parcel;
use super::{Bench, created, raw};

/// Keeps all spans.
#[derive(Default)]
struct Kept(Mutex<Vec<Span>>);

impl SpanSink for Kept {
    fn take(&self, spans: Vec<Span>) {
        self.0.lock().expect("nobody panicked").extend(spans);
    }
}

impl Kept {
    /// The spans whose name begins so, in order.
    fn named(&self, name: &str) -> Vec<Span> {
        let mut spans = self.0.lock().expect("nobody panicked").clone();
        spans.retain(|span| span.name.starts_with(name));
        spans
    }
}

/// A bench that records all whose sender has not decided.
fn traced() -> (Bench, Arc<Kept>) {
    let kept = Arc::<Kept>::default();
    let mut bench = Bench::new();
    bench.tracer = Some(Tracer {
        sample_per_thousand: 1000,
        outbound_exchange: "out".into(),
        clock: Clock::manual(1_000),
        sink: Arc::<Kept>::clone(&kept),
    });
    (bench, kept)
}

fn sent_by(mut parcel: Parcel, number: u8, flags: u8) -> Parcel {
    let context = SpanContext { trace_id: [number; 16], span_id: [number; 8], flags };
    let trace = Trace { parent: Some(context.to_string().into()), state: None };
    parcel.arrival = Arrival { trace, ..Arrival::default() };
    parcel
}

fn told(span: &Span, key: &str) -> Option<Attribute> {
    let found = span.attributes.iter().find(|(name, _)| *name == key);
    found.map(|(_, value)| value.clone())
}

#[tokio::test]
async fn a_batch_is_linked_with_its_messages_and_they_with_it() {
    let (mut bench, kept) = traced();
    let batch = vec![
        sent_by(created("a"), 1, 1),
        sent_by(raw("b", "no JSON"), 2, 1),
        // Its sender does not record it.
        sent_by(created("c"), 3, 0),
        created("d"),
    ];
    bench.run(vec![batch]).await.expect("the input ends");

    let [receive] = &kept.named("receive work")[..] else { panic!("one for all of them") };
    assert_eq!(receive.parent, None);
    assert_eq!(told(receive, "messaging.batch.message_count"), Some(Attribute::Number(4)));
    let senders: Vec<_> = receive.links.iter().map(|link| link.trace_id).collect();
    assert_eq!(senders, [[1; 16], [2; 16], [3; 16]], "the last one has no sender");

    let process = kept.named("process work");
    let traces: Vec<_> = process.iter().map(|span| span.context.trace_id).collect();
    assert_eq!(traces[..2], [[1; 16], [2; 16]]);
    assert_eq!(traces.len(), 3, "the third is not recorded");
    assert_eq!(process[0].parent, Some([1; 8]));
    assert_eq!(process[2].parent, None, "a trace that begins here");
    assert!(process.iter().all(|span| span.links == [receive.context]));
    let errors: Vec<_> = process.iter().map(|span| span.error).collect();
    assert_eq!(errors, [None, Some("not_json"), None]);

    let sent: Vec<_> = kept.named("send out").iter().map(|span| span.parent).collect();
    assert_eq!(sent, [Some(process[0].context.span_id), Some(process[2].context.span_id)]);

    let [settle] = &kept.named("settle work")[..] else { panic!("one for all of them") };
    assert_eq!(settle.parent, Some(receive.context.span_id));
    let settled: Vec<_> = process.iter().map(|span| span.context).collect();
    assert_eq!(settle.links, settled);
}

#[tokio::test]
async fn links_are_bounded() {
    let (mut bench, kept) = traced();
    let batch = (0..LINKS_MAX + 7).map(|_| sent_by(created("a"), 1, 1));
    bench.run(vec![batch.collect()]).await.expect("the input ends");
    let [receive] = &kept.named("receive")[..] else { panic!("one for all of them") };
    assert_eq!((receive.links.len(), receive.links_dropped), (LINKS_MAX, 7));
}

#[tokio::test]
async fn what_comes_back_says_why() {
    let (mut bench, kept) = traced();
    bench.answer("interaction.enriched a", &[PublishOutcome::Returned]);
    bench.run(vec![vec![sent_by(created("a"), 1, 1)]]).await.expect("the input ends");
    let [send] = &kept.named("send")[..] else { panic!("it was sent once") };
    assert_eq!(send.error, Some("unroutable"));
    let [process] = &kept.named("process")[..] else { panic!("one") };
    assert_eq!(told(process, "throughline.outcome"), Some(Attribute::Word("waiting")));
    assert_eq!(told(process, "throughline.cause"), Some(Attribute::Word("unroutable")));
    assert_eq!(process.error, None, "it is tried again");
}

#[tokio::test]
async fn nothing_is_told_of_a_batch_that_nobody_records() {
    let (mut bench, kept) = traced();
    bench.run(vec![vec![sent_by(created("a"), 1, 0)]]).await.expect("the input ends");
    assert_eq!(kept.named(""), []);
}
