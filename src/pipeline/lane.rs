//! A lane runs the whole line over its own source, publisher and settler, in order.
//!
//! Two halves, one bounded queue between them: while one batch awaits its confirms, the next is
//! worked through and saved. What arrives in order leaves in order. A half that fails ends the lane;
//! whatever was not settled is delivered anew.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ports::{
    Answer, Awaited, Delivery, Outgoing, PublishedKind, Publisher, Settlement, Settler, Source,
    Store, TransportError,
};
use super::settlement::{Cause, Failure, Remedy, remedy};
use super::tally::Tally;
use super::worker::{Plan, Worker, WorkerError};

/// Batches between the halves. One is enough for the halves to overlap; more would only hold more
/// deliveries back from other workers.
const BATCHES_BETWEEN: usize = 1;

/// Why a lane ended though it was not told to.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The broker is lost.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A batch could not be saved.
    #[error(transparent)]
    Worker(#[from] WorkerError),
}

/// A lane: the adapters it runs over, and what it does to every batch.
pub struct Lane<'w, S, So, Pu, Se> {
    /// What is done to every batch.
    pub worker: &'w Worker<S>,
    /// Where deliveries come from.
    pub source: So,
    /// Where messages go.
    pub publisher: Pu,
    /// How deliveries are settled.
    pub settler: Se,
    /// The most deliveries in a batch.
    pub batch_messages: usize,
    /// What has happened so far.
    pub tally: &'w Tally,
}

/// A batch that is saved: deliveries with their plans.
type Saved<D> = Vec<(D, Plan)>;

impl<S, So, Pu, Se> Lane<'_, S, So, Pu, Se>
where
    S: Store,
    So: Source,
    Pu: Publisher<So::Delivery>,
    Se: Settler<So::Delivery>,
{
    /// Runs until the input ends, or until `stop`: then nothing more is taken, what is saved is
    /// published and settled, and the rest is left to be delivered anew.
    ///
    /// # Errors
    /// [`LaneError`] when an adapter is lost. The lane cannot go on; a new one can.
    pub async fn run(self, stop: &CancellationToken) -> Result<(), LaneError> {
        let (saved, to_publish) = mpsc::channel(BATCHES_BETWEEN);
        let Lane { worker, source, publisher, settler, batch_messages, tally } = self;
        let intake = Intake { worker, source, batch_messages, saved };
        let mut outlet = Outlet { worker, publisher, settler, tally };
        let (source, ()) = tokio::try_join!(intake.run(stop), outlet.run(to_publish))?;
        // The source outlives the last settlement: dropping it may give deliveries back.
        drop(source);
        Ok(())
    }
}

/// The first half: take, work through, save.
struct Intake<'w, S, So: Source> {
    worker: &'w Worker<S>,
    source: So,
    batch_messages: usize,
    /// Closes when this half ends, and the other half with it.
    saved: mpsc::Sender<Saved<So::Delivery>>,
}

impl<S: Store, So: Source> Intake<'_, S, So> {
    async fn run(mut self, stop: &CancellationToken) -> Result<So, LaneError> {
        loop {
            let batch = tokio::select! {
                // Told to stop, a lane that could still take more does not.
                biased;
                () = stop.cancelled() => break,
                batch = self.source.next_batch(self.batch_messages) => batch?,
            };
            if batch.is_empty() {
                break;
            }
            let plans = match self.worker.work(&batch, stop).await {
                Ok(plans) => plans,
                Err(WorkerError::Stopped) => break,
                Err(error) => return Err(LaneError::from(error)),
            };
            if self.saved.send(batch.into_iter().zip(plans).collect()).await.is_err() {
                // The other half has failed and says why.
                break;
            }
        }
        Ok(self.source)
    }
}

/// The second half: publish, wait for all confirms, settle.
struct Outlet<'w, S, Pu, Se> {
    worker: &'w Worker<S>,
    publisher: Pu,
    settler: Se,
    tally: &'w Tally,
}

/// What is to become of one delivery of the batch in hand.
enum Fate {
    /// It is done with.
    Settled(Settlement),
    /// It is published.
    Publish(Box<super::ports::Published>),
    /// It is to be set aside.
    Remedy { remedy: Remedy, stage: &'static str, awaited: Option<Awaited> },
}

impl<S, Pu, Se> Outlet<'_, S, Pu, Se> {
    async fn run<D: Delivery>(
        &mut self,
        mut batches: mpsc::Receiver<Saved<D>>,
    ) -> Result<(), LaneError>
    where
        Pu: Publisher<D>,
        Se: Settler<D>,
    {
        while let Some(batch) = batches.recv().await {
            self.deliver(batch).await?;
        }
        Ok(())
    }

    async fn deliver<D: Delivery>(&mut self, batch: Saved<D>) -> Result<(), TransportError>
    where
        Pu: Publisher<D>,
        Se: Settler<D>,
    {
        let mut deliveries = Vec::with_capacity(batch.len());
        let mut fates = Vec::with_capacity(batch.len());
        for (delivery, plan) in batch {
            self.tally.took(&plan, delivery.arrival());
            fates.push(match plan {
                Plan::Done(_) => Fate::Settled(Settlement::Acknowledge),
                Plan::Publish(message) => Fate::Publish(message),
                Plan::Failed { failure, stage, awaited } => {
                    Fate::Remedy { remedy: self.remedy(failure, &delivery), stage, awaited }
                }
            });
            deliveries.push(delivery);
        }
        // A first round for everything; a second one for what was published and came back; what
        // then is still not safely elsewhere goes back to its queue.
        for _round in 0..2 {
            self.publish(&deliveries, &mut fates).await?;
        }
        let settled = deliveries.into_iter().zip(fates).map(|(delivery, fate)| match fate {
            Fate::Settled(settlement) => (delivery, settlement),
            Fate::Publish(_) | Fate::Remedy { .. } => (delivery, Settlement::Requeue),
        });
        let settled: Vec<_> = settled.collect();
        self.settler.settle(settled).await
    }

    /// Publishes whatever is not settled, and writes down what became of it.
    async fn publish<D: Delivery>(
        &mut self,
        deliveries: &[D],
        fates: &mut [Fate],
    ) -> Result<(), TransportError>
    where
        Pu: Publisher<D>,
    {
        let mut places = Vec::new();
        let mut outgoing = Vec::new();
        for (place, (delivery, fate)) in deliveries.iter().zip(fates.iter_mut()).enumerate() {
            let message = match fate {
                Fate::Settled(_) => continue,
                Fate::Publish(message) => Outgoing::Enriched(message),
                Fate::Remedy { remedy: Remedy::Requeue, .. } => {
                    *fate = Fate::Settled(Settlement::Requeue);
                    continue;
                }
                Fate::Remedy { remedy: Remedy::Wait { delay, attempts }, awaited, .. } => {
                    Outgoing::Waiting {
                        delivery,
                        awaited: awaited.as_ref(),
                        delay: *delay,
                        attempts: attempts.clone(),
                    }
                }
                Fate::Remedy { remedy: Remedy::DeadLetter(reason), stage, .. } => {
                    let mut attempts = delivery.arrival().attempts.clone();
                    // Without a wait nobody has written it down yet.
                    attempts.first_seen_ms.get_or_insert_with(|| self.worker.clock.now_ms());
                    Outgoing::DeadLetter { delivery, reason: *reason, stage, attempts }
                }
            };
            places.push(place);
            outgoing.push(message);
        }
        if outgoing.is_empty() {
            return Ok(());
        }
        let answers = self.publisher.publish(&outgoing).await?;
        drop(outgoing);
        if answers.len() != places.len() {
            return Err(TransportError::new("the broker did not answer for every message"));
        }
        for (place, answer) in places.into_iter().zip(answers) {
            self.tally.answered(answer);
            fates[place] = self.after(&deliveries[place], &fates[place], answer);
        }
        Ok(())
    }

    fn after<D: Delivery>(&self, delivery: &D, fate: &Fate, answer: Answer) -> Fate {
        let done = Fate::Settled(Settlement::Acknowledge);
        let (failure, stage) = match (fate, answer) {
            (_, Answer::Confirmed) => return done,
            (Fate::Publish(message), Answer::Returned) => match message.kind {
                // Nobody need listen to ends.
                PublishedKind::Ended => return done,
                PublishedKind::Enriched => (Failure::MustWait(Cause::Unroutable), "publish"),
            },
            (Fate::Publish(_), Answer::Refused) => (Failure::MustWait(Cause::Refused), "publish"),
            (Fate::Remedy { .. } | Fate::Settled(_), Answer::Returned | Answer::Refused) => {
                (Failure::NotSetAside, "publish")
            }
        };
        Fate::Remedy { remedy: self.remedy(failure, delivery), stage, awaited: None }
    }

    fn remedy<D: Delivery>(&self, failure: Failure, delivery: &D) -> Remedy {
        let worker = self.worker;
        let remedy = remedy(failure, delivery.arrival(), &worker.patience, worker.clock.now_ms());
        let told = self.tally.set_aside(&remedy);
        if let (Remedy::DeadLetter(reason), true) = (&remedy, told) {
            tracing::warn!(delivery = delivery.name(), %reason, "a message is set aside");
        }
        remedy
    }
}
