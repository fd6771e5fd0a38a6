//! A worker that is killed at a named point of the line: the next worker continues, and the result is
//! as documented.
//!
//! Every event is published; a repeat carries the id it had, and there are no more repeats than the
//! point allows; history is what the model has; nothing is left in the queues.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::os::unix::process::ExitStatusExt as _;

use lapin::message::Delivery;
use lapin::types::FieldTable;
use serde_json::{Value, json};
use throughline::pipeline::crash_point::CrashPoint;

use crate::support::bench::{self, Bench, declare_topology};
use crate::support::program::{Worker, folder, history};
use crate::support::rabbitmq;

const RULES: &str = r#"
[copy_user_data]
value = "rule"
[history]
chat = "rule, plan"
webengagement = "rule"
"#;

/// The most messages in a batch: few, so that a crash has batches before and after it.
const BATCH_MESSAGES: usize = 10;
/// Conversations; with four messages each they are six batches.
const CONVERSATIONS: usize = 15;
/// `SIGABRT`.
const SIGABRT: i32 = 6;

/// How many messages may come out again after a crash at a point: those that were sent and not
/// acknowledged, as far as the broker knows. Acknowledgements are not confirmed, so the last one that
/// was sent may be lost with the process; what was confirmed and not acknowledged must come again.
fn repeats(point: CrashPoint) -> RangeInclusive<usize> {
    match point {
        // The batch before this one may be on its way.
        CrashPoint::BeforeSave | CrashPoint::AfterSave => 0..=BATCH_MESSAGES,
        // The acknowledgement of the one before may be lost.
        CrashPoint::BeforePublish | CrashPoint::AfterAcknowledge => 0..=BATCH_MESSAGES,
        // What was sent may be lost, and so may that acknowledgement.
        CrashPoint::AfterPublish => 0..=2 * BATCH_MESSAGES,
        CrashPoint::AfterConfirm | CrashPoint::BeforeAcknowledge => 1..=2 * BATCH_MESSAGES,
    }
}

/// The messages in their order; event ids are their places.
fn traffic() -> Vec<String> {
    let conversation = |n: usize| {
        [
            json!({ "type": "interaction.created", "interaction": {
                "id": format!("W{n}"), "channel": "webengagement", "userData": { "rule": format!("r{n}") } } }),
            json!({ "type": "interaction.created", "interaction": {
                "id": format!("C{n}"), "channel": "chat", "parentId": format!("W{n}") } }),
            json!({ "type": "interaction.updated", "interaction": {
                "id": format!("C{n}"), "userData": { "plan": format!("p{n}"), "unlisted": "u" } } }),
            json!({ "type": "interaction.ended", "interaction": { "id": format!("C{n}") } }),
        ]
    };
    let messages = (0..CONVERSATIONS).flat_map(conversation).zip(0..);
    messages
        .map(|(mut message, place): (Value, usize)| {
            message["id"] = place.to_string().into();
            message.to_string()
        })
        .collect()
}

/// What history must hold in the end: state and extra data.
fn model() -> BTreeMap<String, (String, Value)> {
    let parent = |n| (format!("W{n}"), ("active".into(), json!({ "rule": format!("r{n}") })));
    let child = |n| {
        let saved = json!({ "rule": format!("r{n}"), "plan": format!("p{n}") });
        (format!("C{n}"), ("ended".into(), saved))
    };
    (0..CONVERSATIONS).flat_map(|n| [parent(n), child(n)]).collect()
}

#[tokio::test]
async fn next_worker_recovers_after_a_crash_at_any_point() {
    for point in CrashPoint::ALL {
        bench::with_bench(rabbitmq::shared(), async |bench| crash_and_recover(bench, point).await)
            .await;
    }
}

async fn crash_and_recover(bench: &mut Bench, point: CrashPoint) {
    let name = point.name();
    declare_topology(bench).await;
    let downstream = bench.downstream("interaction.#", FieldTable::default()).await;
    let bodies = traffic();
    bench.send_all(&bodies).await;
    let folder = folder();
    let batch = ("THROUGHLINE_PIPELINE__BATCH_MESSAGES", &*BATCH_MESSAGES.to_string());
    let crash = ("THROUGHLINE_TEST_CRASH_AT", &*format!("{name}:3"));

    let worker = Worker::start(folder.path(), &bench.settings, RULES, &[batch, crash]);
    assert_eq!(worker.wait().signal(), Some(SIGABRT), "at {name}: it dies there");

    let worker = Worker::start(folder.path(), &bench.settings, RULES, &[batch]);
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    while seen.len() < bodies.len() {
        // At least so many are still to come.
        for delivery in bench.take(&downstream, bodies.len() - seen.len()).await {
            let (event, message_id) = ids(&delivery);
            seen.entry(event).or_default().push(message_id);
        }
    }
    assert_eq!(worker.stop().code(), Some(0), "at {name}");

    let expected: BTreeSet<_> = (0..bodies.len()).map(|place| place.to_string()).collect();
    assert!(seen.keys().eq(&expected), "at {name}: every event is published, and no other");
    for (event, message_ids) in &seen {
        let differ = message_ids.iter().any(|id| *id != message_ids[0]);
        assert!(!differ, "at {name}: repeats of event {event} carry the id it had");
    }
    let repeated = seen.values().map(|ids| ids.len() - 1).sum();
    assert!(repeats(point).contains(&repeated), "at {name}: {repeated} repeats");
    for queue in [&downstream, &bench.settings.queue, &bench.settings.dead_letters] {
        assert_eq!(bench.ready(queue).await, 0, "at {name}: nothing is left in {queue}");
    }
    let saved: BTreeMap<_, _> = history(folder.path(), &[]).iter().map(saved).collect();
    assert_eq!(saved, model(), "at {name}");
}

/// The event that a message was made of, and the message's own id.
fn ids(delivery: &Delivery) -> (String, String) {
    let properties = &delivery.properties;
    let event = properties.correlation_id().as_ref().expect("a correlation id");
    let message = properties.message_id().as_ref().expect("a message id");
    (event.to_string(), message.to_string())
}

fn saved(row: &Value) -> (String, (String, Value)) {
    let text = |name: &str| row[name].as_str().expect("a text").to_owned();
    (text("id"), (text("state"), row["extraData"].clone()))
}
