//! Workers are replaced one after the other while messages keep coming, as an upgrade does it: no
//! conversation is lost, repeated or out of order, and nobody is woken.
//!
//! Sixty messages at most are under way at any time, and as many go in as come out, so each worker is
//! told to stop in the middle of its work, however fast the machine is. What would wake somebody is
//! [`QUIET`]; that its metrics are those of the alert rules is checked.

use std::cell::Cell;
use std::collections::BTreeMap;

use pretty_assertions::assert_eq;
use tokio::sync::watch;

use super::{Fleet, Outcome, assert_in_order, left, partitioned, run_empty};
use crate::run::{publish_all, quorum, traffic};
use crate::support::bench::{self, Bench};
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
/// How many must come out between a worker's end and the next one's.
const BETWEEN: usize = 60;

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
        let (came_out, so_far) = watch::channel(0);
        let all_replaced = Cell::new(false);
        let replaced = async {
            for which in WORKERS..2 * WORKERS {
                let stops = workers.remove(0);
                flows(&so_far).await;
                for worker in workers.iter().chain([&stops]) {
                    assert_quiet(worker).await;
                }
                stopped(stops, &workers).await;
                workers.push(ready(&fleet, which, bench).await);
            }
            flows(&so_far).await;
            all_replaced.set(true);
            workers
        };
        let (events, workers) =
            tokio::join!(feed(bench, &mut outcome, &came_out, &all_replaced), replaced);

        run_empty(bench, &partitions).await;
        for worker in workers {
            assert_quiet(&worker).await;
            assert_eq!(worker.worker.stop().code(), Some(0));
        }
        assert_in_order(&outcome.received, events);
        assert_eq!(
            outcome.received.len(),
            events,
            "who has time to finish leaves nothing to repeat"
        );
        assert_eq!(bench.ready(&downstream).await, 0, "nothing more came out");
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

/// Keeps messages coming until all workers are replaced, whole conversations of them, and takes what
/// comes out; gives the number.
async fn feed(
    bench: &Bench,
    outcome: &mut Outcome,
    came_out: &watch::Sender<usize>,
    enough: &Cell<bool>,
) -> usize {
    let bodies = traffic();
    let mut published = 0;
    while !(enough.get() && published % (2 * PORTION) == 0) {
        publish_all(bench, &bodies[published..published + PORTION]).await;
        published += PORTION;
        outcome.until(published.saturating_sub(UNDER_WAY)).await;
        came_out.send_replace(outcome.seen.len());
    }
    outcome.until(published).await;
    published
}

/// Waits until so many more have come out.
async fn flows(so_far: &watch::Receiver<usize>) {
    let mut so_far = so_far.clone();
    let enough = *so_far.borrow() + BETWEEN;
    bench::soon(so_far.wait_for(|count| *count >= enough)).await.expect("it is fed");
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
            ("W", n) => serde_json::json!({ "rule": format!("r{n}") }),
            (_, n) => serde_json::json!({ "rule": format!("r{n}"), "plan": format!("p{n}") }),
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
