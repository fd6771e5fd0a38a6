//! Passes the messages of a work queue on to its partitions.
//!
//! ```text
//! intake ─▶ batch ─▶ partition of each ─▶ its queue ─▶ all confirms ─▶ acknowledge
//! ```
//!
//! Invariants: a message is acknowledged once its partition has it, so none is lost; what was passed on
//! and not acknowledged comes again and is passed on again, under the same event id, which makes the
//! second a `duplicate` for the lane behind it. That the intake delivers something again says nothing
//! about whether it was saved, so it is not passed on as a redelivery. One batch is answered for before
//! the next is sent, so what arrives in order is in its partition in order.
//!
//! Its memory is its own. One that takes over does not know what the one before it has passed on and no
//! lane has saved yet, so at first it waits a moment for interactions that are not known. With more in the
//! partitions than a moment's work, an update of a child may then go another way than its creation
//! (docs/messages.md, *Order*).
//!
//! Deliberately absent: choosing the process that runs it. The intake queue has a single active consumer, so among all
//! processes one does, and the next one when that is gone.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pipeline::lane::{LaneError, next_batch};
use crate::pipeline::observe::progress::Progress;
use crate::pipeline::partitions::Partitions;
use crate::pipeline::ports::{
    Distributor, PublishOutcome, Settlement, Settler, Source, Store, TransportError,
};
use crate::pipeline::save::outage::Outage;
use crate::pipeline::save::worker::{Worker, WorkerError};

/// For so long after it began, a partitioner waits for the store to know an interaction. A lane saves what
/// it has in hand in less. Not longer, since all that follows waits with it, and so do live customers.
const TAKING_OVER: Duration = Duration::from_secs(2);

/// Between two looks into the store meanwhile.
const LOOK: Duration = Duration::from_millis(50);

/// A partitioner: the adapters it runs over, and how it chooses.
pub struct Partitioner<'w, S, So, Di, Se> {
    /// Knows store and clock.
    pub worker: &'w Worker<S>,
    /// Where deliveries come from.
    pub source: So,
    /// Where they are passed on.
    pub distributor: Di,
    /// How they are settled.
    pub settler: Se,
    /// The most deliveries in a batch.
    pub batch_messages: usize,
    /// Which partition is whose.
    pub partitions: Partitions,
    /// What it has in hand.
    pub progress: &'w Progress,
}

impl<S, So, Di, Se> Partitioner<'_, S, So, Di, Se>
where
    S: Store,
    So: Source,
    Di: Distributor<So::Delivery>,
    Se: Settler<So::Delivery>,
{
    /// Runs until the input ends, or until `stop`: then the batch in hand is finished, and the rest is
    /// left to the next active consumer.
    ///
    /// # Errors
    /// [`LaneError`] when an adapter is lost, or a partition does not take a message: what follows it
    /// must not pass it, so all that is not acknowledged has to come again, in order.
    pub async fn run(mut self, stop: &CancellationToken) -> Result<(), LaneError> {
        // Dropped with it: what is not settled by then is given back.
        let _running = self.progress.run();
        // It counts from the first delivery: until then another one may be active.
        let mut guesses_from = None;
        while let Some(batch) = next_batch(&mut self.source, self.batch_messages, stop).await? {
            self.progress.record_taken(batch.len());
            let from = *guesses_from.get_or_insert_with(|| Instant::now() + TAKING_OVER);
            let partitions = match self.choose(&batch, from, stop).await {
                Ok(partitions) => partitions,
                Err(WorkerError::Stopped) => break,
                Err(error) => return Err(LaneError::from(error)),
            };
            let passed_on: Vec<_> = batch.iter().zip(partitions).collect();
            let answers = self.distributor.pass_on(&passed_on).await?;
            let taken = batch.into_iter().zip(&answers);
            let taken = taken.filter(|(_, answer)| **answer == PublishOutcome::Confirmed);
            let taken: Vec<_> =
                taken.map(|(delivery, _)| (delivery, Settlement::Acknowledge)).collect();
            let messages = taken.len();
            self.settler.settle(taken).await?;
            self.progress.record_settled(messages);
            if answers.iter().any(|answer| *answer != PublishOutcome::Confirmed) {
                let what = "pass on a message: a partition's queue is not there, or full";
                return Err(LaneError::from(TransportError::new(what)));
            }
        }
        Ok(())
    }

    /// The partitions of a batch, however long the store takes.
    async fn choose(
        &mut self,
        batch: &[So::Delivery],
        guesses_from: Instant,
        stop: &CancellationToken,
    ) -> Result<Vec<u16>, WorkerError> {
        let Worker { store, clock, body_max_bytes, .. } = self.worker;
        let mut outage = Outage::begin(clock, stop);
        loop {
            let may_guess = Instant::now() >= guesses_from;
            let limit = *body_max_bytes;
            let error =
                match self.partitions.of_batch(batch, limit, store.as_ref(), may_guess).await {
                    Ok(Some(partitions)) => return Ok(partitions),
                    Ok(None) => {
                        outage.wait(LOOK).await?;
                        continue;
                    }
                    Err(error) => error,
                };
            let delay = outage.next_delay()?;
            self.progress.beat();
            tracing::warn!(
                %error,
                messages = batch.len(),
                retry_ms = delay.as_millis(),
                "the store is away; nothing is passed on to the partitions"
            );
            outage.wait(delay).await?;
        }
    }
}
