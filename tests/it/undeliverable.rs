//! Messages over which the broker, or what is between, ends the consumer's connection at each delivery.
//! On any RabbitMQ by a relay that does it; on RabbitMQ 4 also by what AMQP 1.0 can say and 0-9-1 cannot.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::options::{BasicGetOptions, BasicPublishOptions};
use pretty_assertions::assert_eq;
use throughline::broker::Settings;

use crate::dead_letters::run_dead_letters;
use crate::partitions::{partitioned, unpartitioned};
use crate::run::{RULES, traffic};
use crate::support::bench::{self, Bench, WAITING_DELAY, declare_topology, with_bench};
use crate::support::bench::{cause, publish_all, quorum};
use crate::support::foreign::send_by_amqp_1;
use crate::support::monitored_worker::{MonitoredWorker, poll_until_some};
use crate::support::poison::{MARK, Poison};
use crate::support::program::folder;
use crate::support::rabbitmq;
use crate::undecodable::independent;

/// A message whose delivery ends the connection of any consumer.
fn bad() -> Vec<String> {
    vec![format!(r#"{{"type":"interaction.created","mark":"{MARK}"}}"#)]
}

/// The settings of a worker behind a relay to the bench's server.
async fn poisoned(bench: &Bench, settings: &Settings) -> (Poison, Settings) {
    let uri: lapin::uri::AMQPUri = bench.settings.url.parse().expect("a URL");
    let poison = Poison::before(uri.authority.port).await;
    let url =
        settings.url.replace(&format!(":{}/", uri.authority.port), &format!(":{}/", poison.port));
    let settings = Settings { url, ..settings.clone() };
    (poison, settings)
}

/// How often each event came out, in all: each once at least, and twice at most.
async fn assert_flown(bench: &Bench, downstream: &str, events: usize) {
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    while seen.len() < events {
        for one in bench.take(downstream, 1).await {
            *seen.entry(cause(&one)).or_default() += 1;
        }
    }
    for _ in 0..bench.ready(downstream).await {
        for one in bench.take(downstream, 1).await {
            *seen.entry(cause(&one)).or_default() += 1;
        }
    }
    let often: Vec<_> = seen.iter().filter(|(_, times)| **times > 2).collect();
    assert!(often.is_empty(), "published more than twice: {often:?}");
}

/// Nothing but the bad ones is among the dead letters.
async fn assert_set_aside(bench: &Bench, expected: u32) {
    let queue = &bench.settings.dead_letters;
    poll_until_some(async || (bench.ready(queue).await >= expected).then_some(())).await;
    for _ in 0..expected {
        let got = bench.channel.basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true });
        let got = bench::within_timeout(got).await.expect("an answer").expect("a dead letter");
        let body = String::from_utf8_lossy(&got.delivery.data).into_owned();
        assert!(body.contains(MARK), "an innocent one: {body}");
    }
    assert_eq!(bench.ready(queue).await, 0, "innocent ones");
}

#[tokio::test]
async fn it_is_set_aside_alone_and_the_rest_flows() {
    with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let good = independent(80);
        publish_all(bench, &good[..40]).await;
        publish_all(bench, &bad()).await;
        publish_all(bench, &good[40..]).await;
        let (poison, settings) = poisoned(bench, &bench.settings).await;
        let (folder, began) = (folder(), std::time::Instant::now());
        let more = [("THROUGHLINE_LANES", "3")];
        let worker = MonitoredWorker::start(folder.path(), &settings, RULES, &more).await;
        assert_flown(bench, &downstream, good.len()).await;
        assert_set_aside(bench, 1).await;
        assert!(began.elapsed().as_secs() < 60, "within a minute: {:?}", began.elapsed());
        assert!(poison.ended() > 100, "the broker's own limit ended it: {}", poison.ended());

        worker.await_missing(vec![]).await;
        let name = r#"throughline_dead_lettered_total{reason="undeliverable"}"#;
        poll_until_some(async || (worker.metrics().await[name] == 1.0).then_some(())).await;
        let log = worker.worker.log();
        let told = log.lines().filter(|line| line.contains("a message cannot be delivered"));
        let told: Vec<_> = told.collect();
        assert!(told.len() == 1 && told[0].contains(&bench.settings.queue), "once: {log}");
        assert_eq!(worker.worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn it_comes_back_from_a_waiting_queue_and_is_set_aside() {
    with_bench(rabbitmq::shared(), async |bench| {
        bench.declare().await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let waiting_queue = bench.settings.inbound()[0].waiting_queue(WAITING_DELAY);
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let confirm = bench
            .channel
            .basic_publish(
                "".into(),
                waiting_queue.into(),
                options,
                bad()[0].as_bytes(),
                properties,
            )
            .await
            .expect("published");
        bench::within_timeout(confirm).await.expect("confirmed");
        let good = independent(80);
        publish_all(bench, &good).await;
        let (poison, settings) = poisoned(bench, &bench.settings).await;
        let folder = folder();
        let worker = MonitoredWorker::start(folder.path(), &settings, RULES, &[]).await;
        assert_flown(bench, &downstream, good.len()).await;
        assert_set_aside(bench, 1).await;
        assert!(poison.ended() > 100, "the broker's own limit ended it: {}", poison.ended());
        assert_eq!(worker.worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn the_status_speaks_of_the_message_and_not_of_the_connection() {
    with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        publish_all(bench, &bad()).await;
        let (_poison, settings) = poisoned(bench, &bench.settings).await;
        let folder = folder();
        let worker = MonitoredWorker::start(folder.path(), &settings, RULES, &[]).await;
        poll_until_some(async || {
            let readiness = worker.json("/readyz").await;
            let named = readiness["warnings"].to_string().contains("undeliverable");
            let away = readiness["missing"].to_string().contains("there is no connection");
            assert!(!(named && away), "{readiness}");
            named.then_some(())
        })
        .await;
        assert_set_aside(bench, 1).await;
        worker.await_missing(vec![]).await;
        assert_eq!(worker.worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn every_hundredth_under_load_is_set_aside() {
    with_bench(rabbitmq::shared(), async |bench| {
        declare_topology(bench).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let good = independent(300);
        for some in good.chunks(100) {
            publish_all(bench, some).await;
            publish_all(bench, &bad()).await;
        }
        let (_poison, settings) = poisoned(bench, &bench.settings).await;
        let folder = folder();
        let worker = MonitoredWorker::start(folder.path(), &settings, RULES, &[]).await;
        assert_flown(bench, &downstream, good.len()).await;
        assert_set_aside(bench, 3).await;
        assert_eq!(worker.worker.stop().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn it_is_set_aside_from_the_intake_of_partitions() {
    with_bench(rabbitmq::shared(), async |bench| {
        partitioned(bench, 2).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let good = &traffic()[..80];
        publish_all(bench, &good[..40]).await;
        publish_all(bench, &bad()).await;
        publish_all(bench, &good[40..]).await;
        let (_poison, settings) = poisoned(bench, &unpartitioned(bench)).await;
        let folder = folder();
        let more = [("THROUGHLINE_PARTITIONS__COUNT", "2")];
        let worker = MonitoredWorker::start(folder.path(), &settings, RULES, &more).await;
        assert_flown(bench, &downstream, good.len()).await;
        assert_set_aside(bench, 1).await;
        assert_eq!(worker.worker.stop().code(), Some(0));
    })
    .await;
}

mod amqp_1 {
    use pretty_assertions::assert_eq;

    use super::*;

    #[tokio::test]
    #[ignore = "only RabbitMQ 4 speaks AMQP 1.0 without a plugin: scripts/test-rabbitmq-4"]
    async fn a_property_without_a_counterpart_is_set_aside_alone() {
        with_bench(rabbitmq::shared(), async |bench| {
            declare_topology(bench).await;
            let downstream = bench.downstream("interaction.#", quorum()).await;
            let good = &traffic()[..80];
            let messages = good.iter().map(|body| (body.as_str(), false));
            let mut messages: Vec<_> = messages.collect();
            messages.insert(40, ("{}", true));
            send_by_amqp_1(&bench.settings.url, &bench.settings.queue, &messages);
            let folder = folder();
            let worker = MonitoredWorker::start(folder.path(), &bench.settings, RULES, &[]).await;
            assert_flown(bench, &downstream, good.len()).await;
            let dead = &bench.settings.dead_letters;
            poll_until_some(async || (bench.ready(dead).await == 1).then_some(())).await;
            let name = r#"throughline_dead_lettered_total{reason="undeliverable"}"#;
            poll_until_some(async || (worker.metrics().await[name] == 1.0).then_some(())).await;
            assert_eq!(bench.ready(&bench.settings.queue).await, 0);
            assert_eq!(worker.worker.stop().code(), Some(0));
        })
        .await;
    }

    #[tokio::test]
    #[ignore = "only RabbitMQ 4 speaks AMQP 1.0 without a plugin: scripts/test-rabbitmq-4"]
    async fn the_tool_steps_over_such_dead_letters_and_removes_them_alone() {
        with_bench(rabbitmq::shared(), async |bench| {
            declare_topology(bench).await;
            let good = independent(12);
            let messages = good.iter().map(|body| (body.as_str(), false));
            let mut messages: Vec<_> = messages.collect();
            messages.insert(3, ("{}", true));
            messages.insert(9, ("{}", true));
            let dead = bench.settings.dead_letters.clone();
            send_by_amqp_1(&bench.settings.url, &dead, &messages);
            let listed = async |words: &str| {
                let (code, out) = run_dead_letters(bench, words).await;
                let bad = out.lines().filter(|line| line.contains("undeliverable")).count();
                (code, bad, out.lines().count() - bad)
            };
            assert_eq!(listed("list --json").await, (Some(0), 2, 12));
            poll_until_some(async || (bench.ready(&dead).await == 14).then_some(())).await;
            assert_eq!(listed("list --json --reason undeliverable").await, (Some(0), 2, 0));
            poll_until_some(async || (bench.ready(&dead).await == 14).then_some(())).await;
            let discard = "discard --json --reason undeliverable --limit 1";
            assert_eq!(listed(discard).await, (Some(0), 1, 0));
            poll_until_some(async || (bench.ready(&dead).await == 13).then_some(())).await;
            // What can be read is replayed; the other one stays, and is told.
            assert_eq!(listed("replay --json --all").await, (Some(75), 0, 12));
            poll_until_some(async || (bench.ready(&dead).await == 1).then_some(())).await;
            assert_eq!(bench.ready(&bench.settings.queue).await, 12);
            assert_eq!(listed("discard --json --all").await, (Some(0), 1, 0));
            assert_eq!(bench.ready(&dead).await, 0);
            assert_eq!(bench.ready(&bench.settings.queue).await, 12, "nothing else is gone");
        })
        .await;
    }
}
