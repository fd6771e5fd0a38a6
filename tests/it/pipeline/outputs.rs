//! Further outputs and signatures, against adapters that answer as told.

use std::time::Duration;

use throughline::formats::outbound::OutboundFormat;
use throughline::pipeline::observe::labels::{Answered, Kind};
use throughline::pipeline::plan::outputs::Output;
use throughline::pipeline::ports::{Arrival, PublishOutcome};
use throughline::pipeline::routing_key::KeyTemplate;

use super::{LaneBench, created, raw, unroutable_batch};

/// An output to a key of its own.
fn output(key: &str, mandatory: bool) -> Output {
    Output {
        exchange: "x".to_owned(),
        routing_key: KeyTemplate::parse(key).expect("a template"),
        channels: Vec::new(),
        format: OutboundFormat::CloudEvent,
        mandatory,
    }
}

#[tokio::test]
async fn delivery_is_settled_when_all_outputs_are_confirmed() {
    let mut bench = LaneBench::new();
    let other = Output { channels: vec!["voice".to_owned()], ..output("voice", true) };
    bench.outputs = vec![output("one", true), other, output("two.{id}", true)];
    bench.run(vec![vec![created("a")]]).await.expect("the input ends");
    assert_eq!(
        bench.journal.lines(),
        ["save a", "interaction.enriched a", "further a one", "further a two.a", "Acknowledge a"]
    );
}

#[tokio::test]
async fn mandatory_output_waits_when_unroutable() {
    let mut bench = LaneBench::new();
    bench.outputs = vec![output("must", true), output("may", false)];
    bench.answer("further a may", &[PublishOutcome::Returned]);
    bench.answer("further b must", &[PublishOutcome::Returned]);
    bench.answer("further c may", &[PublishOutcome::Refused]);
    bench.run(vec![vec![created("a"), created("b"), created("c")]]).await.expect("the input ends");
    let lines = bench.journal.lines();
    assert_eq!(
        lines[10..],
        [
            "wait b 250ms for unroutable",
            "wait c 250ms for refused",
            "Acknowledge a",
            "Acknowledge b",
            "Acknowledge c"
        ]
    );
    let answered = |answer| bench.tally.counts().published(Kind::Further, answer);
    assert_eq!((answered(Answered::Returned), answered(Answered::Refused)), (2, 1));
}

#[tokio::test]
async fn unrouted_end_is_acknowledged_on_every_output() {
    let mut bench = LaneBench::new();
    bench.outputs = vec![output("must", true)];
    let end = r#"{"type":"interaction.ended","id":"e","interaction":{"id":"a"}}"#;
    bench.answer("further e must", &[PublishOutcome::Returned]);
    bench.run(vec![vec![created("a"), raw("e", end)]]).await.expect("the input ends");
    assert_eq!(bench.journal.lines().last().map(String::as_str), Some("Acknowledge e"));
}

/// While a batch is held for one output, the others have what they took, once.
#[tokio::test(start_paused = true)]
async fn an_outage_of_one_output_repeats_nothing_to_the_others() {
    let mut bench = LaneBench::new();
    bench.publish_ms = Duration::from_secs(60).as_millis().try_into().expect("a number");
    bench.outputs = vec![output("must", true)];
    let batch = unroutable_batch(&mut bench, 0);
    for delivery in &batch {
        bench.answer(&format!("further {} must", delivery.name), &[PublishOutcome::Returned; 2]);
    }
    bench.run(vec![batch]).await.expect("the input ends");
    let lines = bench.journal.lines();
    let count = |begin: &str| lines.iter().filter(|line| line.starts_with(begin)).count();
    assert_eq!(count("interaction.enriched"), 25, "each once");
    assert!(count("further") > 25, "asked about");
    assert_eq!(count("Acknowledge"), 25);
}

#[tokio::test]
async fn unsigned_message_is_dead_lettered_before_decoding() {
    let mut bench = LaneBench::new();
    let mut forged = raw("x", "{ no JSON, and far too deep to be looked at: [[[[");
    forged.arrival = Arrival { is_forged: true, ..Arrival::default() };
    bench.run(vec![vec![forged, created("a")]]).await.expect("the input ends");
    assert_eq!(bench.journal.lines()[1], "dead x bad_signature in decode");
}
