//! Workers are replaced one after the other while messages keep coming, as an upgrade does it: no
//! conversation is lost, repeated or out of order, and nobody is woken.
//!
//! Traffic comes in shares. A worker is told to stop when a third of a share has come out, and the next
//! share begins before its successor does, so there is work at every moment that matters, however fast
//! the machine is. What would wake somebody is [`QUIET`]; that its metrics are those of the alert rules is
//! checked.

use std::collections::BTreeMap;

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use pretty_assertions::assert_eq;
use serde_json::json;
use tokio::sync::watch;

use super::{Fleet, Outcome, assert_in_order, left, partitioned, run_empty};
use crate::run::traffic;
use crate::support::bench::{self, Bench, publish_all, quorum};
use crate::support::program::history;
use crate::support::rabbitmq;
use crate::support::watched::{Watched, look};

/// How many workers there are at a time.
const WORKERS: usize = 3;
const PARTITIONS: u16 = 4;
/// What is published at once: half of ten conversations of four messages each.
const PORTION: usize = 20;
/// What may be under way when the next portion follows; enough for every partition to have some.
const UNDER_WAY: usize = 40;
/// Whole conversations, and more than [`UNDER_WAY`] twice, so that some of a share is still to be
/// published when a third of it has come out.
const SHARE: usize = 120;

/// Samples of metrics, by the beginning of their names, and the value at which nobody is woken. The
/// alert rules that have rates of these cannot fire while there is nothing to count.
const QUIET: [(&str, f64); 12] = [
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
async fn three_workers_are_replaced_under_load_and_nobody_notices() {
    bench::on(rabbitmq::shared(), async |bench| {
        let partitions = partitioned(bench, PARTITIONS).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let fleet = Fleet::new(2 * WORKERS).await;
        let mut workers = Vec::new();
        for which in 0..WORKERS {
            workers.push(ready(&fleet, which, bench).await);
        }
        let mut outcome = Outcome::of(bench, &downstream).await;
        let (traffic, shares) = Traffic::new();
        let replaced = async {
            for which in WORKERS..2 * WORKERS {
                traffic.begins().await;
                let stops = workers.remove(0);
                for worker in workers.iter().chain([&stops]) {
                    assert_quiet(worker).await;
                }
                stopped(stops, &workers).await;
                traffic.begins().await;
                workers.push(ready(&fleet, which, bench).await);
            }
            traffic.begins().await;
            drop(traffic);
            workers
        };
        let (events, workers) = tokio::join!(feed(bench, &mut outcome, shares), replaced);
        assert_eq!(events, (2 * WORKERS + 1) * SHARE);

        run_empty(bench, &partitions).await;
        for worker in workers {
            assert_quiet(&worker).await;
            assert_eq!(worker.worker.stop().code(), Some(0));
        }
        no_more(bench, &downstream, &mut outcome, events).await;
        assert_eq!(outcome.received.len(), events, "whoever has time to finish repeats nothing");
        assert_in_order(&outcome.received, events);
        assert_eq!(left(bench, &partitions).await, 0);
        assert_eq!(bench.ready(&bench.settings.dead_letters).await, 0);
        assert_history(&fleet, events);
    })
    .await;
}

/// A worker that is ready.
async fn ready(fleet: &Fleet, which: usize, bench: &Bench) -> Watched {
    let watched = fleet.watched(which, bench, PARTITIONS).await;
    watched.misses(vec![]).await;
    watched
}

/// Asks for traffic.
struct Traffic {
    asked: watch::Sender<usize>,
    came_out: watch::Receiver<usize>,
}

/// What is asked for, and what has come out of it.
struct Shares {
    asked: watch::Receiver<usize>,
    came_out: watch::Sender<usize>,
}

impl Traffic {
    fn new() -> (Traffic, Shares) {
        let (asked, to_come) = watch::channel(0);
        let (came_out, so_far) = watch::channel(0);
        (Traffic { asked, came_out: so_far }, Shares { asked: to_come, came_out })
    }

    /// Asks for another share, and waits until a third of it has come out.
    async fn begins(&self) {
        let before = *self.asked.borrow();
        self.asked.send_replace(before + SHARE);
        let mut came_out = self.came_out.clone();
        let enough = came_out.wait_for(|count| *count >= before + SHARE / 3);
        bench::soon(enough).await.expect("it is fed");
    }
}

/// Publishes what is asked for, as fast as it comes out again, until nobody asks any more; gives the
/// number.
async fn feed(bench: &Bench, outcome: &mut Outcome, mut shares: Shares) -> usize {
    let bodies = traffic();
    let mut published = 0;
    while shares.asked.wait_for(|asked| *asked > published).await.is_ok() {
        publish_all(bench, &bodies[published..published + PORTION]).await;
        published += PORTION;
        outcome.until(published.saturating_sub(UNDER_WAY)).await;
        shares.came_out.send_replace(outcome.seen.len());
    }
    outcome.until(published).await;
    published
}

/// Tells a worker to stop and waits for its end, while the others are looked at.
async fn stopped(watched: Watched, others: &[Watched]) {
    let end = tokio::task::spawn_blocking(move || watched.worker.stop());
    look(async || {
        for other in others {
            assert_quiet(other).await;
        }
        end.is_finished().then_some(())
    })
    .await;
    assert_eq!(end.await.expect("it can be waited for").code(), Some(0));
}

/// Takes whatever else has come out, now that all workers have ended.
async fn no_more(bench: &Bench, downstream: &str, outcome: &mut Outcome, events: usize) {
    // Behind everything else there is in the queue, as if it came of an event after the last.
    let last = BasicProperties::default().with_correlation_id(events.to_string().into());
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let sent = bench.channel.basic_publish("".into(), downstream.into(), options, b"{}", last);
    assert!(sent.await.expect("sent").await.expect("answered").is_ack());
    outcome.until(events + 1).await;
    outcome.received.pop();
}

/// Nothing that a worker says of itself would wake somebody, and it is ready.
async fn assert_quiet(watched: &Watched) {
    let ready = watched.get("/readyz").await;
    assert_eq!(ready.status, 200, "{}", String::from_utf8_lossy(&ready.body));
    let metrics: BTreeMap<String, f64> = watched.metrics().await;
    for (name, quiet) in QUIET {
        let mut samples = metrics.iter().filter(|(sample, _)| sample.starts_with(name)).peekable();
        assert!(samples.peek().is_some(), "there is no {name}");
        for (sample, value) in samples {
            assert_eq!(*value, quiet, "{sample}");
        }
    }
}

/// Each conversation has left what history allows of its visit and of its chat, updates included.
fn assert_history(fleet: &Fleet, events: usize) {
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
fn what_is_quiet_here_is_what_the_alert_rules_look_at() {
    let alerts = include_str!("../../../deploy/prometheus/alerts.yml");
    for (name, _) in QUIET {
        let name = name.split('{').next().expect("a name");
        assert!(alerts.contains(name), "no alert looks at {name}");
    }
}
