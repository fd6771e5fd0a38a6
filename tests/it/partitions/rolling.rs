//! Workers are replaced one after the other while messages keep coming, as an upgrade does it: no
//! conversation is lost, repeated or out of order, and no alert fires.
//!
//! Traffic comes in shares. A worker is told to stop when a third of a share has come out, and the next
//! share begins before its successor does, so there is work at every moment that matters, however fast
//! the machine is. [`QUIET_METRICS`] are the metrics that alerts watch; a test compares them with the
//! alert rules.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use pretty_assertions::assert_eq;
use serde_json::json;
use tokio::sync::watch;

use super::{
    DownstreamReader, WorkerFleet, assert_in_order, await_empty_partitions, partitioned,
    remaining_messages,
};
use crate::run::traffic;
use crate::support::bench::{self, Bench, publish_all, quorum};
use crate::support::monitored_worker::{MonitoredWorker, poll_until_some};
use crate::support::program::history;
use crate::support::rabbitmq;

/// How many workers there are at a time.
const WORKERS: usize = 3;
const PARTITIONS: u16 = 4;
/// Messages that are published together: half of ten conversations of four messages each.
const PUBLISH_BATCH: usize = 20;
/// Messages that may be in flight when the next batch follows; enough for every partition to have some.
const MAX_IN_FLIGHT: usize = 40;
/// Whole conversations, and more than [`MAX_IN_FLIGHT`] twice, so that some of a share is still to be
/// published when a third of it has come out.
const TRAFFIC_SHARE: usize = 120;

/// Samples of metrics, by the beginning of their names, and the value at which no alert fires. The
/// alert rules that have rates of these cannot fire while there is nothing to count.
const QUIET_METRICS: [(&str, f64); 12] = [
    ("throughline_broker_connected", 1.0),
    ("throughline_broker_blocked", 0.0),
    ("throughline_store_up", 1.0),
    ("throughline_rules_problem", 0.0),
    ("throughline_rejected_total", 0.0),
    ("throughline_dead_lettered_total", 0.0),
    ("throughline_waited_total", 0.0),
    ("throughline_published_total{kind=\"enriched\",answer=\"returned\"", 0.0),
    ("throughline_published_total{kind=\"enriched\",answer=\"lost\"", 0.0),
    ("throughline_published_total{kind=\"enriched\",answer=\"refused\"", 0.0),
    ("throughline_published_total{kind=\"waiting\"", 0.0),
    ("throughline_published_total{kind=\"dead_letter\"", 0.0),
];

#[tokio::test]
async fn rolling_replacement_loses_nothing_and_fires_no_alert() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        let partitions = partitioned(bench, PARTITIONS).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let fleet = WorkerFleet::new(2 * WORKERS).await;
        let mut workers = Vec::new();
        for which in 0..WORKERS {
            workers.push(ready(&fleet, which, bench).await);
        }
        let mut reader = DownstreamReader::new(bench, &downstream).await;
        let (traffic, shares) = TrafficRequester::new();
        let replaced = async {
            for which in WORKERS..2 * WORKERS {
                traffic.request_share().await;
                let stops = workers.remove(0);
                for worker in workers.iter().chain([&stops]) {
                    assert_no_alert(worker).await;
                }
                stop_monitored(stops, &workers).await;
                traffic.request_share().await;
                workers.push(ready(&fleet, which, bench).await);
            }
            traffic.request_share().await;
            drop(traffic);
            workers
        };
        let (events, workers) =
            tokio::join!(publish_requested(bench, &mut reader, shares), replaced);
        assert_eq!(events, (2 * WORKERS + 1) * TRAFFIC_SHARE);

        await_empty_partitions(bench, &partitions).await;
        for worker in workers {
            assert_no_alert(&worker).await;
            assert_eq!(worker.worker.stop().code(), Some(0));
        }
        drain_downstream(bench, &downstream, &mut reader, events).await;
        assert_eq!(reader.received.len(), events, "a worker with time to drain repeats nothing");
        assert_in_order(&reader.received, events);
        assert_eq!(remaining_messages(bench, &partitions).await, 0);
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 0);
        assert_history(&fleet, events);
    })
    .await;
}

/// A worker that is ready.
async fn ready(fleet: &WorkerFleet, which: usize, bench: &Bench) -> MonitoredWorker {
    let watched = fleet.start_monitored(which, bench, PARTITIONS).await;
    watched.await_missing(vec![]).await;
    watched
}

/// Requests shares of traffic from the publisher.
struct TrafficRequester {
    requested: watch::Sender<usize>,
    received: watch::Receiver<usize>,
}

/// The publisher's end: how many messages are requested, and how many have been published by workers.
struct TrafficSource {
    requested: watch::Receiver<usize>,
    received: watch::Sender<usize>,
}

impl TrafficRequester {
    fn new() -> (TrafficRequester, TrafficSource) {
        let (requested, to_come) = watch::channel(0);
        let (received, so_far) = watch::channel(0);
        (
            TrafficRequester { requested, received: so_far },
            TrafficSource { requested: to_come, received },
        )
    }

    /// Asks for another share, and waits until a third of it has come out.
    async fn request_share(&self) {
        let before = *self.requested.borrow();
        self.requested.send_replace(before + TRAFFIC_SHARE);
        let mut received = self.received.clone();
        let enough = received.wait_for(|count| *count >= before + TRAFFIC_SHARE / 3);
        bench::within_timeout(enough).await.expect("it is fed");
    }
}

/// Publishes the requested messages, as fast as the workers publish them again, until the requester is
/// dropped; gives the number.
async fn publish_requested(
    bench: &Bench,
    reader: &mut DownstreamReader,
    mut shares: TrafficSource,
) -> usize {
    let bodies = traffic();
    let mut published = 0;
    while shares.requested.wait_for(|requested| *requested > published).await.is_ok() {
        publish_all(bench, &bodies[published..published + PUBLISH_BATCH]).await;
        published += PUBLISH_BATCH;
        reader.read_until(published.saturating_sub(MAX_IN_FLIGHT)).await;
        shares.received.send_replace(reader.seen.len());
    }
    reader.read_until(published).await;
    published
}

/// Tells a worker to stop and waits for its end, while the others are looked at.
async fn stop_monitored(watched: MonitoredWorker, others: &[MonitoredWorker]) {
    let end = tokio::task::spawn_blocking(move || watched.worker.stop());
    poll_until_some(async || {
        for other in others {
            assert_no_alert(other).await;
        }
        end.is_finished().then_some(())
    })
    .await;
    assert_eq!(end.await.expect("it can be waited for").code(), Some(0));
}

/// Takes whatever else has come out, now that all workers have ended.
async fn drain_downstream(
    bench: &Bench,
    downstream: &str,
    reader: &mut DownstreamReader,
    events: usize,
) {
    // Behind everything else there is in the queue, as if it came of an event after the last.
    let last = BasicProperties::default().with_correlation_id(events.to_string().into());
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let sent = bench.channel.basic_publish("".into(), downstream.into(), options, b"{}", last);
    assert!(sent.await.expect("sent").await.expect("answered").is_ack());
    reader.read_until(events + 1).await;
    reader.received.pop();
}

/// No metric of the worker fires an alert, and the worker is ready.
async fn assert_no_alert(watched: &MonitoredWorker) {
    let ready = watched.get("/readyz").await;
    assert_eq!(ready.status, 200, "{}", String::from_utf8_lossy(&ready.body));
    let metrics: BTreeMap<String, f64> = watched.metrics().await;
    for (name, quiet) in QUIET_METRICS {
        let mut samples = metrics.iter().filter(|(sample, _)| sample.starts_with(name)).peekable();
        assert!(samples.peek().is_some(), "there is no {name}");
        for (sample, value) in samples {
            assert_eq!(*value, quiet, "{sample}");
        }
    }
}

/// Each conversation has left what history allows of its visit and of its chat, updates included.
fn assert_history(fleet: &WorkerFleet, events: usize) {
    let rows = history(fleet.folders[0].path(), &fleet.settings(&[]));
    assert_eq!(rows.len(), events / 2, "a visit and a chat for each four messages");
    for row in rows {
        let id = row["id"].as_str().expect("an id");
        let expected = match id.split_at(1) {
            ("W", n) => json!({ "rule": format!("r{n}") }),
            (_, n) => json!({ "rule": format!("r{n}"), "plan": format!("p{n}") }),
        };
        assert_eq!(row["extraData"], expected, "{id}");
    }
}

#[test]
fn quiet_metrics_are_those_of_the_alert_rules() {
    let alerts = include_str!("../../../deploy/prometheus/alerts.yml");
    for (name, _) in QUIET_METRICS {
        let name = name.split('{').next().expect("a name");
        assert!(alerts.contains(name), "no alert looks at {name}");
    }
}
