//! A batch in hand while the store is away: it is tried again and again, but not for ever.
//!
//! Deliberately absent: logging, which is the caller's.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::retry::ReconnectBackoff;

/// The batch could not be saved, and it was told to stop trying.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It was cancelled while the store was away.
    #[error("save the batch: stopped while waiting for the store")]
    Stopped,
    /// The store was away for longer than a batch may be held: the broker would take the batch away.
    #[error("save the batch: the store was away for longer than {held_secs} s")]
    HeldTooLong {
        /// How long it was held, in seconds.
        held_secs: u64,
    },
}

/// How long a batch is held while the store is away, in seconds. RabbitMQ closes the channel of a
/// consumer that has not acknowledged for 30 minutes; a third of that leaves room for the rest.
pub(crate) const HOLD_SECS: u64 = 600;

/// Tries at one batch, with growing delays between them.
pub(crate) struct Outage<'w> {
    clock: &'w Clock,
    stop: &'w CancellationToken,
    began_ms: i64,
    retry: ReconnectBackoff,
}

impl<'w> Outage<'w> {
    /// The batch is in hand from now on.
    pub(crate) fn begin(clock: &'w Clock, stop: &'w CancellationToken) -> Outage<'w> {
        Outage { clock, stop, began_ms: clock.now_ms(), retry: ReconnectBackoff::new() }
    }

    /// How long to wait before the next try.
    ///
    /// # Errors
    /// [`WorkerError::HeldTooLong`] when the batch was in hand for longer than [`HOLD_SECS`].
    pub(crate) fn next_delay(&mut self) -> Result<Duration, WorkerError> {
        let held_ms = self.clock.now_ms() - self.began_ms;
        let held_secs = u64::try_from(held_ms).unwrap_or(0) / 1000;
        if held_secs > HOLD_SECS {
            return Err(WorkerError::HeldTooLong { held_secs });
        }
        Ok(self.retry.next_delay())
    }

    /// Waits for so long.
    ///
    /// # Errors
    /// [`WorkerError::Stopped`] when it is told to stop meanwhile.
    pub(crate) async fn wait(&self, delay: Duration) -> Result<(), WorkerError> {
        tokio::select! {
            () = tokio::time::sleep(delay) => Ok(()),
            () = self.stop.cancelled() => Err(WorkerError::Stopped),
        }
    }
}
