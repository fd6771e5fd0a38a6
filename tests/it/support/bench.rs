//! The fixture of one broker test: unique names on a server, a client that acts as vendor and as
//! downstream system, and the removal of all queues and exchanges.

use std::fmt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use throughline::broker::{Lane, Link, Received, Settings, Topology};
use throughline::domain::Identity;
use throughline::pipeline::ports::{
    Outgoing, Published, PublishedKind, Settlement, Settler, Source, Trace,
};
use throughline::retry::RetrySchedule;
use tokio::sync::watch;

/// Longer than any step takes on a busy machine, the start of a node included: a test that waits this
/// long has failed.
const TEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The one delay that has a waiting queue here.
pub(crate) const WAITING_DELAY: Duration = Duration::from_millis(250);

/// Settings with names of its own, and a client of our own.
pub(crate) struct Bench {
    pub(crate) settings: Settings,
    pub(crate) topology: Topology,
    pub(crate) channel: Channel,
    client: Connection,
    downstream: Vec<String>,
}

/// Runs a test on a bench at `url` with the topology declared, and removes it, however it ends.
pub(crate) async fn with_bench(url: &str, test: impl AsyncFnOnce(&mut Bench)) {
    let mut bench = Bench::connect(url).await;
    let outcome = AssertUnwindSafe(test(&mut bench)).catch_unwind().await;
    bench.remove().await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// Declares all queues of a real worker, and has the bench delete them at its end.
pub(crate) async fn declare_topology(bench: &mut Bench) {
    bench.topology = Topology::new(&bench.settings, &RetrySchedule::default().delays());
    bench.declare().await;
}

/// The result of `future`; panics after the timeout of a test.
pub(crate) async fn within_timeout<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TEST_TIMEOUT, future)
        .await
        .expect("it happens within the patience of a test")
}

impl Bench {
    /// A bench whose server is up. Nothing is declared yet.
    pub(crate) async fn connect(url: &str) -> Bench {
        let client = Connection::connect(url, ConnectionProperties::default())
            .await
            .expect("tests of the broker need a RabbitMQ that answers");
        let channel = client.create_channel().await.expect("a channel");
        let confirms = ConfirmSelectOptions::default();
        channel.confirm_select(confirms).await.expect("confirms");
        let settings = settings(url);
        let topology = Topology::new(&settings, &[WAITING_DELAY]);
        Bench { settings, topology, channel, client, downstream: Vec::new() }
    }

    /// A link with the topology in place, and a lane on it.
    pub(crate) async fn lane(&self) -> (Link, Lane) {
        let link = self.link().await;
        link.prepare(&self.topology).await.expect("the topology can be declared");
        let lane = link.lane().await.expect("a lane can be opened");
        (link, lane)
    }

    /// Declares the topology of [`Bench::topology`].
    pub(crate) async fn declare(&self) {
        let link = self.link().await;
        link.prepare(&self.topology).await.expect("the topology can be declared");
        link.close().await;
    }

    /// A link; nothing is declared.
    pub(crate) async fn link(&self) -> Link {
        let health = watch::Sender::default();
        Link::open(Arc::new(self.settings.clone()), health).await.expect("the server is up")
    }

    /// Publishes to the inbound exchange, as a vendor would, and waits until it is confirmed.
    pub(crate) async fn send(&self, routing_key: &str, properties: BasicProperties, body: &str) {
        let exchange = self.settings.inbound_exchange.as_str().into();
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let confirm = self
            .channel
            .basic_publish(exchange, routing_key.into(), options, body.as_bytes(), properties)
            .await
            .expect("it can be published");
        let confirmation = confirm.await.expect("it is answered");
        assert!(confirmation.is_ack() && confirmation.take_message().is_none(), "it was routed");
    }

    /// Publishes plain messages with these bodies.
    pub(crate) async fn send_all(&self, bodies: impl IntoIterator<Item = impl fmt::Display>) {
        for body in bodies {
            self.send("any", BasicProperties::default(), &body.to_string()).await;
        }
    }

    /// A new downstream queue, bound to the outbound exchange for a routing key.
    pub(crate) async fn downstream(&mut self, routing_key: &str, arguments: FieldTable) -> String {
        let name = format!("{}.downstream-{}", self.settings.queue, self.downstream.len());
        let channel = &self.channel;
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.as_str().into(), options, arguments).await.expect("declared");
        let exchange = self.settings.outbound_exchange.as_str().into();
        let (key, options) = (routing_key.into(), QueueBindOptions::default());
        channel
            .queue_bind(name.as_str().into(), exchange, key, options, FieldTable::default())
            .await
            .expect("bound");
        self.downstream.push(name.clone());
        name
    }

    /// Takes `count` messages out of a queue.
    pub(crate) async fn take(&self, queue: &str, count: usize) -> Vec<Delivery> {
        let channel = self.client.create_channel().await.expect("a channel");
        let qos = u16::try_from(count).expect("a test takes few messages");
        channel.basic_qos(qos, BasicQosOptions::default()).await.expect("qos");
        let options = BasicConsumeOptions::default();
        let consumer = channel
            .basic_consume(queue.into(), "".into(), options, FieldTable::default())
            .await
            .expect("it can be consumed");
        let taken: Vec<_> = within_timeout(
            consumer.take(count).map(|delivery| delivery.expect("delivered")).collect(),
        )
        .await;
        for delivery in &taken {
            delivery.ack(BasicAckOptions::default()).await.expect("acknowledged");
        }
        channel.close(200, "OK".into()).await.expect("closed");
        taken
    }

    /// How many messages are ready in a queue.
    pub(crate) async fn ready(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        queue.expect("it is there").message_count()
    }

    /// Deletes every queue and exchange of this bench; missing ones are skipped.
    pub(crate) async fn remove(self) {
        let channel = self.client.create_channel().await.expect("the server is still up");
        let queues = self.topology.queues.iter().map(|queue| &queue.name).chain(&self.downstream);
        for queue in queues {
            let options = QueueDeleteOptions::default();
            channel.queue_delete(queue.as_str().into(), options).await.expect("deleted");
        }
        for exchange in &self.topology.exchanges {
            let options = ExchangeDeleteOptions::default();
            channel.exchange_delete(exchange.name.as_str().into(), options).await.expect("deleted");
        }
        self.client.close(200, "OK".into()).await.expect("closed");
    }
}

/// Settings with unique names.
pub(crate) fn settings(url: &str) -> Settings {
    let unique = getrandom::u64().expect("the system has randomness");
    let name = |what: &str| format!("test-{unique:016x}.{what}");
    Settings {
        url: url.into(),
        connection_name: name("worker"),
        queue: name("work"),
        inbound_exchange: name("inbound"),
        outbound_exchange: name("outbound"),
        dead_letters: name("dead"),
        waiting_prefix: name("wait."),
        ..Settings::default()
    }
}

/// The next `count` deliveries, in as many batches as it takes.
pub(crate) async fn receive_batch(lane: &mut Lane, count: usize) -> Vec<Received> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let batch =
            within_timeout(lane.consumer.next_batch(count - taken.len())).await.expect("a batch");
        assert!(!batch.is_empty(), "the consumer goes on");
        taken.extend(batch);
    }
    taken
}

/// Settles all of them in the same way.
pub(crate) async fn settle_all(lane: &mut Lane, batch: Vec<Received>, how: Settlement) {
    let batch = batch.into_iter().map(|delivery| (delivery, how)).collect();
    lane.settler.settle(batch).await.expect("settled");
}

/// Something published under an id, for a channel.
pub(crate) fn published(message_id: &str, channel: &str) -> Outgoing<'static, Received> {
    // Leaked: a test ends soon, and the port borrows.
    Outgoing::Enriched(Box::leak(Box::new(Published {
        message_id: message_id.into(),
        correlation_id: "evt-1".into(),
        kind: PublishedKind::Enriched,
        channel: channel.into(),
        revision: "a1b2c3d4e5f6".into(),
        trace: Trace { parent: Some("00-abc-def-01".into()), state: None },
        timestamp_ms: 1_700_000_000_999,
        sent_ms: None,
        identity: Identity { tenant: "1".into(), id: "i-1".into() },
        body: format!(r#"{{"id":"{message_id}"}}"#).into_bytes(),
        further: Vec::new(),
        gated: None,
    })))
}

/// Headers as a client would write them.
pub(crate) fn headers(pairs: impl IntoIterator<Item = (&'static str, AMQPValue)>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in pairs {
        table.insert(name.into(), value);
    }
    table
}

/// A text header.
pub(crate) fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

/// Arguments of a quorum queue.
pub(crate) fn quorum() -> FieldTable {
    headers([("x-queue-type", text("quorum"))])
}

/// Publishes all bodies, and waits for all confirms.
pub(crate) async fn publish_all(bench: &Bench, bodies: impl IntoIterator<Item: AsRef<str>>) {
    let mut confirms = Vec::new();
    for body in bodies {
        let exchange = bench.settings.inbound_exchange.as_str().into();
        let properties = BasicProperties::default().with_delivery_mode(2);
        let (options, body) = (BasicPublishOptions::default(), body.as_ref().as_bytes());
        let confirm =
            bench.channel.basic_publish(exchange, "any".into(), options, body, properties);
        confirms.push(confirm.await.expect("it can be published"));
    }
    for confirm in confirms {
        assert!(confirm.await.expect("it is answered").is_ack());
    }
}

/// The event that a published message was made of, where event ids are numbers.
pub(crate) fn cause(delivery: &Delivery) -> usize {
    let id = delivery.properties.correlation_id().as_ref().expect("a correlation id");
    id.as_str().parse().expect("event ids are numbers here")
}
