//! A day at a contact centre with everything going wrong, made from a seed, checked by an oracle.
//!
//! One or three real workers, of one, two and four lanes, share a queue of a real RabbitMQ and a real
//! store, while the connections to both are cut, stalled and slowed down, the broker is killed, frozen
//! and short of memory, the system downstream does not read or is not bound, the store is restarted, killed,
//! locked for longer than the workers wait, or its disk full, workers are killed, stopped and frozen, and
//! the work queue vanishes, and messages come that no client can decode; one by one, or up to three at
//! once. In the end
//!
//! - every message that cannot be decoded is set aside as that;
//! - every event is accounted for once: published, set aside for the expected reason, or ignored;
//! - whatever came out again carries the id that it had, and what came out first held the user data
//!   that the model says, of interactions that several workers had a hand in;
//! - history is what the model has, no interaction that is over has live data, and the queues are
//!   empty.
//!
//! | file | what |
//! |---|---|
//! | `conversation.rs`, `model.rs` | the traffic of a seed, and what must become of it |
//! | `driver.rs`, `ledger.rs` | sends it, and checks what comes out |
//! | `client.rs` | the vendor and the system downstream |
//! | `schedule.rs`, `faults.rs`, `relay.rs` | the harm |
//! | `fleet.rs`, `store_kind.rs` | the workers and their store |
//!
//! `THROUGHLINE_TEST_SEED` replays a seed: the same traffic and the same faults at the same points of
//! it. What the machine does in between is not in its hands, so a failure may take a few runs.

mod client;
mod conversation;
mod driver;
mod faults;
mod fleet;
mod ledger;
mod model;
pub(crate) mod random;
mod relay;
mod schedule;
mod store_kind;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::BasicProperties;
use serde_json::Value;
use throughline::broker::{Settings, Topology};
use throughline::retry::RetrySchedule;
use tokio::sync::watch;

use crate::support::bench::{self, Bench, headers, text};
use crate::support::rabbitmq::Node;
use client::{Downstream, Vendor};
use driver::{Driver, DriverCommands, DriverProgress, Traffic, Volume};
use faults::FaultInjector;
use fleet::{FleetLayout, WorkerFleet};
use store_kind::StoreKind;

/// The lanes of each worker where there are several.
const WORKER_LANES: [usize; 3] = [1, 2, 4];

fn lanes(lanes: &'static [usize]) -> FleetLayout {
    FleetLayout { lanes, partitions: 0 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_on_postgresql() {
    let volume = Volume { messages: 600, faults: 8 };
    simulate(seed().unwrap_or(11), volume, StoreKind::postgres().await, lanes(&WORKER_LANES)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_partitions_and_three_workers() {
    let volume = Volume { messages: 600, faults: 6 };
    let layout = FleetLayout { lanes: &[1; 3], partitions: 4 };
    simulate(seed().unwrap_or(5), volume, StoreKind::postgres().await, layout).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_on_sqlite() {
    simulate(
        seed().unwrap_or(2),
        Volume { messages: 600, faults: 6 },
        StoreKind::sqlite(),
        lanes(&[1]),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_of_four_lanes_on_a_small_disk() {
    let volume = Volume { messages: 600, faults: 8 };
    simulate(seed().unwrap_or(3), volume, StoreKind::small_disk(), lanes(&[4])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: half an hour; CONTRIBUTING.md has the command"]
async fn long() {
    let messages = number("THROUGHLINE_TEST_MESSAGES").unwrap_or(200_000);
    let faults = number("THROUGHLINE_TEST_FAULTS").unwrap_or(200);
    let seed = seed().unwrap_or_else(|| getrandom::u64().expect("the system has randomness"));
    simulate(seed, Volume { messages, faults }, StoreKind::postgres().await, lanes(&WORKER_LANES))
        .await;
}

/// The seed that is to be replayed.
fn seed() -> Option<u64> {
    number("THROUGHLINE_TEST_SEED")
}

/// The number that a variable of the environment has, if it is set.
pub(crate) fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

/// Runs the traffic of a seed against its faults, and checks the end.
async fn simulate(seed: u64, volume: Volume, store: StoreKind, layout: FleetLayout) {
    println!("THROUGHLINE_TEST_SEED={seed}: {} messages", volume.messages);
    let node = Arc::new(Node::start());
    let mut bench = Bench::connect(&node.url).await;
    // As the workers are told: they make the names of the partitions' queues.
    let names = bench.settings.clone();
    if layout.partitions > 0 {
        let source = names.inbound().remove(0).partitioned(layout.partitions, None);
        bench.settings.sources = vec![source];
    }
    bench::declare_topology(&mut bench).await;
    let downstream = bench.downstream("#", headers([("x-queue-type", text("quorum"))])).await;
    let settings = bench.settings.clone();
    let schedule = schedule::schedule(seed, volume.faults, &store, layout.lanes.len());
    let fleet = WorkerFleet::start(&node, &names, store, layout).await;

    let (commands, ordered) = watch::channel(DriverCommands::default());
    let (tell, progress) = watch::channel(DriverProgress::default());
    let mut driver = Driver {
        seed,
        volume,
        vendor: Vendor::connect(&node.url, &settings.inbound_exchange).await,
        downstream: Downstream::connect(&node.url, &downstream, &settings.dead_letters).await,
        commands: ordered,
        progress: tell,
        traffic: Traffic::default(),
    };
    let queue = settings.inbound().remove(0).queue;
    let outbound = (settings.outbound_exchange.clone(), downstream);
    let node = Arc::clone(&node);
    let injector = FaultInjector { node, fleet, queue, outbound, commands, progress };
    tokio::join!(Box::pin(driver.run()), Box::pin(injector.run(&schedule, volume)));

    let FaultInjector { fleet, .. } = &injector;
    stop_when_empty(fleet, &settings).await;
    read_to_the_end(&mut driver, &settings).await;
    println!("  {}", driver.traffic.ledger.summary());
    println!("  {}", schedule::tally(&schedule));
    check_history(fleet, &driver.traffic);
    assert_eq!(
        fleet.store.wrong_live_data().await,
        0,
        "live data is there while, and only while, active"
    );
}

/// Waits until nothing is ready, then stops the workers: what they held would be ready afterwards.
async fn stop_when_empty(fleet: &WorkerFleet, settings: &Settings) {
    /// Between looks.
    const LOOK: Duration = Duration::from_millis(100);
    let bench = Bench::connect(&settings.url).await;
    let topology = Topology::new(settings, &RetrySchedule::default().delays());
    let queues = topology.queues.iter().map(|queue| &queue.name);
    let queues: Vec<_> = queues.filter(|name| **name != settings.dead_letters).collect();
    let ready = async || {
        let mut ready = 0;
        for queue in &queues {
            ready += bench.ready(queue).await;
        }
        ready
    };
    loop {
        bench::within_timeout(async {
            while ready().await > 0 {
                tokio::time::sleep(LOOK).await;
            }
        })
        .await;
        for which in 0..fleet.len() {
            let code = fleet.stop(which).await;
            assert_eq!(code, Some(0), "worker {which} stops in peace:\n{}", fleet.log(which));
        }
        if ready().await == 0 {
            return;
        }
        (0..fleet.len()).for_each(|which| fleet.start_again(which));
    }
}

/// Reads what came out last: up to a message that is sent when no worker runs any more.
async fn read_to_the_end(driver: &mut Driver, settings: &Settings) {
    const LAST: &str = "last";
    let bench = Bench::connect(&settings.url).await;
    for exchange in [&settings.outbound_exchange, &settings.dead_letters] {
        let properties = BasicProperties::default().with_message_id(LAST.into());
        let (exchange, options) = (exchange.as_str().into(), Default::default());
        let sent = bench.channel.basic_publish(exchange, LAST.into(), options, b"", properties);
        assert!(sent.await.expect("sent").await.expect("answered").is_ack());
    }
    let mut still_open = 2;
    while still_open > 0 {
        let (output, acker) = bench::within_timeout(driver.downstream.next()).await;
        driver.downstream.acknowledge(acker).await;
        if output.message_id == LAST {
            still_open -= usize::from(!output.redelivered);
        } else {
            let awaited = driver.traffic.ledger.record_output(&output);
            assert_eq!(awaited, None, "all that must come out had come out");
        }
    }
}

/// Compares the contact log with the model, row by row.
fn check_history(fleet: &WorkerFleet, traffic: &Traffic) {
    let key = |row: &Value| (row["tenant"].to_string(), row["id"].to_string());
    let mut expected: BTreeMap<_, _> = traffic
        .model
        .iter()
        .map(|interaction| {
            let row = interaction.row();
            (key(&row), row)
        })
        .collect();
    for mut row in fleet.history() {
        let of = key(&row);
        let columns = row.as_object_mut().expect("a row is an object");
        columns.remove("created").expect("it was created");
        columns.remove("updated").expect("it was updated");
        columns.remove("queue");
        let has_ended = columns.remove("ended").is_some_and(|ended| !ended.is_null());
        assert_eq!(has_ended, row["state"] != "active", "the end of {of:?}");
        assert_eq!(Some(row), expected.remove(&of), "what history has of {of:?}");
    }
    assert!(expected.is_empty(), "history lacks {:?}", expected.keys().next());
}
