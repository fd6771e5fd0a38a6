//! Replays, and what interrupts them.

use std::collections::BTreeSet;

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::options::{QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use throughline::broker::{Error, Topology};
use throughline::clock::Clock;
use throughline::domain::RejectReason::NotJson;
use throughline::formats::enriched::rfc3339;
use throughline::pipeline::ports::{Attempts, Delivery as _, Settlement};
use throughline::retry::RetrySchedule;

use super::operator::RunningCommand;
use super::{OLD_MS, SECRET, dead_letters, ids, ids_of, objects, set_aside, set_three_aside};
use crate::support::bench::{
    Bench, headers, receive_batch, settle_all, text, with_bench, within_timeout,
};
use crate::support::rabbitmq;

fn header(delivery: &Delivery, name: &str) -> Option<AMQPValue> {
    delivery.properties.headers().as_ref()?.inner().get(name).cloned()
}

#[tokio::test]
async fn replay_reaches_only_the_work_queue_and_is_unchanged() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_three_aside(bench).await;
        // Another consumer is bound to the inbound exchange; its queue is deleted with the bench.
        let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let queue = bench.channel.queue_declare("".into(), options, FieldTable::default()).await;
        let other = queue.expect("declared").name().clone();
        let (exchange, key) = (bench.settings.inbound_exchange.as_str().into(), "#".into());
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        let bound = bench.channel.queue_bind(other.clone(), exchange, key, options, none).await;
        bound.expect("bound");

        let output = dead_letters(bench, "replay --reason not_json --json").await;
        assert_eq!(output.code, Some(0), "{output:?}");
        assert_eq!(ids_of(&output), ["m-1", "m-3"]);
        assert!(output.err.contains("2 replayed"), "{output:?}");
        assert_eq!(ids(bench).await, ["m-2"]);
        assert_eq!(bench.ready(other.as_str()).await, 0);

        let (_link, mut lane) = bench.lane().await;
        let batch = receive_batch(&mut lane, 2).await;
        assert_eq!(batch[0].body(), format!("{SECRET} of m-1").as_bytes());
        let arrival = batch[0].arrival();
        assert_eq!(arrival.message_id.as_deref(), Some("m-1"));
        assert_eq!((arrival.replayed, &arrival.attempts), (1, &Attempts::default()));
        assert!(arrival.may_be_unfinished(), "an event that was saved is finished");
        settle_all(&mut lane, batch, Settlement::GiveBack).await;
        drop((lane, _link));

        let taken = bench.take(&bench.settings.queue, 2).await;
        let properties = BasicProperties::default()
            .with_message_id("m-1".into())
            .with_content_type("application/json".into())
            .with_delivery_mode(2)
            .with_priority(3)
            .with_headers(headers([
                ("vendor", text("kept")),
                // It would end a second life as it was to end the first.
                ("x-throughline-expiration", text("60000")),
                ("x-throughline-replayed", AMQPValue::LongLongInt(1)),
                ("x-throughline-routing-key", text("vendor.key")),
                ("x-delivery-count", header(&taken[0], "x-delivery-count").expect("given back")),
            ]));
        assert_eq!(taken[0].properties, properties);
    })
    .await;
}

#[tokio::test]
async fn replay_interrupted_before_acknowledgement_keeps_the_dead_letter() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_aside(bench, &[("m-1", NotJson, OLD_MS)]).await;
        let link = bench.link().await;
        let mut pass = link.dead_letters().await.expect("a pass");
        let letter = pass.next().await.expect("the broker is up").expect("a dead letter");
        pass.resend(&letter).await.expect("confirmed");
        // As when the process is killed here: the connection is not closed.
        drop((letter, pass, link));

        let there = bench.take(&bench.settings.dead_letters, 1).await;
        let again = bench.take(&bench.settings.queue, 1).await;
        assert_eq!(there[0].data, again[0].data);
        assert_eq!(there[0].properties.message_id(), again[0].properties.message_id());
        assert_eq!(header(&there[0], "x-throughline-replayed"), Some(AMQPValue::LongLongInt(0)));
    })
    .await;
}

/// Wherever the end meets it, each message is in one of the queues, or in both: those whose
/// acknowledgement was cut off with the connection.
#[tokio::test]
async fn a_replay_that_is_killed_loses_nothing() {
    with_bench(rabbitmq::shared(), async |bench| {
        let ids: Vec<_> = (0..40).map(|n| format!("m-{n}")).collect();
        let letters: Vec<_> = ids.iter().map(|id| (id.as_str(), NotJson, OLD_MS)).collect();
        set_aside(bench, &letters).await;
        let arguments = ["dead-letters", "replay", "--all", "--json"];
        let mut replay = RunningCommand::start(&bench.settings, &arguments);
        assert!(replay.next_line().await.contains("m-0"));
        drop(replay);

        // What was on its way when it died arrives, and what it held is given back, whenever the
        // broker has noticed: both queues are emptied until every message has been seen.
        let (dead, work) = (&bench.settings.dead_letters, &bench.settings.queue);
        let mut seen = BTreeSet::new();
        let mut from_work = 0;
        within_timeout(async {
            while seen.len() < ids.len() {
                for queue in [dead, work] {
                    let ready = bench.ready(queue).await as usize;
                    if ready == 0 {
                        continue;
                    }
                    let letters = bench.take(queue, ready).await;
                    from_work += if queue == work { letters.len() } else { 0 };
                    let id = |letter: &Delivery| letter.properties.message_id().clone();
                    seen.extend(letters.iter().filter_map(id).map(|id| id.to_string()));
                }
            }
        })
        .await;
        assert!(from_work > 0);
        assert_eq!(seen, ids.into_iter().collect());
    })
    .await;
}

#[tokio::test]
async fn pass_covers_only_dead_letters_present_at_its_start() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_three_aside(bench).await;
        let link = bench.link().await;
        let mut pass = link.dead_letters().await.expect("a pass");
        for n in 0..3 {
            let letter = pass.next().await.expect("the broker is up").expect("a dead letter");
            pass.replay(letter).await.expect("replayed");
            // What is replayed fails again at once.
            set_aside(bench, &[(&format!("later-{n}"), NotJson, OLD_MS)]).await;
        }
        assert!(pass.next().await.expect("the broker is up").is_none());
        pass.finish().await.expect("the broker is up");
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 3);
    })
    .await;
}

#[tokio::test]
async fn dead_letter_carries_its_reason_and_can_be_replayed_repeatedly() {
    with_bench(rabbitmq::shared(), async |bench| {
        bench.topology = Topology::new(&bench.settings, &RetrySchedule::default().delays());
        bench.link().await.prepare(&bench.topology).await.expect("declared");
        let before_ms = Clock::System.now_ms();
        for n in 0..3 {
            let properties = BasicProperties::default().with_message_id(format!("m-{n}").into());
            bench.send("vendor.key", properties, &format!("{SECRET}: no JSON")).await;
        }
        let worker = RunningCommand::start(&bench.settings, &["run"]);
        let dead = settled(bench, 3).await;
        for (n, letter) in dead.iter().enumerate() {
            let first_seen = letter["firstSeen"].as_str().expect("it was seen").to_owned();
            assert!(first_seen >= rfc3339(before_ms));
            let expected = json!({
                "id": format!("m-{n}"), "reason": "not_json",
                "detail": "the body is not JSON at line 1, column 1", "stage": "decode", "attempts": 0,
                "firstSeen": first_seen, "replayed": 0, "routingKey": "vendor.key",
                "bodyBytes": 15,
            });
            assert_eq!(*letter, expected);
        }

        // The worker is at work meanwhile, and rejects each again.
        let output = dead_letters(bench, "replay --all --json").await;
        assert_eq!(ids_of(&output), ["m-0", "m-1", "m-2"], "each once: {output:?}");
        let again = settled(bench, 3).await;
        assert_eq!(again.iter().map(|letter| &letter["replayed"]).collect::<Vec<_>>(), [1, 1, 1]);
        assert!(again.iter().all(|letter| letter["routingKey"] == "vendor.key"));
        drop(worker);
    })
    .await;
}

/// The dead letters, once there are so many and the work queue is done with.
async fn settled(bench: &Bench, count: usize) -> Vec<Value> {
    within_timeout(async {
        loop {
            let there = objects(&dead_letters(bench, "list --json").await);
            if there.len() == count {
                return there;
            }
        }
    })
    .await
}

#[tokio::test]
async fn replay_to_a_deleted_work_queue_keeps_the_dead_letter() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_three_aside(bench).await;
        let queue = bench.settings.queue.as_str().into();
        let deleted = bench.channel.queue_delete(queue, QueueDeleteOptions::default()).await;
        deleted.expect("deleted");

        let link = bench.link().await;
        let mut pass = link.dead_letters().await.expect("a pass");
        let letter = pass.next().await.expect("the broker is up").expect("a dead letter");
        let error = pass.replay(letter).await.expect_err("there is no queue to take it");
        assert!(matches!(error, Error::NotReplayed(_)), "{error}");
        pass.finish().await.expect("the broker is up");

        let output = dead_letters(bench, "replay --all").await;
        assert_eq!(output.code, Some(75), "{output:?}");
        let why =
            format!("failed to replay a dead letter: there is no queue `{}`", bench.settings.queue);
        assert!(output.err.contains(&why), "{output:?}");
        assert_eq!(ids(bench).await, ["m-1", "m-2", "m-3"]);
    })
    .await;
}
