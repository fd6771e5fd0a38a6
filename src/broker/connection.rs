//! The two connections to RabbitMQ, and the lanes and passes opened on them.
//!
//! Two, because a memory or disk alarm makes the broker stop reading from connections that publish:
//! acknowledgements on the same one would hang with it (trap 5). lapin's own recovery is off (trap
//! 1); a [`Link`] that has failed in any way is dropped, and nothing that came out of it is used
//! again.
//!
//! Invariant: a dropped [`Link`] leaves nothing behind, neither task nor thread nor socket, in
//! whatever state the broker is (`broker_connection.rs`).
//!
//! Deliberately absent: trying again (`supervisor.rs`).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use lapin::{Connection, ConnectionStatus, Event};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::broker_connection::{self, BrokerConnection};
use super::{
    Consumer, DeadLetters, Error, Inbound, Publisher, Settings, Settler, Topology, TopologyFinding,
    declare, with_timeout,
};

/// How the broker is to be reached at the moment, for readiness and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// No connection.
    #[default]
    Down,
    /// Connected.
    Up,
    /// Connected, but the broker takes nothing: it is short of memory or disk. It says so only to
    /// a connection that publishes.
    Blocked,
}

/// Both connections, for consuming and for publishing.
#[derive(Debug)]
pub struct Link {
    consuming: BrokerConnection,
    /// Lent to the lanes' publishers, for as long as the link lives.
    publishing: Arc<BrokerConnection>,
    settings: Arc<Settings>,
    sources: Vec<Arc<Inbound>>,
    /// How the consuming connection ended.
    ended: watch::Receiver<Option<End>>,
    /// Ends with the link.
    _events: AbortOnDropHandle<()>,
}

/// How a connection ended.
#[derive(Clone, Debug)]
struct End {
    /// What the message that was being delivered may have to do with it.
    fault: Option<String>,
}

/// What one lane of the pipeline needs, each over a channel of its own.
#[derive(Debug)]
pub struct Lane {
    /// Where its deliveries come from.
    pub consumer: Consumer,
    /// What settles them; shares the consumer's channel.
    pub settler: Settler,
    /// Where the resulting messages go.
    pub publisher: Publisher,
}

impl Link {
    /// Connects twice, and reports to `health` from then on.
    ///
    /// # Errors
    /// [`Error::Settings`] when the URL or a TLS file cannot be used, [`Error::Unreachable`] when
    /// the broker does not answer, or answers with a refusal.
    pub async fn open(
        settings: Arc<Settings>,
        health: watch::Sender<Health>,
    ) -> Result<Link, Error> {
        let consuming = BrokerConnection::open(&settings, "consume").await?;
        let publishing = Arc::new(BrokerConnection::open(&settings, "publish").await?);
        let (end, ended) = watch::channel(None);
        let events = watch_events(
            &consuming.connection,
            &publishing.connection,
            HealthReporter(health),
            end,
        );
        let events = AbortOnDropHandle::new(tokio::spawn(events));
        let sources = settings.inbound().into_iter().map(Arc::new).collect();
        Ok(Link { consuming, publishing, settings, sources, ended, _events: events })
    }

    /// Declares the topology, or looks for it where `declare` is off.
    ///
    /// # Errors
    /// [`Error::Declare`] for the first thing that cannot be declared, [`Error::Missing`] for all
    /// that is not there.
    pub async fn prepare(&self, topology: &Topology) -> Result<(), Error> {
        let (wire, limit) = (&self.consuming, self.settings.answer_timeout());
        if self.settings.declare {
            declare::declare(topology, wire, limit).await
        } else {
            declare::check(topology, wire, limit).await
        }
    }

    /// Checks whether another number of partitions has left messages in a queue without a consumer: the
    /// queue behind the last partition, or the work queue from before there were any. A queue that this
    /// user may not inspect counts as empty.
    ///
    /// # Errors
    /// [`Error::LeftBehind`] for all such queues.
    pub async fn look_behind(&self) -> Result<(), Error> {
        let partitioned = self.sources.iter().filter_map(|source| source.partitions.as_ref());
        let unread = partitioned.flat_map(|it| [it.of.clone(), it.queue(it.count)]).collect();
        let depths = self.depths(unread).await?;
        let full = depths.into_iter().filter(|(_, ready)| ready.is_some_and(|ready| ready > 0));
        let names: Vec<_> = full.map(|(name, _)| format!("`{name}`")).collect();
        if names.is_empty() { Ok(()) } else { Err(Error::LeftBehind(names)) }
    }

    /// Compares the broker's topology with the required one; changes nothing.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn compare(&self, topology: &Topology) -> Result<Vec<TopologyFinding>, Error> {
        declare::compare(topology, &self.consuming, self.settings.answer_timeout()).await
    }

    /// How many messages are ready in each of these queues; none for one that is not there, or that
    /// this user may not look at. Changes nothing.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn depths(&self, queues: Vec<String>) -> Result<Vec<(String, Option<u32>)>, Error> {
        declare::depths(queues, &self.consuming, self.settings.answer_timeout()).await
    }

    /// The work queues there are to consume, in the order of the settings.
    pub fn sources(&self) -> &[Arc<Inbound>] {
        &self.sources
    }

    /// Opens the channels of a lane over the first work queue; deliveries begin to arrive.
    ///
    /// # Errors
    /// As [`Link::lane_of`].
    pub async fn lane(&self) -> Result<Lane, Error> {
        self.lane_of(&self.sources[0]).await
    }

    /// Opens the channels of a lane over a work queue; deliveries begin to arrive.
    ///
    /// # Errors
    /// When a channel cannot be opened, or the work queue cannot be consumed.
    pub async fn lane_of(&self, source: &Arc<Inbound>) -> Result<Lane, Error> {
        self.open_lane(source, &source.queue).await
    }

    /// Opens the channels of the lane of this number: over the partition of that number, where
    /// deliveries arrive once it is the active consumer; or over the one work queue there is.
    ///
    /// # Errors
    /// As [`Link::lane_of`].
    pub async fn lane_of_partition(
        &self,
        source: &Arc<Inbound>,
        number: usize,
    ) -> Result<Lane, Error> {
        let partitions = source.partitions.as_ref();
        let partition = partitions.and_then(|partitions| partitions.queues().nth(number));
        let queue = partition.unwrap_or_else(|| source.queue.clone());
        self.open_lane(source, &queue).await
    }

    async fn open_lane(&self, source: &Arc<Inbound>, queue: &str) -> Result<Lane, Error> {
        let limit = self.settings.answer_timeout();
        let publisher = Publisher::open(&self.publishing, &self.settings).await?;
        let prefetch = source.prefetch_messages;
        let consumer = consumer(&self.consuming, source, queue, prefetch, limit).await?;
        Ok(Lane { consumer, settler: Settler::new(limit), publisher })
    }

    /// Whether the consuming connection has ended over a message that was being delivered, and how.
    pub async fn fault(&self) -> Option<String> {
        fault(&self.consuming, &self.ended).await
    }

    /// Opens a lane over a queue that is consumed by a connection of its own, one message at a time:
    /// however that ends, nothing else was in hand.
    ///
    /// # Errors
    /// When the broker does not answer, or the queue cannot be consumed.
    pub async fn isolated(
        &self,
        source: &Arc<Inbound>,
        queue: &str,
    ) -> Result<IsolatedLane, Error> {
        let limit = self.settings.answer_timeout();
        // At the same time: a message may take a hundred of these.
        let (publisher, wire) = tokio::try_join!(
            Publisher::open(&self.publishing, &self.settings),
            BrokerConnection::open(&self.settings, "consume one at a time")
        )?;
        let (end, ended) = watch::channel(None);
        let events = wire.connection.events_listener();
        let events = AbortOnDropHandle::new(tokio::spawn(watch_end(events, end)));
        let consumer = consumer(&wire, source, queue, 1, limit).await?;
        let lane = Lane { consumer, settler: Settler::new(limit), publisher };
        Ok(IsolatedLane { lane, connection: IsolatedConnection { wire, ended, _events: events } })
    }

    /// Begins a pass over the dead-letter queue as it is now.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such queue, [`Error::Unreachable`] when the broker does
    /// not answer.
    pub async fn dead_letters(&self) -> Result<DeadLetters, Error> {
        let limit = self.settings.answer_timeout();
        let reading = self.consuming.channel(limit).await?;
        let sending = self.publishing.channel(limit).await?;
        let repairs = Arc::clone(&self.consuming.repairs);
        DeadLetters::open(reading, repairs, sending, &self.settings).await
    }

    /// Closes both connections, within `answer_timeout_ms`. Unsettled deliveries go back to the
    /// queue.
    ///
    /// Never fails: a broker that does not answer in time is left all the same.
    pub async fn close(self) {
        let close_connection = async |wire: &BrokerConnection| {
            let closed = wire.connection.close(200, "OK".into());
            if let Err(error) = with_timeout(self.settings.answer_timeout(), closed).await {
                tracing::debug!(%error, "closing a connection to the broker failed");
            }
        };
        tokio::join!(close_connection(&self.consuming), close_connection(&self.publishing));
    }
}

/// A lane with a consuming connection of its own.
#[derive(Debug)]
pub struct IsolatedLane {
    /// The lane.
    pub lane: Lane,
    /// Its connection, which ends when this is dropped.
    pub connection: IsolatedConnection,
}

/// The consuming connection of one lane.
#[derive(Debug)]
pub struct IsolatedConnection {
    wire: BrokerConnection,
    ended: watch::Receiver<Option<End>>,
    _events: AbortOnDropHandle<()>,
}

impl IsolatedConnection {
    /// Whether it has ended over the message that was being delivered, and how.
    pub async fn fault(&self) -> Option<String> {
        fault(&self.wire, &self.ended).await
    }
}

/// Consumes a queue over a channel of its own.
async fn consumer(
    wire: &BrokerConnection,
    source: &Arc<Inbound>,
    queue: &str,
    prefetch_messages: u16,
    limit: Duration,
) -> Result<Consumer, Error> {
    let (channel, repairs) = (wire.channel(limit).await?, Arc::clone(&wire.repairs));
    Consumer::open(channel, repairs, Arc::clone(source), queue, prefetch_messages, limit).await
}

async fn fault(wire: &BrokerConnection, ended: &watch::Receiver<Option<End>>) -> Option<String> {
    /// lapin fails the calls on a connection before it reports how the connection ended.
    const END_EVENT_TIMEOUT: Duration = Duration::from_secs(1);
    if wire.connection.status().connected() {
        return None;
    }
    let mut ended = ended.clone();
    let end = tokio::time::timeout(END_EVENT_TIMEOUT, ended.wait_for(Option::is_some)).await;
    end.ok()?.ok()?.as_ref()?.fault.clone()
}

/// Records how a connection ends.
async fn watch_end(
    events: impl Stream<Item = Event> + Send + 'static,
    end: watch::Sender<Option<End>>,
) {
    let mut events = Box::pin(events);
    while let Some(event) = events.next().await {
        record_end(&event, &end);
    }
}

fn record_end(event: &Event, end: &watch::Sender<Option<End>>) {
    if let Event::Error(error) = event {
        // The first error counts; what follows from it does not.
        end.send_if_modified(|end| {
            let fault = broker_connection::fault(error);
            let is_first = end.is_none();
            if is_first {
                *end = Some(End { fault });
            }
            is_first
        });
    }
}

/// Where the state of a link is reported; its end is reported whichever way it comes.
struct HealthReporter(watch::Sender<Health>);

impl Drop for HealthReporter {
    fn drop(&mut self) {
        self.0.send_replace(Health::Down);
    }
}

/// Reports and logs what happens to either connection, until the link is dropped.
///
/// The statuses are asked rather than the events added up, so that what happened before the first
/// event is seen as well.
fn watch_events(
    consuming: &Connection,
    publishing: &Connection,
    report: HealthReporter,
    end: watch::Sender<Option<End>>,
) -> impl Future<Output = ()> + Send + 'static {
    let consumes = consuming.events_listener().map(|event| (true, event));
    let publishes = publishing.events_listener().map(|event| (false, event));
    let mut events = Box::pin(stream::select(consumes, publishes));
    let statuses = [consuming.status().clone(), publishing.status().clone()];
    async move {
        loop {
            let now = if !statuses.iter().all(ConnectionStatus::connected) {
                Health::Down
            } else if statuses.iter().any(ConnectionStatus::blocked) {
                Health::Blocked
            } else {
                Health::Up
            };
            match (report.0.send_replace(now), now) {
                (Health::Up, Health::Blocked) => {
                    tracing::warn!("the broker takes no more messages: it lacks memory or disk");
                }
                (Health::Blocked, Health::Up) => tracing::info!("the broker takes messages again"),
                _ => {}
            }
            let event = events.next().await;
            if let Some((true, event)) = &event
                && !statuses[0].connected()
            {
                record_end(event, &end);
            }
            match event.map(|(_, event)| event) {
                // Of a connection, and then its status says so; or of one of its channels only, as
                // when a queue is looked for that is not there. The caller that uses the channel gets
                // the error as well, and handles it.
                Some(Event::Error(error)) => {
                    tracing::debug!(%error, "a connection to the broker, or a channel, has failed");
                }
                Some(_) => {}
                None => return,
            }
        }
    }
}
