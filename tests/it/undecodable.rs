//! Messages with properties that are no UTF-8, as PHP, Perl, C and old Windows jobs send them: each is
//! set aside alone, whatever lies around it, and the dead-letter tool reads it.

use std::collections::BTreeMap;

use lapin::message::Delivery;
use pretty_assertions::assert_eq;
use serde_json::Value;

use crate::partitions::{partitioned, unpartitioned};
use crate::run::{RULES, traffic};
use crate::support::bench::{Bench, WAITING_DELAY, cause, declare_topology};
use crate::support::bench::{publish_all, quorum, with_bench};
use crate::support::foreign::{Foreign, Odd};
use crate::support::monitored_worker::{MonitoredWorker, poll_until_some};
use crate::support::program::{Worker, folder};
use crate::support::rabbitmq;

/// Publishes good messages with an odd one of each kind in turn after every so many, each by a
/// connection that waits for its confirm; how many odd ones there are.
async fn publish(bench: &Bench, good: &[String], every: usize) -> usize {
    let mut foreign = Foreign::connect(&bench.settings.url);
    let mut kinds = Odd::ALL.iter().cycle();
    let mut odd = 0;
    for some in good.chunks(every) {
        publish_all(bench, some).await;
        let kind = *kinds.next().expect("it goes round");
        let body = format!(r#"{{"odd":"{}"}}"#, kind.word());
        foreign.publish(&bench.settings.inbound_exchange, "any", kind, &body);
        odd += 1;
    }
    odd
}

/// So many messages, none of which waits for another.
pub(crate) fn independent(count: usize) -> Vec<String> {
    let body = |id| {
        format!(
            r#"{{"type":"interaction.created","id":"{id}","interaction":{{"id":"I{id}","channel":"chat"}}}}"#
        )
    };
    (0..count).map(body).collect()
}

fn header(delivery: &Delivery, name: &str) -> Option<String> {
    let value = delivery.properties.headers().as_ref()?.inner().get(name)?;
    value.as_long_string().map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned())
}

/// Each dead letter has its reason, names its property, and holds its body.
fn assert_set_aside(letters: &[Delivery]) {
    for letter in letters {
        let word = header(letter, "x-throughline-undecodable").expect("it names the property");
        assert_eq!(
            header(letter, "x-throughline-reason").as_deref(),
            Some("undecodable"),
            "{word}"
        );
        assert_eq!(letter.data, format!(r#"{{"odd":"{word}"}}"#).into_bytes(), "{word}");
        let properties = &letter.properties;
        match word.as_str() {
            "message_id" => assert_eq!(properties.message_id(), &Some("M?ller".into())),
            "type" => assert_eq!(properties.kind(), &Some("M?ller".into())),
            "app_id" => assert_eq!(properties.app_id(), &Some("M?ller".into())),
            "content_type" => assert_eq!(properties.content_type(), &Some("M?ller".into())),
            "correlation_id" => assert_eq!(properties.correlation_id(), &Some("M?ller".into())),
            "header_name" => assert_eq!(header(letter, "M?ller").as_deref(), Some("kept")),
            "routing_key" => {
                let key = header(letter, "x-throughline-routing-key");
                assert_eq!(key.as_deref(), Some("M?ller"));
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn each_is_set_aside_alone_and_told_once() {
    with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let (folder, good) = (folder(), &traffic()[..270]);
        let worker = MonitoredWorker::start(folder.path(), &bench.settings, RULES, &[]).await;
        let odd = publish(bench, good, 10).await;
        let letters = bench.take(&bench.settings.dead_letters, odd).await;
        assert_set_aside(&letters);
        let out = bench.take(&downstream, good.len()).await;
        assert!(out.iter().map(cause).eq(0..good.len()), "each once, in order");
        assert_eq!(bench.ready(&downstream).await, 0, "nothing came out twice");

        let metrics = worker.metrics().await;
        let name = r#"throughline_rejected_total{reason="undecodable"}"#;
        assert_eq!(metrics[name], 27.0, "{odd}");
        let log = worker.worker.log();
        assert!(!log.contains("the lanes have stopped"), "{log}");
        let told = log
            .lines()
            .filter(|line| line.contains("cannot be read as it was sent"))
            .filter(|line| line.contains("message_id is not UTF-8"))
            .count();
        assert_eq!(told, 1, "once for three: {log}");
        assert!(log.contains(&bench.settings.queue), "{log}");
        let names = |line: &&str| line.contains(r#"delivery="message M?ller""#);
        let values = log.lines().filter(|line| line.contains("ller") && !names(line));
        assert_eq!(values.count(), 0, "no value but the message's id: {log}");
        assert_eq!(worker.worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn every_hundredth_under_load_is_set_aside_and_the_rest_flows() {
    with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let (folder, good) = (folder(), independent(4000));
        let odd = publish(bench, &good, 100).await;
        let more = [("THROUGHLINE_LANES", "3")];
        let worker = Worker::start(folder.path(), &bench.settings, RULES, &more);
        let out = bench.take(&downstream, good.len()).await;
        let mut causes: Vec<_> = out.iter().map(cause).collect();
        causes.sort_unstable();
        assert!(causes.into_iter().eq(0..good.len()), "each once");
        assert_set_aside(&bench.take(&bench.settings.dead_letters, odd).await);
        assert!(!worker.log().contains("the lanes have stopped"), "{}", worker.log());
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn they_come_back_from_a_waiting_queue_and_are_set_aside() {
    with_bench(rabbitmq::shared(), async |bench| {
        bench.declare().await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let waiting_queue = bench.settings.inbound()[0].waiting_queue(WAITING_DELAY);
        let mut foreign = Foreign::connect(&bench.settings.url);
        // A queue is addressed by its name, so its routing key is always text.
        let kinds = Odd::ALL.into_iter().filter(|kind| !matches!(kind, Odd::RoutingKey));
        let mut odd = 0;
        for kind in kinds {
            let body = format!(r#"{{"odd":"{}"}}"#, kind.word());
            foreign.publish("", &waiting_queue, kind, &body);
            odd += 1;
        }
        let (folder, good) = (folder(), independent(100));
        publish_all(bench, &good).await;
        let worker = Worker::start(folder.path(), &bench.settings, RULES, &[]);
        let letters = bench.take(&bench.settings.dead_letters, odd).await;
        assert_set_aside(&letters);
        let out = bench.take(&downstream, good.len()).await;
        assert!(out.iter().map(cause).eq(0..good.len()), "each once, in order");
        assert!(!worker.log().contains("the lanes have stopped"), "{}", worker.log());
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn they_pass_the_intake_and_are_set_aside_in_their_partition() {
    with_bench(rabbitmq::shared(), async |bench| {
        partitioned(bench, 3).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let (folder, good) = (folder(), &traffic()[..180]);
        let more = [("THROUGHLINE_PARTITIONS__COUNT", "3")];
        let worker = Worker::start(folder.path(), &unpartitioned(bench), RULES, &more);
        let odd = publish(bench, good, 20).await;
        let letters = bench.take(&bench.settings.dead_letters, odd).await;
        assert_set_aside(&letters);
        let out = bench.take(&downstream, good.len()).await;
        let mut causes: Vec<_> = out.iter().map(cause).collect();
        causes.sort_unstable();
        assert!(causes.into_iter().eq(0..good.len()), "each once");
        assert!(!worker.log().contains("the lanes have stopped"), "{}", worker.log());
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

/// What an operator's command prints, a line each.
async fn dead_letters(bench: &Bench, words: &str) -> (Option<i32>, Vec<Value>) {
    let ran = crate::dead_letters::run_dead_letters(bench, words).await;
    let lines = ran.1.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (ran.0, lines)
}

#[tokio::test]
async fn the_tool_reads_those_that_the_broker_has_set_aside() {
    with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let mut foreign = Foreign::connect(&bench.settings.url);
        for kind in Odd::ALL {
            let body =
                r#"{"type":"interaction.created","interaction":{"id":"A","channel":"chat"}}"#;
            foreign.publish(&bench.settings.dead_letters, "any", kind, body);
        }
        let (code, listed) = dead_letters(bench, "list --json").await;
        assert_eq!(code, Some(0));
        let named: Vec<_> = listed.iter().map(|it| it["undecodable"].as_str()).collect();
        let expected: Vec<_> = Odd::ALL.iter().map(|kind| Some(kind.word())).collect();
        assert_eq!(named, expected);
        let (_, shown) = dead_letters(bench, "show --json --show-body --id M?ller").await;
        assert_eq!(shown[0]["properties"]["message_id"], "M?ller");
        let (_, gone) = dead_letters(bench, "discard --json --id M?ller").await;
        assert_eq!(gone.len(), 1);
        let (_, replayed) = dead_letters(bench, "replay --json --all").await;
        assert_eq!(replayed.len(), Odd::ALL.len() - 1);
        assert_eq!(bench.ready(&bench.settings.queue).await, 8, "they are back at work");
        let back = bench.take(&bench.settings.queue, 8).await;
        assert!(back.iter().all(|one| header(one, "x-throughline-undecodable").is_none()));
    })
    .await;
}

#[tokio::test]
async fn a_replay_takes_no_replaced_message_id_for_the_events_id() {
    with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let mut foreign = Foreign::connect(&bench.settings.url);
        for id in ["A", "B"] {
            let body = format!(
                r#"{{"type":"interaction.opened","interaction":{{"id":"A","channel":"chat","userData":{{"k":"{id}"}}}}}}"#
            );
            foreign.publish(&bench.settings.inbound_exchange, "any", Odd::MessageId, &body);
        }
        let folder = folder();
        let worker = Worker::start(folder.path(), &bench.settings, RULES, &[]);
        poll_until_some(async || (bench.ready(&bench.settings.dead_letters).await == 2).then_some(())).await;
        let (code, _) = dead_letters(bench, "replay --json --reason undecodable").await;
        assert_eq!(code, Some(0));
        let out = bench.take(&downstream, 2).await;
        let ids: BTreeMap<_, _> =
            out.iter().map(|one| (one.properties.message_id().clone().map(String::from), ())).collect();
        assert_eq!(ids.len(), 2, "two events, and no repeat");
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}
