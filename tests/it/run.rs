//! The worker as a process, on a real RabbitMQ: messages are published in their order, also when the
//! broker is killed in the middle.

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use serde_json::{Value, json};

use crate::support::bench::{self, Bench, cause, declare_topology, publish_all, quorum, text};
use crate::support::program::{Worker, folder, history};
use crate::support::rabbitmq::{self, Node};

pub(crate) const RULES: &str = r#"
[copy_user_data]
value = "rule;strategy"
[history]
chat = "rule, plan"
webengagement = "rule"
"#;

#[tokio::test]
async fn foreign_client_receives_the_documented_messages() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let folder = folder();
        let worker = Worker::start(folder.path(), &bench.settings, RULES, &[]);
        let parent = json!({
            "routing_key": "vendor.web", "properties": { "message_id": "m-1", "content_type": "application/json" },
            "body": r#"{"type":"interaction.created","id":"e-1","interaction":{"id":"P","tenant":"1","channel":"webengagement","userData":{"rule":"cart","x":1.10}}}"#,
        });
        let child = json!({
            "routing_key": "anything", "properties": { "message_id": "e-2" },
            "headers": { "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "v=1" },
            // No id of its own: the event's id is the message's.
            "body": r#"{"type":"interaction.created","interaction":{"id":"C","tenant":"1","channel":"chat","parentId":"P","userData":{"plan":"gold"}}}"#,
        });
        let event = json!({
            "routing_key": "events", "properties": { "content_type": "application/json" },
            "headers": { "cloudEvents:specversion": "1.0", "cloudEvents:type": "interaction.ended",
                         "cloudEvents:id": "e-3", "cloudEvents:source": "/platform" },
            "body": r#"{"interaction":{"id":"C","tenant":"1"}}"#,
        });
        let received = exchange_with_pika(bench, &[parent, child, event], 3);

        let [first, second, third] = &received[..] else { panic!("three messages come out") };
        for message in &received {
            assert_eq!(message["exchange"], bench.settings.outbound_exchange.as_str());
            assert_eq!(message["delivery_mode"], 2, "persistent");
            assert_eq!(message["content_type"], "application/json");
            assert_eq!(message["app_id"], "throughline");
            assert_eq!(message["message_id"], message["body"]["id"]);
            assert_eq!(message["correlation_id"], message["body"]["cause"]["id"]);
            assert_eq!(message["type"], message["body"]["type"]);
            assert_eq!(
                message["headers"]["x-throughline-revision"],
                message["body"]["rules"]["revision"]
            );
            assert!(message["timestamp"].is_i64());
        }
        assert_eq!(first["routing_key"], "interaction.enriched.webengagement");
        // UUIDv5 of "1\0P\0e-1" in the namespace of docs/messages.md, worked out by Python's uuid.
        assert_eq!(first["message_id"], "205209b0-5773-5047-8ab0-f3f3ce0f73dc");
        assert_eq!(second["routing_key"], "interaction.enriched.chat");
        assert_eq!(second["correlation_id"], "e-2");
        assert_eq!(second["body"]["parent"], "found");
        assert_eq!(second["body"]["interaction"]["userData"], json!({ "plan": "gold", "rule": "cart" }));
        assert_eq!(second["body"]["interaction"]["extraData"], json!({ "plan": "gold", "rule": "cart" }));
        assert_eq!(second["headers"]["tracestate"], "v=1");
        assert_eq!(
            second["headers"]["traceparent"],
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        );
        assert_eq!(third["routing_key"], "interaction.ended.chat");
        assert_eq!(third["body"]["interaction"]["userData"], Value::Null);
        assert_eq!(third["body"]["interaction"]["state"], "ended");
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

/// Publishes and consumes with Python's pika.
fn exchange_with_pika(bench: &Bench, messages: &[Value], count: usize) -> Vec<Value> {
    let python = std::env::var("THROUGHLINE_TEST_PYTHON");
    let python = python.unwrap_or_else(|_| "/usr/bin/python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/support/foreign_client.py");
    let settings = &bench.settings;
    let mut client = Command::new(&python)
        .args([script, &settings.url, &settings.inbound_exchange, &settings.outbound_exchange])
        .arg(count.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python can be run (THROUGHLINE_TEST_PYTHON names it)");
    let lines: Vec<_> = messages.iter().map(Value::to_string).collect();
    let mut input = client.stdin.take().expect("it is piped");
    input.write_all((lines.join("\n") + "\n").as_bytes()).expect("it reads");
    drop(input);
    let output = client.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "the client failed; it needs Debian's python3-pika: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
}

// ------------------------------------------------------------------------------ twenty thousand

/// Conversations; each is a web engagement, its chat, an update and an end of it.
const CONVERSATIONS: usize = 5_000;
/// How many conversations go on at the same time.
const CONCURRENT_CONVERSATIONS: usize = 10;

/// The messages, interleaved: event ids are `0` to `19999`, in this order.
pub(crate) fn traffic() -> Vec<String> {
    let mut bodies = Vec::new();
    for first in (0..CONVERSATIONS).step_by(CONCURRENT_CONVERSATIONS) {
        for stage in 0..4 {
            for n in first..first + CONCURRENT_CONVERSATIONS {
                let id = bodies.len();
                bodies.push(match stage {
                    0 => format!(
                        r#"{{"type":"interaction.created","id":"{id}","interaction":{{"id":"W{n}","channel":"webengagement","userData":{{"rule":"r{n}","strategy":"s","secret":"x{n}"}}}}}}"#
                    ),
                    1 => format!(
                        r#"{{"type":"interaction.created","id":"{id}","interaction":{{"id":"C{n}","channel":"chat","parentId":"W{n}","userData":{{"name":"n{n}"}}}}}}"#
                    ),
                    2 => format!(
                        r#"{{"type":"interaction.updated","id":"{id}","source":"agent","interaction":{{"id":"C{n}","userData":{{"plan":"p{n}"}}}}}}"#
                    ),
                    _ => format!(
                        r#"{{"type":"interaction.ended","id":"{id}","interaction":{{"id":"C{n}","state":"handled"}}}}"#
                    ),
                });
            }
        }
    }
    bodies
}

/// What history must hold in the end.
fn model() -> HashMap<String, Value> {
    let engagement = |n| (format!("W{n}"), json!({ "rule": format!("r{n}") }));
    let chat = |n| (format!("C{n}"), json!({ "rule": format!("r{n}"), "plan": format!("p{n}") }));
    (0..CONVERSATIONS).flat_map(|n| [engagement(n), chat(n)]).collect()
}

/// The extra data of each saved interaction, by id.
fn saved_extra_data(folder: &Path) -> HashMap<String, Value> {
    let row =
        |row: Value| (row["id"].as_str().expect("an id").to_owned(), row["extraData"].clone());
    history(folder, &[]).into_iter().map(row).collect()
}

/// Consumes a queue until `enough` says so, or the connection is lost.
async fn consume(
    bench: &Bench,
    queue: &str,
    mut enough: impl FnMut(&Delivery) -> bool,
) -> Vec<Delivery> {
    bench.channel.basic_qos(1000, BasicQosOptions::default()).await.expect("qos");
    let options = BasicConsumeOptions::default();
    let mut consumer = bench
        .channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await
        .expect("it can be consumed");
    let mut taken = Vec::new();
    loop {
        let delivery = bench::within_timeout(consumer.next()).await.expect("the queue is there");
        let delivery = delivery.expect("a delivery");
        delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
        let last = enough(&delivery);
        taken.push(delivery);
        if last {
            return taken;
        }
    }
}

#[tokio::test]
async fn twenty_thousand_messages_are_published_in_order() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let folder = folder();
        let bodies = traffic();
        let worker = Worker::start(folder.path(), &bench.settings, RULES, &[]);
        publish_all(bench, &bodies).await;
        let mut count = 0;
        let received = consume(bench, &downstream, |_| {
            count += 1;
            count == bodies.len()
        })
        .await;
        assert_eq!(worker.stop().code(), Some(0));

        let causes: Vec<_> = received.iter().map(cause).collect();
        assert!(causes.iter().copied().eq(0..bodies.len()), "in the order of arrival");
        assert_eq!(bench.ready(&downstream).await, 0, "nothing more came out");
        assert_eq!(bench.ready(&bench.settings.queue).await, 0);
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 0);
        assert!(saved_extra_data(folder.path()) == model(), "history is not what the model has");
    })
    .await;
}

#[tokio::test]
async fn killed_broker_loses_nothing() {
    let node = Node::start();
    let mut bench = Bench::connect(&node.url).await;
    declare_topology(&mut bench).await;
    let downstream = bench.downstream("interaction.#", quorum()).await;
    let folder = folder();
    let bodies = traffic();
    let worker = Worker::start(folder.path(), &bench.settings, RULES, &[]);
    publish_all(&bench, &bodies).await;
    let mut count = 0;
    let before = consume(&bench, &downstream, |_| {
        count += 1;
        count == 5_000
    })
    .await;
    node.kill();
    node.start_again();
    let mut after_restart = Bench::connect(&node.url).await;
    after_restart.settings = bench.settings.clone();
    let mut missing: HashSet<usize> = (0..bodies.len()).collect();
    for delivery in &before {
        missing.remove(&cause(delivery));
    }
    let after = consume(&after_restart, &downstream, |delivery| {
        missing.remove(&cause(delivery));
        missing.is_empty()
    })
    .await;
    assert_eq!(worker.stop().code(), Some(0));

    // Some messages were published twice; the consumer recognises them by their message id.
    let mut ids: HashMap<usize, String> = HashMap::new();
    for delivery in before.iter().chain(&after) {
        let id = delivery.properties.message_id().as_ref().expect("a message id").to_string();
        let known = ids.entry(cause(delivery)).or_insert_with(|| id.clone());
        assert_eq!(*known, id, "a repeat carries the id it had");
    }
    assert_eq!(ids.len(), bodies.len());
    assert_eq!(ids.values().collect::<HashSet<_>>().len(), bodies.len());
    assert_eq!(after_restart.ready(&bench.settings.queue).await, 0);
    assert_eq!(after_restart.ready(&bench.settings.dead_letters).await, 0);
    assert!(saved_extra_data(folder.path()) == model(), "history is not what the model has");
}

#[tokio::test]
async fn worker_started_before_its_broker_connects_later() {
    let node = Node::prepare();
    let folder = folder();
    let settings = bench::settings(&node.url);
    let worker = Worker::start(folder.path(), &settings, RULES, &[]);
    node.start_again();
    let mut bench = Bench::connect(&node.url).await;
    bench.settings = settings;
    declare_topology(&mut bench).await;
    let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
    let body =
        r#"{"type":"interaction.created","id":"1","interaction":{"id":"A","channel":"chat"}}"#;
    bench.send("any", BasicProperties::default(), body).await;
    assert_eq!(bench.take(&downstream, 1).await.len(), 1);
    assert_eq!(worker.stop().code(), Some(0));
}

#[tokio::test]
async fn child_before_its_parent_waits() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
        let folder = folder();
        let worker = Worker::start(folder.path(), &bench.settings, RULES, &[]);
        let child = r#"{"type":"interaction.created","id":"2","interaction":{"id":"C","channel":"chat","parentId":"P"}}"#;
        let update = r#"{"type":"interaction.updated","id":"3","interaction":{"id":"C","userData":{"k":"1"}}}"#;
        let parent = r#"{"type":"interaction.created","id":"1","interaction":{"id":"P","channel":"webengagement","userData":{"rule":"r"}}}"#;
        let bad = r#"{"type":"interaction.created","id":"4","interaction":{"id":"X"}}"#;
        for body in [child, update, bad, parent] {
            bench.send("any", BasicProperties::default(), body).await;
        }
        let received = bench.take(&downstream, 3).await;
        assert_eq!(received.iter().map(cause).collect::<Vec<_>>(), [1, 2, 3]);
        let last: Value = serde_json::from_slice(&received[2].data).expect("JSON");
        assert_eq!(last["interaction"]["userData"], json!({ "k": "1", "rule": "r" }));
        let letter = &bench.take(&bench.settings.dead_letters, 1).await[0];
        assert_eq!(letter.data, bad.as_bytes(), "as it was received");
        let headers = letter.properties.headers().clone().expect("headers");
        let header = |name: &str| headers.inner().get(name).cloned();
        assert_eq!(header("x-throughline-reason"), Some(text("not_an_interaction")));
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}
