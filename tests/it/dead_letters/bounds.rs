//! What the queues that hold whole messages do at their bounds, against a real broker.

use std::collections::BTreeSet;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::message::Delivery;
use pretty_assertions::assert_eq;
use throughline::broker::{Lane, Overflow, Received, Settings, Topology};
use throughline::domain::RejectReason;
use throughline::pipeline::ports::{Attempts, Outgoing, PublishOutcome, Publisher, Settlement};
use throughline::retry::RetrySchedule;

use super::operator::run;
use crate::support::bench::{Bench, receive_batch, settle_all, text, with_bench, within_timeout};
use crate::support::rabbitmq::{self, Node};

/// One message fits in here, two do not.
const QUEUE_MAX_BYTES: u64 = 1000;
const BODY_BYTES: usize = 700;

/// Nothing comes back from waiting while a test lasts.
const WAITING_DELAY: Duration = Duration::from_secs(3600);

/// A queue that holds messages which the worker cannot finish.
#[derive(Clone, Copy)]
enum HoldingQueue {
    DeadLetters,
    Waiting,
}

impl HoldingQueue {
    fn outgoing(self, delivery: &Received) -> Outgoing<'_, Received> {
        let attempts = Attempts::default();
        match self {
            HoldingQueue::DeadLetters => Outgoing::DeadLetter {
                delivery,
                reason: RejectReason::NotJson,
                detail: "a detail",
                stage: "decode",
                attempts,
            },
            HoldingQueue::Waiting => {
                Outgoing::Waiting { delivery, awaited: None, delay: WAITING_DELAY, attempts }
            }
        }
    }
}

/// Sets the bounds of a bench's queues, which are not declared yet.
fn set_bounds(bench: &mut Bench, bounds: impl FnOnce(&mut Settings)) {
    bounds(&mut bench.settings);
    bench.topology = Topology::new(&bench.settings, &[WAITING_DELAY]);
}

/// Receives the message `m-<n>`.
async fn send_and_receive(bench: &Bench, lane: &mut Lane, n: usize) -> Vec<Received> {
    let properties = BasicProperties::default().with_message_id(format!("m-{n}").into());
    bench.send("any", properties, &"x".repeat(BODY_BYTES)).await;
    receive_batch(lane, 1).await
}

async fn publish_to(
    lane: &mut Lane,
    holding_queue: HoldingQueue,
    batch: &[Received],
) -> PublishOutcome {
    let outgoing = [holding_queue.outgoing(&batch[0])];
    lane.publisher.publish(&outgoing).await.expect("the broker is up")[0]
}

fn ids(deliveries: &[Delivery]) -> Vec<String> {
    let id = |delivery: &Delivery| delivery.properties.message_id().clone();
    deliveries.iter().map(|delivery| id(delivery).expect("it has an id").to_string()).collect()
}

/// A queue says that it is full a moment after it is, so a few more may be taken.
#[tokio::test]
async fn full_queue_refuses_new_messages_until_it_has_space() {
    for holding_queue in [HoldingQueue::DeadLetters, HoldingQueue::Waiting] {
        with_bench(rabbitmq::shared(), async |bench| {
            set_bounds(bench, |settings| {
                settings.dead_letters_max_bytes = Some(QUEUE_MAX_BYTES);
                settings.waiting_max_bytes = Some(QUEUE_MAX_BYTES);
            });
            let queue = match holding_queue {
                HoldingQueue::DeadLetters => bench.settings.dead_letters.clone(),
                HoldingQueue::Waiting => bench.settings.inbound()[0].waiting_queue(WAITING_DELAY),
            };
            let (_link, mut lane) = bench.lane().await;
            let mut taken = Vec::new();
            let refused = within_timeout(async {
                loop {
                    let batch = send_and_receive(bench, &mut lane, taken.len()).await;
                    match publish_to(&mut lane, holding_queue, &batch).await {
                        PublishOutcome::Confirmed => taken.push(format!("m-{}", taken.len())),
                        PublishOutcome::Refused => return batch,
                        PublishOutcome::Returned => panic!("there is a queue for it"),
                    }
                    settle_all(&mut lane, batch, Settlement::Acknowledge).await;
                }
            })
            .await;
            assert_eq!(ids(&bench.take(&queue, taken.len()).await), taken);

            within_timeout(async {
                while publish_to(&mut lane, holding_queue, &refused).await
                    != PublishOutcome::Confirmed
                {}
            })
            .await;
        })
        .await;
    }
}

#[tokio::test]
async fn full_queue_with_drop_head_keeps_the_newest() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_bounds(bench, |settings| {
            settings.dead_letters_max_bytes = Some(QUEUE_MAX_BYTES);
            settings.dead_letters_overflow = Overflow::DropHead;
        });
        let (_link, mut lane) = bench.lane().await;
        for n in 0..4 {
            let batch = send_and_receive(bench, &mut lane, n).await;
            assert_eq!(
                publish_to(&mut lane, HoldingQueue::DeadLetters, &batch).await,
                PublishOutcome::Confirmed
            );
            settle_all(&mut lane, batch, Settlement::Acknowledge).await;
        }
        assert_eq!(ids(&bench.take(&bench.settings.dead_letters, 1).await), ["m-3"]);
    })
    .await;
}

#[tokio::test]
async fn dead_letter_expires_after_its_maximum_age() {
    with_bench(rabbitmq::shared(), async |bench| {
        set_bounds(bench, |settings| settings.dead_letters_max_age_secs = Some(1));
        let (_link, mut lane) = bench.lane().await;
        let batch = send_and_receive(bench, &mut lane, 0).await;
        assert_eq!(
            publish_to(&mut lane, HoldingQueue::DeadLetters, &batch).await,
            PublishOutcome::Confirmed
        );
        settle_all(&mut lane, batch, Settlement::Acknowledge).await;
        within_timeout(async { while bench.ready(&bench.settings.dead_letters).await > 0 {} })
            .await;
    })
    .await;
}

#[tokio::test]
async fn the_largest_bounds_are_accepted_and_a_change_of_them_is_named() {
    with_bench(rabbitmq::shared(), async |bench| {
        bench.settings.dead_letters_max_bytes = Some(1 << 50);
        bench.settings.dead_letters_max_age_secs = Some(315_360_000);
        bench.settings.waiting_max_bytes = Some(1 << 50);
        bench.topology = Topology::new(&bench.settings, &RetrySchedule::default().delays());
        bench.link().await.prepare(&bench.topology).await.expect("declared");
        let output = run(&bench.settings, &["check", "--connect"]).await;
        assert_eq!(output.code, Some(0), "{output:?}");

        let mut changed = bench.settings.clone();
        changed.dead_letters_max_bytes = None;
        let output = run(&changed, &["check", "--connect"]).await;
        assert_eq!(output.code, Some(1), "{output:?}");
        let differing: Vec<_> =
            output.out.lines().filter(|line| line.starts_with("differs")).collect();
        let [line] = &differing[..] else { panic!("one queue differs: {output:?}") };
        assert!(line.contains(&format!("queue `{}`", changed.dead_letters)), "{line}");
        assert!(line.contains("x-max-length-bytes"), "{line}");
    })
    .await;
}

/// What cannot be set aside comes to the broker after a hundred tries, which keeps it until the queue
/// takes it. It tries that every three minutes unless it is told otherwise, as here.
#[tokio::test]
async fn nothing_is_lost_while_the_dead_letter_queue_is_full() {
    /// The work queue's delivery limit: the first delivery and as many again.
    const DELIVERIES: usize = 101;
    let node = tokio::task::spawn_blocking(|| {
        let node = Node::start();
        let often =
            "application:set_env(rabbit, dead_letter_worker_publisher_confirm_timeout, 200).";
        node.control(&["eval", often]);
        node
    });
    let node = within_timeout(node).await.expect("it starts");
    with_bench(&node.url, async |bench| {
        set_bounds(bench, |settings| settings.dead_letters_max_bytes = Some(QUEUE_MAX_BYTES));
        let (_link, mut lane) = bench.lane().await;
        let (mut expected, mut refused) = (BTreeSet::new(), Vec::new());
        while refused.len() < 5 {
            let n = expected.len();
            let batch = send_and_receive(bench, &mut lane, n).await;
            expected.insert(format!("m-{n}"));
            match publish_to(&mut lane, HoldingQueue::DeadLetters, &batch).await {
                PublishOutcome::Confirmed => {
                    settle_all(&mut lane, batch, Settlement::Acknowledge).await;
                }
                PublishOutcome::Refused => refused.extend(batch),
                PublishOutcome::Returned => panic!("there is a queue for it"),
            }
        }
        for _ in 1..DELIVERIES {
            settle_all(&mut lane, refused, Settlement::Requeue).await;
            refused = receive_batch(&mut lane, 5).await;
        }
        settle_all(&mut lane, refused, Settlement::Requeue).await;

        let full = bench.ready(&bench.settings.dead_letters).await;
        assert!((full as usize) < expected.len(), "the queue is at its bound");
        let mut reasons = Vec::new();
        while !expected.is_empty() {
            let dead = bench.take(&bench.settings.dead_letters, 1).await;
            for id in ids(&dead) {
                expected.remove(&id);
            }
            let headers = dead[0].properties.headers().clone().unwrap_or_default();
            reasons.push(headers.inner().get("x-first-death-reason").cloned());
        }
        assert!(reasons.contains(&Some(text("delivery_limit"))), "{reasons:?}");
    })
    .await;
}
