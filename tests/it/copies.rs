//! Copies of messages whose properties and headers the broker itself reads: it takes each copy, and none
//! acts as if its sender had just sent it.
//!
//! Here with what a client of AMQP 0-9-1 may send; `protocols.rs` has what comes by others.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::AMQPValue;
use pretty_assertions::assert_eq;
use throughline::domain::RejectReason;
use throughline::pipeline::ports::{
    Attempts, Distributor as _, Outgoing, PublishOutcome, Publisher as _, Settlement,
};

use crate::partitions::partitioned;
use crate::support::bench::{headers, receive_batch, settle_all, text, with_bench};
use crate::support::rabbitmq;

/// A waiting queue of the schedule.
const DELAY: Duration = Duration::from_millis(250);

/// What the broker reads in a message that is published.
fn acting() -> Vec<(&'static str, BasicProperties)> {
    let with = |name: &'static str, value: AMQPValue| {
        BasicProperties::default().with_headers(headers([(name, value)]))
    };
    let array = || AMQPValue::FieldArray(vec![text("elsewhere")].into());
    let table = || AMQPValue::FieldTable(headers([("queue", text("elsewhere"))]));
    let none = BasicProperties::default;
    vec![
        ("BCC", with("BCC", array())),
        ("CC", with("CC", array())),
        ("x-death of text", with("x-death", text("elsewhere"))),
        ("x-first-death-queue", with("x-first-death-queue", AMQPValue::LongInt(7))),
        ("x-last-death-queue", with("x-last-death-queue", table())),
        ("x-delay", with("x-delay", AMQPValue::LongInt(60_000))),
        ("an expiration", none().with_expiration("60000".into())),
        ("a reply", none().with_reply_to("amq.rabbitmq.reply-to.g1h2".into())),
        ("a user", none().with_user_id("guest".into())),
        ("a delivery mode", none().with_delivery_mode(1)),
        ("a priority", none().with_priority(9)),
        // Beside the worker's own headers it would not fit RabbitMQ's frame of 128 KiB.
        ("a header that fills a frame", with("mine", text(&"x".repeat(130_900)))),
    ]
}

#[tokio::test]
async fn the_broker_takes_every_copy() {
    with_bench(rabbitmq::shared(), async |bench| {
        let partitions = partitioned(bench, 2).await;
        let (_link, mut lane) = bench.lane().await;
        for (name, properties) in acting() {
            bench.send("vendor.key", properties.with_message_id("m-1".into()), "{}").await;
            let batch = receive_batch(&mut lane, 1).await;
            let delivery = &batch[0];
            let attempts =
                Attempts { count: 1, cause: Some("unroutable".into()), first_seen_ms: Some(1) };
            let dead = Outgoing::DeadLetter {
                delivery,
                reason: RejectReason::NotJson,
                detail: "the body is no JSON",
                stage: "decode",
                attempts: attempts.clone(),
            };
            let waiting = Outgoing::Waiting { delivery, awaited: None, delay: DELAY, attempts };
            let answers = lane.publisher.publish(&[waiting, dead]).await;
            let answers = answers.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(answers, [PublishOutcome::Confirmed; 2], "{name}");
            let passed_on = lane.publisher.pass_on(&[(delivery, 1)]).await;
            assert_eq!(passed_on.expect("the link is up"), [PublishOutcome::Confirmed], "{name}");
            settle_all(&mut lane, batch, Settlement::Acknowledge).await;

            for queue in [&partitions.queue(1), &bench.settings.dead_letters] {
                let [copy] = &bench.take(queue, 1).await[..] else { panic!("one is taken") };
                let kept = &copy.properties;
                assert_eq!((kept.priority(), kept.expiration()), (&None, &None), "{name}");
                assert_eq!(kept.delivery_mode(), &Some(2), "{name}");
                let headers = kept.headers().as_ref().expect("a copy has some").inner();
                for read in ["CC", "BCC", "x-death", "x-first-death-queue", "x-last-death-queue"] {
                    assert_eq!(headers.get(read), None, "{name}");
                }
                if name == "a priority" {
                    let moved = headers.get("x-throughline-priority");
                    assert_eq!(moved, Some(&AMQPValue::LongLongInt(9)));
                }
            }
            // It comes back from waiting, once.
            let back = receive_batch(&mut lane, 1).await;
            settle_all(&mut lane, back, Settlement::Acknowledge).await;
        }
    })
    .await;
}
