//! AMQP 1.0, MQTT and STOMP into RabbitMQ 4: each message is worked on once, whatever its publisher has
//! put where the broker looks, and those that are no messages are set aside and can be replayed.
//!
//! Ignored by `cargo test`, since no RabbitMQ before 4.0 speaks AMQP 1.0 by itself:
//! `scripts/test-rabbitmq-4` runs it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use lapin::options::QueueBindOptions;
use lapin::types::FieldTable;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};

use crate::run::RULES;
use crate::support::bench::{Bench, declare_topology, with_bench};
use crate::support::clients;
use crate::support::program::{Worker, folder, program, stderr, stdout};
use crate::support::rabbitmq::{Node, free_ports};

/// Runs `throughline dead-letters` over the names of a bench.
fn dead_letters(folder: &Path, bench: &Bench, partitions: &str, words: &str) -> Output {
    let of = &bench.settings;
    program(folder)
        .arg("dead-letters")
        .args(words.split_whitespace())
        .env("THROUGHLINE_PARTITIONS__COUNT", partitions)
        .env("THROUGHLINE_AMQP__URL", &of.url)
        .env("THROUGHLINE_AMQP__QUEUE", &of.queue)
        .env("THROUGHLINE_AMQP__DEAD_LETTERS", &of.dead_letters)
        .env("THROUGHLINE_AMQP__WAITING_PREFIX", &of.waiting_prefix)
        .env("THROUGHLINE_STORE__URL", "sqlite:store.db")
        .output()
        .expect("the program can be run")
}

async fn what_comes_by_other_protocols(partitions: u16) {
    let [mqtt, stomp] = free_ports();
    let node = Node::with_plugins("rabbitmq_mqtt,rabbitmq_stomp", |port| {
        format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nmqtt.listeners.tcp.1 = 127.0.0.1:{mqtt}\n\
             stomp.listeners.tcp.1 = 127.0.0.1:{stomp}\n"
        )
    });
    node.start_again();
    with_bench(&node.url, async |bench| {
        match partitions {
            0 => declare_topology(bench).await,
            count => drop(crate::partitions::partitioned(bench, count).await),
        }
        let queue = bench.settings.inbound()[0].queue.clone();
        let (exchange, options) = ("amq.topic".into(), QueueBindOptions::default());
        let bound = bench
            .channel
            .queue_bind(
                queue.as_str().into(),
                exchange,
                "events.#".into(),
                options,
                FieldTable::default(),
            )
            .await;
        bound.expect("bound");
        let published = bench.downstream("#", FieldTable::default()).await;
        let folder = folder();
        let count = partitions.to_string();
        let more = [
            ("THROUGHLINE_PARTITIONS__COUNT", count.as_str()),
            ("THROUGHLINE_WAITING__PARENT_SECS", "1"),
            ("THROUGHLINE_STORE__LIVE_KEY", crate::support::program::LIVE_KEY),
        ];
        let settings = crate::partitions::unpartitioned(bench);
        let worker = Worker::start(folder.path(), &settings, RULES, &more);
        let ports = [node.amqp_port, mqtt, stomp].map(|port| port.to_string());
        let [amqp, mqtt, stomp] = &ports;
        clients::run("protocols.py", &[amqp, mqtt, stomp, &bench.settings.inbound_exchange]).await;

        let taken = bench.take(&published, 10).await;
        let mut events: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for delivery in &taken {
            let body: Value = serde_json::from_slice(&delivery.data).expect("JSON");
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            let interaction = text(&body["interaction"]["id"]);
            events.entry(interaction).or_default().push(text(&body["cause"]["id"]));
        }
        for ids in events.values_mut() {
            ids.sort();
        }
        // The SHA-256 of 300 times `i`.
        let long = "909f0912dbf59611a3a24876efcc2d409ae8b2ba9feb44eb24437974c824a3c6".to_owned();
        let uuid = "urn:uuid:00000000-0000-0000-0000-000000000005".to_owned();
        let mut of_string =
            vec!["string".to_owned(), "00ff".to_owned(), "01ff".to_owned(), long, uuid];
        of_string.sort();
        let alone = |id: &str, event: &str| (id.to_owned(), vec![event.to_owned()]);
        let expected = BTreeMap::from([
            alone("binary", "binary"),
            alone("child", "child"),
            alone("data", "data"),
            alone("mqtt", "of-mqtt"),
            alone("stomp", "stomp"),
            ("string".to_owned(), of_string),
        ]);
        assert_eq!(events, expected, "{}", worker.log());
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 2, "{}", worker.log());

        let ran = dead_letters(folder.path(), bench, &count, "show --limit 9 --show-body --json");
        assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
        let shown: Vec<Value> = stdout(&ran)
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line is JSON"))
            .collect();
        let of = |id: &str| shown.iter().find(|one| one["id"] == id).expect("it was set aside");
        assert_eq!(of("dead-1")["unpacked"], "s3cret");
        // The section as received: its first bytes, and the text.
        assert_eq!(of("dead-1")["bodyBase64"], "AFN3oQZzM2NyZXQ=");
        let headers = &of("dead-1")["headers"];
        for (name, value) in [
            ("x-throughline-bcc", json!("elsewhere")),
            ("x-throughline-cc", json!("elsewhere")),
            ("x-throughline-reply-to", json!("amq.rabbitmq.reply-to")),
            ("x-throughline-priority", json!(9)),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        let not_unpacked = of("dead-2")["notUnpacked"].as_str().unwrap_or_default();
        assert!(not_unpacked.contains("neither text nor binary"), "{shown:?}");
        let people = dead_letters(folder.path(), bench, &count, "show --id dead-1 --show-body");
        assert!(stdout(&people).contains("BODY, UNPACKED\ns3cret\n"), "{}", stdout(&people));

        // Replayed, it fails again, and is a dead letter again.
        assert_eq!(worker.stop().code(), Some(0));
        let ran = dead_letters(folder.path(), bench, &count, "replay --all");
        assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 0);
        let replayed = bench.take(&queue, 2).await;
        let first =
            replayed.iter().find(|one| *one.properties.message_id() == Some("dead-1".into()));
        let first = first.expect("it was replayed");
        assert_eq!(*first.properties.priority(), Some(9), "given back");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ 4: scripts/test-rabbitmq-4"]
async fn what_comes_by_other_protocols_is_worked_on_once() {
    what_comes_by_other_protocols(0).await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ 4: scripts/test-rabbitmq-4"]
async fn what_comes_by_other_protocols_is_passed_on_to_partitions() {
    what_comes_by_other_protocols(2).await;
}
