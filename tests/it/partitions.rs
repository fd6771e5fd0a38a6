//! Partitions on a real broker: a conversation stays in order whichever worker handles it, wherever a worker
//! is killed, and while the number of partitions is changed as docs/operating.md says.

mod change;
mod choice;
mod operator;
mod rolling;

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Consumer};
use pretty_assertions::assert_eq;
use serde_json::{Value, json};
use tempfile::TempDir;
use throughline::broker::{Partitioned, Queue, Settings, Topology};
use throughline::pipeline::ports::{Delivery as _, Distributor as _, PublishOutcome, Settlement};
use throughline::retry::RetrySchedule;

use crate::run::{RULES, traffic};
use crate::support::bench::{self, Bench, cause, headers, quorum, receive_batch, settle_all, text};
use crate::support::monitored_worker::MonitoredWorker;
use crate::support::postgres::Database;
use crate::support::program::{Worker, folder, run_on_broker, stderr, store_variables};
use crate::support::rabbitmq;

/// Workers of one store and one broker, each with a folder of its own.
struct WorkerFleet {
    database: Database,
    folders: Vec<TempDir>,
}

impl WorkerFleet {
    async fn new(size: usize) -> WorkerFleet {
        let folders = (0..size).map(|_| folder()).collect();
        WorkerFleet { database: Database::create().await, folders }
    }

    fn settings<'f>(&'f self, more: &[(&'f str, &'f str)]) -> Vec<(&'f str, &'f str)> {
        [&store_variables(&self.database)[..], more].concat()
    }

    fn start(&self, which: usize, bench: &Bench, count: u16, more: &[(&str, &str)]) -> Worker {
        let count = count.to_string();
        let more = [&[("THROUGHLINE_PARTITIONS__COUNT", count.as_str())], more].concat();
        let folder = self.folders[which].path();
        Worker::start(folder, &unpartitioned(bench), RULES, &self.settings(&more))
    }

    /// The same with an HTTP server.
    async fn start_monitored(&self, which: usize, bench: &Bench, count: u16) -> MonitoredWorker {
        let count = count.to_string();
        let more = self.settings(&[("THROUGHLINE_PARTITIONS__COUNT", count.as_str())]);
        MonitoredWorker::start(self.folders[which].path(), &unpartitioned(bench), RULES, &more)
            .await
    }
}

/// The settings of a bench as they are written: the worker makes the names of the partitions.
pub(crate) fn unpartitioned(bench: &Bench) -> Settings {
    Settings { sources: Vec::new(), ..bench.settings.clone() }
}

/// Gives the bench so many partitions, declared; all that were there before are still known to it.
pub(crate) async fn partitioned(bench: &mut Bench, count: u16) -> Partitioned {
    let source = unpartitioned(bench).inbound().remove(0).partitioned(count, None);
    let partitions = source.partitions.clone().expect("it has some");
    bench.settings.sources = vec![source];
    let mut topology = Topology::new(&bench.settings, &RetrySchedule::default().delays());
    let link = bench.link().await;
    link.prepare(&topology).await.expect("the topology can be declared");
    link.close().await;
    let known = std::mem::take(&mut bench.topology).queues;
    let is_new = |queue: &Queue| !topology.queues.contains(queue);
    let old: Vec<_> = known.into_iter().filter(is_new).collect();
    topology.queues.extend(old);
    bench.topology = topology;
    partitions
}

/// The published messages, read by one consumer from the first to the last.
struct DownstreamReader {
    consumer: Consumer,
    received: Vec<Delivery>,
    seen: HashSet<usize>,
}

impl DownstreamReader {
    async fn new(bench: &Bench, queue: &str) -> DownstreamReader {
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = bench.channel.basic_consume(queue.into(), "".into(), options, none).await;
        DownstreamReader {
            consumer: consumer.expect("consumed"),
            received: vec![],
            seen: HashSet::new(),
        }
    }

    /// Takes until so many different events have come out.
    async fn read_until(&mut self, events: usize) {
        while self.seen.len() < events {
            let delivery =
                bench::within_timeout(self.consumer.next()).await.expect("the queue is there");
            let delivery = delivery.expect("a delivery");
            delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
            self.seen.insert(cause(&delivery));
            self.received.push(delivery);
        }
    }
}

/// Each event's first occurrence, in order, by conversation: ten go on at the same time, four messages
/// each. Repeats must carry the id that the first one had.
fn by_conversation(received: &[Delivery]) -> BTreeMap<usize, Vec<usize>> {
    let mut ids: HashMap<usize, String> = HashMap::new();
    let mut conversations: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for delivery in received {
        let event = cause(delivery);
        let id = delivery.properties.message_id().as_ref().expect("a message id").to_string();
        match ids.get(&event) {
            Some(known) => assert_eq!(*known, id, "a repeat carries the id it had"),
            None => {
                ids.insert(event, id);
                conversations.entry(conversation(event)).or_default().push(event);
            }
        }
    }
    conversations
}

fn conversation(event: usize) -> usize {
    event / 40 * 10 + event % 10
}

/// Names a message's conversation.
const CONVERSATION: &str = "x-conversation";

/// Publishes all bodies, each with the name of its conversation.
async fn publish_named(bench: &Bench, bodies: &[String]) {
    let mut confirms = Vec::with_capacity(bodies.len());
    for (event, body) in bodies.iter().enumerate() {
        let exchange = bench.settings.inbound_exchange.as_str().into();
        let named = headers([(CONVERSATION, text(&format!("K{}", conversation(event))))]);
        let properties = BasicProperties::default().with_delivery_mode(2).with_headers(named);
        let options = BasicPublishOptions::default();
        let sent = bench.channel.basic_publish(
            exchange,
            "any".into(),
            options,
            body.as_bytes(),
            properties,
        );
        confirms.push(sent.await.expect("it can be published"));
    }
    for confirm in confirms {
        assert!(confirm.await.expect("it is answered").is_ack());
    }
}

fn assert_in_order(received: &[Delivery], events: usize) {
    let conversations = by_conversation(received);
    assert_eq!(conversations.values().map(Vec::len).sum::<usize>(), events, "all came out");
    for (conversation, events) in conversations {
        assert!(events.is_sorted(), "conversation {conversation}: {events:?}");
    }
}

/// How many messages are ready in the partitions.
async fn remaining_messages(bench: &Bench, partitions: &Partitioned) -> u32 {
    let mut left = 0;
    for queue in partitions.queues() {
        left += bench.ready(&queue).await;
    }
    left
}

/// Waits until nothing is ready in the partitions.
async fn await_empty_partitions(bench: &Bench, partitions: &Partitioned) {
    bench::within_timeout(async { while remaining_messages(bench, partitions).await > 0 {} }).await;
}

#[tokio::test]
async fn conversations_stay_in_order_while_workers_are_killed_and_stopped() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        let partitions = partitioned(bench, 4).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let fleet = WorkerFleet::new(3).await;
        let bodies = traffic();
        publish_named(bench, &bodies).await;
        // On RabbitMQ 3 the first to come is active everywhere: this one is killed, the next is told
        // to stop, and the last one finishes.
        let header = [("THROUGHLINE_PARTITIONS__HEADER", CONVERSATION)];
        let mut workers: Vec<_> =
            (0..3).map(|which| fleet.start(which, bench, 4, &header)).collect();
        let mut reader = DownstreamReader::new(bench, &downstream).await;
        for share in [4_000, 8_000] {
            reader.read_until(share).await;
            let worker = workers.remove(0);
            match workers.len() {
                2 => drop(worker),
                _ => assert_eq!(worker.stop().code(), Some(0)),
            }
        }
        reader.read_until(bodies.len()).await;
        await_empty_partitions(bench, &partitions).await;
        for worker in workers {
            assert_eq!(worker.stop().code(), Some(0));
        }

        assert_in_order(&reader.received, bodies.len());
        for queue in partitions.queues().chain([bench.settings.dead_letters.clone()]) {
            assert_eq!(bench.ready(&queue).await, 0, "{queue}");
        }
    })
    .await;
}

#[tokio::test]
async fn message_passed_on_twice_is_published_once() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        partitioned(bench, 2).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        bench.send("any", BasicProperties::default(), &created("A", None, "1")).await;
        // A partitioner that dies before it can acknowledge what it has passed on.
        let link = bench.link().await;
        let mut lane = link.lane_of(&link.sources()[0].clone()).await.expect("a lane");
        let taken = receive_batch(&mut lane, 1).await;
        let answers = lane.publisher.pass_on(&[(&taken[0], 0)]).await.expect("answered");
        assert_eq!(answers, [PublishOutcome::Confirmed]);
        drop((taken, lane, link));

        let folder = folder();
        let worker = Worker::start(folder.path(), &unpartitioned(bench), RULES, &TWO_PARTITIONS);
        bench.send("any", BasicProperties::default(), &created("B", None, "2")).await;
        let received = bench.take(&downstream, 2).await;
        let mut events: Vec<_> = received.iter().map(cause).collect();
        events.sort_unstable();
        assert_eq!(events, [1, 2]);
        for queue in 0..2 {
            let partitions = bench.settings.sources[0].partitions.as_ref().expect("some");
            let queue = partitions.queue(queue);
            bench::within_timeout(async {
                while bench.ready(&queue).await > 0 {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        assert_eq!(worker.stop().code(), Some(0));
        assert_eq!(bench.ready(&downstream).await, 0, "nothing came out twice");
    })
    .await;
}

#[tokio::test]
async fn requeued_messages_precede_undelivered_ones() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        let partitions = partitioned(bench, 1).await;
        bench.settings.sources[0].prefetch_messages = 5;
        for n in 0..20 {
            publish(bench, &partitions.queue(0), &n.to_string()).await;
        }
        let link = bench.link().await;
        let source = link.sources()[0].clone();
        let mut first = link.lane_of_partition(&source, 0).await.expect("a lane");
        let taken = receive_batch(&mut first, 2).await;
        let mut second = link.lane_of_partition(&source, 0).await.expect("another");
        settle_all(&mut first, taken, Settlement::Acknowledge).await;
        // Three more, or five, have been delivered and lie there.
        drop(first);
        for n in 2..20 {
            let taken = receive_batch(&mut second, 1).await;
            assert_eq!(taken[0].body(), n.to_string().as_bytes());
            settle_all(&mut second, taken, Settlement::Acknowledge).await;
        }
    })
    .await;
}

/// A worker's setting.
const TWO_PARTITIONS: [(&str, &str); 1] = [("THROUGHLINE_PARTITIONS__COUNT", "2")];

#[tokio::test]
async fn waiting_and_replayed_messages_return_to_their_partition() {
    bench::with_bench(rabbitmq::shared(), async |bench| {
        partitioned(bench, 2).await;
        let downstream = bench.downstream("interaction.#", quorum()).await;
        let folder = folder();
        let worker = Worker::start(folder.path(), &unpartitioned(bench), RULES, &TWO_PARTITIONS);
        bench.send("vendor.key", BasicProperties::default(), &created("C", Some("P"), "2")).await;
        bench.send("vendor.key", BasicProperties::default(), "no json").await;
        let dead = bench.take(&bench.settings.dead_letters, 1).await;
        assert_eq!(dead[0].routing_key.as_str(), "vendor.key", "as received");
        let queue = dead[0].properties.headers().as_ref().expect("headers").inner();
        let queue = queue["x-throughline-queue"].as_long_string().expect("text").to_string();
        assert_eq!(queue, bench.settings.sources[0].queue);
        bench.send("vendor.key", BasicProperties::default(), &created("P", None, "1")).await;
        let received = bench.take(&downstream, 2).await;
        let child = received.iter().find(|message| cause(message) == 2).expect("the child");
        let child: Value = serde_json::from_slice(&child.data).expect("JSON");
        assert_eq!(child["parent"], "found");

        // An update of an unknown interaction is dead-lettered, and replayed once the interaction exists.
        let update = json!({ "type": "interaction.updated", "id": "3",
                             "interaction": { "id": "late", "userData": { "plan": "gold" } } });
        assert_eq!(worker.stop().code(), Some(0));
        let soon = [TWO_PARTITIONS[0], ("THROUGHLINE_WAITING__UNKNOWN_SECS", "1")];
        let worker = Worker::start(folder.path(), &unpartitioned(bench), RULES, &soon);
        let properties = BasicProperties::default().with_message_id("m-3".into());
        bench.send("vendor.key", properties, &update.to_string()).await;
        bench::within_timeout(async {
            while bench.ready(&bench.settings.dead_letters).await == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        bench.send("vendor.key", BasicProperties::default(), &created("late", None, "4")).await;
        assert_eq!(cause(&bench.take(&downstream, 1).await[0]), 4);
        let arguments = ["dead-letters", "replay", "--id", "m-3"];
        let replayed = run_on_broker(folder.path(), &bench.settings, &TWO_PARTITIONS, &arguments);
        assert!(replayed.status.success(), "{}", stderr(&replayed));
        assert_eq!(cause(&bench.take(&downstream, 1).await[0]), 3);
        assert_eq!(worker.stop().code(), Some(0));
    })
    .await;
}

fn created(id: &str, parent: Option<&str>, event: &str) -> String {
    let channel = if parent.is_some() { "chat" } else { "webengagement" };
    let interaction = json!({ "id": id, "channel": channel, "parentId": parent });
    json!({ "type": "interaction.created", "id": event, "interaction": interaction }).to_string()
}

/// Publishes straight to a queue.
async fn publish(bench: &Bench, queue: &str, body: &str) {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let properties = BasicProperties::default();
    let sent =
        bench.channel.basic_publish("".into(), queue.into(), options, body.as_bytes(), properties);
    let answer = sent.await.expect("sent").await.expect("answered");
    assert!(answer.is_ack() && answer.take_message().is_none(), "it is there");
}
