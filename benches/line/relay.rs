//! The null relay: the worker without its work.
//!
//! It consumes, publishes each message persistent and confirmed, and acknowledges; over the same client
//! library and two connections, in batches of the deliveries that have arrived, published without waiting
//! and confirmed as a whole, with one acknowledgement for all. No parsing, no rules, no store. It runs as a
//! process of its own, so that its time and its memory are its own.

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

/// Prefetch and batch are the worker's defaults.
const PREFETCH: u16 = 1_000;
const BATCH: usize = 200;

/// Relays from `queue` to `exchange` until it is killed.
pub(crate) async fn run(url: &str, queue: &str, exchange: &str) -> lapin::Result<()> {
    // As the worker has it: a connection that publishes may be blocked by the broker's alarms.
    let inbound = Connection::connect(url, ConnectionProperties::default()).await?;
    let outbound = Connection::connect(url, ConnectionProperties::default()).await?;
    let (source, out) = (inbound.create_channel().await?, outbound.create_channel().await?);
    out.confirm_select(ConfirmSelectOptions::default()).await?;
    source.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut deliveries =
        source.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await?;
    while let Some(first) = deliveries.next().await {
        let mut batch = vec![first?];
        while batch.len() < BATCH {
            let Some(Some(next)) = deliveries.next().now_or_never() else { break };
            batch.push(next?);
        }
        publish(&out, exchange, &batch).await?;
        if let Some(last) = batch.last() {
            last.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(())
}

/// Publishes a batch and awaits its confirms.
async fn publish(out: &Channel, exchange: &str, batch: &[Delivery]) -> lapin::Result<()> {
    let mut sent = Vec::with_capacity(batch.len());
    for delivery in batch {
        let mut properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into());
        if let Some(id) = delivery.properties.message_id() {
            properties = properties.with_message_id(id.clone()).with_correlation_id(id.clone());
        }
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let key = "interaction.enriched.chat";
        let publish =
            out.basic_publish(exchange.into(), key.into(), options, &delivery.data, properties);
        let mut publish = Box::pin(publish);
        // The first poll hands the frames over; see the worker's publisher.
        match (&mut publish).now_or_never() {
            Some(confirm) => sent.push(confirm?),
            None => sent.push(publish.await?),
        }
    }
    for confirm in sent {
        assert!(confirm.await?.is_ack(), "the relay's queue takes everything");
    }
    Ok(())
}
