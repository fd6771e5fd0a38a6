//! Traces on a real RabbitMQ, as a collector sees them: one trace leads from the sender to the
//! consumer of the published message, and a missing collector delays no message.

use std::net::TcpListener;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::FieldTable;
use serde_json::{Value, json};

use crate::partitions::{partitioned, unpartitioned};
use crate::support::bench::{self, declare_topology, headers, text};
use crate::support::collector::{Collector, attribute, hex};
use crate::support::monitored_worker::{MonitoredWorker, poll_until_some};
use crate::support::program::{Worker, folder};
use crate::support::rabbitmq;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SENDER: &str = "00f067aa0ba902b7";

fn created(id: &str) -> String {
    let interaction = json!({ "id": id, "channel": "chat", "userData": { "a": "b" } });
    json!({ "type": "interaction.created", "id": "e-1", "interaction": interaction }).to_string()
}

/// A message of the sender's span.
fn of_sender(flags: &str) -> BasicProperties {
    let traceparent = text(&format!("00-{TRACE}-{SENDER}-{flags}"));
    let headers = headers([("traceparent", traceparent), ("tracestate", text("v=1"))]);
    BasicProperties::default().with_message_id("m-1".into()).with_headers(headers)
}

/// Trace, span and flags that a message carries.
fn carried(message: &Delivery) -> [String; 3] {
    let headers = message.properties.headers().as_ref().expect("headers").inner();
    let value = headers.get("traceparent").expect("a traceparent");
    let value = value.as_long_string().expect("text").to_string();
    let parts: Vec<_> = value.split('-').map(str::to_owned).collect();
    let [version, trace, span, flags] = parts.try_into().expect("four parts");
    assert_eq!(version, "00");
    [trace, span, flags]
}

#[tokio::test]
async fn one_trace_leads_from_the_sender_to_the_consumer() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
        let collector = Collector::start();
        let folder = folder();
        let settings = [("THROUGHLINE_TRACES__ENDPOINT", collector.endpoint.as_str())];
        let worker = Worker::start(folder.path(), &bench.settings, "", &settings);
        bench.send("any", of_sender("01"), &created("i-1")).await;
        let published = bench.take(&downstream, 1).await;
        let [trace, span, flags] = carried(&published[0]);
        assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
        let state = published[0].properties.headers().as_ref().expect("headers").inner();
        assert_eq!(state.get("tracestate"), Some(&text("v=1")));

        let spans = collector.trace(TRACE, 4).await;
        let [process, receive, send, settle] = &spans[..] else { panic!("four spans") };
        let (queue, exchange) = (&bench.settings.queue, &bench.settings.outbound_exchange);
        let message_id = published[0].properties.message_id().as_ref().expect("an id").as_str();
        for (span, operation, destination, parent, kind) in [
            (receive, "receive", queue, SENDER, 3),
            (process, "process", queue, SENDER, 5),
            (send, "send", exchange, &hex(&process.span_id), 4),
            (settle, "settle", queue, &hex(&process.span_id), 3),
        ] {
            assert_eq!(span.name, format!("{operation} {destination}"));
            assert_eq!(hex(&span.parent_span_id), parent, "{operation}");
            assert_eq!((span.kind, span.trace_state.as_str()), (kind, "v=1"), "{operation}");
            let told = |key| attribute(span, key);
            assert_eq!(told("messaging.system").as_deref(), Some("rabbitmq"));
            assert_eq!(told("messaging.operation.type").as_deref(), Some(operation));
            assert_eq!(told("messaging.destination.name").as_ref(), Some(destination));
            assert_eq!(told("messaging.batch.message_count"), None, "one is no batch");
            assert_eq!(told("error.type"), None);
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
            assert!(span.start_time_unix_nano >= process.start_time_unix_nano, "{span:?}");
            assert!(span.end_time_unix_nano <= process.end_time_unix_nano, "{span:?}");
        }
        assert_eq!(hex(&send.span_id), span, "the consumer's parent is what was sent");
        assert_eq!(attribute(send, "messaging.message.id").as_deref(), Some(message_id));
        assert_eq!(attribute(process, "messaging.message.id").as_deref(), Some("m-1"));
        assert_eq!(attribute(process, "throughline.interaction.id").as_deref(), Some("i-1"));
        assert_eq!(attribute(process, "throughline.outcome").as_deref(), Some("enriched"));

        // Without a sender a trace begins here.
        bench.send_all([created("i-2")]).await;
        let [begun, _, flags] = carried(&bench.take(&downstream, 1).await[0]);
        assert_eq!(flags, "01");
        let spans = collector.trace(&begun, 4).await;
        assert!(spans[0].parent_span_id.is_empty(), "{:?}", spans[0]);
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn cloud_event_carries_its_trace_through() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
        let events = bench.downstream("events", FieldTable::default()).await;
        let collector = Collector::start();
        let folder = folder();
        let (exchange, endpoint) = (&bench.settings.outbound_exchange, &collector.endpoint);
        let output = |format| {
            format!(
                "[[output.further]]\nexchange = \"{exchange}\"\nrouting_key = \"events\"\nformat = \"{format}\"\n"
            )
        };
        let settings = format!(
            "[traces]\nendpoint = \"{endpoint}\"\n{}{}",
            output("cloud-event"),
            output("cloud-event-binary"),
        );
        let worker = Worker::configured(folder.path(), &bench.settings, "", &settings);
        let event = json!({
            "specversion": "1.0", "id": "e-1", "source": "/vendor", "type": "interaction.created",
            "traceparent": format!("00-{TRACE}-{SENDER}-01"), "tracestate": "v=1",
            "data": { "interaction": { "id": "structured", "channel": "chat" } },
        });
        bench.send_all([event]).await;
        let expected = carried(&bench.take(&downstream, 1).await[0]);
        assert_eq!(expected[0], TRACE);
        let expected = format!("00-{}", expected.join("-"));
        for message in bench.take(&events, 2).await {
            let headers = message.properties.headers().as_ref().expect("headers").inner();
            let binary = headers.get("cloudEvents:traceparent").map(|value| {
                value.as_long_string().expect("text").to_string()
            });
            let body: Value = serde_json::from_slice(&message.data).expect("JSON");
            let structured = body["traceparent"].as_str().map(str::to_owned);
            assert_eq!(binary.xor(structured), Some(expected.clone()));
        }

        let attributes = [
            ("cloudEvents:specversion", text("1.0")),
            ("cloudEvents:id", text("e-2")),
            ("cloudEvents:type", text("interaction.created")),
            ("cloudEvents:traceparent", text(&format!("00-{TRACE}-{SENDER}-01"))),
        ];
        let properties = BasicProperties::default().with_headers(headers(attributes));
        let data = json!({ "interaction": { "id": "binary", "channel": "chat" } });
        bench.send("any", properties, &data.to_string()).await;
        let [trace, span, _] = carried(&bench.take(&downstream, 1).await[0]);
        assert_eq!(trace, TRACE);
        assert_ne!(span, SENDER, "it is our own span");
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn a_trace_leads_through_a_partition() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        let partitions = partitioned(bench, 2).await;
        let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
        let collector = Collector::start();
        let folder = folder();
        let settings = [
            ("THROUGHLINE_TRACES__ENDPOINT", collector.endpoint.as_str()),
            ("THROUGHLINE_PARTITIONS__COUNT", "2"),
        ];
        let worker = Worker::start(folder.path(), &unpartitioned(bench), "", &settings);
        bench.send("any", of_sender("01"), &created("i-1")).await;
        let published = bench.take(&downstream, 1).await;
        let state = published[0].properties.headers().as_ref().expect("headers").inner();
        assert_eq!(state.get("tracestate"), Some(&text("v=1")));
        let spans = collector.trace(TRACE, 4).await;
        let [process, _, send, _] = &spans[..] else { panic!("four spans") };
        assert_eq!(hex(&process.parent_span_id), SENDER, "passed on as it came");
        let queue = attribute(process, "messaging.destination.name").expect("a queue");
        assert!(partitions.queues().any(|partition| partition == queue), "{queue}");
        assert_eq!(carried(&published[0])[1], hex(&send.span_id));
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn dead_letter_keeps_its_trace() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let collector = Collector::start();
        let folder = folder();
        let settings = [
            ("THROUGHLINE_TRACES__ENDPOINT", collector.endpoint.as_str()),
            ("THROUGHLINE_LOG__FORMAT", "json"),
        ];
        let worker = Worker::start(folder.path(), &bench.settings, "", &settings);
        bench.send("any", of_sender("01"), "no JSON").await;
        let dead = bench.take(&bench.settings.dead_letters, 1).await;
        assert_eq!(carried(&dead[0])[1], SENDER, "it is kept as it came");
        let spans = collector.trace(TRACE, 3).await;
        let [process, _, _] = &spans[..] else { panic!("three spans; nothing was published") };
        assert_eq!(attribute(process, "throughline.outcome").as_deref(), Some("dead_lettered"));
        assert_eq!(attribute(process, "error.type").as_deref(), Some("not_json"));
        assert_eq!(process.status.as_ref().map(|status| status.code), Some(2));
        let log = worker.log();
        let line = log.lines().find(|line| line.contains("a message is set aside"));
        let line: Value = serde_json::from_str(line.expect("it is logged")).expect("JSON");
        assert_eq!(line["trace_id"], TRACE);
        assert_eq!(line["span_id"], hex(&process.span_id));
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn unsampled_trace_is_propagated_but_not_exported() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
        let collector = Collector::start();
        let folder = folder();
        let settings = [
            ("THROUGHLINE_TRACES__ENDPOINT", collector.endpoint.as_str()),
            ("THROUGHLINE_TRACES__SAMPLE_PER_THOUSAND", "0"),
        ];
        let worker = Worker::start(folder.path(), &bench.settings, "", &settings);
        bench.send("any", of_sender("00"), &created("i-1")).await;
        let unsampled = carried(&bench.take(&downstream, 1).await[0]);
        assert_eq!(unsampled, [TRACE, SENDER, "00"], "as it came");
        bench.send_all([created("i-2")]).await;
        let [_, _, flags] = carried(&bench.take(&downstream, 1).await[0]);
        assert_eq!(flags, "00", "no later service decides otherwise");
        assert_eq!(worker.stop().code(), Some(0));
        assert!(collector.bodies().is_empty(), "{:?}", collector.bodies());
    })
    .await;
}

#[tokio::test]
async fn unreachable_collector_delays_nothing() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
        let folder = folder();
        // Bound and never accepted from: it connects, and no answer comes.
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let endpoint = format!("http://{}", silent.local_addr().expect("it is bound"));
        let settings = [("THROUGHLINE_TRACES__ENDPOINT", endpoint.as_str())];
        let watched = MonitoredWorker::start(folder.path(), &bench.settings, "", &settings).await;
        bench.send_all((0..50).map(|number| created(&format!("i-{number}")))).await;
        assert_eq!(bench.take(&downstream, 50).await.len(), 50);
        let dropped = poll_until_some(async || {
            let metrics = watched.metrics().await;
            assert!(metrics["throughline_spans_exported_total"] == 0.0);
            let dropped = metrics["throughline_spans_dropped_total"];
            (dropped > 0.0).then_some(dropped)
        })
        .await;
        assert!(dropped >= 4.0, "{dropped}");
        let log = watched.worker.log();
        assert_eq!(log.matches("the collector takes no traces").count(), 1, "{log}");
        assert_eq!(watched.worker.stop().code(), Some(0), "and the shutdown does not wait for it");
    })
    .await;
}
