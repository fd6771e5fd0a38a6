//! The stage of one run: queues of its own, filled or fed, and a subject at work between them.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::BasicProperties;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, QueuePurgeOptions,
};
use lapin::types::FieldTable;
use tokio::time::MissedTickBehavior;

use crate::messages;
use crate::process;
use crate::subject::{RunningSubject, Subject};
use crate::support::bench::{Bench, declare_topology, headers, text};
use crate::support::postgres::Database;

/// Publishes without waiting for their confirms, at most. Enough to fill a queue quickly.
const FILL: usize = 2_000;

/// How often the queues are looked at. A look costs the broker some tens of microseconds.
const LOOK: Duration = Duration::from_millis(10);

/// Longer than any run takes, by far.
const PATIENCE: Duration = Duration::from_secs(180);

/// What a run over a filled queue came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Throughput {
    /// Messages a second.
    pub(crate) rate: f64,
    /// Processor time of the subject for a message, in microseconds.
    pub(crate) cpu_us: f64,
    /// The same of the broker, which all of them share.
    pub(crate) broker_us: f64,
    /// The same of PostgreSQL, where it is used.
    pub(crate) database_us: f64,
    /// The subject's most memory, in MiB.
    pub(crate) peak_mib: f64,
}

/// The services that all runs share: a broker, a PostgreSQL, and a folder for files.
pub(crate) struct SharedServices<'p> {
    pub(crate) amqp_url: &'p str,
    /// A text that is in the environment of the broker's process only.
    pub(crate) broker_mark: String,
    /// A text that is in the command line of PostgreSQL's processes only.
    pub(crate) database_mark: String,
    pub(crate) folder: &'p Path,
}

/// The queues of one run, and a store of its own.
struct RunSetup {
    bench: Bench,
    downstream: String,
    folder: tempfile::TempDir,
    store: String,
    /// Holds the database.
    _database: Option<Database>,
}

impl RunSetup {
    async fn set(place: &SharedServices<'_>, subject: Subject) -> RunSetup {
        let mut bench = Bench::connect(place.amqp_url).await;
        declare_topology(&mut bench).await;
        let quorum = headers([("x-queue-type", text("quorum"))]);
        let downstream = bench.downstream("#", quorum).await;
        let folder = tempfile::tempdir_in(place.folder).expect("a folder can be made");
        let database = match subject.needs_postgres() {
            true => Some(Database::create().await),
            false => None,
        };
        let store = match &database {
            Some(database) => database.url.clone(),
            None => format!("sqlite:{}", folder.path().join("store.db").display()),
        };
        RunSetup { bench, downstream, folder, store, _database: database }
    }

    fn start(&self, subject: Subject, more: &[(&str, &str)]) -> RunningSubject {
        RunningSubject::start(subject, self.folder.path(), &self.bench.settings, &self.store, more)
    }

    /// Publishes messages and awaits their confirms.
    async fn fill(&self, bodies: &[String]) {
        for bodies in bodies.chunks(FILL) {
            let mut confirms = Vec::with_capacity(bodies.len());
            for body in bodies {
                confirms.push(self.publish(body, BasicProperties::default()).await);
            }
            for confirm in confirms {
                assert!(confirm.await.expect("it is answered").is_ack(), "the queue takes all");
            }
        }
    }

    async fn publish(&self, body: &str, properties: BasicProperties) -> lapin::PublisherConfirm {
        let exchange = self.bench.settings.inbound_exchange.as_str().into();
        let properties = properties.with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        let channel = &self.bench.channel;
        let sent =
            channel.basic_publish(exchange, "any".into(), options, body.as_bytes(), properties);
        sent.await.expect("it can be published")
    }

    /// Waits until so many messages are downstream; says how many there are then.
    async fn arrived(&self, count: usize, running: &mut RunningSubject) -> usize {
        let waiting = async {
            loop {
                let ready = self.bench.ready(&self.downstream).await as usize;
                if ready >= count {
                    return ready;
                }
                running.assert_alive();
                tokio::time::sleep(LOOK).await;
            }
        };
        let arrived = tokio::time::timeout(PATIENCE, waiting).await;
        arrived.unwrap_or_else(|_| panic!("fewer than {count} messages came out in {PATIENCE:?}"))
    }
}

/// Has a subject empty a queue of these messages. The first tenth is its start and does not count.
pub(crate) async fn throughput(
    place: &SharedServices<'_>,
    subject: Subject,
    bodies: &[String],
    more: &[(&str, &str)],
) -> Throughput {
    let stage = RunSetup::set(place, subject).await;
    stage.fill(bodies).await;
    let count = bodies.len();
    let mut running = stage.start(subject, more);
    let pid = running.child.id();
    let used = || {
        [
            process::cpu_secs(pid),
            process::cpu_secs_of(&place.broker_mark),
            process::cpu_secs_of(&place.database_mark),
        ]
    };
    let first = stage.arrived(count / 10, &mut running).await;
    let (began, before) = (Instant::now(), used());
    stage.arrived(count, &mut running).await;
    let (took, after) = (began.elapsed(), used());
    let peak_mib = process::peak_mib(pid);
    drop(running);
    stage.bench.remove().await;
    let messages = (count - first) as f64;
    let each_us = |which: usize| (after[which] - before[which]) * 1e6 / messages;
    Throughput {
        rate: messages / took.as_secs_f64(),
        cpu_us: each_us(0),
        broker_us: each_us(1),
        database_us: each_us(2),
        peak_mib,
    }
}

/// Feeds a subject `rate` messages a second for `secs` seconds; the times from publishing a message to
/// its arrival downstream, in milliseconds, sorted. The first second does not count.
pub(crate) async fn latencies(
    place: &SharedServices<'_>,
    subject: Subject,
    rate: u32,
    secs: u32,
) -> Vec<f64> {
    let stage = RunSetup::set(place, subject).await;
    let running = stage.start(subject, &[]);
    let channel = &stage.bench.channel;
    channel.basic_qos(1_000, BasicQosOptions::default()).await.expect("qos");
    let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
    let queue = stage.downstream.as_str().into();
    let mut arrivals = channel
        .basic_consume(queue, "".into(), options, FieldTable::default())
        .await
        .expect("it can be consumed");
    let bodies: Vec<_> = messages::bodies((rate * secs) as usize).collect();
    let send = async {
        let mut sent = HashMap::with_capacity(bodies.len());
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for body in &bodies {
            ticks.tick().await;
            let id = event_id(body);
            sent.insert(id.to_owned(), Instant::now());
            let properties = BasicProperties::default().with_message_id(id.into());
            // Its confirm is not waited for: that it arrives downstream says more.
            drop(stage.publish(body, properties).await);
        }
        sent
    };
    let receive = async {
        let mut received = HashMap::with_capacity(bodies.len());
        while received.len() < bodies.len() {
            let next = tokio::time::timeout(PATIENCE, arrivals.next()).await;
            let delivery =
                next.expect("all arrive").expect("the queue is there").expect("a delivery");
            let now = Instant::now();
            let id = delivery.properties.correlation_id().clone().expect("a correlation id");
            received.entry(id.to_string()).or_insert(now);
        }
        received
    };
    let (sent, received) = tokio::join!(send, receive);
    drop(running);
    stage.bench.remove().await;
    let counted = bodies.iter().skip(rate as usize).map(|body| event_id(body));
    let mut taken: Vec<_> =
        counted.map(|id| received[id].duration_since(sent[id]).as_secs_f64() * 1000.0).collect();
    taken.sort_by(f64::total_cmp);
    taken
}

/// The time from starting a subject to the arrival of the message that waited for it, in milliseconds.
/// Its store is migrated: an earlier run has been there.
pub(crate) async fn starts(place: &SharedServices<'_>, subject: Subject, times: usize) -> Vec<f64> {
    let stage = RunSetup::set(place, subject).await;
    let channel = &stage.bench.channel;
    let mut taken = Vec::with_capacity(times);
    for n in 0..=times {
        let confirm = stage.publish(&messages::engagement(n), BasicProperties::default()).await;
        assert!(confirm.await.expect("it is answered").is_ack(), "the queue takes it");
        let began = Instant::now();
        let running = stage.start(subject, &[]);
        let waiting = async {
            while stage.bench.ready(&stage.downstream).await == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it starts");
        taken.push(began.elapsed().as_secs_f64() * 1000.0);
        drop(running);
        // A subject that was killed before it acknowledged has left its message, and messages downstream
        // are counted from zero each time.
        for queue in [&stage.bench.settings.queue, &stage.downstream] {
            let purge = channel.queue_purge(queue.as_str().into(), QueuePurgeOptions::default());
            purge.await.expect("it is purged");
        }
    }
    stage.bench.remove().await;
    taken.remove(0);
    taken
}

/// The event's id of one of our messages.
fn event_id(body: &str) -> &str {
    let (_, rest) = body.split_once(r#""id":""#).expect("every message has an id");
    rest.split_once('"').expect("it ends").0
}
