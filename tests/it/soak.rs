//! A million messages through one worker, with an outage downstream and one of the broker on the way.
//!
//! `scripts/soak` measures the memory: it starts this test, samples the worker's process from outside,
//! and makes the table and picture of docs/performance.md. The test itself checks only that every
//! message is published. In the folder that `THROUGHLINE_SOAK_DIR` names, three files say what goes
//! on: `pid` of the worker, `phase`, and how many messages have come `out`.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::Consumer;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions};
use lapin::types::FieldTable;

use crate::run::RULES;
use crate::support::bench::{self, Bench, cause, declare_topology, publish_all, quorum};
use crate::support::postgres::Database;
use crate::support::program::{Worker, folder, store_variables};
use crate::support::rabbitmq::Node;

/// Messages that are under way at most, so that the work queue is a queue and not a store.
const MAX_IN_FLIGHT: usize = 5_000;
/// Messages that are published before their confirms are awaited.
const PUBLISH_BATCH: usize = 500;
/// Messages that arrive in an outage: as many as fill every buffer of the worker's several times.
const OUTAGE_MESSAGES: usize = 20_000;
/// How long an outage lasts: long enough to see what a waiting worker does, and, downstream, below
/// `waiting.unroutable_secs`.
const OUTAGE_DURATION: Duration = Duration::from_secs(45);
/// How long the worker is watched when all is done.
const IDLE_DURATION: Duration = Duration::from_secs(30);
/// Conversations that go on at the same time, of four messages each.
const CONCURRENT_CONVERSATIONS: usize = 50;
/// An enriched message's routing keys, and an end's.
const ENRICHED: &str = "interaction.enriched.#";
const ENDED: &str = "interaction.ended.#";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run scripts/soak"]
async fn one_worker() {
    let messages = std::env::var("THROUGHLINE_SOAK_MESSAGES");
    let messages = messages.map_or(1_000_000, |text| text.parse().expect("a number of messages"));
    let node = Node::start();
    let database = Database::create().await;
    let mut bench = Bench::connect(&node.url).await;
    declare_topology(&mut bench).await;
    let queue = bench.downstream(ENDED, quorum()).await;
    let folder = folder();
    let store = store_variables(&database);
    let worker = Worker::start(folder.path(), &bench.settings, RULES, &store);
    let status =
        StatusFiles(std::env::var_os("THROUGHLINE_SOAK_DIR").expect("scripts/soak says where"));
    status.write("pid", worker.id());

    let mut soak = SoakRun::new(bench, queue, status).await;
    soak.bind_downstream(true).await;
    soak.begin_phase("warm-up");
    soak.publish_and_receive(messages / 10).await;
    soak.begin_phase("steady");
    soak.publish_and_receive(messages / 2).await;

    soak.begin_phase("no queue downstream");
    soak.bind_downstream(false).await;
    soak.send(OUTAGE_MESSAGES).await;
    tokio::time::sleep(OUTAGE_DURATION).await;
    soak.begin_phase("taken again");
    soak.bind_downstream(true).await;
    soak.publish_and_receive(soak.sent).await;

    soak.begin_phase("broker gone");
    soak.send(OUTAGE_MESSAGES).await;
    node.kill();
    tokio::time::sleep(OUTAGE_DURATION).await;
    soak.begin_phase("broker back");
    node.start_again();
    soak.reconnect(&node).await;
    soak.publish_and_receive(soak.sent).await;

    soak.begin_phase("steady again");
    soak.publish_and_receive(messages).await;
    soak.begin_phase("idle");
    tokio::time::sleep(IDLE_DURATION).await;
    soak.begin_phase("over");
    assert_eq!(soak.bench.ready(&soak.bench.settings.dead_letters).await, 0);
    assert_eq!(worker.stop().code(), Some(0));
}

/// The folder with the files that scripts/soak reads.
struct StatusFiles(std::ffi::OsString);

impl StatusFiles {
    fn write(&self, file: &str, what: impl std::fmt::Display) {
        let path = PathBuf::from(&self.0).join(file);
        // Renamed, so that scripts/soak never reads half of it.
        let new = path.with_extension("new");
        std::fs::write(&new, what.to_string()).expect("the folder can be written");
        std::fs::rename(new, path).expect("the folder can be written");
    }
}

/// What is sent, and what has come out.
struct SoakRun {
    bench: Bench,
    queue: String,
    consumer: Consumer,
    status: StatusFiles,
    sent: usize,
    /// Which messages have come out; those that come out again count once.
    seen: Vec<bool>,
    out: usize,
}

impl SoakRun {
    async fn new(bench: Bench, queue: String, status: StatusFiles) -> SoakRun {
        let consumer = consume(&bench, &queue).await;
        SoakRun { bench, queue, consumer, status, sent: 0, seen: Vec::new(), out: 0 }
    }

    fn begin_phase(&self, name: &str) {
        println!("{:>8} out; {name}", self.out);
        self.status.write("phase", name);
    }

    /// Binds the queue downstream for enriched messages, or unbinds it.
    async fn bind_downstream(&self, listen: bool) {
        let (queue, key, arguments) = (&self.queue, ENRICHED.into(), FieldTable::default());
        let exchange = self.bench.settings.outbound_exchange.as_str().into();
        let channel = &self.bench.channel;
        let done = match listen {
            true => {
                let options = QueueBindOptions::default();
                channel.queue_bind(queue.as_str().into(), exchange, key, options, arguments).await
            }
            false => channel.queue_unbind(queue.as_str().into(), exchange, key, arguments).await,
        };
        done.expect("the broker is there");
    }

    /// Publishes so many more, and waits until the broker has them.
    async fn send(&mut self, count: usize) {
        publish_all(&self.bench, (self.sent..self.sent + count).map(body)).await;
        self.sent += count;
        self.seen.resize(self.sent, false);
    }

    /// Publishes until so many are sent, and returns when all of them have come out.
    async fn publish_and_receive(&mut self, until: usize) {
        while self.out < until {
            if self.sent < until && self.sent - self.out < MAX_IN_FLIGHT {
                self.send(PUBLISH_BATCH.min(until - self.sent)).await;
                continue;
            }
            let delivery =
                bench::within_timeout(self.consumer.next()).await.expect("the queue is there");
            let delivery = delivery.expect("delivered");
            delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
            self.out += usize::from(!std::mem::replace(&mut self.seen[cause(&delivery)], true));
            if self.out.is_multiple_of(1000) {
                self.status.write("out", self.out);
            }
        }
    }

    /// Leaves the connection that was lost.
    async fn reconnect(&mut self, node: &Node) {
        let settings = self.bench.settings.clone();
        self.bench = Bench::connect(&node.url).await;
        self.bench.settings = settings;
        self.consumer = consume(&self.bench, &self.queue).await;
    }
}

async fn consume(bench: &Bench, queue: &str) -> Consumer {
    bench.channel.basic_qos(2_000, BasicQosOptions::default()).await.expect("qos");
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let consumer = bench.channel.basic_consume(queue.into(), "".into(), options, arguments);
    consumer.await.expect("it can be consumed")
}

/// The `n`-th message: a web engagement, its chat, an update and the end of the chat, of many
/// conversations at the same time.
fn body(n: usize) -> String {
    let (block, within) = (n / (4 * CONCURRENT_CONVERSATIONS), n % (4 * CONCURRENT_CONVERSATIONS));
    let c = block * CONCURRENT_CONVERSATIONS + within % CONCURRENT_CONVERSATIONS;
    match within / CONCURRENT_CONVERSATIONS {
        0 => format!(
            r#"{{"type":"interaction.created","id":"{n}","interaction":{{"id":"W{c}","channel":"webengagement","userData":{{"rule":"r{c}","strategy":"s","page":"/checkout/{c}","secret":"x{c}"}}}}}}"#
        ),
        1 => format!(
            r#"{{"type":"interaction.created","id":"{n}","interaction":{{"id":"C{c}","channel":"chat","parentId":"W{c}","userData":{{"name":"n{c}"}}}}}}"#
        ),
        2 => format!(
            r#"{{"type":"interaction.updated","id":"{n}","source":"agent","interaction":{{"id":"C{c}","userData":{{"plan":"p{c}"}}}}}}"#
        ),
        _ => format!(
            r#"{{"type":"interaction.ended","id":"{n}","interaction":{{"id":"C{c}","state":"handled"}}}}"#
        ),
    }
}
