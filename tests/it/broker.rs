//! The broker adapter against a RabbitMQ that works. What happens when it does not is in
//! `broker_outages.rs`.

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};
use pretty_assertions::assert_eq;
use throughline::broker::{Error, Topology};
use throughline::domain::RejectReason;
use throughline::pipeline::ports::Delivery as _;
use throughline::pipeline::ports::{
    Attempts, Outgoing, PublishOutcome, Publisher, Settlement, Settler, Source,
};

use crate::support::bench::{
    WAITING_DELAY, headers, published, receive_batch, settle_all, text, with_bench, within_timeout,
};
use crate::support::rabbitmq;

fn header(delivery: &Delivery, name: &str) -> Option<AMQPValue> {
    delivery.properties.headers().as_ref()?.inner().get(name).cloned()
}

fn bodies(deliveries: &[Delivery]) -> Vec<&str> {
    let text = |delivery| std::str::from_utf8(delivery).expect("tests send text");
    deliveries.iter().map(|delivery| text(&delivery.data)).collect()
}

#[tokio::test]
async fn redeclaring_the_topology_changes_nothing() {
    with_bench(rabbitmq::shared(), async |bench| {
        bench.settings.declare = false;
        let Err(Error::Missing(missing)) = bench.link().await.prepare(&bench.topology).await else {
            panic!("nothing is declared yet, so all is missing");
        };
        let needed = bench.topology.exchanges.iter().filter(|exchange| exchange.needed).count();
        assert_eq!(missing.len(), needed + bench.topology.queues.len(), "{missing:?}");

        bench.settings.declare = true;
        let link = bench.link().await;
        link.prepare(&bench.topology).await.expect("declared");
        link.prepare(&bench.topology).await.expect("declared again");

        bench.settings.declare = false;
        bench.link().await.prepare(&bench.topology).await.expect("all is found");
    })
    .await;
}

#[tokio::test]
async fn a_queue_that_exists_with_other_arguments_is_named() {
    with_bench(rabbitmq::shared(), async |bench| {
        let link = bench.link().await;
        link.prepare(&bench.topology).await.expect("declared");
        let mut other = bench.settings.clone();
        other.dead_letters = format!("{}-elsewhere", other.dead_letters);
        let changed = Topology::new(&other, &[]);
        let error = link.prepare(&changed).await.expect_err("the work queue is there already");
        assert!(
            error.to_string().starts_with(&format!("declare queue `{}`", other.queue)),
            "{error}"
        );
        // So that it is removed with the rest.
        bench.topology.queues.extend(changed.queues);
        bench.topology.exchanges.extend(changed.exchanges);
    })
    .await;
}

#[tokio::test]
async fn an_enriched_message_carries_its_properties_and_headers() {
    with_bench(rabbitmq::shared(), async |bench| {
        let (_link, mut lane) = bench.lane().await;
        let queue = bench.downstream("interaction.enriched.web_chat", FieldTable::default()).await;
        let answers = lane.publisher.publish(&[published("m-1", "web chat")]).await;
        assert_eq!(answers.expect("published"), [PublishOutcome::Confirmed]);

        let taken = bench.take(&queue, 1).await;
        let properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type("application/json".into())
            .with_message_id("m-1".into())
            .with_correlation_id("evt-1".into())
            .with_type("interaction.enriched".into())
            .with_app_id("throughline".into())
            .with_timestamp(1_700_000_000)
            .with_headers(headers([
                ("traceparent", text("00-abc-def-01")),
                ("x-throughline-revision", text("a1b2c3d4e5f6")),
            ]));
        assert_eq!(taken[0].properties, properties);
        assert_eq!(bodies(&taken), [r#"{"id":"m-1"}"#]);
    })
    .await;
}

#[tokio::test]
async fn a_channel_of_255_bytes_is_published_under_a_shortened_routing_key() {
    with_bench(rabbitmq::shared(), async |bench| {
        let (_link, mut lane) = bench.lane().await;
        bench.downstream("interaction.enriched.*", FieldTable::default()).await;
        let answers = lane.publisher.publish(&[published("m-1", &"c".repeat(255))]).await;
        assert_eq!(answers.expect("published"), [PublishOutcome::Confirmed]);
    })
    .await;
}

/// Four lanes at once, each with batches of 50 of which every third message is unroutable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returned_messages_are_distinguished_from_confirmed_ones() {
    with_bench(rabbitmq::shared(), async |bench| {
        let (link, first) = bench.lane().await;
        bench.downstream("interaction.enriched.chat", FieldTable::default()).await;
        let mut publishers = vec![first.publisher];
        for _ in 1..4 {
            publishers.push(link.lane().await.expect("a lane").publisher);
        }
        let lanes = publishers.into_iter().enumerate().map(|(lane, mut publisher)| {
            tokio::spawn(async move {
                for round in 0..50 {
                    let batch: Vec<_> = (0..50)
                        .map(|n| {
                            let channel = if n % 3 == 0 { "unbound" } else { "chat" };
                            published(&format!("{lane}-{round}-{n}"), channel)
                        })
                        .collect();
                    let answers = publisher.publish(&batch).await.expect("published");
                    let expected: Vec<_> = (0..50)
                        .map(|n| {
                            if n % 3 == 0 {
                                PublishOutcome::Returned
                            } else {
                                PublishOutcome::Confirmed
                            }
                        })
                        .collect();
                    assert_eq!(answers, expected, "lane {lane}, round {round}");
                }
            })
        });
        for lane in lanes.collect::<Vec<_>>() {
            within_timeout(lane).await.expect("every answer is right");
        }
    })
    .await;
}

#[tokio::test]
async fn messages_with_equal_or_missing_ids_each_get_an_answer() {
    with_bench(rabbitmq::shared(), async |bench| {
        let (_link, mut lane) = bench.lane().await;
        bench.downstream("interaction.enriched.chat", FieldTable::default()).await;
        let twin = || BasicProperties::default().with_message_id("twin".into());
        bench.send("a", twin(), "1").await;
        bench.send("a", twin(), "2").await;
        bench.send_all(["3", "4"]).await;
        let received = receive_batch(&mut lane, 4).await;

        let waiting = |n: usize, delay| Outgoing::Waiting {
            delivery: &received[n],
            awaited: None,
            delay,
            attempts: Attempts::default(),
        };
        // No queue waits that long, so these come back.
        let nowhere = WAITING_DELAY * 3;
        let batch = [
            published("same", "chat"),
            published("same", "chat"),
            published("same", "unbound"),
            waiting(0, WAITING_DELAY),
            waiting(1, nowhere),
            waiting(2, WAITING_DELAY),
            waiting(3, nowhere),
        ];
        use PublishOutcome::{Confirmed as Yes, Returned as Back};
        let answers = lane.publisher.publish(&batch).await.expect("published");
        assert_eq!(answers, [Yes, Yes, Back, Yes, Back, Yes, Back]);
    })
    .await;
}

#[tokio::test]
async fn full_queue_refuses_publish() {
    with_bench(rabbitmq::shared(), async |bench| {
        let (_link, mut lane) = bench.lane().await;
        let bound = headers([
            ("x-max-length", AMQPValue::LongInt(1)),
            ("x-overflow", text("reject-publish")),
        ]);
        bench.downstream("interaction.enriched.chat", bound).await;
        let first = lane.publisher.publish(&[published("m-1", "chat")]).await;
        assert_eq!(first.expect("published"), [PublishOutcome::Confirmed]);
        let more =
            [published("m-2", "chat"), published("m-3", "unbound"), published("m-4", "chat")];
        let answers = lane.publisher.publish(&more).await.expect("published");
        assert_eq!(
            answers,
            [PublishOutcome::Refused, PublishOutcome::Returned, PublishOutcome::Refused]
        );
    })
    .await;
}

#[tokio::test]
async fn waiting_and_dead_lettered_message_is_unchanged() {
    with_bench(rabbitmq::shared(), async |bench| {
        let (_link, mut lane) = bench.lane().await;
        let received = BasicProperties::default()
            .with_message_id("m-1".into())
            .with_content_type("application/json".into())
            .with_expiration("60000".into())
            .with_priority(3)
            .with_headers(headers([
                ("vendor", text("kept")),
                ("traceparent", text("00-abc-def-01")),
                ("x-throughline-widget", text("w-17")),
            ]));
        bench.send("vendor.key", received, "{ }").await;

        let batch = receive_batch(&mut lane, 1).await;
        assert_eq!(batch[0].arrival().attempts, Attempts::default());
        let attempts = |count| Attempts {
            count,
            cause: Some("parent_unknown".into()),
            first_seen_ms: Some(1_700_000_000_123),
        };
        // Twice, because RabbitMQ drops a message that it takes for one that goes in circles.
        let mut batch = batch;
        for count in 1..=2 {
            let waiting = Outgoing::Waiting {
                delivery: &batch[0],
                awaited: None,
                delay: WAITING_DELAY,
                attempts: attempts(count),
            };
            let answers = lane.publisher.publish(&[waiting]).await.expect("published");
            assert_eq!(answers, [PublishOutcome::Confirmed]);
            settle_all(&mut lane, batch, Settlement::Acknowledge).await;

            batch = receive_batch(&mut lane, 1).await;
            let arrival = batch[0].arrival();
            assert_eq!(arrival.attempts, attempts(count));
            assert_eq!(arrival.message_id.as_deref(), Some("m-1"));
            assert_eq!(arrival.widget.as_deref(), Some("w-17"));
            assert_eq!(arrival.trace.parent.as_deref(), Some("00-abc-def-01"));
            assert_eq!((arrival.redelivered, arrival.replayed), (false, 0));
            assert_eq!(batch[0].body(), b"{ }");
        }

        let dead = Outgoing::DeadLetter {
            delivery: &batch[0],
            reason: RejectReason::ParentUnknown,
            detail: "a detail",
            stage: "propagate",
            attempts: attempts(2),
        };
        let answers = lane.publisher.publish(&[dead]).await.expect("published");
        assert_eq!(answers, [PublishOutcome::Confirmed]);
        settle_all(&mut lane, batch, Settlement::Acknowledge).await;

        let dead = bench.take(&bench.settings.dead_letters, 1).await;
        assert_eq!(bodies(&dead), ["{ }"]);
        assert_eq!(dead[0].routing_key.as_str(), "vendor.key");
        let expected = BasicProperties::default()
            .with_delivery_mode(2)
            .with_message_id("m-1".into())
            .with_content_type("application/json".into())
            .with_headers(headers([
                ("vendor", text("kept")),
                ("traceparent", text("00-abc-def-01")),
                ("x-throughline-widget", text("w-17")),
                ("x-throughline-priority", AMQPValue::LongLongInt(3)),
                ("x-throughline-attempts", AMQPValue::LongLongInt(2)),
                ("x-throughline-detail", text("a detail")),
                ("x-throughline-expiration", text("60000")),
                ("x-throughline-first-seen", AMQPValue::LongLongInt(1_700_000_000_123)),
                ("x-throughline-queue", text(&bench.settings.queue)),
                ("x-throughline-reason", text("parent_unknown")),
                ("x-throughline-replayed", AMQPValue::LongLongInt(0)),
                ("x-throughline-routing-key", text("vendor.key")),
                ("x-throughline-stage", text("propagate")),
            ]));
        assert_eq!(dead[0].properties, expected);
    })
    .await;
}

#[tokio::test]
async fn a_message_that_fails_too_often_is_set_aside_by_the_broker() {
    with_bench(rabbitmq::shared(), async |bench| {
        let (_link, mut lane) = bench.lane().await;
        bench.send_all(["poison"]).await;
        // The delivery limit is 100: the first delivery and as many again.
        for _ in 0..=100 {
            let batch = receive_batch(&mut lane, 1).await;
            settle_all(&mut lane, batch, Settlement::Requeue).await;
        }
        let dead = bench.take(&bench.settings.dead_letters, 1).await;
        assert_eq!(bodies(&dead), ["poison"]);
        let reason = header(&dead[0], "x-first-death-reason");
        assert_eq!(reason, Some(text("delivery_limit")));
    })
    .await;
}

#[tokio::test]
async fn no_more_is_delivered_than_the_prefetch_allows() {
    with_bench(rabbitmq::shared(), async |bench| {
        bench.settings.prefetch_messages = 3;
        let (_link, mut lane) = bench.lane().await;
        bench.send_all(1..=10).await;
        let mut batch = receive_batch(&mut lane, 3).await;
        assert_eq!(bench.ready(&bench.settings.queue).await, 7);

        settle_all(&mut lane, vec![batch.remove(0)], Settlement::Acknowledge).await;
        let more = within_timeout(lane.consumer.next_batch(100)).await.expect("a batch");
        assert_eq!(more.iter().map(|received| received.body()).collect::<Vec<_>>(), [b"4"]);
    })
    .await;
}

#[tokio::test]
async fn batch_holds_available_messages_up_to_the_maximum() {
    with_bench(rabbitmq::shared(), async |bench| {
        bench.settings.format = Some("genesys-open-media".into());
        bench.link().await.prepare(&bench.topology).await.expect("declared");
        bench.send_all(1..=5).await;
        let (_link, mut lane) = bench.lane().await;
        let batch = within_timeout(lane.consumer.next_batch(2)).await.expect("a batch");
        assert!((1..=2).contains(&batch.len()));
        let rest = receive_batch(&mut lane, 5 - batch.len()).await;
        let all: Vec<_> = batch.iter().chain(&rest).map(|received| received.body()).collect();
        assert_eq!(all, [b"1", b"2", b"3", b"4", b"5"]);
        assert_eq!(rest[0].arrival().format.as_deref(), Some("genesys-open-media"));

        lane.consumer.stop().await.expect("cancelled");
        let end = within_timeout(lane.consumer.next_batch(10)).await.expect("the end of input");
        assert!(end.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_settled_batch_leaves_exactly_what_was_requeued() {
    with_bench(rabbitmq::shared(), async |bench| {
        let (link, mut lane) = bench.lane().await;
        bench.send_all(1..=10).await;
        let mut first = receive_batch(&mut lane, 10).await;
        let second = first.split_off(5);
        let plan = |batch: Vec<_>, how: [Settlement; 5]| batch.into_iter().zip(how).collect();
        use Settlement::{Acknowledge as Ack, GiveBack, Requeue};
        // The later half first: nothing of the first half may be acknowledged along with it.
        let batch = plan(second, [Ack, Ack, Ack, Requeue, Ack]);
        lane.settler.settle(batch).await.expect("settled");
        let batch = plan(first, [Ack, Requeue, Ack, Ack, GiveBack]);
        lane.settler.settle(batch).await.expect("settled");
        // What came again meanwhile is not settled, and goes back with the link.
        link.close().await;
        drop(lane);

        bench.send_all(["end"]).await;
        let left = bench.take(&bench.settings.queue, 4).await;
        let mut left = bodies(&left);
        assert_eq!(left.pop(), Some("end"), "{left:?}");
        left.sort_unstable();
        assert_eq!(left, ["2", "5", "9"]);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_queue_ends_the_source_with_an_error() {
    with_bench(rabbitmq::shared(), async |bench| {
        let (_link, mut lane) = bench.lane().await;
        bench.send_all(["1"]).await;
        let batch = receive_batch(&mut lane, 1).await;
        let queue = bench.settings.queue.as_str().into();
        bench.channel.queue_delete(queue, Default::default()).await.expect("deleted");
        let error =
            within_timeout(lane.consumer.next_batch(1)).await.expect_err("the consumer is gone");
        assert_eq!(error.to_string(), "consume: the broker has cancelled the consumer");
        drop(batch);
    })
    .await;
}

#[tokio::test]
async fn settling_after_connection_loss_is_an_error() {
    with_bench(rabbitmq::shared(), async |bench| {
        let (link, mut lane) = bench.lane().await;
        bench.send_all(["1"]).await;
        let batch = receive_batch(&mut lane, 1).await;
        link.close().await;
        let batch = batch.into_iter().map(|received| (received, Settlement::Acknowledge)).collect();
        lane.settler.settle(batch).await.expect_err("the channel is gone");
        bench.take(&bench.settings.queue, 1).await;
    })
    .await;
}
