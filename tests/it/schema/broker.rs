//! The AsyncAPI document: that it is one, that it tells what is declared, and that real messages are
//! as it says.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use serde_json::{Map, Value, json};
use throughline::app;
use throughline::broker::asyncapi;
use throughline::domain::RejectReason;
use throughline::pipeline::ports::{Attempts, Outgoing, PublishOutcome, Publisher};
use throughline::settings::{self, Sources};

use super::{assert_valid, json, printed, schema, text, validator};
use crate::support::bench::{self, Bench, WAITING_DELAY, published, receive_batch, with_bench};
use crate::support::program::{folder, program, stderr, stdout};
use crate::support::rabbitmq;

#[test]
fn the_document_is_asyncapi_3() {
    let official = json(&text("tests/fixtures/asyncapi/3.0.0.json"));
    let official = jsonschema::draft7::new(&official).expect("a schema that can be used");
    assert_valid(&official, &schema("asyncapi"), "asyncapi");
}

#[test]
fn every_reference_resolves() {
    let document = schema("asyncapi");
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 50, "{} references", references.len());
    for reference in references {
        let pointer = reference.strip_prefix('#').expect("nothing outside the document is needed");
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(target) if name == "$ref" => references.push(target.clone()),
                    other => collect(other, references),
                }
            }
        }
        Value::Array(elements) => elements.iter().for_each(|element| collect(element, references)),
        _ => {}
    }
}

#[test]
fn document_has_every_declared_exchange_and_queue() {
    let loaded = settings::load(Sources::default()).expect("the defaults load");
    let topology = app::topology(&loaded.settings);
    let document = schema("asyncapi");
    let channels = document["channels"].as_object().expect("channels");
    let binding = |what: &str, name: &str| {
        channels.values().any(|channel| channel["bindings"]["amqp"][what]["name"] == name)
    };
    for exchange in &topology.exchanges {
        assert!(binding("exchange", &exchange.name), "the exchange {} is missing", exchange.name);
    }
    for queue in &topology.queues {
        assert!(binding("queue", &queue.name), "the queue {} is missing", queue.name);
    }
}

#[test]
fn document_shows_effective_settings_without_secrets() {
    let output = program(folder().path())
        .args(["schema", "asyncapi"])
        .env("THROUGHLINE_AMQP__URL", "amqps://user:s3/cr@et?@rabbit.acme.test:5671/vendor?x=s3")
        .env("THROUGHLINE_AMQP__QUEUE", "acme work")
        .env("THROUGHLINE_WAITING__MAX_BYTES", "4096")
        .output()
        .expect("the program can be run");
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(!stdout(&output).contains("s3") && !stdout(&output).contains("user:"));
    let document = json(&stdout(&output));
    let server = &document["servers"]["rabbitmq"];
    let told = [&server["protocol"], &server["host"], &server["pathname"]];
    assert_eq!(told, ["amqps", "rabbit.acme.test:5671", "/vendor"]);
    let work = &document["channels"]["queue_acme_20_work"];
    assert_eq!(work["address"], "acme work");
    let bound = json!([{ "exchange": "interactions", "routingKey": "#" }]);
    assert_eq!(work["x-bound-to"], bound);
    let waiting = &document["channels"]["queue_throughline.wait.250ms"]["x-arguments"];
    assert_eq!(waiting["x-max-length-bytes"], 4096);
    assert_eq!(waiting["x-dead-letter-routing-key"], "acme work");
}

#[test]
fn invalid_settings_are_named_and_print_no_document() {
    let output = program(folder().path())
        .args(["schema", "asyncapi"])
        .env("THROUGHLINE_LANES", "none")
        .output()
        .expect("the program can be run");
    assert_eq!((output.status.code(), stdout(&output)), (Some(64), String::new()));
    assert!(stderr(&output).contains("lanes: expected a whole number"), "{}", stderr(&output));
    // The others describe files, so no file is needed to print them.
    assert!(!printed("rules").is_empty());
}

// ---------------------------------------------------------------------------------- real messages

#[tokio::test]
async fn real_messages_have_the_documented_headers() {
    with_bench(rabbitmq::shared(), async |bench| {
        let document = asyncapi(&bench.settings, &bench.topology, &[]);
        let (_link, mut lane) = bench.lane().await;
        let downstream = bench.downstream("interaction.enriched.chat", FieldTable::default()).await;
        let sent = BasicProperties::default().with_expiration("60000".into()).with_headers(
            bench::headers([
                ("x-throughline-format", bench::text("canonical")),
                ("x-throughline-widget", bench::text("w-17")),
                ("traceparent", bench::text("00-abc-def-01")),
                ("x-throughline-replayed", AMQPValue::LongLongInt(1)),
                ("CC", AMQPValue::FieldArray(vec![bench::text("nowhere")].into())),
            ]),
        );
        bench.send("any", sent, "{ }").await;
        let received = receive_batch(&mut lane, 1).await;
        // What comes back to the work queue is for the client.
        lane.consumer.stop().await.expect("stopped");

        let attempts = Attempts {
            count: 2,
            cause: Some("parent_unknown".to_owned()),
            first_seen_ms: Some(1_700_000_000_000),
        };
        let waiting = Outgoing::Waiting {
            delivery: &received[0],
            awaited: None,
            delay: WAITING_DELAY,
            attempts: attempts.clone(),
        };
        let dead = Outgoing::DeadLetter {
            delivery: &received[0],
            reason: RejectReason::ParentUnknown,
            detail: "a detail",
            stage: "propagate",
            attempts,
        };
        let batch = [published("m-1", "chat"), waiting, dead];
        let answers = lane.publisher.publish(&batch).await.expect("published");
        assert_eq!(answers, [PublishOutcome::Confirmed; 3]);

        compare(&document, bench, "enriched", &downstream).await;
        compare(&document, bench, "deadLetter", &bench.settings.dead_letters).await;
        // It comes back by itself.
        compare(&document, bench, "waiting", &bench.settings.queue).await;
    })
    .await;
}

/// Takes a message from a queue and holds its headers to those of a message of the document: every
/// one of them is told, and of the type that is told.
async fn compare(document: &Value, bench: &Bench, message: &str, queue: &str) {
    let told = &document["components"]["messages"][message]["headers"];
    let taken = bench.take(queue, 1).await;
    let headers = taken[0].properties.headers().clone().unwrap_or_default();
    // What the broker itself writes about a message's way is not ours to tell.
    let is_ours = |name: &str| {
        !["x-death", "x-first-death-", "x-last-death-"]
            .iter()
            .any(|of_broker| name.starts_with(of_broker))
    };
    let ours = headers.into_iter().filter(|(name, _)| is_ours(name.as_str()));
    let headers: Map<_, _> = ours.map(|(name, value)| (name.to_string(), plain(value))).collect();
    for name in headers.keys() {
        assert!(told["properties"].get(name).is_some(), "{message} has {name}, which is not told");
    }
    assert_valid(&validator(told), &Value::Object(headers), message);
}

fn plain(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into(),
        AMQPValue::LongLongInt(number) => (*number).into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(plain).collect(),
        other => panic!("a header of an unexpected type: {other:?}"),
    }
}
