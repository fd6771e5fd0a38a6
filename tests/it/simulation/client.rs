//! The clients around the workers: a vendor that publishes and a system downstream that consumes. Both
//! retry without limit, and connect to the broker directly, not over the relays.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, SelectAll};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Acker, BasicProperties, Channel, Connection, ConnectionProperties};

use super::conversation::Event;
use super::ledger::{Output, OutputQueue};

/// Between attempts to connect, and before unrouted messages are published again.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// A broker that does not answer for so long is left; longer than any alarm lasts.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(20);
/// Unacknowledged messages that the broker may send downstream.
const PREFETCH: u16 = 500;

/// An open channel, and the connection that it lives on.
struct ClientChannel {
    channel: Channel,
    /// Closed when it is dropped: lapin leaves a connection open that is only dropped, and a consumer on it
    /// keeps the messages that the broker has sent it.
    connection: Option<Connection>,
}

impl Drop for ClientChannel {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take()
            && connection.status().connected()
        {
            // Where it fails the connection is lost, and its messages are the broker's again.
            tokio::spawn(async move { connection.close(200, "OK".into()).await.ok() });
        }
    }
}

impl ClientChannel {
    /// Connects, however long it takes.
    async fn open(url: &str) -> ClientChannel {
        loop {
            if let Ok(Ok(line)) =
                tokio::time::timeout(RESPONSE_TIMEOUT, ClientChannel::try_open(url)).await
            {
                return line;
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    async fn try_open(url: &str) -> lapin::Result<ClientChannel> {
        // Short, so that a frozen broker is noticed while it is frozen.
        let url = format!("{url}?heartbeat=2");
        let connection = Connection::connect(&url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        Ok(ClientChannel { channel, connection: Some(connection) })
    }
}

/// Deletes a queue with all that is in it.
pub(super) async fn delete_queue(url: &str, queue: &str) {
    let line = ClientChannel::open(url).await;
    let deleted = line.channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await;
    deleted.expect("it is there");
}

/// Waits until a queue exists again.
pub(super) async fn await_queue(url: &str, queue: &str) {
    let looking = QueueDeclareOptions { passive: true, ..Default::default() };
    loop {
        // A passive declaration of a missing queue closes the channel.
        let line = ClientChannel::open(url).await;
        let found = line.channel.queue_declare(queue.into(), looking, FieldTable::default()).await;
        if found.is_ok() {
            return;
        }
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Binds a queue to the outbound exchange for ends only, or for everything again. The worker
/// drops an unrouted end, as documented, so a queue is always bound for ends.
pub(super) async fn bind_ends_only(url: &str, exchange: &str, queue: &str, ends_only: bool) {
    let (everything, ends) = ("#", "interaction.ended.#");
    let (bind, unbind) = if ends_only { (ends, everything) } else { (everything, ends) };
    let line = ClientChannel::open(url).await;
    let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
    let bound = line.channel.queue_bind(
        queue.into(),
        exchange.into(),
        bind.into(),
        options,
        arguments.clone(),
    );
    bound.await.expect("bound");
    let unbound =
        line.channel.queue_unbind(queue.into(), exchange.into(), unbind.into(), arguments);
    unbound.await.expect("unbound");
}

/// Publishes events, each until the broker has taken it: after a loss some are sent twice.
pub(super) struct Vendor {
    url: String,
    exchange: String,
    line: ClientChannel,
}

impl Vendor {
    pub(super) async fn connect(url: &str, exchange: &str) -> Vendor {
        let line = ClientChannel::open(url).await;
        Vendor { url: url.to_owned(), exchange: exchange.to_owned(), line }
    }

    /// Publishes these in order, and returns when all are confirmed and in a queue.
    pub(super) async fn publish(&mut self, events: &[Arc<Event>]) {
        let mut open = events.to_vec();
        while !open.is_empty() {
            match tokio::time::timeout(RESPONSE_TIMEOUT, self.attempt(&open)).await {
                Ok(Ok(refused)) if refused.is_empty() => return,
                Ok(Ok(refused)) => {
                    // No queue is bound at the moment.
                    open.retain(|event| refused.contains(&event.id));
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                // It is not known which of them were taken.
                Ok(Err(_)) | Err(_) => self.line = ClientChannel::open(&self.url).await,
            }
        }
    }

    /// Publishes once; returns the ids of those that were refused or not routed.
    async fn attempt(&self, events: &[Arc<Event>]) -> lapin::Result<Vec<String>> {
        let mut confirms = Vec::with_capacity(events.len());
        for event in events {
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_message_id(event.id.as_str().into());
            let confirm = self.line.channel.basic_publish(
                self.exchange.as_str().into(),
                "any".into(),
                BasicPublishOptions { mandatory: true, ..Default::default() },
                event.body.as_bytes(),
                properties,
            );
            confirms.push(confirm.await?);
        }
        let mut refused = Vec::new();
        for (confirm, event) in confirms.into_iter().zip(events) {
            let confirmation = confirm.await?;
            if !confirmation.is_ack() {
                refused.push(event.id.clone());
            }
            // A returned message may come with any confirm of the batch; its id says which event it is.
            if let Some(returned) = confirmation.take_message() {
                let id = returned.properties.message_id().as_ref().expect("ours have ids");
                refused.push(id.to_string());
            }
        }
        Ok(refused)
    }
}

/// Consumes and acknowledges the messages downstream and the dead letters.
pub(super) struct Downstream {
    url: String,
    queues: [(OutputQueue, String); 2],
    line: ClientChannel,
    deliveries: Deliveries,
}

type Deliveries = SelectAll<stream::BoxStream<'static, (OutputQueue, lapin::Result<Delivery>)>>;

impl Downstream {
    pub(super) async fn connect(url: &str, downstream: &str, dead_letters: &str) -> Downstream {
        let queues = [
            (OutputQueue::Downstream, downstream.to_owned()),
            (OutputQueue::DeadLetters, dead_letters.to_owned()),
        ];
        let (line, deliveries) = Downstream::open(url, &queues).await;
        Downstream { url: url.to_owned(), queues, line, deliveries }
    }

    async fn open(url: &str, queues: &[(OutputQueue, String)]) -> (ClientChannel, Deliveries) {
        loop {
            let line = ClientChannel::open(url).await;
            if let Ok(Ok(deliveries)) =
                tokio::time::timeout(RESPONSE_TIMEOUT, consume(&line.channel, queues)).await
            {
                return (line, deliveries);
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// The next message that comes out, over as many connections as it takes, to be acknowledged.
    /// Cancel-safe: a cancelled call has received nothing.
    pub(super) async fn next(&mut self) -> (Output, Acker) {
        loop {
            // A queue's stream that ends is taken out of the others, so both are asked for.
            if self.line.channel.status().connected()
                && self.deliveries.len() == self.queues.len()
                && let Some((from, Ok(delivery))) = self.deliveries.next().await
            {
                return (Output::from_delivery(from, &delivery), delivery.acker);
            }
            (self.line, self.deliveries) = Downstream::open(&self.url, &self.queues).await;
        }
    }

    /// Stops reading, and returns its unacknowledged messages to the broker, until the driver reads again.
    pub(super) async fn disconnect(&mut self) {
        self.deliveries = Deliveries::new();
        if self.line.channel.status().connected() {
            // Where it fails the connection is lost, and with it all that is given back here.
            self.line.channel.close(200, "OK".into()).await.ok();
        }
    }

    /// Acknowledges a message. Where that fails it comes once more, marked as redelivered.
    pub(super) async fn acknowledge(&mut self, acker: Acker) {
        if acker.ack(BasicAckOptions::default()).await.ok() != Some(true) {
            self.deliveries = Deliveries::new();
        }
    }
}

async fn consume(channel: &Channel, queues: &[(OutputQueue, String)]) -> lapin::Result<Deliveries> {
    let mut deliveries = Deliveries::new();
    for (outlet, queue) in queues {
        let (outlet, options) = (*outlet, BasicConsumeOptions::default());
        let consumer = channel
            .basic_consume(queue.as_str().into(), "".into(), options, FieldTable::default())
            .await?;
        deliveries.push(consumer.map(move |delivery| (outlet, delivery)).boxed());
    }
    Ok(deliveries)
}

impl Output {
    fn from_delivery(from: OutputQueue, delivery: &Delivery) -> Output {
        let properties = &delivery.properties;
        let reason = properties.headers().as_ref().and_then(|headers| {
            match headers.inner().get("x-throughline-reason") {
                Some(AMQPValue::LongString(reason)) => Some(reason.to_string()),
                _ => None,
            }
        });
        let message_id = properties.message_id().as_ref().map(ToString::to_string);
        Output {
            from,
            // Only what cannot be decoded was sent without one.
            message_id: message_id.unwrap_or_default(),
            correlation_id: properties.correlation_id().as_ref().map(ToString::to_string),
            reason,
            body: delivery.data.clone(),
            redelivered: delivery.redelivered,
        }
    }
}
