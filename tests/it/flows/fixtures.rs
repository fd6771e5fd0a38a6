//! Every payload of `tests/fixtures`, as its vendor sends it: what comes out is what
//! `tests/fixtures/expected/enriched.json` says, through `pipe` and through a live queue.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use throughline::formats::Hints;

use super::{body, listen};
use crate::formats::payloads::{decode_as, payloads};
use crate::support::bench::{declare_topology, with_bench};
use crate::support::program::{Worker, folder, run, stdout, write};
use crate::support::rabbitmq;

const RULES: &str = include_str!("../../fixtures/expected/rules.toml");
const EXPECTED: &str = include_str!("../../fixtures/expected/enriched.json");

/// What is compared of a published message.
fn compared_members(published: &Value) -> Value {
    let interaction = &published["interaction"];
    json!({
        "type": published["type"],
        "channel": interaction["channel"],
        "parent": published["parent"],
        "userData": interaction["userData"],
        "metadata": interaction["metadata"],
        "extraData": interaction["extraData"],
        "warnings": published["warnings"],
    })
}

/// The names of the payloads, by the ids that their events have with these hints.
fn by_event(hints: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let event = |name: String, body: String| {
        let id = hints(&name);
        let hints = Hints { message_id: id.as_deref(), ..Hints::default() };
        let decoded = decode_as(&body, hints).expect("a known payload");
        (decoded.message.event_id.to_string(), name)
    };
    payloads().into_iter().map(|payload| event(payload.name, payload.body)).collect()
}

fn compare(published: &[Value], names: &BTreeMap<String, String>) {
    let found: BTreeMap<_, _> = published
        .iter()
        .map(|message| {
            let cause = message["cause"]["id"].as_str().expect("an id");
            (names[cause].clone(), compared_members(message))
        })
        .collect();
    let expected: BTreeMap<String, Value> = serde_json::from_str(EXPECTED).expect("JSON");
    assert_eq!(found, expected);
}

#[test]
fn every_payload_through_pipe() {
    let folder = folder();
    write(folder.path(), "rules.toml", RULES);
    let bodies: Vec<_> = payloads().into_iter().map(|payload| payload.body).collect();
    write(folder.path(), "in.ndjson", &bodies.join("\n"));
    let ran = run(folder.path(), &["pipe", "--rules", "rules.toml", "in.ndjson"]);
    let text = stdout(&ran);
    let published: Vec<_> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    compare(&published, &by_event(|_| None));
}

#[tokio::test]
async fn every_payload_through_a_live_queue() {
    with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let enriched = listen(bench, &bench.settings.outbound_exchange, "#").await;
        for payload in payloads() {
            let properties =
                BasicProperties::default().with_message_id(payload.name.as_str().into());
            bench.send("vendor.any", properties, &payload.body).await;
        }
        let folder = folder();
        // One of them names a parent that never comes.
        let soon = [("THROUGHLINE_WAITING__PARENT_SECS", "1")];
        let worker = Worker::start(folder.path(), &bench.settings, RULES, &soon);
        // The end of one session of several is published nowhere.
        let expected: BTreeMap<String, Value> = serde_json::from_str(EXPECTED).expect("JSON");
        let published: Vec<_> =
            bench.take(&enriched, expected.len()).await.iter().map(body).collect();
        compare(&published, &by_event(|name| Some(name.to_owned())));
        assert_eq!(worker.stop().code(), Some(0));
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 0);
    })
    .await;
}
