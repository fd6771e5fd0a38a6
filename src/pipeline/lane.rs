//! A lane runs the whole line over its own source, publisher and settler, in order.
//!
//! Two halves, one bounded queue between them: while one batch awaits its confirms, the next is
//! worked through and saved. What arrives in order leaves in order. A half that fails ends the lane;
//! whatever was not settled is delivered anew.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::pipeline::observe::message_trace::Traced;
use crate::pipeline::observe::spans::Tracer;
use crate::pipeline::observe::tally::Tally;
use crate::pipeline::plan::Planned;
use crate::pipeline::plan::SavedBatch;
use crate::pipeline::ports::{Delivery as _, Publisher, Settler, Source, Store, TransportError};
use crate::pipeline::publish::stage::PublishStage;
use crate::pipeline::save::outage::HOLD_SECS;
use crate::pipeline::save::worker::{Worker, WorkerError};

/// Batches between the halves. Under load one is enough for the halves to overlap. At a moderate rate the
/// first half takes a message or two at a time and is faster than the confirms of the second: what has
/// been saved meanwhile is published together, and there is room for it. How many deliveries are held back
/// from other workers is for `amqp.prefetch_messages` to say.
const BATCHES_BETWEEN: usize = 16;

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
    /// What has happened so far; this lane's own.
    pub tally: &'w Tally,
}

/// What decides how long a lane may hold a delivery.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// Deliveries ahead of their acknowledgement.
    pub prefetch_messages: usize,
    /// The most deliveries in a batch.
    pub batch_messages: usize,
    /// How long a batch is held while no consumer downstream takes it.
    pub publish_patience: Duration,
    /// How long the confirms of a batch may take.
    pub confirm_timeout: Duration,
}

/// How long a delivery may stay unacknowledged at worst, from the moment when the broker sends it, if
/// the store is away for as long as a batch is held for it, and downstream for longer than that.
///
/// The last of what was sent ahead waits for all batches before it: one in each half, and as many as
/// the rest makes.
pub fn longest_hold(hold: Hold) -> Duration {
    let store = Duration::from_secs(HOLD_SECS);
    let batches = 2 + hold.prefetch_messages.saturating_sub(2).div_ceil(hold.batch_messages.max(1));
    let each = hold.publish_patience.min(store) + hold.confirm_timeout;
    store.saturating_add(each.saturating_mul(u32::try_from(batches).unwrap_or(u32::MAX)))
}

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
        // Dropped last: what is not settled by then is given back.
        let _running = tally.progress.run();
        let queue = worker.tracer.as_ref().and(source.queue()).map(Arc::from);
        let intake = SaveStage { worker, source, batch_messages, saved, tally };
        let (refused_in_a_row, held_batches) = (0, 0);
        let mut outlet = PublishStage {
            worker,
            publisher,
            settler,
            tally,
            batch_messages,
            refused_in_a_row,
            held_batches,
            queue,
            trace: None,
        };
        let outgoing = async { Ok(outlet.run(to_publish, stop).await?) };
        let (source, ()) = tokio::try_join!(intake.run(stop), outgoing)?;
        // The source outlives the last settlement: dropping it may give deliveries back.
        drop(source);
        Ok(())
    }
}

/// The first half: take, work through, save.
struct SaveStage<'w, S, So: Source> {
    worker: &'w Worker<S>,
    source: So,
    batch_messages: usize,
    /// Closes when this half ends, and the other half with it.
    saved: mpsc::Sender<SavedBatch<So::Delivery>>,
    tally: &'w Tally,
}

impl<S: Store, So: Source> SaveStage<'_, S, So> {
    async fn run(mut self, stop: &CancellationToken) -> Result<So, LaneError> {
        while let Some(batch) = next_batch(&mut self.source, self.batch_messages, stop).await? {
            let has_waited = |delivery: &&So::Delivery| delivery.arrival().attempts.count > 0;
            self.tally.took(batch.len(), batch.iter().filter(has_waited).count());
            let tracer = self.worker.tracer.as_ref();
            let taken_ns = tracer.map_or(0, Tracer::now_ns);
            let plans = match self.worker.work(&batch, self.tally, stop).await {
                Ok(plans) => plans,
                Err(WorkerError::Stopped) => break,
                Err(error) => return Err(LaneError::from(error)),
            };
            let mut places: Vec<_> = batch.into_iter().map(Some).collect();
            let in_order = plans.into_iter().filter_map(|Planned { place, plan, trace }| {
                let delivery = places.get_mut(place).and_then(Option::take)?;
                let trace = tracer.map(|tracer| tracer.taken(trace, &delivery, taken_ns));
                Some((Traced { delivery, trace }, plan))
            });
            if self.saved.send(in_order.collect()).await.is_err() {
                // The other half has failed and says why.
                break;
            }
        }
        Ok(self.source)
    }
}

/// The next batch of a source; `None` at the end of the input, and from `stop` on, even if there is more
/// to take.
///
/// # Errors
/// [`TransportError`] when the source is lost.
pub(crate) async fn next_batch<So: Source>(
    source: &mut So,
    batch_messages: usize,
    stop: &CancellationToken,
) -> Result<Option<Vec<So::Delivery>>, TransportError> {
    let batch = tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(None),
        batch = source.next_batch(batch_messages) => batch?,
    };
    Ok((!batch.is_empty()).then_some(batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_hold_counts_all_batches_before_the_last_delivery() {
        let default = Hold {
            prefetch_messages: 1000,
            batch_messages: 200,
            publish_patience: Duration::from_secs(60),
            confirm_timeout: Duration::from_secs(30),
        };
        assert_eq!(longest_hold(default), Duration::from_secs(600 + 7 * 90));
        let single = Hold { prefetch_messages: 1, batch_messages: 1, ..default };
        assert_eq!(longest_hold(single), Duration::from_secs(600 + 2 * 90));
        // A batch is not held for longer than ten minutes, whatever the patience.
        let patient = Hold { publish_patience: Duration::from_secs(86_400), ..single };
        assert_eq!(longest_hold(patient), Duration::from_secs(600 + 2 * 630));
    }
}
