//! What happens after a connection that ended over a message: one message at a time, and each queue by
//! a connection of its own, until the message is gone.
//!
//! ```text
//! lanes ─▶ the connection ends over a message ─▶ quarantine ─▶ lanes
//!                                    each queue: │ a message, settled ─▶ the next
//!                                                │ the connection ends ─▶ a new one at once
//!                                                ▼
//!                            every queue has recovered
//! ```
//!
//! A consumer cannot settle a message that ends the connection at each delivery. The broker sets it aside
//! once it has been delivered as often as the queue's delivery limit allows, so it is delivered as fast as
//! possible. No other message is in hand meanwhile: the rest of the queue is neither published again nor
//! delivered in vain.
//!
//! A queue has recovered when it delivers what it had not delivered before, or nothing for a moment:
//! what comes back to a queue is delivered before the rest.
//!
//! Deliberately absent: identifying the message. No part of it has ever arrived here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::lanes;
use super::monitor::WorkerMonitor;
use crate::broker::{Consumer, DELIVERY_LIMIT, Inbound, IsolatedLane, Link, Received};
use crate::pipeline::lane::Lane;
use crate::pipeline::partitions::Partitions;
use crate::pipeline::partitions::partitioner::Partitioner;
use crate::pipeline::ports::{Delivery as _, Source, TransportError};
use crate::pipeline::save::worker::Worker;
use crate::settings::Settings;
use crate::store::Store;

/// A queue that delivers nothing for so long has nothing that it had delivered before.
const QUIET: Duration = Duration::from_millis(500);

/// How often a queue's connection may end in a row before it rests between two: what twenty messages
/// take under the delivery limit of our own queues. They take turns, since what comes back is delivered
/// after what came back before it. Beyond that the queue has a higher limit, or none.
const AT_ONCE: u32 = 20 * ROUNDS_EACH;

/// How many deliveries it takes until the broker sets a message aside.
const ROUNDS_EACH: u32 = DELIVERY_LIMIT as u32 + 1;

/// The rest then. The other queues go on.
const REST: Duration = Duration::from_secs(5);

/// What the readers of all queues share.
struct Quarantine {
    settings: Settings,
    worker: Arc<Worker<Store>>,
    monitor: Arc<WorkerMonitor>,
    link: Link,
    /// How many queues have not recovered.
    affected_queues: AtomicUsize,
    /// Every queue has recovered, or one has failed otherwise, or the worker is to stop.
    over: CancellationToken,
}

/// What reads a queue: the lane of that number, or the partitioner of that source.
#[derive(Clone, Copy)]
enum Reader {
    Lane(usize),
    Partitioner(usize),
}

/// Reads every queue of a link in this way, until all of them have recovered, or `stop`.
///
/// # Errors
/// When a connection ends for another reason: what that is, is for the lanes to find out.
pub(super) async fn run(
    link: Link,
    settings: &Settings,
    worker: &Arc<Worker<Store>>,
    monitor: &Arc<WorkerMonitor>,
    stop: &CancellationToken,
) -> Result<(), String> {
    let readers = readers(&link, settings);
    let quarantine = Arc::new(Quarantine {
        settings: settings.clone(),
        worker: Arc::clone(worker),
        monitor: Arc::clone(monitor),
        link,
        affected_queues: AtomicUsize::new(readers.len()),
        over: stop.child_token(),
    });
    let mut reading = JoinSet::new();
    for (source, queue, reader) in readers {
        let quarantine = Arc::clone(&quarantine);
        reading.spawn(async move { quarantine.read(&source, &queue, reader).await });
    }
    lanes::join(reading, &quarantine.over).await
}

/// Each queue that is consumed, and by what: the first lane of a work queue, the lane of each partition.
fn readers(link: &Link, settings: &Settings) -> Vec<(Arc<Inbound>, String, Reader)> {
    let (mut readers, mut first_lane) = (Vec::new(), 0);
    for (number, (inbound, source)) in link.sources().iter().zip(settings.sources()).enumerate() {
        let mut add = |queue, reader| readers.push((Arc::clone(inbound), queue, reader));
        match &inbound.partitions {
            None => add(inbound.queue.clone(), Reader::Lane(first_lane)),
            Some(partitions) => {
                let lanes = first_lane..first_lane + source.lanes;
                partitions.queues().zip(lanes).for_each(|(queue, n)| add(queue, Reader::Lane(n)));
                if settings.partitions.pass_on {
                    add(inbound.queue.clone(), Reader::Partitioner(number));
                }
            }
        }
        first_lane += source.lanes;
    }
    readers
}

impl Quarantine {
    /// Reads a queue until the quarantine is over.
    async fn read(&self, source: &Arc<Inbound>, queue: &str, by: Reader) -> Result<(), String> {
        let state = State::default();
        let mut is_logged = false;
        loop {
            let opened = self.link.isolated(source, queue).await;
            let IsolatedLane { lane, connection } = opened.map_err(|error| error.to_string())?;
            let reading =
                Reading { quarantine: self, consumer: lane.consumer, state: &state, queue, by };
            let (batch_messages, worker) = (self.settings.pipeline.batch_messages, &*self.worker);
            let ended = match by {
                Reader::Lane(number) => {
                    let lane = Lane {
                        worker,
                        source: reading,
                        publisher: lane.publisher,
                        settler: lane.settler,
                        batch_messages,
                        tally: &self.monitor.lanes[number],
                    };
                    lane.run(&self.over).await
                }
                Reader::Partitioner(number) => {
                    let count = source.partitions.as_ref().map_or(1, |it| it.count);
                    let partitioner = Partitioner {
                        worker,
                        source: reading,
                        distributor: lane.publisher,
                        settler: lane.settler,
                        batch_messages,
                        partitions: Partitions::new(count, self.settings.partitions.key),
                        progress: &self.monitor.partitioners[number],
                    };
                    partitioner.run(&self.over).await
                }
            };
            let error = match ended {
                Ok(()) => return Ok(()),
                Err(error) => error.to_string(),
            };
            let Some(cause) = connection.fault().await else { return Err(error) };
            if !std::mem::replace(&mut is_logged, true) {
                tracing::warn!(
                    queue,
                    cause,
                    "a message cannot be delivered (undeliverable); its queue is read one message at a \
                     time until the broker sets it aside"
                );
            }
            if state.has_recovered.swap(false, Ordering::AcqRel) {
                self.affected_queues.fetch_add(1, Ordering::AcqRel);
            }
            self.monitor.quarantine.mark_queue(queue);
            let rounds = state.rounds.fetch_add(1, Ordering::AcqRel) + 1;
            if rounds < AT_ONCE {
                continue;
            }
            if rounds == AT_ONCE {
                tracing::warn!(
                    queue,
                    rounds,
                    "the broker does not set the message aside: its queue has no delivery limit, or a \
                     higher one"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(REST) => {}
                () = self.over.cancelled() => return Ok(()),
            }
        }
    }

    /// What the reader has taken and not settled.
    fn in_hand(&self, by: Reader) -> u64 {
        match by {
            Reader::Lane(number) => self.monitor.lanes[number].progress.in_hand(),
            Reader::Partitioner(number) => self.monitor.partitioners[number].in_hand(),
        }
    }

    /// A queue has recovered.
    fn recovered(&self, state: &State, queue: &str, by: Reader) {
        if state.has_recovered.swap(true, Ordering::AcqRel) {
            return;
        }
        let rounds = state.rounds.swap(0, Ordering::AcqRel);
        if rounds > 0 {
            // Each message took as many rounds as the limit allows, as far as they took place here.
            let messages = usize::try_from(rounds.div_ceil(ROUNDS_EACH)).unwrap_or(usize::MAX);
            let lane = match by {
                Reader::Lane(number) => number,
                Reader::Partitioner(_) => 0,
            };
            self.monitor.lanes[lane].undeliverable(messages);
            tracing::info!(
                queue,
                messages,
                rounds,
                "the broker has set aside what it could not deliver"
            );
        }
        if self.affected_queues.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.over.cancel();
        }
    }
}

/// The state of a queue in quarantine.
#[derive(Default)]
struct State {
    /// It has delivered what it had not delivered before, or nothing for a while.
    has_recovered: AtomicBool,
    /// How often its connection has ended since.
    rounds: AtomicU32,
}

/// A consumer of a queue in quarantine.
struct Reading<'q> {
    quarantine: &'q Quarantine,
    consumer: Consumer,
    state: &'q State,
    queue: &'q str,
    by: Reader,
}

impl Source for Reading<'_> {
    type Delivery = Received;

    fn queue(&self) -> Option<&str> {
        Some(self.queue)
    }

    async fn next_batch(&mut self, max: usize) -> Result<Vec<Received>, TransportError> {
        let Reading { quarantine, consumer, state, queue, by } = self;
        loop {
            // Cancel-safe, as the consumer is.
            tokio::select! {
                batch = consumer.next_batch(max) => {
                    let batch = batch?;
                    if batch.iter().any(|delivery| !delivery.arrival().redelivered) {
                        quarantine.recovered(state, queue, *by);
                    }
                    return Ok(batch);
                }
                () = tokio::time::sleep(QUIET), if !state.has_recovered.load(Ordering::Acquire) => {
                    if quarantine.in_hand(*by) == 0 {
                        quarantine.recovered(state, queue, *by);
                    }
                }
            }
        }
    }
}
